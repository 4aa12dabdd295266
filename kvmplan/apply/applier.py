"""The applier: carries out a plan's steps, and no others, on all its hosts at once.

A failed step ends its change and leaves out what depends on it; the rest goes on. What was done is
read again. Events tell all of it; claims are written before the first step and kept to the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from kvmplan.address import Address
from kvmplan.apply.claimed import vanished
from kvmplan.apply.claims import ClaimBook
from kvmplan.apply.events import (
    ApplyFinished,
    ApplyStarted,
    ChangeFailed,
    ChangeFinished,
    ChangeSkipped,
    ChangeStarted,
    Event,
    GuestNotReady,
    Outcome,
    StepFinished,
    StepStarted,
)
from kvmplan.apply.execution import Execution
from kvmplan.apply.journal import Journal
from kvmplan.apply.port import ConnectionLost, Host, HostError, Lock
from kvmplan.apply.problems import (
    Busy,
    LockLost,
    NotRestarted,
    Stale,
    diagnostic,
    partly_done,
    unclaimed,
)
from kvmplan.apply.pulse import Pulse
from kvmplan.apply.ready import Readiness
from kvmplan.apply.schedule import Cause, Schedule, Track, Unit
from kvmplan.apply.site import Site
from kvmplan.apply.telling import Telling
from kvmplan.apply.transfers import Transfers
from kvmplan.apply.waits import Waits
from kvmplan.apply.work import Task
from kvmplan.apply.workers import work_off
from kvmplan.diagnostics import Diagnostic, ExitCode, Failure
from kvmplan.plan.change import Change
from kvmplan.plan.identity import head

if TYPE_CHECKING:
    from kvmplan.images.fetch import Images
    from kvmplan.plan.planner import Planned

HEARTBEAT_SECONDS, JOB_TIMEOUT_SECONDS = 30.0, 300.0

INTERRUPTED = "interrupted"
FIRST_FAILURE = "stopped after the first failure"


def apply(
    planned: Planned,
    hosts: Mapping[str, Host],
    locks: Mapping[str, Lock],
    emit: Callable[[Event], None],
    *,
    parallelism: int = 4,
    fail_fast: bool = False,
    stop: threading.Event | None = None,
    journal: Journal | None = None,
    heartbeat: float = HEARTBEAT_SECONDS,
    job_timeout: float = JOB_TIMEOUT_SECONDS,
    images: Images | None = None,
) -> ApplyFinished:
    """Carry out a plan.

    Args:
        planned: the plan and what its steps are made from.
        hosts: by name; every host that the plan acts on.
        locks: the stack's lock on each host that has one.
        emit: gets the events, one at a time, from whichever thread they happen in.
        parallelism: steps at once on each host.
        fail_fast: begin nothing more after a failure.
        stop: begin nothing more once it is set; steps in flight are finished.
        journal: keeps what is touched as it was before; one that cannot be written stops nothing.
        heartbeat: seconds between two `Progress` events; of transfers there are more.
        job_timeout: seconds that each step waits for jobs of others on its object.
        images: fetches the images of new volumes; without, none can be had.

    Returns:
        What became of every acting resource, in the plan's order.

    Raises:
        Failure: KVP606, everything was attempted, but the claims could not be written at the end.
        Exception: what `emit` raised; nothing was begun after that.
    """
    stop = stop or threading.Event()
    given = (journal, job_timeout, heartbeat, images)
    return _Run(planned, hosts, locks, emit, fail_fast, stop, parallelism, *given).run()


class _Run:
    """One apply."""

    def __init__(
        self,
        planned: Planned,
        hosts: Mapping[str, Host],
        locks: Mapping[str, Lock],
        emit: Callable[[Event], None],
        fail_fast: bool,
        stop: threading.Event,
        parallelism: int,
        journal: Journal | None,
        job_timeout: float,
        heartbeat: float,
        images: Images | None,
    ) -> None:
        self._plan, self._journal = planned.plan, journal
        self._emit = Telling(emit, journal, stop)
        self._fail_fast, self._stop = fail_fast, stop
        self._schedule = Schedule(self._plan.carried_out, stop.is_set, parallelism)
        # While so many steps are carried out, others look at what the last ones have done.
        self._workers = parallelism + parallelism // 2
        self._guard = threading.Lock()
        self._outcomes: dict[Address, tuple[Outcome, str]] = {}
        self._tasks: dict[Address, Task] = {}
        self._began: dict[Address, float] = {}
        self._waits, self._heartbeat = Waits(job_timeout), heartbeat
        self._ready = Readiness(self._waits)
        transfers = Transfers()
        self._pulse = Pulse(self._waits, transfers, self._emit, self._count, heartbeat)
        self._executions: dict[str, Execution] = {}
        for name, inventory in planned.inventories.items():
            plan = self._plan
            given = (planned.births, plan.stack_uid, images, transfers)
            site = Site(hosts[name], inventory, *given)
            found = inventory.claims
            book = ClaimBook(site, head(found, plan.stack_uid, plan.stack_name, planned.options))
            book.forget(vanished(inventory, planned.intents, destroy=plan.destroy))
            if not book.is_due and name not in self._schedule.hosts:
                continue
            book.learn(plan)
            lock = locks.get(name)
            self._executions[name] = Execution(site, planned.intents, lock, book, journal)

    def run(self) -> ApplyFinished:
        """From the first event to the last."""
        self._emit(ApplyStarted(self._plan))
        for name, execution in self._executions.items():
            if name in self._schedule.hosts:
                self._open(name, execution)
        try:
            hosts = self._schedule.hosts
            counts = {name: min(self._workers, left) for name, left in hosts.items()}
            work_off(counts, self._work, self._look_up, self._heartbeat, self._stop)
        finally:
            self._left_out(self._schedule.halt(INTERRUPTED))
            unwritten = self._close()
        run = self._journal.run if self._journal is not None else ""
        finished = ApplyFinished.of(self._plan, self._outcomes, run, self._ready.lacking)
        self._emit(finished)
        if self._emit.broken is not None:
            raise self._emit.broken
        if unwritten:
            raise Failure(unwritten, ExitCode.INCOMPLETE)
        return finished

    def _open(self, name: str, execution: Execution) -> None:
        """Claim what will be made; a host that does not take that is left alone."""
        tracks = [t for t in self._schedule.tracks if t.change.address.host == name and t.work]
        if not tracks:
            return
        try:
            execution.open([track.change for track in tracks])
        except (HostError, LockLost) as error:
            execution.lost = True
            first = tracks[0].change
            self._fail_change(first, error)
            self._left_out(
                t
                for t in self._schedule.halt(first.address, lambda it: it.address.host == name)
                if t.change is not first
            )

    def _close(self) -> list[Diagnostic]:
        problems = []
        for name, execution in self._executions.items():
            try:
                execution.close()
            except HostError as error:
                problems.append(unclaimed(name, error))
        return problems

    # ------------------------------------------------------------------ workers

    def _look_up(self) -> None:
        """What is due several times a second."""
        self._pulse.look()
        self._emit.settle()

    def _work(self, host: str) -> None:
        try:
            self._work_off(host)
        except BaseException:
            # Nobody may wait for the step that is lost with this thread.
            self._stop.set()
            self._schedule.wake()
            raise

    def _work_off(self, host: str) -> None:
        while (unit := self._schedule.take(host)) is not None:
            with self._pulse.busy(unit):
                self._work_on(unit, self._executions[host])

    def _work_on(self, unit: Unit, execution: Execution) -> None:
        address = unit.track.change.address
        try:
            notes = execution.attend(partial(self._attempt, unit), address)
        except Exception as error:
            self._failed(unit, error)
        else:
            if notes is not None:
                self._done(unit, notes)

    def _attempt(self, unit: Unit) -> tuple[str, ...] | None:
        """Carry out one step; None if it was put off, because it has to wait."""
        if unit.is_wait:
            return self._look(unit)
        return None if self._is_busy(unit) else self._carry_out(unit)

    def _look(self, unit: Unit) -> tuple[str, ...] | None:
        """Look at a guest that is waited for; None if it is not ready yet."""
        step, change = unit.step, unit.track.change
        assert step is not None
        if self._ready.begins(unit):
            self._emit(StepStarted(step))
        wait = self._ready.look(unit, step, self._executions[change.address.host])
        if wait is not None:
            self._schedule.put_off(unit, wait.again)
            return None
        self._emit(StepFinished(step, self._ready.seconds(step.address)))
        return ()

    def _is_busy(self, unit: Unit) -> bool:
        """Look whether others work on what a step changes; if so, put it off.

        Raises:
            Busy: that takes too long.
            HostError: the host did not answer.
        """
        change = unit.track.change
        jobs = self._executions[change.address.host].jobs(change, unit.step)
        wait, is_new = self._waits.look(unit, jobs)
        if wait is None:
            return False
        if is_new:
            self._pulse.waiting(unit, wait.what)
        if self._schedule.put_off(unit, wait.again):
            self._left_out([unit.track])
        return True

    def _carry_out(self, unit: Unit) -> tuple[str, ...]:
        """One step, with what belongs before the first and behind the last one of its change."""
        change, execution = unit.track.change, self._executions[unit.track.change.address.host]
        begun: list[Event] = []
        if unit.is_first:
            self._began[change.address] = time.monotonic()
            self._tasks[change.address] = execution.begin(change)
            begun.append(ChangeStarted(change))
        if unit.step is not None:
            begun.append(StepStarted(unit.step))
        self._emit(*begun)
        task = self._tasks[change.address]
        if unit.step is not None:
            began = time.monotonic()
            fallback = execution.step(task, unit.step)
            self._emit(StepFinished(unit.step, time.monotonic() - began, fallback))
        self._schedule.carried_out(unit)
        return execution.end(task) if unit.is_last else ()

    def _done(self, unit: Unit, notes: tuple[str, ...]) -> None:
        change = unit.track.change
        if unit.is_last:
            # Told before it is finished: its guest's waits come afterwards.
            self._outcomes[change.address] = (Outcome.DONE, "")
            self._emit(ChangeFinished(change, self._seconds(change), notes))
        if self._schedule.finish(unit):
            self._left_out([unit.track])

    def _failed(self, unit: Unit, error: Exception) -> None:
        """A step failed: what depends on it is left out; so is all else where that is asked for."""
        change = unit.track.change
        execution = self._executions[change.address.host]
        execution.lost |= isinstance(error, ConnectionLost | LockLost)
        ended: list[Track] = []
        if unit.is_wait:
            self._left_out(self._gave_up(unit, error))
            return
        if isinstance(error, NotRestarted):
            # First of all: once this change has ended, the next restart begins.
            why = f"no further restarts after the one of {self._named(change.address)}"
            ended += self._schedule.halt(why, lambda it: it.restarts and it is not change)
        ended += self._schedule.fail(unit, change.address)
        if isinstance(error, Stale) and unit.is_first:
            self._skip(change, f"stale: {error}")
        elif isinstance(error, Busy) and unit.is_first:
            self._skip(change, str(error))
        else:
            self._fail_change(change, error)
        self._left_out(ended + self._halted(change.address))

    def _gave_up(self, unit: Unit, error: Exception) -> list[Track]:
        """A guest is not ready: what depends on it is left out, itself it is done."""
        change, step = unit.track.change, unit.step
        assert step is not None
        ended = self._schedule.fail(unit, change.address)
        told = self._ready.gave_up(change, step, error, self._executions[change.address.host])
        self._emit(GuestNotReady(change, step, *told))
        return ended + self._halted(change.address)

    def _halted(self, failed: Address) -> list[Track]:
        """What else ends after a failure: all on a host that is lost, or all that has not begun."""
        if self._executions[failed.host].lost:
            return self._schedule.halt(failed, lambda it: it.address.host == failed.host)
        return self._schedule.halt(FIRST_FAILURE) if self._fail_fast else []

    # ------------------------------------------------------------------ outcomes

    def _fail_change(self, change: Change, error: Exception) -> None:
        self._fail_with(change, diagnostic(error, change))

    def _fail_with(self, change: Change, problem: Diagnostic) -> None:
        self._give_up(change)
        self._outcomes[change.address] = (Outcome.FAILED, f"{problem.summary} [{problem.code}]")
        self._emit(ChangeFailed(change, problem, self._seconds(change)))

    def _skip(self, change: Change, because: Cause) -> None:
        self._give_up(change)
        self._outcomes[change.address] = (Outcome.SKIPPED, self._why(because))
        self._emit(ChangeSkipped(change, because))

    def _left_out(self, tracks: Iterable[Track]) -> None:
        """Changes that are not carried on: skipped, or failed where a part of them is done."""
        for track in tracks:
            if track.is_done:
                continue
            cause: Cause = track.cause if track.cause is not None else INTERRUPTED
            if not track.position:
                self._skip(track.change, cause)
                continue
            self._fail_with(track.change, partly_done(track.change, self._why(cause)))

    def _why(self, cause: Cause) -> str:
        """A cause in words; an address with its host only where there are several."""
        if not isinstance(cause, Address):
            return cause
        return f"after {self._named(cause)}"

    def _named(self, address: Address) -> str:
        return str(address) if len(self._plan.hosts) > 1 else address.short

    def _give_up(self, change: Change) -> None:
        self._executions[change.address.host].give_up(change, self._tasks.get(change.address))

    def _seconds(self, change: Change) -> float:
        began = self._began.get(change.address)
        return 0.0 if began is None else time.monotonic() - began

    def _count(self) -> tuple[int, int]:
        return len(self._outcomes), len(self._plan.acting)
