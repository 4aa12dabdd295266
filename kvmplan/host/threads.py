"""Threads that may be left behind: libvirt leaves calls hanging when it gives up a connection.

With several calls under way on one connection, keepalive marks the connection dead and wakes none
of them (libvirt 9.0, measured on a stopped daemon). So whoever waits looks at the connections, too,
and goes without an answer. All threads here are daemons: one that hangs does not keep us running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from kvmplan.apply.port import ConnectionLost
from kvmplan.mapping.document import own_names

T = TypeVar("T")

_LOOK_SECONDS = 1.0
SILENT = "the daemon does not answer any more"


class _Job(Generic[T]):
    """A call that is made in another thread."""

    def __init__(self, work: Callable[[], T], *, attended: bool = False) -> None:
        self._work = work
        self.is_attended = attended
        self.is_given_up = False
        self._result: list[T] = []
        self._error: BaseException | None = None
        self._open = threading.Lock()
        self._open.acquire()

    def make(self) -> None:
        """Make the call, here and now."""
        try:
            self._result.append(self._work())
        except BaseException as error:
            self._error = error

    def end(self) -> None:
        """Let those go on that wait for it."""
        self._open.release()

    def wait(self, seconds: float = -1) -> bool:
        """Wait for it, for as long as it takes by default; whether it has ended."""
        ended = self._open.acquire(timeout=seconds)
        if ended:
            self._open.release()
        return ended

    def result(self) -> T:
        """Wait for it; raise what it raised."""
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]


class _Helper:
    """A thread that makes one call after another.

    To begin a thread for each would cost half a millisecond, as much as five short calls.
    """

    def __init__(self) -> None:
        # Whoever begins the first of them has names of its own before they have: see there.
        own_names()
        self.jobs: SimpleQueue[_Job[Any]] = SimpleQueue()
        threading.Thread(target=self._run, name="kvmplan-host", daemon=True).start()

    def _run(self) -> None:
        own_names()
        while True:
            job = self.jobs.get()
            _HERE.job = job if job.is_attended else None
            job.make()
            _HERE.job = None
            _IDLE.append(self)
            job.end()
            del job


_IDLE: list[_Helper] = []
"""Helpers without a call. One whose call hangs is never among them again."""


class _Here(threading.local):
    """The attended job that this thread is making, if it is making one."""

    job: _Job[Any] | None = None


_HERE = _Here()


def start(work: Callable[[], T], *, attended: bool = False) -> _Job[T]:
    """Begin a call in another thread."""
    job = _Job(work, attended=attended)
    try:
        helper = _IDLE.pop()
    except IndexError:
        helper = _Helper()
    helper.jobs.put(job)
    return job


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Make several calls at once and wait for all; the first error in their order is raised."""
    jobs = [start(work) for work in works]
    for job in jobs:
        job.wait()
    return [job.result() for job in jobs]


def attended(alive: Callable[[], bool], work: Callable[[], T], doing: str) -> T:
    """Make a call, or several, and do not wait any longer than their connections live.

    Calls inside of one that is attended already are attended with it: no thread is begun for them,
    and once it was given up none of them is made any more.

    Raises:
        ConnectionLost: they are dead; whether the call had an effect is unknown.
    """
    outer = _HERE.job
    if outer is not None:
        if outer.is_given_up:
            raise ConnectionLost(SILENT, doing=doing)
        return work()
    job = start(work, attended=True)
    while not job.wait(_LOOK_SECONDS):
        # A call that a dead connection does wake gets the time of one more look for its own error.
        if not alive() and not job.wait(_LOOK_SECONDS):
            job.is_given_up = True
            raise ConnectionLost(SILENT, doing=doing)
    return job.result()


def shares(items: Iterable[Any], count: int) -> list[list[Any]]:
    """Deal items out to at most `count` threads; no empty shares."""
    dealt: list[list[Any]] = [[] for _ in range(count)]
    for number, item in enumerate(items):
        dealt[number % count].append(item)
    return [share for share in dealt if share]
