"""MAC addresses of interfaces whose spec gives none: known before the interface exists."""

from __future__ import annotations

from hashlib import sha256

from kvmplan.address import Address

OUI = "52:54:00"
"""The prefix of QEMU's MAC addresses."""


def derived_mac(stack: str, address: Address, name: str) -> str:
    """The MAC address of a NIC, from the stack's uid, its domain and the user's name for it."""
    digest = sha256(f"{stack}/{address}/{name}".encode()).digest()
    return ":".join([OUI, *(f"{byte:02x}" for byte in digest[:3])])
