"""The verb that renames a domain, which keeps its UEFI variables.

libvirt names their file after the domain, and before 9.2 keeps no word of it in the definition: a
domain with another name would start with fresh ones. So the file is named in the definition first.
"""

from __future__ import annotations

import json
import re
from typing import Any

import libvirt
from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.apply.port import HostError
from kvmplan.host.domains import look_up
from kvmplan.host.verb import Target, verb
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.paths import drop

_VARIABLES = (
    re.compile(r'"filename":("(?:[^"\\]|\\.)*"),"node-name":"libvirt-pflash1-storage"'),
    re.compile(r'"node-name":"libvirt-pflash1-storage"[^}]*?"filename":("(?:[^"\\]|\\.)*")'),
)
"""Where QEMU's command line says which file holds them."""


@verb(Verb.RENAME)
def rename(target: Target, *, name: str) -> None:
    """Give a domain that is off another name; having it already is as good."""
    domain = look_up(target.connection, target.address.name)
    if domain is None and look_up(target.connection, name) is not None:
        return
    domain = target.find()
    _name_variables(target, domain)
    domain.rename(name, 0)


def _name_variables(target: Target, domain: Any) -> None:
    """Write into the definition where the UEFI variables are, if it does not say so."""
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
    root = etree.fromstring(domain.XMLDesc(flags).encode())
    system = root.find("os")
    if system is None or not _has_variables(system):
        return
    node = system.find("nvram")
    if node is not None and ((node.text or "").strip() or node.find("source") is not None):
        return
    path = _variables(target, root)
    if node is None:
        node = etree.Element("nvram")
        loader = system.find("loader")
        # The schema has them in this order.
        if loader is not None:
            loader.addnext(node)
        else:
            system.insert(_after_type(system), node)
    node.text = path
    target.connection.defineXML(etree.tostring(root, encoding="unicode"))


def _has_variables(system: Element) -> bool:
    loader = system.find("loader")
    flash = loader is not None and loader.get("type") == "pflash"
    return flash or system.get("firmware") == "efi"


def _after_type(system: Element) -> int:
    places = [
        place for place, node in enumerate(system) if node.tag in ("type", "firmware", "loader")
    ]
    return max(places, default=-1) + 1


def _variables(target: Target, root: Element) -> str:
    """The file that libvirt would start this domain with, from QEMU's command line.

    Raises:
        HostError: the command line does not tell.
        libvirtError: libvirt does not make one.
    """
    bare = etree.fromstring(etree.tostring(root))
    devices = bare.find("devices")
    for device in list(devices) if devices is not None else ():
        if device.tag != "emulator":
            drop(device)
    line = target.connection.domainXMLToNative(
        "qemu-argv", etree.tostring(bare, encoding="unicode"), 0
    )
    found = next((match for pattern in _VARIABLES if (match := pattern.search(line))), None)
    if found is None:
        what = f"libvirt does not tell where the UEFI variables of {target.address.short} are"
        raise HostError(what, doing=f"{Verb.RENAME} {target.address.short}")
    path: str = json.loads(found.group(1))
    return path
