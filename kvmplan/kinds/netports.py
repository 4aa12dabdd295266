"""Ports: what a running domain's document says of its places in networks.

Read from the text: an inventory looks at thousands of documents, and nearly all are in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element as Element

_PORT_ID = re.compile(r"portid=[\"']([^\"']+)")
_OF_NETWORKS = frozenset({"network", "portgroup", "portid"})


def port_ids(document: str) -> list[str]:
    """Everything in a document that looks like the id of a port."""
    return _PORT_ID.findall(document)


def ports_of(document: str) -> Iterator[tuple[str, str]]:
    """The networks that a running domain is on, and the port that it has in each."""
    from kvmplan.mapping.document import parse_to_read

    for source in parse_to_read(document).iterfind("devices/interface/source[@portid]"):
        yield source.get("network", ""), source.get("portid", "")


def as_defined(running: Element) -> Element:
    """A running domain's document with its interfaces as their definitions have them.

    Of one in a network, libvirt says what that made of it: on a network with ``forward: bridge`` it
    is of type bridge, ``<source network='up' portid='…' bridge='br0'/>``.
    """
    for source in running.iterfind("devices/interface/source[@portid]"):
        interface = source.getparent()
        if interface is None or interface.get("type") == "network":
            continue
        interface.set("type", "network")
        if "managed" in interface.attrib:
            del interface.attrib["managed"]
        for name in set(source.attrib) - _OF_NETWORKS:
            del source.attrib[name]
        for address in source.findall("*"):
            source.remove(address)
    return running
