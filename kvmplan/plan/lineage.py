"""Lineage: what an object's mark and uuid say about whose it is. Evidence, not ownership.

A clone carries a copy of the mark of what it was cloned from: the name and uuid inside are not its
own, which is how it is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kvmplan.inventory import Inventory, Record
from kvmplan.kinds.mark import NAMESPACE, Mark, read_mark
from kvmplan.mapping.document import parse_to_read
from kvmplan.plan.born import uuid_of


class Kin(StrEnum):
    """What an object is to the one that its mark was made for."""

    MARKED = "marked"
    """That very object."""
    RENAMED = "renamed"
    """That object, under another name now."""
    COPY = "copy"
    """Another one: a clone."""
    BORN = "born"
    """It has no mark of ours, but the uuid that the stack gives to the object of this address."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where an object comes from.

    Attributes:
        kin: what it is to the object that it comes from.
        stack: the uid of the stack that made that.
        source: ``KIND.NAME`` of that.
    """

    kin: Kin
    stack: str
    source: str


def mark_of(record: Record) -> Mark | None:
    """The mark in an object's document, whosever it is; None if it has none that can be read."""
    if NAMESPACE not in record.document:
        return None
    return read_mark(parse_to_read(record.document))


def lineage(record: Record, inventory: Inventory, stack: str) -> Lineage | None:
    """Where an object comes from, as far as it says; None if it says nothing."""
    address = record.address
    if record.key == uuid_of(stack, inventory.facts.uuid, address):
        return Lineage(Kin.BORN, stack, address.short)
    mark = mark_of(record)
    if mark is None:
        return None
    if mark.uuid != record.key:
        kin = Kin.COPY
    else:
        kin = Kin.MARKED if mark.name == address.name else Kin.RENAMED
    return Lineage(kin, mark.stack, f"{address.kind}.{mark.name}")


def words(record: Record, inventory: Inventory, stack: str) -> str:
    """`lineage` for people, of an object that the stack does not own; empty if it says nothing."""
    owner = inventory.other_owner(record.address, record.key)
    if owner is not None:
        return f"owned by the stack '{owner}'"
    found = lineage(record, inventory, stack)
    if found is None:
        return ""
    names = {
        claims.stack_uid: f"the stack '{claims.stack_name}'" for claims in inventory.foreign_claims
    }
    whose = "this stack" if found.stack == stack else names.get(found.stack, "another stack")
    match found.kin:
        case Kin.COPY:
            return f"a copy of {found.source} of {whose}"
        case Kin.RENAMED:
            return f"{found.source} of {whose}, renamed"
        case Kin.MARKED | Kin.BORN:
            return f"made by {whose}, and not claimed"
