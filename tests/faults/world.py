"""What there is of a stack on a host, in a form in which two moments can be compared."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import libvirt
from lxml import etree

from kvmplan.host import claims as claim_store
from kvmplan.host import lock as lock_store
from kvmplan.inventory import Claim

VOLATILE = (
    ".//address[@type='pci']",
    ".//address[@type='drive']",
    "./devices/controller",
    "./timestamps",
    "./allocation",
    "./physical",
    "./target/timestamps",
    "./target/clusterSize",
    "./backingStore/timestamps",
    "./available",
)
"""What differs between two objects that are equal to their user."""
RUNNING = "\nrunning: "
"""What stands before the running side of a domain."""


@dataclass(frozen=True)
class World:
    """A stack on a host.

    Attributes:
        objects: ``KIND.NAME`` -> its documents and state, as text.
        claims: ``KIND.NAME`` -> its claim, as text.
        locks: how many there are.
    """

    objects: Mapping[str, str]
    claims: Mapping[str, str]
    locks: int

    def defined(self) -> World:
        """The same without what only runs."""
        objects = {name: text.partition(RUNNING)[0] for name, text in self.objects.items()}
        return replace(self, objects=objects)

    def versus(self, other: World) -> str:
        """What differs."""
        lines: list[str] = []
        for mine, theirs in ((self.objects, other.objects), (self.claims, other.claims)):
            for name in sorted(mine.keys() | theirs.keys()):
                now, then = mine.get(name, "").split("\n"), theirs.get(name, "").split("\n")
                if now != then:
                    lines += difflib.unified_diff(then, now, name, name, n=1, lineterm="")
        return "\n".join(lines)


def world(conn: libvirt.virConnect, tag: str, uid: str) -> World:
    """What there is of the stack whose objects' names begin with its tag."""
    found = {}
    for net in conn.listAllNetworks():
        if net.name().startswith(tag):
            flag = libvirt.VIR_NETWORK_XML_INACTIVE
            state = f"active {net.isActive()} autostart {net.autostart()}"
            found[f"network.{net.name()}"] = f"{state}\n{plain(net.XMLDesc(flag))}"
    for pool in conn.listAllStoragePools():
        if pool.name().startswith(tag):
            state = f"active {pool.isActive()} autostart {pool.autostart()}"
            found[f"pool.{pool.name()}"] = f"{state}\n{plain(pool.XMLDesc(0), 'capacity')}"
            volumes = pool.listAllVolumes() if pool.isActive() else []
            found |= {
                f"volume.{pool.name()}/{volume.name()}": plain(volume.XMLDesc(0))
                for volume in volumes
            }
    for domain in conn.listAllDomains():
        if domain.name().startswith(tag):
            found[f"domain.{domain.name()}"] = _domain(domain)
    own = claim_store.read(conn, uid).own
    entries = own.entries if own else {}
    claims = {n: claim_store.encode_entry(_timeless(claim)).text for n, claim in entries.items()}
    locks = [lock for lock in lock_store.held(conn) if lock.stack_uid == uid]
    return World(found, claims, len(locks))


def _timeless(claim: Claim) -> Claim:
    """A claim without since when fields wait for a restart: the run that looks next notes it."""
    return replace(claim, waiting={})


def _domain(domain: libvirt.virDomain) -> str:
    state = f"active {domain.isActive()} autostart {domain.autostart()}"
    persistent = plain(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
    running = ""
    if domain.isActive():
        root = etree.fromstring(domain.XMLDesc(0).encode())
        disks = sorted(_said(disk, "target/@dev", "source/@*") for disk in root.iter("disk"))
        nics = sorted(_said(nic, "mac/@address", "link/@state") for nic in root.iter("interface"))
        running = f"{RUNNING}{disks} {nics} {root.findtext('vcpu')}"
    return f"{state}\n{persistent}{running}"


def _said(node: Any, *paths: str) -> str:
    values = (str(value) for path in paths for value in node.xpath(path))
    return " ".join(value for value in values if not re.fullmatch(r"\d+|vnet.*|.{8}-.{27}", value))


def plain(text: str, *without: str) -> str:
    """A document without what comes and goes by itself, one element a line."""
    root = etree.fromstring(text.encode(), etree.XMLParser(remove_blank_text=True))
    for node in [node for path in (*VOLATILE, *without) for node in root.findall(path)]:
        parent = node.getparent()
        assert parent is not None
        parent.remove(node)
    etree.indent(root)
    return etree.tostring(root, method="c14n").decode()
