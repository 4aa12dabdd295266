"""Moves: a domain that has another name now is looked at under the one that it had before.

To the planner it is there already, under its new address; `Inventory.former` says what it is
called until the plan is applied. Claims of both names stay until it is done: whichever name a crash
leaves it with, it is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import EMPTY, FORGOTTEN, Inventory, Record
from kvmplan.plan.intent import Intent
from kvmplan.plan.options import PlanOptions
from kvmplan.spec.desired import Desired


@dataclass(frozen=True, slots=True)
class _Obstacle:
    """Why a domain is not renamed in this run."""

    code: str
    summary: str
    remedy: str


def follow(inventory: Inventory, moved: Mapping[Address, tuple[str, ...]]) -> Inventory:
    """The inventory with every domain that is to be renamed under its new address."""
    for target, names in sorted(moved.items()):
        if target.host != inventory.host:
            continue
        before = [Address(target.host, Kind.DOMAIN, name) for name in names]
        if inventory.exists(target):
            inventory = _claimed_before(inventory, target, before)
            continue
        there = [source for source in before if inventory.exists(source)]
        record = inventory.record(there[0]) if there else None
        if record is not None:
            inventory = _renamed(inventory, target, record)
    return inventory


def _renamed(inventory: Inventory, target: Address, record: Record) -> Inventory:
    source = record.address
    records = {**inventory.records, target: replace(record, address=target)}
    del records[source]
    domains = {**inventory.names[Kind.DOMAIN], target.name: record.key}
    del domains[source.name]
    moved = replace(
        inventory,
        records=records,
        names={**inventory.names, Kind.DOMAIN: domains},
        former={**inventory.former, target: source},
        snapshots={
            target.name if n == source.name else n: s for n, s in inventory.snapshots.items()
        },
    )
    return _with_claim(moved, target, source)


def _claimed_before(inventory: Inventory, target: Address, before: list[Address]) -> Inventory:
    """A domain that somebody else has renamed is claimed under its old name: it is ours still."""
    key = inventory.names[Kind.DOMAIN][target.name]
    for source in before:
        claim = inventory.claim(source)
        if inventory.claim(target) is None and claim is not None and claim.key == key:
            return _with_claim(inventory, target, source)
    return inventory


def _with_claim(inventory: Inventory, target: Address, source: Address) -> Inventory:
    claims, claim = inventory.claims, inventory.claim(source)
    if claims is None or claim is None:
        return inventory
    entries = {**claims.entries, target.short: replace(claim, address=target.short)}
    return replace(inventory, claims=replace(claims, entries=entries))


def report_both(desired: Desired, inventories: Mapping[str, Inventory], found: Diagnostics) -> None:
    """KVP242 where two of a domain's names are taken by domains of this stack."""
    for target, names in sorted(desired.moved.items()):
        inventory = inventories.get(target.host)
        if inventory is None:
            continue
        others = list(_ours(inventory, target.host, names))
        if not others or len(others) + inventory.exists(target) < 2:
            continue
        summary = f"{target.short} had the name {others[0]} before, and both domains exist"
        resource = desired.resources[target]
        remedy = f"take the line out of `moved`, and declare {others[0]} or remove it"
        found.error("KVP242", summary, resource.place, remedy, target)


def _ours(inventory: Inventory, host: str, names: tuple[str, ...]) -> Iterator[str]:
    """Those of a domain's former names that domains of this stack have."""
    there = inventory.names.get(Kind.DOMAIN, EMPTY)
    for name in names:
        address = Address(host, Kind.DOMAIN, name)
        claim = inventory.claim(address)
        if claim is not None and claim.phase != FORGOTTEN and claim.key == there.get(name):
            yield address.short


def is_renamed_by_hand(intent: Intent, inventory: Inventory, found: Diagnostics) -> bool:
    """Whether a domain that is to be made is there under a name that no spec gives it; an error.

    A second one would have its disks and MACs.
    """
    claim, address = intent.claim, intent.address
    if address.kind is not Kind.DOMAIN or claim is None or claim.phase == FORGOTTEN:
        return False
    name = inventory.domain_by_uuid.get(claim.key)
    if name is None:
        return False
    summary = f"{address.short} has been renamed by hand: it is {Kind.DOMAIN}.{name} now"
    remedy = (
        f"rename it back while it is off: virsh domrename {name} {address.name}; or declare "
        f"{Kind.DOMAIN}.{name}, and `moved: [{{from: {address.short}, to: {Kind.DOMAIN}.{name}}}]`"
    )
    found.error("KVP244", summary, intent.resource.place, remedy, address)
    return True


def can_be_renamed(
    intent: Intent,
    record: Record,
    previous: Address | None,
    options: PlanOptions,
    found: Diagnostics,
) -> bool:
    """Whether a domain can get its new name now, if it is to; an error if it cannot."""
    if previous is None:
        return True
    why = _obstacle(previous, record, options, ours=intent.ours)
    if why is not None:
        found.error(why.code, why.summary, intent.resource.place, why.remedy, intent.address)
    return why is None


def _obstacle(
    previous: Address, record: Record, options: PlanOptions, *, ours: bool
) -> _Obstacle | None:
    """Why a domain cannot get its new name now; None if it can."""
    old, new = previous.short, record.address.short
    if not ours and not options.adopt:
        summary = f"{old} is not owned by this stack, and would be renamed to {new}"
        return _Obstacle("KVP220", summary, "--adopt takes it over and renames it")
    if record.active or record.managed_save:
        state = f"is {record.state}" if record.active else "has a managed save image"
        summary = f"{old} {state}: only a domain that is off is renamed to {new}"
        return _Obstacle("KVP243", summary, f"shut it down first: kvmplan stop {old}")
    if options.replaces(record.address):
        summary = f"{old} is renamed to {new} first, and not replaced in the same run"
        return _Obstacle("KVP243", summary, "apply without --replace, then with it")
    return None
