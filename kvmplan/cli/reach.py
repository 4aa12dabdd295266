"""Reaching guests: their addresses now, and through which machine."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from kvmplan.address import Address
    from kvmplan.cli.session import Session
    from kvmplan.inventory import GuestAddress, Inventory

THREADS = 8
JUMPING = ("ssh", "libssh", "libssh2")


def known_addresses(
    session: Session, inventories: Mapping[str, Inventory]
) -> dict[Address, tuple[GuestAddress, ...]]:
    """The addresses of the stack's running guests, by which libvirt and agents know them.

    Raises:
        Failure: a host failed.
    """
    from kvmplan.address import Kind
    from kvmplan.host import shares, side_by_side

    running = [
        address
        for address in session.desired.resources
        if address.kind is Kind.DOMAIN
        and address.host in inventories
        and (record := inventories[address.host].record(address)) is not None
        and record.active
    ]
    found: dict[Address, tuple[GuestAddress, ...]] = {}
    for part in side_by_side([partial(_ask, session, own) for own in shares(running, THREADS)]):
        found |= part
    return found


def _ask(session: Session, own: list[Address]) -> dict[Address, tuple[GuestAddress, ...]]:
    from kvmplan.cli.session import translated

    found = {}
    for address in own:
        with translated(session, address.host):
            found[address] = session.hosts[address.host].addresses(address)
    return found


def jump_host(uri: str) -> str:
    """The machine behind an ssh connection, as ``ssh -J`` takes it; ``""`` for others.

    What such a machine's networks give out can be reached from there only.
    """
    parts = urlsplit(uri)
    transport = parts.scheme.partition("+")[2]
    if transport not in JUMPING or not parts.hostname:
        return ""
    user = f"{parts.username}@" if parts.username else ""
    port = f":{parts.port}" if parts.port else ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{user}{host}{port}"
