"""Claims outside of an apply's steps: those that speak of nothing, and those that are taken."""

from __future__ import annotations

from collections.abc import Mapping

from kvmplan.address import Address, Kind, parse_address
from kvmplan.apply.claims import DONE
from kvmplan.inventory import Claim, Inventory, Record
from kvmplan.mapping.model import declared
from kvmplan.plan.intent import Intent
from kvmplan.plan.origin import found_born
from kvmplan.plan.torn import is_begun
from kvmplan.spec.desired import Resource


def vanished(
    inventory: Inventory, intents: Mapping[Address, Intent], *, destroy: bool
) -> tuple[Claim, ...]:
    """Claims on what is neither there nor wanted: of a run that was cut after it had deleted.

    They must go: whatever gets that name (a volume: that path) later would be taken for ours. What
    is held keeps its claim; so does a volume without its pool, which may come back, until all goes.
    So must those on volumes that were about to be made when a run was cut, where others are now.
    """
    found, former = [], frozenset(inventory.former.values())
    for claim in inventory.claims.entries.values() if inventory.claims else ():
        address = parse_address(claim.address, inventory.host)
        wanted = address in intents or claim.hold is not None
        wanted |= address in former
        intent = intents.get(address)
        if intent is not None and intent.record is not None and is_begun(inventory, address):
            found += [] if intent.ours or claim.hold is not None else [claim]
        if wanted or inventory.record(address) is not None or inventory.is_unseen(address):
            continue
        volume = address.kind is Kind.VOLUME
        pool = Address(inventory.host, Kind.POOL, address.pool) if volume else None
        if destroy or pool is None or inventory.record(pool) is not None:
            found.append(claim)
    return tuple(found)


def adopted(record: Record, claim: Claim | None, resource: Resource | None) -> Claim:
    """The claim on an object that is taken over as it is.

    Args:
        record: the object.
        claim: what is claimed under its address, which may be another object.
        resource: what the specs say of it, if they do.
    """
    same = claim is not None and claim.key == record.key
    tree = declared(resource.model) if resource is not None else {}
    born = claim.born if claim is not None and same else found_born(record, tree)
    return Claim(
        record.address.short,
        record.key,
        DONE,
        born,
        claim.applied if claim is not None and same else None,
        resource.lifecycle.prevent_destroy if resource else bool(same and claim and claim.protect),
        claim.hold if claim is not None and same else None,
    )
