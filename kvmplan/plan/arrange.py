"""Arranging: the changes' steps in one order, numbered, each with the steps that come before it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.change import Action, Change, Step
from kvmplan.plan.circles import report_circles
from kvmplan.plan.graph import FORWARD, RELEASE, REMOVE, Cycle, Node, Order, order
from kvmplan.plan.storage import SHARED
from kvmplan.spec.desired import Desired

REMOVING = frozenset({Verb.UNDEFINE, Verb.DELETE_VOLUME})
_NONE: frozenset[Node] = frozenset()


@dataclass(frozen=True, slots=True)
class Ties:
    """What a changing object will need, and what it holds on to until it lets go or is gone.

    `takes`: the parts of other changes that give up what it takes.
    """

    needs: frozenset[Address]
    holds: frozenset[Address]
    takes: frozenset[Node] = frozenset()


def arrange(
    changes: Mapping[Address, Change],
    ties: Mapping[Address, Ties],
    desired: Desired,
    found: Diagnostics,
) -> dict[Address, Change]:
    """The changes with their steps numbered and tied together; unchanged where nothing is to do."""
    given = {node for tied in ties.values() for node in tied.takes}
    parts = {node: steps for change in changes.values() for node, steps in _parts(change, given)}
    if not parts:
        return dict(changes)
    ordered = _ordered(parts, ties, desired, found)
    if ordered is None:
        return {address: replace(change, steps=()) for address, change in changes.items()}
    last: dict[Node, int] = {}
    numbered: dict[Address, list[Step]] = {}
    count = 0
    for node in ordered.nodes:
        after = tuple(sorted({last[before] for before in ordered.before[node]}))
        for step in parts[node]:
            count += 1
            numbered.setdefault(node[0], []).append(replace(step, id=count, after=after))
            after = (count,)
        last[node] = count
    return {
        address: replace(change, steps=tuple(numbered.get(address, ()))) if change.steps else change
        for address, change in changes.items()
    }


def _ordered(
    parts: Collection[Node],
    ties: Mapping[Address, Ties],
    desired: Desired,
    found: Diagnostics,
) -> Order | None:
    """The order of the parts; None where there is none, which is reported."""
    try:
        return order(parts, _edges(parts, ties))
    except Cycle as cycle:
        blocked = cycle
    try:
        order(parts, _edges(parts, {it: replace(tied, takes=_NONE) for it, tied in ties.items()}))
    except Cycle as cycle:
        _report(cycle, desired, found)
    else:
        _report_handover(blocked, desired, found)
    return None


def _parts(change: Change, given: Collection[Node]) -> Iterable[tuple[Node, tuple[Step, ...]]]:
    """A change's steps by part: what removes, what gives up, and what makes or changes."""
    if not change.steps:
        return
    if change.action is Action.DELETE:
        yield (change.address, REMOVE), change.steps
        return
    if change.action is Action.REPLACE:
        cut = next(n for n, step in enumerate(change.steps, 1) if step.verb in REMOVING)
        yield (change.address, REMOVE), change.steps[:cut]
        yield (change.address, FORWARD), change.steps[cut:]
        return
    cut = max((n for n, it in enumerate(change.steps, 1) if it.verb is Verb.DETACH), default=0)
    if (change.address, RELEASE) in given and 0 < cut < len(change.steps):
        yield (change.address, RELEASE), change.steps[:cut]
        yield (change.address, FORWARD), change.steps[cut:]
        return
    yield (change.address, FORWARD), change.steps


def _edges(parts: Collection[Node], ties: Mapping[Address, Ties]) -> Iterable[tuple[Node, Node]]:
    """What is needed is made first; what is held goes last; what is removed is made again after.

    What is taken is given up before.
    """
    for address, tied in ties.items():
        first = (address, RELEASE) if (address, RELEASE) in parts else (address, FORWARD)
        if first[1] == RELEASE:
            yield first, (address, FORWARD)
        for giver in sorted(tied.takes):
            yield giver if giver in parts else (giver[0], FORWARD), (address, FORWARD)
        for target in sorted(tied.needs):
            yield (target, FORWARD), (address, FORWARD)
        for target in sorted(tied.holds):
            yield (address, REMOVE), (target, REMOVE)
            if (address, REMOVE) in parts:
                continue
            if (target, REMOVE) not in parts:
                # A volume grows through the guest that has it, so before that lets go of it.
                yield (target, FORWARD), first
            elif target not in tied.needs:
                yield (address, FORWARD), (target, REMOVE)
        yield (address, REMOVE), (address, FORWARD)


def _report_handover(cycle: Cycle, desired: Desired, found: Diagnostics) -> None:
    """KVP132 where guests wait for each other's disks: each is to go down before the other."""
    first = next(address for address in cycle.addresses if address.kind is Kind.DOMAIN)
    resource = desired.resources.get(first)
    summary = f"no order lets each of these let go of a disk before the next takes it: {cycle}"
    remedy = f"stop one of them first: kvmplan stop {first.short}"
    found.error(SHARED, summary, resource.place if resource else None, remedy, first)


def _report(cycle: Cycle, desired: Desired, found: Diagnostics) -> None:
    """KVP121 for the circles of the specs; if there is none, for what the live objects close."""
    if report_circles(desired, found):
        return
    first = cycle.addresses[0]
    resource = desired.resources.get(first)
    summary = f"the specs and what is on the host form a cycle: {cycle}"
    remedy = f"take a part of it first: --target {first.short}"
    found.error("KVP121", summary, resource.place if resource else None, remedy, first)
