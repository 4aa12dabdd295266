"""Arranging: the changes' steps in one order, numbered, each with the steps that come before it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.change import Action, Change, Step
from kvmplan.plan.circles import report_circles
from kvmplan.plan.graph import FORWARD, REMOVE, Cycle, Node, order
from kvmplan.spec.desired import Desired

REMOVING = frozenset({Verb.UNDEFINE, Verb.DELETE_VOLUME})


@dataclass(frozen=True, slots=True)
class Ties:
    """What a changing object will need, and what it holds on to until it lets go or is gone."""

    needs: frozenset[Address]
    holds: frozenset[Address]


def arrange(
    changes: Mapping[Address, Change],
    ties: Mapping[Address, Ties],
    desired: Desired,
    found: Diagnostics,
) -> dict[Address, Change]:
    """The changes with their steps numbered and tied together; unchanged where nothing is to do."""
    parts = {node: steps for change in changes.values() for node, steps in _parts(change)}
    if not parts:
        return dict(changes)
    try:
        ordered = order(parts, _edges(parts, ties))
    except Cycle as cycle:
        _report(cycle, desired, found)
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


def _parts(change: Change) -> Iterable[tuple[Node, tuple[Step, ...]]]:
    """A change's steps by part: what removes, and what makes or changes."""
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
    yield (change.address, FORWARD), change.steps


def _edges(
    parts: Mapping[Node, object], ties: Mapping[Address, Ties]
) -> Iterable[tuple[Node, Node]]:
    """What is needed is made first; what is held goes last; what is removed is made again after."""
    for address, tied in ties.items():
        for target in sorted(tied.needs):
            yield (target, FORWARD), (address, FORWARD)
        for target in sorted(tied.holds):
            yield (address, REMOVE), (target, REMOVE)
            if (address, REMOVE) in parts:
                continue
            if (target, REMOVE) not in parts:
                # A volume grows through the guest that has it, so before that lets go of it.
                yield (target, FORWARD), (address, FORWARD)
            elif target not in tied.needs:
                yield (address, FORWARD), (target, REMOVE)
        yield (address, REMOVE), (address, FORWARD)


def _report(cycle: Cycle, desired: Desired, found: Diagnostics) -> None:
    """KVP121 for the circles of the specs; if there is none, for what the live objects close."""
    if report_circles(desired, found):
        return
    first = cycle.addresses[0]
    resource = desired.resources.get(first)
    summary = f"the specs and what is on the host form a cycle: {cycle}"
    remedy = f"take a part of it first: --target {first.short}"
    found.error("KVP121", summary, resource.place if resource else None, remedy, first)
