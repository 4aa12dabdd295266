"""Strangers: what is on a host beside a stack's own, and what it says about itself."""

from __future__ import annotations

from dataclasses import dataclass

from kvmplan.address import Address, Kind
from kvmplan.inventory import EMPTY, FORGOTTEN, Inventory
from kvmplan.plan.lineage import words
from kvmplan.spec.desired import Desired

HELD = "held"
"""Of a domain that every run leaves alone."""


@dataclass(frozen=True, slots=True)
class Stranger:
    """A live object that no spec of the stack names and that the stack does not own.

    Attributes:
        about: whose it is or what it is a copy of, as far as that is known; else empty.
    """

    address: Address
    about: str


def standing(domain: Address, inventory: Inventory, moment: str) -> str:
    """Why a domain is not simply this stack's: ``not this stack's`` or ``held``; else empty."""
    claim, record = inventory.claim(domain), inventory.record(domain)
    key = record.key if record is not None else ""
    if claim is None or claim.phase == FORGOTTEN or claim.key != key:
        return "not this stack's"
    return HELD if claim.hold is not None and claim.hold.lasts(moment) else ""


def strangers(desired: Desired, inventory: Inventory) -> tuple[Stranger, ...]:
    """The strangers on a host; of volumes those in pools that the specs name.

    Args:
        desired: the specs.
        inventory: the host with all domains read.
    """
    stack, found = desired.stack.uid, []
    for kind in Kind:
        for name, key in inventory.names.get(kind, EMPTY).items():
            address = Address(inventory.host, kind, name)
            claim, record = inventory.claim(address), inventory.record(address)
            owned = claim is not None and claim.key == key and claim.phase != FORGOTTEN
            if owned or address in desired.resources:
                continue
            pool = Address(inventory.host, Kind.POOL, address.pool)
            if kind is Kind.VOLUME and pool not in desired.resources:
                continue
            about = words(record, inventory, stack) if record is not None else ""
            found.append(Stranger(address, about))
    return tuple(sorted(found, key=lambda stranger: stranger.address))
