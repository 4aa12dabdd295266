"""Work: carrying out one step. Documents are made now, from the live ones, never before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.apply import documents
from kvmplan.apply.contents import Content, fill, prepare
from kvmplan.apply.likeness import Filling
from kvmplan.apply.members import Member, locate, network_updates
from kvmplan.apply.port import ConnectionLost, Held, HostError, NotLive, TimedOut
from kvmplan.apply.problems import EXISTS, VOLUME_EXISTS, Stale
from kvmplan.apply.site import Site
from kvmplan.diff import at
from kvmplan.inventory import Record
from kvmplan.kinds.agent import AGENT, CONNECTED_AGENT
from kvmplan.kinds.bootnote import Notes, note_arguments, read_notes
from kvmplan.kinds.mark import Mark
from kvmplan.kinds.netports import as_defined
from kvmplan.kinds.verbs import Scope, Verb
from kvmplan.mapping.document import parse, parse_to_read, serialise
from kvmplan.mapping.impact import Impact
from kvmplan.plan.arrange import REMOVING
from kvmplan.plan.booted import boot_notes, noted, without_member
from kvmplan.plan.change import Action, Change, FieldChange, Step
from kvmplan.plan.intent import Intent
from kvmplan.plan.torn import shows_blank

CREATING = frozenset({Verb.DEFINE, Verb.CREATE_VOLUME, Verb.CLONE_VOLUME, Verb.UPLOAD})
"""Verbs after which a new object exists; a volume with content only once it holds that."""

UNCHECKED = "its live definition does not pass libvirt's own schema; it was sent without a check"


@dataclass(slots=True)
class Task:
    """One change under way.

    Attributes:
        intent: what is wanted; None of an object that no spec names.
        fresh: the object as it was just read, for the step that follows; used once.
        position: how many of its steps are done.
        removed: whether the object that was there is gone.
        made: whether the new object exists.
        taken: whether somebody else has made one of that name at the same moment.
        has_agent: whether the guest that is restarted has an agent that must answer afterwards.
        content: what the new volume is filled with.
        needs_no_restart: whether what waited for the planned restart has reached the guest.
        filling: what the mould was filled with that the new object's document came from.
    """

    change: Change
    intent: Intent | None
    fresh: Record | None = None
    position: int = 0
    removed: bool = False
    made: bool = False
    taken: bool = False
    has_agent: bool = False
    content: Content | None = None
    needs_no_restart: bool = False
    filling: Filling | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def wanted(self) -> Intent:
        """What is wanted; every step that writes a document has it."""
        if self.intent is None:
            raise LookupError(f"{self.change.address.short} is not in the specs")
        return self.intent

    @property
    def is_filled(self) -> bool:
        """Whether the new volume gets bytes from here: until it has them, it is not made."""
        return self.content is not None and self.content.data is not None

    @property
    def creates(self) -> bool:
        """Whether the change makes a new object."""
        return self.change.action in (Action.CREATE, Action.REPLACE)

    def changes_of(self, step: Step) -> list[FieldChange]:
        """The field changes that a step carries out."""
        paths = set(step.fields)
        return [change for change in self.change.fields if change.path in paths]

    @property
    def marks_later(self) -> bool:
        """Whether a step to come leaves the mark."""
        rest = self.change.steps[self.position + 1 :]
        return any(step.arguments.get("mark") for step in rest)


def has_agent(record: Record) -> bool:
    """Whether a guest's agent listens, and its definition keeps the channel for it."""
    if record.running is None or not parse_to_read(record.running).xpath(CONNECTED_AGENT):
        return False
    return bool(parse_to_read(record.document).xpath(AGENT))


class Worker:
    """Carries out steps on one host."""

    def __init__(self, site: Site, beginning: Callable[[Address, str], None]) -> None:
        """`beginning`: told of a volume (and its key) before bytes of this run get there."""
        self._site, self._beginning = site, beginning
        self._ways: dict[Verb, Callable[[Task, Step], None]] = {
            Verb.DEFINE: self._define,
            Verb.CREATE_VOLUME: self._new_volume,
            Verb.CLONE_VOLUME: self._new_volume,
            Verb.ATTACH: self._attach,
            Verb.DETACH: self._detach,
            Verb.UPDATE_DEVICE: self._update_device,
            Verb.UPDATE_NETWORK: self._update_network,
            Verb.SET_METADATA: self._set_metadata,
            Verb.RESIZE_DISK: self._resize_disk,
            Verb.AWAIT: self._await,
            Verb.RENAME: self._rename,
            Verb.UPLOAD: self._fill,
        }

    def carry_out(self, task: Task, step: Step) -> Impact | None:
        """Do what a step says.

        Returns:
            The fallback that was taken, if the running object could not be changed; of a restart
            that is not needed, that nobody is disturbed.

        Raises:
            HostError: it is not done, or that is unknown.
            Stale: the object has moved.
            Invalid: libvirt's schema refuses the document.
            LookupError, ValueError, TemplateError: the document cannot be made.
        """
        way = self._ways.get(step.verb, self._pass_on)
        fallback: Impact | None = None
        if step.impact is Impact.RESTART and task.needs_no_restart:
            way, fallback = _leave, Impact.NONE
        begins = task.position == (0 if task.change.previous is None else 1)
        if begins and step.verb is not Verb.DEFINE:
            self._announce(task)
            prepare(self._site, task)
        try:
            way(task, step)
        except (NotLive, TimedOut) as error:
            held = isinstance(error, Held)
            if step.fallback is None or (held and task.change.restarts):
                # A guest is not sent down to start with what it cannot get.
                raise
            self._fall_back(task, step)
            task.notes += [_held(step, error)] if held else []
            fallback = step.fallback
        if step.address.kind is Kind.VOLUME:
            self._site.forget(step.address.name)
        if step.verb in CREATING and task.creates:
            task.made = not task.is_filled or step.verb is Verb.UPLOAD
        if step.verb in REMOVING:
            task.removed = True
        task.fresh = None
        task.position += 1
        return fallback

    def _perform(self, verb: Verb, address: Address, arguments: Mapping[str, Any]) -> None:
        self._site.host.perform(verb, address, arguments)

    def _pass_on(self, task: Task, step: Step) -> None:
        self._perform(step.verb, step.address, step.arguments)

    def _rename(self, task: Task, step: Step) -> None:
        self._perform(step.verb, task.change.found_at, step.arguments)

    def _await(self, task: Task, step: Step) -> None:
        self._perform(step.verb, step.address, {**step.arguments, "agent": task.has_agent})

    def _resize_disk(self, task: Task, step: Step) -> None:
        domain = Address(step.address.host, Kind.DOMAIN, step.arguments["domain"])
        rest = {name: step.arguments[name] for name in ("target", "bytes")}
        self._perform(step.verb, domain, rest)

    def _announce(self, task: Task) -> None:
        """Say in the mark, before the first live step of an update, what is going to be ours."""
        change = task.change
        if change.action is not Action.UPDATE or not task.marks_later:
            return
        record = self._fresh(task)
        mark = documents.interim_mark(self._site, task.wanted, record.key, record.document)
        if mark is None:
            return
        if change.address.kind is Kind.DOMAIN:
            arguments = {**documents.mark_arguments(mark), "scope": Scope.BOTH}
            self._perform(Verb.SET_METADATA, change.address, arguments)
        else:
            self._redefine(task, record, (), mark)
        task.fresh = None

    # ------------------------------------------------------------------ definitions

    def _define(self, task: Task, step: Step) -> None:
        if task.creates:
            xml, task.filling = documents.new_text(self._site, task.wanted)
            self._define_new(task, step, xml)
            return
        record = self._fresh(task)
        if task.marks_later:
            mark = documents.interim_mark(self._site, task.wanted, record.key, record.document)
        else:
            mark = documents.mark_of(self._site, task.wanted, record.key)
        self._redefine(task, record, task.changes_of(step), mark)

    def _define_new(self, task: Task, step: Step, xml: str) -> None:
        """Define what was not there; if it cannot be, see whether somebody took its name."""
        try:
            self._perform(Verb.DEFINE, step.address, {"xml": xml})
        except ConnectionLost:
            raise
        except HostError as error:
            there = self._site.host.record(step.address, brief=True)
            if there is not None and self._site.is_anothers(task.wanted, there):
                raise Stale(EXISTS) from error
            raise

    def _redefine(
        self, task: Task, record: Record, changes: Sequence[FieldChange], mark: Mark | None
    ) -> None:
        edits = [(change.path, change.after) for change in changes]
        root, checked = documents.patched(self._site, task.wanted, record.document, edits, mark)
        if not checked and UNCHECKED not in task.notes:
            task.notes.append(UNCHECKED)
        # libvirt cannot compare and swap: look once more, so that an edit by another hand is lost
        # only if it comes between two calls, not while a document is made.
        now = self._site.host.record(record.address, secure=True, brief=True)
        if now is None or now.document != record.document:
            raise Stale("it was changed by somebody else at the same time")
        # Before: if it is cut here, what runs is told as it is, and waits for nothing.
        self._note(record, noted(task.wanted.model, boot_notes(record), changes))
        self._perform(Verb.DEFINE, record.address, {"xml": serialise(root)})

    def _note(self, record: Record, notes: Notes) -> None:
        """Note on the running guest what it was started with; only what it cannot tell itself."""
        if record.active and notes != read_notes(record.running):
            arguments = {**note_arguments(notes), "scope": Scope.LIVE}
            self._perform(Verb.SET_METADATA, record.address, arguments)

    def _fall_back(self, task: Task, step: Step) -> None:
        """Write the step's fields to the persistent definition only."""
        task.fresh = None
        record = self._fresh(task)
        mark = None
        if not task.marks_later:
            mark = documents.mark_of(self._site, task.wanted, record.key)
        self._redefine(task, record, task.changes_of(step), mark)

    def _fresh(self, task: Task) -> Record:
        """The object as it is right now, with its secrets."""
        if task.fresh is not None:
            return task.fresh
        record = self._site.host.record(task.change.address, secure=True)
        if record is None:
            raise Stale("it is gone since it was planned")
        return record

    def _new_volume(self, task: Task, step: Step) -> None:
        tree = task.wanted.tree if task.content is None else task.content.birth(task.wanted.tree)
        root = documents.new_document(self._site, task.wanted, tree)
        arguments = dict(step.arguments)
        if arguments.pop("host_path", None) is not None and task.content is not None:
            arguments["source"] = task.content.volume
        pool = self._site.births.pool_type(step.address, self._site.inventory)
        if step.verb is Verb.CLONE_VOLUME or not shows_blank(tree, pool):
            self._beginning(step.address, "")
        try:
            self._perform(step.verb, step.address, {"xml": serialise(root), **arguments})
        except HostError as error:
            task.taken = error.name == VOLUME_EXISTS
            if task.taken:
                raise Stale(EXISTS) from error
            raise

    def _fill(self, task: Task, step: Step) -> None:
        if task.creates:
            record = self._site.host.record(step.address)
            if record is None:
                raise Stale("it is gone since it was made")
            self._beginning(step.address, record.key)
        fill(self._site, task, step)

    # ------------------------------------------------------------------ members

    def _member(self, task: Task, step: Step, *, running: bool = False) -> tuple[Member, Any]:
        """The member that a step is for, and the document: the persistent or the running one."""
        intent, found = task.wanted, self._fresh(task)
        if running and found.running is None:
            raise Stale("it does not run any more")
        at_work = found.running if running else None
        root = as_defined(parse(at_work)) if at_work is not None else parse(found.document)
        path = tuple(step.arguments["member"])
        return locate(intent, root, path, self._site.context(intent)), root

    def _attach(self, task: Task, step: Step) -> None:
        member, root = self._member(task, step)
        if step.arguments["scope"] == Scope.LIVE:
            # It is defined already, with its MAC and its place on the bus.
            self._device(step, member.live())
            return
        beside = member.companion(root)
        if beside is not None:
            self._device(step, beside)
        self._device(step, member.made())
        self._plugged(task, member)

    def _detach(self, task: Task, step: Step) -> None:
        member, _ = self._member(task, step, running=step.arguments["scope"] == Scope.LIVE)
        # What runs may still have another key, such as a MAC.
        find, key = (self._running(task, step) or member).identity()
        self._device(step, member.live(), find=find, key=key)
        self._plugged(task, member)

    def _plugged(self, task: Task, member: Member) -> None:
        """A device came or went: what is noted of an older one of its name speaks of no one."""
        record = self._fresh(task)
        self._note(record, without_member(boot_notes(record), member.path))

    def _update_device(self, task: Task, step: Step) -> None:
        """Change a device in place, and leave what waits for the next boot out of what runs.

        libvirt gives the running device all that it is sent, and refuses what it cannot change.
        """
        member, _ = self._member(task, step)
        changes, runs = task.changes_of(step), self._running(task, step)
        if runs is None or not member.differs(runs, changes):
            self._device(step, member.changed(changes))
            return
        self._device(step, runs.changed(changes), scope=Scope.LIVE)
        if step.arguments["scope"] == Scope.BOTH:
            self._device(step, member.changed(changes), scope=Scope.CONFIG)

    def _running(self, task: Task, step: Step) -> Member | None:
        """The member that a step is for, as it runs; None if nothing runs, or not with it."""
        found = self._fresh(task)
        if found.running is None or not found.persistent:
            return None
        member, _ = self._member(task, step, running=True)
        return member if member.node is not None else None

    def _device(self, step: Step, xml: str, **more: Any) -> None:
        arguments = {"xml": xml, "scope": step.arguments["scope"], **more}
        self._perform(step.verb, step.address, arguments)

    def _update_network(self, task: Task, step: Step) -> None:
        member, root = self._member(task, step)
        found, changes = self._fresh(task), task.changes_of(step)
        running = parse(found.running) if found.running is not None else None
        for arguments in network_updates(member, root, running, changes, step.arguments):
            self._perform(step.verb, step.address, arguments)

    def _set_metadata(self, task: Task, step: Step) -> None:
        scope = step.arguments["scope"]
        if step.arguments.get("mark"):
            mark = documents.mark_of(self._site, task.wanted, task.change.precondition.key)
            arguments = documents.mark_arguments(mark)
        else:
            namespace = step.arguments["namespace"]
            text = at(task.wanted.tree, ("metadata", namespace))
            arguments = documents.metadata_arguments(namespace, text)
        self._perform(step.verb, step.address, {**arguments, "scope": scope})


def _leave(task: Task, step: Step) -> None:
    """Nothing is to be done."""


def _held(step: Step, error: HostError) -> str:
    """What a guest that waits for something that others have is told to wait for."""
    names = ", ".join(".".join(path) for path in step.fields)
    return (
        f"{names}: in use by something else ({error.message}); the guest gets it at its next "
        "start, and does not start before that has let go"
    )
