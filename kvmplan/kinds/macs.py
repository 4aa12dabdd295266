"""MAC addresses of interfaces whose spec gives none: known before the interface exists."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from hashlib import sha256

from kvmplan.address import Address

Macs = Mapping[Address, Mapping[str, str]]
"""Of interfaces whose derived MAC is another's, the one that they get: by domain, by name."""

OUI = "52:54:00"
"""The prefix of QEMU's MACs; with the 24 bits that it leaves, two of 5,000 are probably alike."""


@cache
def derived_mac(stack: str, address: Address, name: str, attempt: int = 0) -> str:
    """The MAC address of a NIC, from the stack's uid, its domain and the user's name for it.

    Args:
        stack: the stack's uid.
        address: of the domain.
        name: the user's name for the NIC.
        attempt: how many of its addresses are another's (`kvmplan.spec.macs`).
    """
    again = f"/{attempt}" if attempt else ""
    digest = sha256(f"{stack}/{address}/{name}{again}".encode()).hexdigest()
    return f"{OUI}:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"


def new_mac(stack: str, macs: Macs, address: Address, name: str) -> str:
    """The MAC address of a new NIC for which none is written."""
    return macs.get(address, {}).get(name) or derived_mac(stack, address, name)
