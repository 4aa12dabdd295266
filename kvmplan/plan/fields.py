"""Field changes: what differs, whom it disturbs, and whether someone changed it by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kvmplan.address import Kind
from kvmplan.diff import Difference, at, diff
from kvmplan.kinds.mark import applied_fields
from kvmplan.kinds.netports import as_defined
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.complete import complete
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.impact import Impact
from kvmplan.mapping.lens import read
from kvmplan.mapping.markers import Items, Pairs, Runtime
from kvmplan.mapping.model import chain, strategy_of
from kvmplan.mapping.strategy import Effect, Situation
from kvmplan.plan.booted import boot_notes, differences, is_told
from kvmplan.plan.change import FieldChange, Path
from kvmplan.plan.intent import Intent, without_followers
from kvmplan.plan.members import enclosing, scope

Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """How an object differs from what is wanted.

    Attributes:
        changes: what will be changed.
        notes: sentences on birth fields that differ and are left alone.
        unlisted: members of managed collections that were never ours.
    """

    changes: tuple[FieldChange, ...]
    notes: tuple[str, ...]
    unlisted: tuple[Path, ...]


NOTHING = Compared((), (), ())


def compare(intent: Intent, facts: Any, running: Tree | None) -> Compared:
    """The differences between what is and what is wanted, each with its effect.

    Args:
        intent: both sides; `intent.live` is not None.
        facts: the host's.
        running: the running fields, of an active object.
    """
    live, tree = intent.live or {}, intent.tree
    if live == tree:
        return NOTHING
    lifecycle = intent.resource.lifecycle
    scoped, unlisted = scope(
        intent.model, live, tree, intent.applied, remove_unlisted=lifecycle.unlisted == "remove"
    )
    changes: list[FieldChange] = []
    notes: list[str] = []
    for path, before, after in diff(scoped, tree):
        if ignored(path, lifecycle.ignore_changes) or _hidden(intent, path):
            continue
        effect = effect_of(intent, path, before, after, facts, running)
        if effect.noted:
            notes.append(_birth_note(intent, path, before, after))
            continue
        if ignored(path, lifecycle.told):
            notes.append(f"{'.'.join(path)}: not what it was born with, and kept")
            continue
        changes.append(_change(intent, path, before, after, effect))
    return Compared(tuple(changes), tuple(notes), tuple(unlisted))


def _hidden(intent: Intent, path: Path) -> bool:
    """Whether the host did not let us see the live value: it is not compared."""
    seen = intent.record is None or intent.record.secure
    links = chain(intent.model, path)
    in_document = not isinstance(links[-1].place, Runtime)
    return not seen and in_document and any(link.secret for link in links)


def running_tree(intent: Intent) -> Tree | None:
    """The fields of the running document, in the shape of what is wanted; None if nothing runs.

    Followers are read too, declared or not: what is live depends on the running maximum. A guest in
    a managed save image counts as running: its next start goes on with that.
    """
    document = running_document(intent)
    if document is None or intent.context is None:
        return None
    like = complete(intent.model, intent.tree, None)
    return read(intent.model, as_defined(parse_to_read(document)), intent.context, like)


def running_document(intent: Intent) -> str | None:
    """The document of what runs, or will go on from a managed save image; None if nothing does."""
    record = intent.record
    if record is None:
        return None
    return record.running if record.active else record.saved


def pending(intent: Intent, running: Tree | None) -> tuple[FieldChange, ...]:
    """Where the running definition differs from the persistent one, in declared fields.

    A member that was ours, and is taken out for the next boot, is one until the guest has lost it.
    """
    if running is None or intent.live is None:
        return ()
    found = []
    for path, before, after in _not_reached(intent, running, intent.live):
        links = chain(intent.model, path)
        if not is_declared(intent.tree, path) and not (after is None and _was_ours(intent, path)):
            continue
        effect = _strategy_effect(intent, _situation(intent, path, before, after, running))
        sensitive = any(link.secret for link in links)
        found.append(
            FieldChange(
                path, before, after, effect.impact, reason=effect.reason, sensitive=sensitive
            )
        )
    return tuple(found)


def _not_reached(intent: Intent, running: Tree, live: Tree) -> list[Difference]:
    """Where what runs differs from what is defined: by its document, and by what is noted of it."""
    like = complete(intent.model, intent.tree, None)
    declared = without_followers(dict(running), like, intent.tree)
    told = [
        difference
        for difference in (() if declared == live else diff(declared, live))
        if not isinstance(chain(intent.model, difference[0])[-1].place, Runtime)
        and is_told(intent.model, difference[0])
    ]
    return sorted(
        [*told, *differences(intent.model, boot_notes(intent.record), live)], key=lambda it: it[0]
    )


FOLLOWED = frozenset({("vcpus", "current"), ("memory", "current")})
"""Fields that a running guest follows in its own time."""


def waits_for_guest(field: FieldChange) -> bool:
    """Whether a pending field waits for the guest to follow, rather than for a restart."""
    return field.path in FOLLOWED and field.impact is Impact.LIVE


def is_declared(tree: Tree, path: Path) -> bool:
    """Whether the spec speaks of a path: members that it does not list are not its business."""
    node: Any = tree
    for name in path:
        if not isinstance(node, Mapping) or name not in node:
            return False
        node = node[name]
    return True


def _was_ours(intent: Intent, path: Path) -> bool:
    """Whether a member of a declared collection, which only the running guest has, was ours.

    What was applied last says so in the run that takes it out, then the claim, where it waits. The
    mark holds its name no more: of names of the user's own, one that waits stands for it.
    """
    *collection, key = path
    place = chain(intent.model, path)[-1].place
    wanted = at(intent.tree, tuple(collection))
    if not collection or not isinstance(wanted, Mapping):
        return False
    if isinstance(place, Pairs):
        place = chain(intent.model, tuple(collection))[-1].place
        if not is_told(intent.model, path):
            # The boot note holds none but what an apply took out.
            return isinstance(place, Pairs)
    if not isinstance(place, Items | Pairs):
        return False
    past = at(intent.applied or {}, tuple(collection))
    noted = intent.claim.waiting if intent.claim is not None else {}
    prefix = ".".join(collection) + "."
    gone = [
        name
        for name in (name.removeprefix(prefix) for name in noted if name.startswith(prefix))
        if not any(f"{name}.".startswith(f"{wanted_key}.") for wanted_key in wanted)
    ]
    named = isinstance(place, Items) and place.named
    return key in gone or key in (past or ()) or (named and bool(gone))


def ignored(path: Path, prefixes: Iterable[Path]) -> bool:
    """Whether a path is one of those, or below one."""
    return any(path[: len(prefix)] == prefix for prefix in prefixes)


def effect_of(
    intent: Intent, path: Path, before: Any, after: Any, facts: Any, running: Tree | None
) -> Effect:
    """How a change reaches its object."""
    effect = _strategy_effect(intent, _situation(intent, path, before, after, running, facts))
    if effect.noted:
        return effect
    place = chain(intent.model, path)[-1].place
    if isinstance(place, Runtime) and place.name != SEED:
        return _runtime_effect(place.name, path, before, after, facts)
    record = intent.record
    if record is not None and record.address.kind in RUNNING_KINDS and not record.active:
        return Effect(Impact.NEXT_BOOT)
    return effect


def _situation(
    intent: Intent, path: Path, before: Any, after: Any, running: Tree | None, facts: Any = None
) -> Situation:
    live, document = intent.live or {}, running_document(intent)
    return Situation(path, before, after, live, running, intent.tree, facts, document)


def _strategy_effect(intent: Intent, situation: Situation) -> Effect:
    """What the declaration says of a change of an active object."""
    strategy = strategy_of(
        intent.model,
        situation.path,
        added=situation.before is None,
        removed=situation.after is None,
    )
    if strategy is None:
        return Effect(Impact.NEXT_BOOT)
    effect = strategy(situation)
    if effect.verb is not None and _waits_with_its_member(intent, situation):
        return Effect(Impact.NEXT_BOOT, reason=NOT_THERE_YET)
    return effect


def _waits_with_its_member(intent: Intent, situation: Situation) -> bool:
    """Whether what runs lacks the member that a path is in: it is to come at the next start.

    A live verb would find no such device there, or change another that looks like it.
    """
    running, path = situation.running, situation.path
    if running is None:
        return False
    return any(situation.at(running, *member) is None for member in enclosing(intent.model, path))


NOT_THERE_YET = "what runs does not have it yet"
SEED = "seed"
"""The one runtime fact that is written as its declaration says, and not started or stopped."""
RUNNING_KINDS = (Kind.DOMAIN, Kind.NETWORK)
"""Kinds whose definition and running object are two things."""


def _runtime_effect(name: str, path: Path, before: Any, after: Any, facts: Any) -> Effect:
    match name, after:
        case "active", True:
            return Effect(Impact.START, Verb.START)
        case "active", _:
            return Effect(Impact.STOP, Verb.STOP)
        case "state", "running":
            return (
                Effect(Impact.LIVE, Verb.RESUME)
                if before == "paused"
                else Effect(Impact.START, Verb.START)
            )
        case "state", _:
            return Effect(Impact.STOP, Verb.SHUTDOWN)
        case _:
            return Effect(Impact.LIVE, Verb.SET_AUTOSTART)


def _change(intent: Intent, path: Path, before: Any, after: Any, effect: Effect) -> FieldChange:
    return FieldChange(
        path=path,
        before=before,
        after=after,
        impact=effect.impact,
        fallback=effect.fallback,
        reason=effect.reason,
        sensitive=any(link.secret for link in chain(intent.model, path)),
        drift=_is_drift(intent, path, before, after),
        verb=Verb(effect.verb) if effect.verb else None,
        arguments=effect.arguments,
    )


def _is_drift(intent: Intent, path: Path, before: Any, after: Any) -> bool:
    """Whether the spec still says what was applied, and the host says something else."""
    applied = intent.applied
    if applied is None or intent.cut or any(link.secret for link in chain(intent.model, path)):
        return False
    past = at(applied, path)
    if past is None:
        return False
    wanted = at(applied_fields(intent.model, intent.tree), path)
    return bool(past == wanted)


def _birth_note(intent: Intent, path: Path, before: Any, after: Any) -> str:
    from kvmplan.kinds import describe

    kind, name = intent.address.kind, ".".join(path)
    if any(link.secret for link in chain(intent.model, path)):
        return f"{name}: not what it was born with; --replace {intent.address.short} acts"
    was, says = describe(kind, path, before), describe(kind, path, after)
    return f"{name}: born from {was}, the spec says {says}; --replace {intent.address.short} acts"
