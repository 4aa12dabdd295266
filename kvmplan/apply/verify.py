"""Verification: a resource is read again after its last step and compared with what was wanted.

libvirt's "done" is not believed: what it kept is what counts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from kvmplan.apply.likeness import Filling
from kvmplan.apply.problems import NotAsWanted
from kvmplan.apply.site import Site
from kvmplan.diff import at
from kvmplan.inventory import Record
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.lens import read
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import chain, secret_paths
from kvmplan.plan.change import Action, Change, FieldChange, Path, Tree
from kvmplan.plan.fields import compare, pending, running_tree, waits_for_guest
from kvmplan.plan.intent import Intent, runtime_of
from kvmplan.plan.lingering import lingering


def verify_gone(site: Site, change: Change) -> None:
    """Look whether a deleted object is gone.

    Raises:
        NotAsWanted: it is still there.
        HostError: the host did not answer.
    """
    if site.host.record(change.address) is not None:
        raise NotAsWanted("after apply, it is still there")


@dataclass(frozen=True, slots=True)
class Verified:
    """An object that is as wanted.

    Attributes:
        record: what it is.
        restart: names of the fields that wait for a restart.
        guest: of those that the guest has yet to follow.
        hidden: those among them that hold secrets.
        released: names of fields that wait, too, and that the specs do not speak of any more.
    """

    record: Record
    restart: tuple[str, ...] = ()
    guest: tuple[str, ...] = ()
    hidden: frozenset[str] = frozenset()
    released: tuple[str, ...] = ()

    @property
    def waiting(self) -> tuple[str, ...]:
        """Names of all that reaches the object at its next start."""
        return (*self.restart, *self.released)

    @property
    def notes(self) -> tuple[str, ...]:
        """What waits, by whom it waits for, in sentences."""
        shown = [name for name in self.restart if name not in self.hidden]
        restart = f"waiting for restart: {', '.join(shown)}"
        guest = f"waiting for the guest: {', '.join(self.guest)}"
        return (*([restart] if shown else []), *([guest] if self.guest else []))


def verify(site: Site, change: Change, intent: Intent, filling: Filling | None = None) -> Verified:
    """Look whether an object is as wanted.

    Args:
        site: where it is.
        change: what was done.
        intent: what is wanted.
        filling: what a mould was filled with to make it.

    Raises:
        NotAsWanted: it is not.
        HostError: the host did not answer.
    """
    secure = bool(secret_paths(intent.model, intent.tree))
    settled = _is_settled(change)
    record = site.host.record(change.address, secure=secure, brief=settled)
    if record is None:
        raise NotAsWanted("after apply, it is not there")
    filling = filling if settled and not secure else None
    if filling is not None and _is_like_others(site, filling, record):
        return Verified(record)
    found = _read(site, change, intent, record)
    running = running_tree(found)
    if found.live != intent.tree:
        left = compare(found, site.inventory.facts, running).changes
        if left:
            raise NotAsWanted(_differences(intent, left))
    verified = _verified(change, found, record, running)
    if change.restarts and verified.restart:
        missing = ", ".join(verified.restart)
        raise NotAsWanted(f"after its restart, it still runs without {missing}")
    if filling is not None and not (verified.restart or verified.guest):
        site.likenesses.learn(filling, record.document)
    return verified


def _is_like_others(site: Site, filling: Filling, record: Record) -> bool:
    """Whether libvirt kept of it what it kept of others that are as wanted."""
    volumes = all(site.volume_at(path) == name for name, path in filling.volumes)
    return volumes and site.likenesses.holds(filling, record.document)


def look(site: Site, change: Change, intent: Intent) -> Verified | None:
    """What waits for a restart or the guest right now; None if the object is gone.

    Raises:
        HostError: the host did not answer.
    """
    secure = bool(secret_paths(intent.model, intent.tree))
    record = site.host.record(change.address, secure=secure)
    if record is None:
        return None
    found = _read(site, change, intent, record)
    return _verified(change, found, record, running_tree(found))


def _verified(change: Change, found: Intent, record: Record, running: Tree | None) -> Verified:
    fields = pending(found, running)
    fields += tuple(_not_let_go(change, found, running, {field.path for field in fields}))
    guest = tuple(field.name for field in fields if waits_for_guest(field))
    return Verified(
        record,
        tuple(field.name for field in fields if not waits_for_guest(field)),
        guest,
        frozenset(field.name for field in fields if field.sensitive),
        lingering(found, {field.name for field in fields}),
    )


def _not_let_go(
    change: Change, found: Intent, running: Tree | None, told: Collection[Path]
) -> Iterator[FieldChange]:
    """The members that a change takes out, strangers' too, and that what runs still has."""
    gone = (it for it in change.fields if it.after is None and it.path not in told)
    for field in gone if running is not None else ():
        is_member = isinstance(chain(found.model, field.path)[-1].place, Items)
        if is_member and at(running or {}, field.path) is not None:
            yield field


def _is_settled(change: Change) -> bool:
    """Whether only a definition was written: of an object that cannot have begun to run."""
    verbs = {step.verb for step in change.steps}
    return change.action is Action.CREATE and verbs == {Verb.DEFINE}


def _read(site: Site, change: Change, intent: Intent, record: Record) -> Intent:
    """The intent beside the object as it is now."""
    claim = intent.claim if change.action is Action.UPDATE else None
    # Without the stack's key: a seed that was uploaded is taken to be there.
    context = site.context(intent, runtime=runtime_of(record, claim, intent.tree))
    live = read(intent.model, parse_to_read(record.document), context, intent.tree)
    return replace(intent, record=record, live=live, context=context)


def _differences(intent: Intent, left: Collection[FieldChange]) -> str:
    from kvmplan.kinds import describe

    kind = intent.address.kind
    parts = []
    for field in left:
        if field.sensitive:
            parts.append(f"{field.name} is not what was wanted")
            continue
        found = describe(kind, field.path, field.before)
        wanted = describe(kind, field.path, field.after)
        parts.append(f"{field.name} is still {found} (wanted {wanted})")
    return f"after apply, {'; '.join(parts)}"
