"""Handovers: disks that one running guest gives up and another takes.

QEMU locks what a guest writes to: nobody else can open it before that guest has let go. So who
takes a disk comes after who gives it up in the same plan; what is not given up in it is taken at
the next boot, and no guest is started on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.diff import at
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.plan.change import Action, Change, FieldChange, Pending
from kvmplan.plan.graph import FORWARD, RELEASE, REMOVE, Node
from kvmplan.plan.restarts import spare
from kvmplan.plan.sources import Sources, Tree, Written
from kvmplan.plan.storage import SHARED, place_of
from kvmplan.plan.users import DiskUse, Users, uses_of
from kvmplan.plan.verdict import Verdict

Pairs = frozenset[tuple[Address, Address]]
Takes = Mapping[Address, frozenset[Node]]
"""What each domain that takes disks waits for: the parts of others that give them up."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A disk that a domain is going to write to."""

    disk: Written
    live: FieldChange | None
    """The change that plugs it into the running guest; None: the guest is started with it."""


class Handovers:
    """Looks for them in one plan.

    Args:
        verdicts: of everything; live changes that cannot be live are changed in them.
        prospects: what becomes of objects.
        users: host -> who uses what there.
        sources: host -> what is what there.
        found: gets what cannot be.
        pending: gets what waits for a restart instead.
    """

    def __init__(
        self,
        verdicts: Iterable[Verdict],
        prospects: Mapping[Address, Tree],
        users: Mapping[str, Users],
        sources: Mapping[str, Sources],
        found: Diagnostics,
        pending: list[Pending],
    ) -> None:
        self._left = pending
        domains = (it for it in verdicts if it.address.kind is Kind.DOMAIN)
        self._domains = {it.address: it for it in domains if it.action is not Action.NOOP}
        self._prospects, self._users, self._sources = prospects, users, sources
        self._found = found

    def settle(self) -> Takes:
        """Make of each live change what it can be, and say what comes before what."""
        while self._spares_one():
            pass  # another one may have counted on the restart that was taken back
        found: dict[Address, frozenset[Node]] = {}
        for address, verdict in sorted(self._domains.items()):
            before = set[Node]()
            for disk in self._taken(verdict):
                before |= self._take(verdict, disk)
            if before:
                found[address] = frozenset(before)
        return found

    def _spares_one(self) -> bool:
        """Take back the first restart of a guest that would not come up without its disk."""
        for _, verdict in sorted(self._domains.items()):
            for disk in self._taken(verdict) if verdict.restart else ():
                for use in self._holders(verdict.address, disk) if disk.live is None else ():
                    if self._release(verdict, use, disk) is None:
                        spare(verdict, _held(verdict.address, use, disk))
                        return True
        return False

    def _take(self, verdict: Verdict, disk: _Taken) -> set[Node]:
        """The parts that a disk is given up in; if it is kept by one, it is not taken now."""
        parts = set[Node]()
        for use in self._holders(verdict.address, disk):
            part = self._release(verdict, use, disk)
            if part is not None:
                parts.add(part)
                if verdict.restart and disk.live is None:
                    self._insist(part[0], use)
                continue
            if disk.live is not None and disk.live.only_running:
                self._leave(verdict, disk.live, _held(verdict.address, use, disk))
            elif disk.live is not None:
                _wait(verdict, disk.live, _held(verdict.address, use, disk))
            else:
                self._refuse(verdict, use, disk)
            return set()
        return {part for part in parts if part[0] != verdict.address}

    def _taken(self, verdict: Verdict) -> Iterator[_Taken]:
        """The disks that a domain gets while it runs, or is started with."""
        intent, changes = verdict.intent, verdict.compared.changes
        if intent is None or verdict.action is Action.DELETE:
            return
        made = verdict.action in (Action.CREATE, Action.REPLACE)
        born = made and getattr(intent.resource.model, "state", None) != "stopped"
        starts = born or verdict.restart or any(change.verb is Verb.START for change in changes)
        plugged = {it.path: it for it in changes if it.verb is Verb.ATTACH and not made}
        disks = list(self._sources[verdict.address.host].written(intent.tree))
        yield from (_Taken(disk, None) for disk in disks if starts)
        for disk in disks:
            if (change := plugged.get(("disks", disk.target))) is not None:
                yield _Taken(disk, change)

    def _leave(self, verdict: Verdict, change: FieldChange, reason: str) -> None:
        """What is defined already, and cannot be put back while it runs, is pending as ever."""
        left = tuple(it for it in verdict.compared.changes if it is not change)
        verdict.compared = replace(verdict.compared, changes=left)
        if not (left or verdict.restart or verdict.ejects or verdict.reason):
            verdict.action = Action.NOOP
        field = FieldChange(change.path, change.before, change.after, reason=reason)
        self._left.append(Pending(verdict.address, (field,), False))

    def _holders(self, address: Address, disk: _Taken) -> list[DiskUse]:
        """Which disks of running guests are on it; not those of a guest that goes down itself."""
        uses = self._uses(address.host, disk)
        held = [use for use in uses if use.running and use.top and not use.shared]
        own = disk.live is not None
        found = (use for use in held if own or use.domain != address.name)
        return sorted(found, key=lambda use: (use.domain, use.target))

    def _uses(self, host: str, disk: _Taken) -> set[DiskUse]:
        return uses_of(self._users[host], self._sources[host], disk.disk.source)

    def _release(self, taker: Verdict, use: DiskUse, disk: _Taken) -> Node | None:
        """The part of the plan in which a running guest gives a disk up; None: it does not."""
        holder = Address(taker.address.host, Kind.DOMAIN, use.domain)
        verdict = self._domains.get(holder)
        if verdict is None:
            return None
        if verdict.action in (Action.DELETE, Action.REPLACE):
            return holder, REMOVE
        changes = verdict.compared.changes
        if any(it.verb is Verb.DETACH and it.path == ("disks", use.target) for it in changes):
            # Restarts come one after another: one that has begun is not left for another.
            return holder, FORWARD if verdict.restart else RELEASE
        if verdict is taker:
            return None
        if any(change.verb is Verb.SHUTDOWN for change in changes):
            return holder, FORWARD
        return (holder, FORWARD) if verdict.restart and self._drops(verdict, disk) else None

    def _insist(self, holder: Address, use: DiskUse) -> None:
        """A guest does not go down for a disk that another one may keep: that fails before then."""
        verdict = self._domains[holder]
        for change in verdict.compared.changes:
            if change.verb is Verb.DETACH and change.path == ("disks", use.target):
                _change(verdict, change, replace(change, fallback=None))

    def _drops(self, verdict: Verdict, disk: _Taken) -> bool:
        """Whether a guest is without a disk after its restart."""
        host, name = verdict.address.host, verdict.address.name
        tree = verdict.intent.tree if verdict.intent is not None else None
        if not self._sources[host].is_left(tree, disk.disk.source):
            return False
        uses = self._uses(host, disk)
        wanted = set(verdict.intent.tree["disks"]) if verdict.intent is not None else set()
        gone = {it.path[1] for it in verdict.compared.changes if _removes_disk(it)}
        kept = (it for it in uses if it.domain == name and not it.running and it.top)
        return {it.target for it in kept} <= wanted | gone

    def _refuse(self, verdict: Verdict, use: DiskUse, disk: _Taken) -> None:
        """KVP132 where a guest is started on what another one runs with and is to lose later.

        One that is not to lose it at all is told by the check of who uses what.
        """
        holder = Address(verdict.address.host, Kind.DOMAIN, use.domain)
        is_left = self._sources[holder.host].is_left(self._prospects.get(holder), disk.disk.source)
        if verdict.intent is None or not is_left:
            return
        summary = (
            f"{verdict.address.short} ({disk.disk.target}) is started with {disk.disk.text}, which "
            f"{holder.short} runs with as {use.target} until its next stop"
        )
        remedy = f"stop or restart {holder.short} first, or leave {verdict.address.short} off"
        place = place_of(verdict.intent.resource, ("disks", disk.disk.target))
        self._found.error(SHARED, summary, place, remedy, verdict.address)


def separated(changes: Iterable[Change]) -> tuple[Pairs, Pairs]:
    """Which volumes and networks domains are without after this plan.

    The second are those of them that a running guest keeps until its next stop.
    """
    gone, kept = set[tuple[Address, Address]](), set[tuple[Address, Address]]()
    for change in changes:
        if change.address.kind is not Kind.DOMAIN:
            continue
        stays_up = change.precondition.active and not any(
            step.verb is Verb.SHUTDOWN for step in change.steps
        )
        for field in change.fields:
            for used in parted(change, field):
                gone.add((change.address, used))
                if stays_up and field.verb is None:
                    kept.add((change.address, used))
    return frozenset(gone), frozenset(kept)


def parted(change: Change, field: FieldChange) -> Iterator[Address]:
    """The volume or the network that a domain is without once a member of it is gone.

    One that another member of it is on, or will be, stays its own.
    """
    if not isinstance(field.before, Mapping) or field.after is not None:
        return
    gone = {it.path for it in change.fields if it.after is None}
    above = field.path[:-1]
    staying = [
        member
        for tree in (change.before, change.after)
        for key, member in (at(tree or {}, above) or {}).items()
        if isinstance(member, Mapping) and (*above, key) not in gone
    ]
    for kind in (Kind.VOLUME, Kind.NETWORK):
        name = field.before.get(kind)
        if name and all(member.get(kind) != name for member in staying):
            yield Address(change.address.host, kind, name)


def _removes_disk(change: FieldChange) -> bool:
    return change.after is None and change.path[0] == "disks" and len(change.path) == 2


def _held(address: Address, use: DiskUse, disk: _Taken) -> str:
    """Who holds a disk, in words."""
    if use.domain == address.name:
        return f"the running guest has {disk.disk.text} as {use.target}"
    return f"domain.{use.domain} runs with {disk.disk.text} as {use.target}"


def _wait(verdict: Verdict, change: FieldChange, reason: str) -> None:
    """A change that cannot be live is written for the next boot, or the restart in this plan."""
    impact = Impact.RESTART if verdict.restart else Impact.NEXT_BOOT
    later = replace(change, impact=impact, verb=None, fallback=None, reason=reason, arguments={})
    _change(verdict, change, later)


def _change(verdict: Verdict, change: FieldChange, other: FieldChange) -> None:
    """Make something else of a change."""
    changes = tuple(other if it is change else it for it in verdict.compared.changes)
    verdict.compared = replace(verdict.compared, changes=changes)
