"""Threads that may be left behind: libvirt leaves calls hanging when it gives up a connection.

With several calls under way on one connection, keepalive marks the connection dead and wakes none
of them (libvirt 9.0, measured on a stopped daemon). So whoever waits looks at the connections, too,
and goes without an answer. All threads here are daemons: one that hangs does not keep us running.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from kvmplan.apply.port import ConnectionLost

T = TypeVar("T")

_LOOK_SECONDS = 1.0


class _Job(Generic[T]):
    """A call in a thread of its own."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._error: BaseException | None = None
        self.done = threading.Event()
        threading.Thread(target=self._run, name="kvmplan-host", daemon=True).start()

    def _run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as error:
            self._error = error
        finally:
            self.done.set()

    def result(self) -> T:
        """Wait for it; raise what it raised."""
        self.done.wait()
        if self._error is not None:
            raise self._error
        return self._result[0]


def start(work: Callable[[], T]) -> _Job[T]:
    """Begin a call in a thread of its own."""
    return _Job(work)


def side_by_side(works: Sequence[Callable[[], T]]) -> list[T]:
    """Make several calls at once and wait for all; the first error in their order is raised."""
    jobs = [_Job(work) for work in works]
    for job in jobs:
        job.done.wait()
    return [job.result() for job in jobs]


def attended(alive: Callable[[], bool], work: Callable[[], T], doing: str) -> T:
    """Make a call, and do not wait for it any longer than its connections live.

    Raises:
        ConnectionLost: they are dead; whether the call had an effect is unknown.
    """
    job = _Job(work)
    while not job.done.wait(_LOOK_SECONDS):
        # A call that a dead connection does wake gets the time of one more look for its own error.
        if not alive() and not job.done.wait(_LOOK_SECONDS):
            raise ConnectionLost("the daemon does not answer any more", doing=doing)
    return job.result()


def shares(items: Iterable[Any], count: int) -> list[list[Any]]:
    """Deal items out to at most `count` threads; no empty shares."""
    dealt: list[list[Any]] = [[] for _ in range(count)]
    for number, item in enumerate(items):
        dealt[number % count].append(item)
    return [share for share in dealt if share]
