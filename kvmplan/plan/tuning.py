"""Tuning: what the verbs that tune a running domain are called with, from field changes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kvmplan.kinds.verbs import Scope, Verb
from kvmplan.mapping.markers import Group, Items, Pairs
from kvmplan.mapping.model import Mapped, chain
from kvmplan.plan.change import FieldChange, Path

LIMITS = frozenset(
    {
        Verb.SET_DISK_LIMITS,
        Verb.SET_CPU_TUNING,
        Verb.SET_MEMORY_LIMITS,
        Verb.SET_BLOCK_TUNING,
    }
)
"""Verbs that take all the fields of a group in one call: libvirt checks them against each other."""


def group_of(model: type[Mapped], path: Path) -> Path:
    """The path of the innermost group with a strategy of its own that a path is in."""
    length, found = 0, 0
    for link in chain(model, path):
        length += 2 if isinstance(link.place, Items) else 1
        if isinstance(link.place, Group) and link.on is not None:
            found = length
    return path[:found]


def limits(verb: Verb, group: Path, changes: Iterable[FieldChange]) -> dict[str, Any]:
    """The arguments of a verb of `LIMITS`, for changes below one group."""
    values: dict[str, Any] = {}
    for change in changes:
        below = change.path[len(group) :]
        if not below:
            gone = dict.fromkeys(change.before or {})
            values |= change.after if change.after is not None else gone
            continue
        node = values
        for name in below[:-1]:
            node = node.setdefault(name, {})
        node[below[-1]] = change.after
    arguments: dict[str, Any] = {"values": values, "scope": Scope.BOTH}
    if verb is Verb.SET_DISK_LIMITS:
        return {"disk": group[1], **arguments}
    if verb is Verb.SET_BLOCK_TUNING:
        devices = {
            path: {name: value for name, value in own.items() if name != "path"}
            for path, own in values.pop("devices", {}).items()
        }
        return {"devices": devices, **arguments}
    return arguments


def single(model: type[Mapped], change: FieldChange) -> dict[str, Any] | None:
    """The arguments of a verb that tunes one thing; None for other verbs."""
    given = change.arguments
    match change.verb:
        case Verb.SET_IOTHREADS:
            return {"count": change.after, "scope": Scope.BOTH}
        case Verb.SET_LIFECYCLE:
            return {**given, "action": change.after, "scope": Scope.BOTH}
        case Verb.SET_PINNING:
            of_many = isinstance(chain(model, change.path)[-1].place, Pairs)
            thread = f"{given['thread']} {change.path[-1]}" if of_many else given["thread"]
            return {"thread": thread, "cpus": change.after, "scope": Scope.BOTH}
        case _:
            return None
