"""Steps: what apply will do for one change, as data, in order.

A step names its verb, the fields that it carries out and what the verb needs beyond them; documents
are made at the time from the live one (`kvmplan.apply.work`), never stored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.kinds.birth import builds
from kvmplan.kinds.pooltypes import Build, pool_type
from kvmplan.kinds.verbs import Scope, Verb
from kvmplan.mapping.impact import Impact
from kvmplan.mapping.markers import Group, Items, Runtime
from kvmplan.mapping.model import chain
from kvmplan.plan.change import FieldChange, Path, Step
from kvmplan.plan.intent import Intent
from kvmplan.plan.precedence import makes_way
from kvmplan.plan.tuning import LIMITS, group_of, limits, single
from kvmplan.plan.users import DiskUse

SHUTDOWN_TIMEOUT = 120
"""Seconds a guest gets to shut down, unless its spec says otherwise."""

BACK_TIMEOUT = 300
"""Seconds a restarted guest gets until its agent answers, if it did before."""

DEVICE_VERBS = frozenset({Verb.ATTACH, Verb.DETACH, Verb.UPDATE_DEVICE, Verb.UPDATE_NETWORK})
"""Verbs that work on a whole member of a collection: its field changes go in one step."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A step before it has a number and a place in the order."""

    verb: Verb
    address: Address
    fields: tuple[Path, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    impact: Impact = Impact.LIVE
    fallback: Impact | None = None

    def unnumbered(self) -> Step:
        """The step, to be numbered and put in order with all others."""
        return Step(
            id=0,
            address=self.address,
            verb=self.verb,
            fields=self.fields,
            arguments=self.arguments,
            impact=self.impact,
            fallback=self.fallback,
        )


def creation(intent: Intent) -> Iterator[Draft]:
    """A new object: defined or created, then set up and started."""
    address, tree, model = intent.address, intent.tree, intent.resource.model
    fields = tuple((name,) for name in tree)
    if address.kind is Kind.VOLUME:
        yield from _new_volume(intent, fields)
        return
    yield Draft(Verb.DEFINE, address, fields, impact=Impact.CREATE)
    yield from _building(intent)
    starts = (
        getattr(model, "state", None) != "stopped"
        if address.kind is Kind.DOMAIN
        else tree.get("active", True)
    )
    if starts:
        yield Draft(Verb.START, address, impact=Impact.START)
    default = address.kind is not Kind.DOMAIN
    if tree.get("autostart", default):
        yield Draft(Verb.SET_AUTOSTART, address, (("autostart",),), {"on": True})


def _building(intent: Intent, **again: bool) -> Iterator[Draft]:
    """A pool's directory is made, or its devices are formatted."""
    build = getattr(intent.resource.model, "build", None)
    if intent.address.kind is not Kind.POOL or not builds(intent.tree, build):
        return
    formats = pool_type(intent.tree.get("type")).build is Build.FORMAT
    impact = Impact.DATA_LOSS if formats else Impact.CREATE
    yield Draft(
        Verb.BUILD, intent.address, (), {"format": True, **again} if formats else {}, impact
    )


def _new_volume(intent: Intent, fields: tuple[Path, ...]) -> Iterator[Draft]:
    """Created, or made from another one; filled; then grown to what is wanted."""
    address, tree = intent.address, intent.tree
    source = tree.get("source") or {}
    copied = {"source": tree.get("clone"), "host_path": source.get("host_path")}
    copied = {name: value for name, value in copied.items() if value is not None}
    filled = next(
        (name for name in ("content", "source", "seed") if tree.get(name) is not None), None
    )
    verb = Verb.CLONE_VOLUME if copied else Verb.CREATE_VOLUME
    yield Draft(verb, address, fields, copied, impact=Impact.CREATE)
    if filled and not copied:
        yield Draft(Verb.UPLOAD, address, ((filled,),), impact=Impact.CREATE)
    capacity = tree.get("capacity")
    if capacity is not None and (copied or filled):
        arguments = {"bytes": capacity, "shrink": False}
        yield Draft(Verb.RESIZE_VOLUME, address, (("capacity",),), arguments, Impact.CREATE)


def deletion(
    intent: Intent | None,
    address: Address,
    *,
    active: bool,
    keep_state: bool,
    impact: Impact = Impact.DELETE,
) -> Iterator[Draft]:
    """An object goes: stopped, then undefined or deleted. A guest is asked to shut down first.

    Args:
        intent: what is wanted of it, if a spec names it.
        address: what goes.
        active: whether it runs.
        keep_state: whether a domain's NVRAM and TPM state stay.
        impact: of its going.
    """
    if address.kind is Kind.VOLUME:
        yield Draft(Verb.DELETE_VOLUME, address, impact=Impact.DATA_LOSS)
        return
    if active and address.kind is Kind.DOMAIN:
        timeout = getattr(intent.resource.model, "shutdown_timeout", None) if intent else None
        arguments = {"timeout": timeout or SHUTDOWN_TIMEOUT, "force": True}
        yield Draft(Verb.SHUTDOWN, address, (), arguments, Impact.STOP)
    elif active:
        yield Draft(Verb.STOP, address, impact=Impact.STOP)
    arguments = {"keep_state": keep_state} if address.kind is Kind.DOMAIN else {}
    yield Draft(Verb.UNDEFINE, address, (), arguments, impact)


def update(intent: Intent, changes: Iterable[FieldChange], disk: DiskUse | None) -> Iterator[Draft]:
    """Changes of an object that is there: one redefine for all that waits, then the live verbs.

    The redefine's document must be right in itself: what it relies on comes before, and so does
    what goes live and would be in its way.
    """
    changes = list(changes)
    waiting = [change for change in changes if change.verb is None]
    acting = [change for change in changes if change.verb is not None]
    before = [change for change in acting if makes_way(intent.model, change, waiting)]
    later = [change for change in acting if change not in before]
    yield from _live(intent, before, disk)
    if waiting:
        worst = max((change.impact for change in waiting), key=lambda impact: impact.danger)
        # The restart itself has steps of its own.
        worst = Impact.NEXT_BOOT if worst is Impact.RESTART else worst
        if intent.address.kind is Kind.VOLUME:
            yield from _resize(intent, waiting, disk)
        else:
            yield Draft(Verb.DEFINE, intent.address, tuple(c.path for c in waiting), impact=worst)
    elif intent.record is not None and not intent.record.persistent and _is_defined(intent):
        yield Draft(Verb.DEFINE, intent.address)
    starts = any(change.verb is Verb.START for change in acting)
    if starts and intent.unfinished:
        yield from _building(intent, again=True)
    runtime = [change for change in later if _is_runtime(intent, change)]
    yield from _live(intent, [change for change in later if change not in runtime], disk)
    for change in sorted(runtime, key=lambda change: change.name):
        yield _runtime(intent, change)
    cut = intent.mark is not None and intent.cut and not waiting
    if (acting or cut) and _is_defined(intent) and intent.ours:
        # Last, and after a redefine too: what fails before must not pass for applied.
        yield mark_step(intent)


def rename(intent: Intent) -> Draft:
    """A domain that is off gets its new name; it keeps all else."""
    arguments = {"name": intent.address.name}
    return Draft(Verb.RENAME, intent.address, (), arguments, Impact.NEXT_BOOT)


def restart(intent: Intent) -> Iterator[Draft]:
    """A guest goes down and up again, with what is defined by then."""
    address, impact = intent.address, Impact.RESTART
    yield Draft(Verb.SHUTDOWN, address, (), patience(intent), impact)
    yield Draft(Verb.START, address, impact=impact)
    yield Draft(Verb.AWAIT, address, (), {"timeout": BACK_TIMEOUT}, impact)


def restart_network(intent: Intent, users: Collection[str]) -> Iterator[Draft]:
    """A network goes down and up again, and the guests on it, and on no others, get it back."""
    yield Draft(Verb.RESTART_NETWORK, intent.address, (), {"users": sorted(users)}, Impact.RESTART)
    yield reconnect(intent, users, Impact.RESTART)


def reconnect(intent: Intent, users: Iterable[str], impact: Impact = Impact.LIVE) -> Draft:
    """Running guests that a network has lost get it back: these, and no others."""
    return Draft(Verb.RECONNECT, intent.address, (), {"users": sorted(users)}, impact)


def patience(intent: Intent) -> dict[str, Any]:
    """How long a guest may take to shut down, and whether it is powered off then."""
    model = intent.resource.model
    timeout = getattr(model, "shutdown_timeout", None) or SHUTDOWN_TIMEOUT
    return {"timeout": timeout, "force": bool(getattr(model, "force", None))}


def _is_defined(intent: Intent) -> bool:
    """Whether its kind has a definition beside what runs."""
    return intent.address.kind in (Kind.DOMAIN, Kind.NETWORK)


def mark_step(intent: Intent) -> Draft:
    """Remember what was applied."""
    if intent.address.kind is Kind.DOMAIN:
        return Draft(
            Verb.SET_METADATA, intent.address, (), {"mark": True, "scope": Scope.BOTH}, Impact.NONE
        )
    return Draft(Verb.DEFINE, intent.address, (), {"mark": True}, Impact.NONE)


def _is_runtime(intent: Intent, change: FieldChange) -> bool:
    return isinstance(chain(intent.model, change.path)[-1].place, Runtime)


def _runtime(intent: Intent, change: FieldChange) -> Draft:
    assert change.verb is not None
    arguments: dict[str, Any] = {}
    if change.verb is Verb.SET_AUTOSTART:
        arguments = {"on": bool(change.after)}
    elif change.verb is Verb.SHUTDOWN:
        arguments = patience(intent)
    return Draft(change.verb, intent.address, (change.path,), arguments, change.impact)


def _resize(
    intent: Intent, changes: Iterable[FieldChange], disk: DiskUse | None
) -> Iterator[Draft]:
    for change in changes:
        shrink = isinstance(change.before, int) and change.after < change.before
        arguments = {"bytes": change.after, "shrink": shrink}
        yield Draft(Verb.RESIZE_VOLUME, intent.address, (change.path,), arguments, change.impact)


def _live(intent: Intent, changes: list[FieldChange], disk: DiskUse | None) -> Iterator[Draft]:
    """The live steps; what is to be changed of what runs alone leaves the definition as it is."""
    alone = [change for change in changes if change.only_running]
    for draft in _in_both(intent, alone, disk):
        yield replace(draft, arguments={**draft.arguments, "scope": Scope.LIVE})
    both = [change for change in changes if not change.only_running]
    yield from _in_both(intent, both, disk)


def _in_both(intent: Intent, changes: list[FieldChange], disk: DiskUse | None) -> Iterator[Draft]:
    members: dict[tuple[Verb, Path], list[FieldChange]] = {}
    limited: dict[tuple[Verb, Path], list[FieldChange]] = {}
    for change in changes:
        assert change.verb is not None
        if change.verb in DEVICE_VERBS:
            members.setdefault((change.verb, member_of(intent, change.path)), []).append(change)
        elif change.verb in LIMITS:
            key = (change.verb, group_of(intent.model, change.path))
            limited.setdefault(key, []).append(change)
        else:
            yield _single(intent, change, disk)
    for (verb, member), group in sorted(members.items(), key=_removals_first):
        arguments = {"member": list(member), "scope": Scope.BOTH, **group[0].arguments}
        yield _together(intent, verb, group, arguments)
    for (verb, path), several in sorted(limited.items()):
        yield _together(intent, verb, several, limits(verb, path, several))


def _together(
    intent: Intent, verb: Verb, group: list[FieldChange], arguments: Mapping[str, Any]
) -> Draft:
    """One step for several field changes."""
    worst = max((change.impact for change in group), key=lambda impact: impact.danger)
    paths = tuple(change.path for change in group)
    return Draft(verb, intent.address, paths, arguments, worst, group[0].fallback)


def _removals_first(
    item: tuple[tuple[Verb, Path], list[FieldChange]],
) -> tuple[bool, tuple[Verb, Path]]:
    """What goes makes room: a disk under its new target, a lease with the same address."""
    key, group = item
    return not any(change.after is None and change.path == key[1] for change in group), key


def _single(intent: Intent, change: FieldChange, disk: DiskUse | None) -> Draft:
    verb, arguments = change.verb, dict[str, Any]()
    assert verb is not None
    tuned = single(intent.model, change)
    if tuned is not None:
        arguments = tuned
    elif verb is Verb.SET_VCPUS:
        arguments = {"count": change.after, "scope": Scope.BOTH}
    elif verb is Verb.SET_MEMORY:
        arguments = {"bytes": change.after, "scope": Scope.BOTH}
    elif verb in (Verb.SET_TITLE, Verb.SET_DESCRIPTION):
        arguments = {"text": change.after, "scope": Scope.BOTH}
    elif verb is Verb.SET_METADATA:
        arguments = {"namespace": change.path[-1], "scope": Scope.BOTH}
    elif verb is Verb.RESIZE_VOLUME and disk is not None:
        arguments = {"domain": disk.domain, "target": disk.target, "bytes": change.after}
        verb = Verb.RESIZE_DISK
    elif verb is Verb.RESIZE_VOLUME:
        arguments = {"bytes": change.after, "shrink": False}
    return Draft(verb, intent.address, (change.path,), arguments, change.impact, change.fallback)


def member_of(intent: Intent, path: Path) -> Path:
    """The path of the innermost collection member, or device of its own, that a path is in."""
    length, found = 0, 0
    for link in chain(intent.model, path):
        place = link.place
        length += 2 if isinstance(place, Items) else 1
        is_device = isinstance(place, Group) and place.skeleton is not None
        if (isinstance(place, Items) or is_device) and length <= len(path):
            found = length
    return path[:found]
