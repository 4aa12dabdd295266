"""Addresses with a prefix, as networks and routes have them: ``address``, ``prefix``, ``family``.

https://libvirt.org/formatnetwork.html#addressing. An older document may have a netmask instead.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from lxml.etree import _Element as Element

from kvmplan.mapping.paths import unset


def read_prefixed(element: Element) -> str | None:
    """``ADDRESS/PREFIX`` or ``ADDRESS/NETMASK`` as it stands there; None without an address."""
    address = element.get("address")
    prefix = element.get("prefix") or element.get("netmask")
    return f"{address}/{prefix}" if address is not None and prefix else address


def write_prefixed(element: Element, address: IPv4Address | IPv6Address, prefix: int) -> None:
    """Write an address and how many bits its prefix has."""
    write_family(element, address.version)
    element.set("address", str(address))
    unset(element, "netmask")
    element.set("prefix", str(prefix))


def write_family(element: Element, version: int) -> None:
    """Say of an address whether it is of IPv6; IPv4 goes without saying."""
    if version == 6:
        element.set("family", "ipv6")
    else:
        unset(element, "family")
