"""Options of a network's own for dnsmasq, which libvirt passes on as they are.

https://libvirt.org/formatnetwork.html#network-namespaces. They stand in a namespace of their own.
"""

from __future__ import annotations

from typing import Annotated, Any

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.mapping.markers import Through

NAMESPACE = "http://libvirt.org/schemas/network/dnsmasq/1.0"
DnsmasqOption = Annotated[str, Field(pattern=r"^[^\n]+$")]
"""One line: ``log-dhcp``, ``dhcp-option=3,10.0.0.1``."""
OPTIONS, OPTION = f"{{{NAMESPACE}}}options", f"{{{NAMESPACE}}}option"


def _read(network: Element, _: Any) -> tuple[str, ...] | None:
    node = network.find(OPTIONS)
    return None if node is None else tuple(it.get("value", "") for it in node.findall(OPTION))


def _write(network: Element, value: tuple[str, ...] | None, _: Any) -> None:
    for node in network.findall(OPTIONS):
        network.remove(node)
    if value:
        node = etree.SubElement(network, OPTIONS, nsmap={"dnsmasq": NAMESPACE})
        for text in value:
            etree.SubElement(node, OPTION, {"value": text})


DNSMASQ = Through(_read, _write, "./options/option/@value", omitted=())
