"""What is this stack's by all evidence and is not claimed: its claims were lost.

It is neither changed, pruned nor destroyed without `adopt`; that it is there is not kept back.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import Inventory
from kvmplan.plan.lineage import Kin, lineage
from kvmplan.spec.desired import Desired

UNCLAIMED = "KVP226"
SHOWN = 5
"""How many are named: a stack may have thousands, and `doctor --repair` names them all."""


def report(
    desired: Desired,
    inventories: Mapping[str, Inventory],
    taken: Container[Address],
    found: Diagnostics,
) -> None:
    """Warn of what was read and is unclaimed, once for each host; not of what is `taken` over."""
    for host, inventory in sorted(inventories.items()):
        there = [it for it in evident(inventory, desired.stack.uid) if it not in taken]
        if not there:
            continue
        names = [str(it) if desired.stack.hosts else it.short for it in there]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        summary = (
            f"host '{host}': made by this stack, and claimed by nobody (its claims were lost), so"
            f" not owned, and neither pruned nor destroyed: {', '.join(names[:SHOWN])}{more}"
        )
        take = f"`kvmplan adopt {' '.join(names)}`, or " if not more else ""
        remedy = f"to own them again: {take}what `kvmplan doctor --repair` proposes"
        found.warning(UNCLAIMED, summary, desired.stack.place, remedy)


def evident(inventory: Inventory, stack: str) -> Iterator[Address]:
    """What carries the mark or uuid that the stack gave it, of what was read and nobody claims."""
    if not inventory.facts.has_secrets:
        return
    entries = inventory.claims.entries if inventory.claims else {}
    known = {(claim.address.partition(".")[0], claim.key) for claim in entries.values()}
    for address, record in sorted(inventory.records.items()):
        if address.short in entries or (address.kind.value, record.key) in known:
            continue
        if inventory.other_owner(address, record.key) is not None:
            continue
        comes = lineage(record, inventory, stack)
        if comes is not None and comes.stack == stack and comes.kin is not Kin.COPY:
            yield address
