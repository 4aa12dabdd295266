"""Execution: one host's part of an apply: preconditions, steps, verification, claims."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from kvmplan.address import Address, Kind
from kvmplan.apply.claims import ClaimBook
from kvmplan.apply.journal import Journal, secret_places
from kvmplan.apply.port import ConnectionLost, ConsoleTail, HostError, Lock, NotReady
from kvmplan.apply.precondition import check
from kvmplan.apply.problems import LockLost, Stale, not_restarted
from kvmplan.apply.site import Site
from kvmplan.apply.verify import look, verify, verify_gone
from kvmplan.apply.work import Task, Worker, has_agent
from kvmplan.inventory import Record, State
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.plan.arrange import REMOVING
from kvmplan.plan.change import Action, Change, Reason, Step
from kvmplan.plan.handover import parted
from kvmplan.plan.intent import Intent

T = TypeVar("T")

SECONDS_A_LOOK_HOLDS = 0.1
NOT_NEEDED = "not restarted: nothing waits for that any more, or somebody has shut it down"


def _leaves_guests_behind(task: Task, step: Step) -> bool:
    """Whether it starts a network whose guests are plugged in later: a crash must not lose them.

    The claim of a new one says that it is being created, which says as much.
    """
    change = task.change
    heals = any(later.verb is Verb.RECONNECT for later in change.steps)
    new = change.action is Action.CREATE or change.reason is Reason.TORN
    return heals and step.verb is Verb.START and not new


class Execution:
    """What is done on one host. Methods for different changes may run at the same time.

    Attributes:
        lost: whether the connection or the lock is gone: nothing more is written then.
    """

    def __init__(
        self,
        site: Site,
        intents: Mapping[Address, Intent],
        lock: Lock | None,
        book: ClaimBook,
        journal: Journal | None = None,
    ) -> None:
        self._site, self._intents, self._lock, self._book = site, intents, lock, book
        self._journal = journal
        self._worker = Worker(site, book.beginning)
        book.before_writing = self._check_lock
        self._looked = float("-inf")
        self._leases: dict[Address, tuple[tuple[str, str, int], ...]] = {}
        self._kept: dict[Address, Address] = {}
        self.lost = False

    def open(self, changes: Iterable[Change]) -> None:
        """Claim what will be made, and have at hand what many threads would ask for at once.

        Raises:
            HostError, LockLost: nothing may be done there.
        """
        self._check_lock()
        changes = tuple(changes)
        self._book.open(changes, self._intents)
        self._site.schemas.load(
            {it.address.kind for it in changes if it.action is not Action.DELETE}
        )
        domains = (it.address for it in changes if it.address.kind is Kind.DOMAIN)
        known = (self._intents.get(address) for address in domains)
        self._site.look_at(intent.resource for intent in known if intent is not None)

    def close(self) -> None:
        """Write the claims as they are in the end. Raises HostError."""
        if self.lost:
            return
        try:
            self._book.close()
        except LockLost as error:
            raise HostError(str(error)) from error

    def attend(self, work: Callable[[], T], address: Address) -> T:
        """Do what belongs together, and do not wait for it longer than the host lives.

        Raises:
            ConnectionLost: the host does not answer any more.
        """
        return self._site.host.attend(work, f"working on {address.short}")

    def begin(self, change: Change) -> Task:
        """Look whether a change can begin.

        Raises:
            Stale: what it relies on does not hold.
            HostError, LockLost: nothing was done.
        """
        self._check_lock()
        self._check_kept(change)
        intent = self._intents.get(change.address)
        found = check(self._site, change, intent)
        if self._journal is not None and change.steps:
            self._remember(self._journal, change, found)
        return Task(change, intent, found)

    def _remember(self, journal: Journal, change: Change, found: Record | None) -> None:
        """Have on record what is about to be touched, as libvirt shows it without its secrets."""
        left_out: tuple[str, ...] = ()
        if found is not None and found.secure:
            plain = self._site.host.record(change.found_at, brief=True)
            if plain is None:
                raise Stale("it is gone since it was planned")
            left_out = secret_places(found.document, plain.document)
            found = replace(found, document=plain.document, secure=False)
        journal.before(change, found, left_out)

    def step(self, task: Task, step: Step) -> Impact | None:
        """Carry out one step; the fallback that was taken, if any. Raises what `Worker` raises."""
        if task.position:
            self._check_lock()
        self._book.before(step)
        if step.verb is Verb.DEFINE and not task.creates and step.address.kind is Kind.DOMAIN:
            # An older guest gets a volume of this run: that it is whole must be known from now on.
            self._book.flush_volumes()
        if step.verb is Verb.START:
            self._before_start(task, step)
        restarts = step.impact is Impact.RESTART
        if restarts and step.verb is Verb.SHUTDOWN:
            self._before_restart(task)
        elif step.verb is Verb.RESTART_NETWORK or _leaves_guests_behind(task, step):
            self._book.restarting(task.change.address)
        try:
            fallback = self._worker.carry_out(task, step)
        except ConnectionLost:
            raise
        except HostError as error:
            raise not_restarted(step.verb, error) if restarts else error from error
        if task.change.action is Action.REPLACE and step.verb in REMOVING:
            self._book.begin_again(task.wanted)
        if step.verb is Verb.DETACH and fallback is not None:
            fields = task.changes_of(step)
            kept = (used for field in fields for used in parted(task.change, field))
            self._kept |= dict.fromkeys(kept, step.address)
        return fallback

    def _check_kept(self, change: Change) -> None:
        """What a guest should have let go of in this run, and did not, is not taken from it.

        Raises:
            Stale: a running guest keeps it until its next stop.
        """
        user = self._kept.get(change.address)
        if user is not None and any(step.verb in REMOVING for step in change.steps):
            raise Stale(f"the running {user.short} has not let go of it, until its next stop")

    def _before_restart(self, task: Task) -> None:
        """Look whether a restart is still needed, and note on the host that the guest goes down.

        Raises:
            Stale: the guest can neither be asked to shut down, nor is it off.
        """
        found = look(self._site, task.change, task.wanted)
        if found is not None and found.record.state is State.RUNNING and found.restart:
            task.has_agent = has_agent(found.record)
            self._book.restarting(task.change.address)
        elif found is None or (found.record.active and found.restart):
            raise Stale("its guest is not running any more")
        else:
            task.needs_no_restart = True
            task.notes.append(NOT_NEEDED)

    def look_for(self, step: Step) -> None:
        """Look whether a guest is what a step waits for; a seed is unplugged then.

        Raises:
            NotReady: it is not so yet.
            HostError, LockLost: it is not done.
        """
        if step.verb is Verb.EJECT:
            self._eject(step)
            return
        arguments = dict(step.arguments)
        if arguments["what"] == "address":
            arguments["old"] = self._leases.get(step.address, ())
        self._site.host.perform(step.verb, step.address, arguments)

    def _eject(self, step: Step) -> None:
        """Unplug a seed if the guest is done with it: noted before it is done, lest it come back.

        What is at work on the domain is waited for, too.
        """
        address, arguments = step.address, step.arguments
        if jobs := self._site.host.jobs(address):
            raise NotReady(f"{' and '.join(jobs)} is at work on it")
        look = {"what": arguments["what"], "timeout": arguments["timeout"]}
        self._site.host.perform(Verb.WAIT_FOR, address, look)
        facts = self._site.volume(arguments["volume"])
        if facts is None:
            raise HostError("its seed's volume is gone")
        self._check_lock()
        self._book.ejected(self._intents[address].resource)
        self._site.host.perform(
            Verb.EJECT, address, {"target": arguments["target"], "path": facts.path}
        )

    def console_tail(self, address: Address, lines: int) -> ConsoleTail:
        """The end of what a guest said. Raises HostError."""
        return self._site.host.console_tail(address, lines)

    def _before_start(self, task: Task, step: Step) -> None:
        """Note which leases are from before a guest's start: they do not say that it is up."""
        if any(step.arguments.get("what") == "address" for step in task.change.steps):
            leases = self._site.host.leases(step.address)
            self._leases[step.address] = tuple((it.mac, it.ip, it.expires) for it in leases)

    def jobs(self, change: Change, step: Step | None) -> tuple[str, ...]:
        """What else is at work on what a step changes. Raises HostError."""
        renames = step is not None and step.verb is Verb.RENAME
        address = change.found_at if renames else change.address
        if step is not None and step.verb is Verb.RESIZE_DISK:
            address = Address(address.host, Kind.DOMAIN, step.arguments["domain"])
        guest = address.kind is Kind.DOMAIN and change.action is not Action.CREATE
        written = step is not None and step.verb in (Verb.RESIZE_VOLUME, Verb.DELETE_VOLUME)
        return self._site.host.jobs(address) if guest or written else ()

    def end(self, task: Task) -> tuple[str, ...]:
        """Verify a change whose steps are done, and claim accordingly.

        Returns:
            What waits for a restart or for the guest, and what else is to be told.

        Raises:
            NotAsWanted: it is not as wanted.
            HostError: the host did not answer.
        """
        change = task.change
        if change.action is Action.DELETE:
            verify_gone(self._site, change)
            self._book.gone(change)
            return ()
        verified = verify(self._site, change, task.wanted, task.filling)
        self._book.done(change, task.wanted, verified.record, verified.waiting)
        return (*task.notes, *verified.notes)

    def give_up(self, change: Change, task: Task | None) -> None:
        """A change ends unfinished: leave the claims saying what is there."""
        if self.lost:
            return
        if change.action is Action.UPDATE and task is None:
            self._book.never_begun(change)
        if task is not None and change.restarts and change.address.kind is Kind.DOMAIN:
            self._runs_on(task)
        if change.action not in (Action.CREATE, Action.REPLACE):
            return
        if task is None:
            if change.action is Action.CREATE:
                self._book.never_made(change)
            return
        if change.action is Action.REPLACE and not task.removed:
            return
        if task.taken:
            with suppress(HostError, LockLost):
                self._book.taken(change)
            return
        try:
            record = self._site.host.record(change.address)
        except HostError:
            return
        if record is not None and task.made:
            self._book.exists(task.wanted, record)
        elif record is None or self._site.is_anothers(task.wanted, record):
            self._book.never_made(change)

    def _runs_on(self, task: Task) -> None:
        """A guest was not restarted: if it is up, it is done but for what waits for its restart."""
        try:
            found = look(self._site, task.change, task.wanted)
        except HostError:
            return
        if found is not None and found.record.active:
            self._book.done(task.change, task.wanted, found.record, found.waiting)

    def _check_lock(self) -> None:
        """Before every write; those of one moment share a look.

        Between a look and its write the lock can be lost anyway: what counts is that nothing more
        is written soon after.
        """
        now = time.monotonic()
        if self._lock is None or now - self._looked < SECONDS_A_LOOK_HOLDS:
            return
        self._looked = now
        try:
            self._lock.check()
        except HostError as error:
            self.lost = True
            raise LockLost(error.message) from error
