"""Work: carrying out one step. Documents are made now, from the live ones, never before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.apply import documents
from kvmplan.apply.contents import Content, fill, prepare
from kvmplan.apply.likeness import Filling
from kvmplan.apply.members import Member, locate, network_updates
from kvmplan.apply.port import ConnectionLost, HostError, NotLive, TimedOut
from kvmplan.apply.problems import EXISTS, VOLUME_EXISTS, Stale
from kvmplan.apply.site import Site
from kvmplan.diff import at
from kvmplan.inventory import Record
from kvmplan.kinds.agent import AGENT, CONNECTED_AGENT
from kvmplan.kinds.mark import Mark
from kvmplan.kinds.verbs import Scope, Verb
from kvmplan.mapping.document import parse, parse_to_read, serialise
from kvmplan.mapping.impact import Impact
from kvmplan.plan.arrange import REMOVING
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
            The fallback that was taken, if the running object could not be changed.

        Raises:
            HostError: it is not done, or that is unknown.
            Stale: the object has moved.
            Invalid: libvirt's schema refuses the document.
            LookupError, ValueError, TemplateError: the document cannot be made.
        """
        way = self._ways.get(step.verb, self._pass_on)
        if step.impact is Impact.RESTART and task.needs_no_restart:
            way = _leave
        fallback: Impact | None = None
        begins = task.position == (0 if task.change.previous is None else 1)
        if begins and step.verb is not Verb.DEFINE:
            self._announce(task)
            prepare(self._site, task)
        try:
            way(task, step)
        except (NotLive, TimedOut):
            if step.fallback is None:
                raise
            self._fall_back(task, step)
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
        self, task: Task, record: Record, changes: Iterable[FieldChange], mark: Mark | None
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
        self._perform(Verb.DEFINE, record.address, {"xml": serialise(root)})

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

    def _member(self, task: Task, step: Step) -> tuple[Member, Any]:
        intent = task.wanted
        root = parse(self._fresh(task).document)
        path = tuple(step.arguments["member"])
        return locate(intent, root, path, self._site.context(intent)), root

    def _attach(self, task: Task, step: Step) -> None:
        member, root = self._member(task, step)
        beside = member.companion(root)
        if beside is not None:
            self._device(step, beside)
        self._device(step, member.made())

    def _detach(self, task: Task, step: Step) -> None:
        member, _ = self._member(task, step)
        find, key = member.identity()
        self._device(step, member.live(), find=find, key=key)

    def _update_device(self, task: Task, step: Step) -> None:
        member, _ = self._member(task, step)
        self._device(step, member.changed(task.changes_of(step)))

    def _device(self, step: Step, xml: str, **more: Any) -> None:
        arguments = {"xml": xml, "scope": step.arguments["scope"], **more}
        self._perform(step.verb, step.address, arguments)

    def _update_network(self, task: Task, step: Step) -> None:
        member, root = self._member(task, step)
        for arguments in network_updates(member, root, task.changes_of(step), step.arguments):
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
