"""What somebody has changed of a running object alone, while its definition is as wanted.

``virsh desc --live``, ``domif-setlink``, ``detach-disk --live``: what can be changed back while it
runs is drift like any other. What this stack left for the next boot itself is noted in the claim,
and goes on waiting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from kvmplan.diff import at
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import chain
from kvmplan.mapping.strategy import Effect
from kvmplan.plan.booted import is_told
from kvmplan.plan.change import FieldChange, Path
from kvmplan.plan.fields import Compared, Tree, effect_of, ignored, waits_for_guest
from kvmplan.plan.intent import Intent
from kvmplan.plan.members import scope

_PLUGS = frozenset({Verb.ATTACH, Verb.UPDATE_NETWORK})
"""Verbs that put back a member of a collection that only the definition has."""

_SETS = frozenset(
    {
        Verb.SET_TITLE,
        Verb.SET_DESCRIPTION,
        Verb.SET_METADATA,
        Verb.UPDATE_DEVICE,
        Verb.SET_DISK_LIMITS,
        Verb.SET_CPU_TUNING,
        Verb.SET_MEMORY_LIMITS,
        Verb.SET_BLOCK_TUNING,
        Verb.SET_PINNING,
    }
)
"""Verbs that give a running object the value that its definition has."""


@dataclass(frozen=True, slots=True)
class Handmade:
    """The fields in which what runs differs from its definition, told apart.

    Attributes:
        back: those that are changed back while it runs.
        waiting: those that wait for its next start, or for the guest.
        strangers: members that only the running object has, and that were never ours.
    """

    back: tuple[FieldChange, ...] = ()
    waiting: tuple[FieldChange, ...] = ()
    strangers: tuple[Path, ...] = ()

    def kept(self, fields: Iterable[FieldChange]) -> Handmade:
        """The same where drift stays: it waits with the rest of `fields`, and is told from it."""
        drift = {change.path for change in self.back}
        waiting = tuple(replace(it, drift=it.path in drift) for it in fields)
        plugged = (change.path for change in self.back if change.after is None)
        return Handmade((), waiting, (*self.strangers, *plugged))

    def beside(self, compared: Compared) -> Compared:
        """What is to be changed, in the definition and in what runs alone."""
        if not (self.back or self.strangers):
            return compared
        changes = sorted((*compared.changes, *self.back), key=lambda change: change.path)
        unlisted = (*compared.unlisted, *self.strangers)
        return replace(compared, changes=tuple(changes), unlisted=tuple(sorted(unlisted)))


def without_drift(compared: Compared, when: str = "") -> Compared:
    """What is to be changed if drift is kept: what that leaves as it is becomes a note."""
    drifted = [change.name for change in compared.changes if change.drift]
    if not drifted:
        return compared
    note = f"changed by hand{when}, and left so (--drift keep): {', '.join(drifted)}"
    intended = tuple(change for change in compared.changes if not change.drift)
    return replace(compared, changes=intended, notes=(*compared.notes, note))


def tell_apart(
    intent: Intent,
    fields: Iterable[FieldChange],
    compared: Compared,
    facts: Any,
    running: Tree | None,
) -> Handmade:
    """Look what of the pending fields is drift.

    Args:
        intent: both sides.
        fields: those in which the running object differs from its definition.
        compared: how its definition differs from what is wanted.
        facts: the host's.
        running: its running fields; None if nothing runs.
    """
    if intent.record is None or not intent.record.active or running is None:
        return Handmade(waiting=tuple(fields))
    fields = tuple(fields)
    noted = intent.claim.waiting if intent.claim is not None else ()
    known = [*(change.name for change in compared.changes), *noted]
    back: list[FieldChange] = []
    waiting: list[FieldChange] = []
    for field in fields:
        change = None
        if not any(_meet(field.name, name) for name in known):
            change = _change_back(intent, field, facts, running)
        (waiting if change is None else back).append(change or field)
    busy = [*known, *(field.name for field in fields)]
    strangers = _strangers(intent, compared, running, busy)
    if intent.resource.lifecycle.unlisted == "remove":
        gone = {path: _unplugging(intent, path, facts, running) for path in strangers}
        back += [change for change in gone.values() if change is not None]
        strangers = tuple(path for path, change in gone.items() if change is None)
    return Handmade(tuple(back), tuple(waiting), strangers)


def _meet(one: str, other: str) -> bool:
    """Whether one name is the other, or leads to it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def _change_back(
    intent: Intent, field: FieldChange, facts: Any, running: Tree
) -> FieldChange | None:
    """The change that gives the running object what is defined; None where it has to wait."""
    lifecycle = intent.resource.lifecycle
    if waits_for_guest(field) or field.after is None or not intent.ours:
        return None
    if ignored(field.path, (*lifecycle.ignore_changes, *lifecycle.told)):
        return None
    effect = effect_of(intent, field.path, field.before, field.after, facts, running)
    is_member = isinstance(chain(intent.model, field.path)[-1].place, Items)
    verb = Verb(effect.verb) if effect.verb and effect.impact is Impact.LIVE else None
    if is_member and field.before is None:
        if verb not in _PLUGS or not _is_simply_missing(intent, field.path, running):
            return None
    elif verb not in _SETS:
        return None
    return _live(field, effect)


def _unplugging(intent: Intent, path: Path, facts: Any, running: Tree) -> FieldChange | None:
    """The change that takes a member out of the running object; None where that has to wait."""
    field = FieldChange(path, at(running, path), None)
    effect = effect_of(intent, path, field.before, None, facts, running)
    return _live(field, effect) if effect.verb == Verb.DETACH else None


def _live(field: FieldChange, effect: Effect) -> FieldChange:
    return replace(
        field,
        impact=effect.impact,
        fallback=effect.fallback,
        reason=effect.reason,
        drift=True,
        only_running=True,
        verb=Verb(effect.verb) if effect.verb else None,
        arguments=effect.arguments,
    )


def _is_simply_missing(intent: Intent, path: Path, running: Tree) -> bool:
    """Whether nothing in the running collection could be the member under another key.

    Names of the user's own stand for a key that may have changed, such as a MAC.
    """
    place = chain(intent.model, path)[-1].place
    if not (isinstance(place, Items) and place.named):
        return True
    here, defined = at(running, path[:-1]) or {}, at(intent.live or {}, path[:-1]) or {}
    return here.keys() <= defined.keys()


def _strangers(
    intent: Intent, compared: Compared, running: Tree, busy: Iterable[str]
) -> tuple[Path, ...]:
    """Members of managed collections that somebody has plugged into the running object alone.

    Of names of the user's own, where something of the collection waits, it may be what goes.
    """
    _, unlisted = scope(intent.model, running, intent.tree, intent.applied, remove_unlisted=False)
    known = {*compared.unlisted}
    names = tuple(busy)
    return tuple(
        path
        for path in unlisted
        if path not in known
        and is_told(intent.model, path)
        and at(intent.live or {}, path) is None
        and not _may_be(intent, path, names)
        and not ignored(path, intent.resource.lifecycle.ignore_changes)
    )


def _may_be(intent: Intent, path: Path, busy: Iterable[str]) -> bool:
    """Whether a member is, or may be under another key, one of those that something happens to."""
    place = chain(intent.model, path)[-1].place
    above = path[:-1] if isinstance(place, Items) and place.named else path
    return any(_meet(".".join(above), name) for name in busy)
