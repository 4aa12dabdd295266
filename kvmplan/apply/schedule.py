"""The schedule: which step may begin, as others end. Knows neither hosts' verbs nor events.

Every step that ends costs its successors only; idle workers sleep until a step of their host is
ready. What depends on a failure is left out, transitively. A step that cannot begin yet is put off
while others go on. Changes that restart a guest are carried out one after another, on all hosts.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kvmplan.address import Address
from kvmplan.plan.change import Change, Step

Cause = Address | str
"""Why something is left out: the resource that failed, or a sentence."""


@dataclass(slots=True, eq=False)
class Track:
    """A change's way through the schedule.

    Attributes:
        first: its place in the order of changes.
        units: ids of its steps, in order; one invented id if it has none.
        work: how many of them, from the first, the change is done with; the others are waits.
        position: how many of them are done.
        busy: whether one is being carried out.
        cause: why the rest is left out, once that is so.
    """

    change: Change
    first: int
    units: tuple[int, ...]
    work: int
    position: int = 0
    busy: bool = False
    ended: bool = False
    cause: Cause | None = None

    @property
    def is_done(self) -> bool:
        """Whether the change is, though its guest may be waited for."""
        return self.position >= self.work


@dataclass(frozen=True, slots=True)
class Unit:
    """One step to carry out; None: a change that has none, to be looked at only."""

    id: int
    track: Track
    step: Step | None

    @property
    def is_first(self) -> bool:
        """Whether its change begins with it."""
        return self.track.position == 0

    @property
    def is_wait(self) -> bool:
        """Whether it waits for a guest."""
        return self.step is not None and self.step.waits

    @property
    def is_last(self) -> bool:
        """Whether its change is over with it."""
        return self.track.position == self.track.work - 1


@dataclass(slots=True)
class _Lane:
    """One host's part."""

    condition: threading.Condition
    ready: list[int] = field(default_factory=list)
    later: list[tuple[float, int]] = field(default_factory=list)
    """Steps that were put off, and until when on the monotonic clock."""
    left: int = 0
    """Steps that are neither done nor left out."""
    under_way: set[int] = field(default_factory=set)
    """Steps that are being carried out."""

    def wait(self) -> None:
        """Sleep until somebody wakes it or a step that was put off is due."""
        self.condition.wait(max(0.0, self.later[0][0] - time.monotonic()) if self.later else None)

    def bring_back(self) -> None:
        """Make ready what was put off and is due."""
        while self.later and self.later[0][0] <= time.monotonic():
            heapq.heappush(self.ready, heapq.heappop(self.later)[1])


class Schedule:
    """The steps of a plan, given out as they become ready. Any thread may call any method.

    Args:
        changes: in the plan's order; they are carried out in the order of their steps' ids.
        stopped: whether nothing more shall begin.
        at_once: how many steps of a host may be under way.
    """

    def __init__(
        self, changes: Iterable[Change], stopped: Callable[[], bool], at_once: int
    ) -> None:
        self._stopped, self._at_once = stopped, at_once
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._units: dict[int, Unit] = {}
        self._waits: dict[int, int] = {}
        self._next: dict[int, list[int]] = {}
        self._restarting: Track | None = None
        self._queued: list[Unit] = []
        """First steps of changes that restart a guest, while another one does."""
        self.tracks = [self._track(change, place) for place, change in enumerate(changes)]
        for track in self.tracks:
            self._tie(track)

    def _track(self, change: Change, place: int) -> Track:
        steps = sorted(change.steps, key=lambda step: step.id)
        ids = tuple(step.id for step in steps) or (-1 - place,)
        waits = sum(step.waits for step in steps)
        track = Track(change, place, ids, len(ids) - waits)
        for id_, step in zip(ids, steps or (None,), strict=True):
            self._units[id_] = Unit(id_, track, step)
        lane = self._lanes.setdefault(change.address.host, _Lane(threading.Condition(self._lock)))
        lane.left += len(ids)
        return track

    def _tie(self, track: Track) -> None:
        """A step waits for those it names and for the one before it in its change."""
        before: int | None = None
        for id_ in track.units:
            step = self._units[id_].step
            needed = {other for other in (step.after if step else ()) if other in self._units}
            if before is not None:
                needed.add(before)
            self._waits[id_] = len(needed)
            for other in needed:
                self._next.setdefault(other, []).append(id_)
            if not needed:
                heapq.heappush(self._lanes[track.change.address.host].ready, id_)
            before = id_

    @property
    def hosts(self) -> dict[str, int]:
        """How many steps each host has."""
        return {host: lane.left for host, lane in self._lanes.items()}

    def take(self, host: str) -> Unit | None:
        """The next step of a host, waited for; None when there will be no more."""
        lane = self._lanes[host]
        with self._lock:
            while not self._stopped():
                lane.bring_back()
                while lane.ready and len(lane.under_way) < self._at_once:
                    unit = self._units[heapq.heappop(lane.ready)]
                    if unit.track.cause is None and not unit.track.ended and self._is_next(unit):
                        unit.track.busy = True
                        lane.under_way.add(unit.id)
                        return unit
                if not lane.left:
                    break
                lane.wait()
            self._wake_all()
            return None

    def carried_out(self, unit: Unit) -> None:
        """What the step does is done, and only looked at from now on: another one may begin."""
        with self._lock:
            self._give_way(unit)

    def _give_way(self, unit: Unit) -> None:
        lane = self._lanes[unit.track.change.address.host]
        if unit.id in lane.under_way:
            lane.under_way.remove(unit.id)
            lane.condition.notify()

    def _is_next(self, unit: Unit) -> bool:
        """Whether a step may begin; one that restarts a guest queues while another one does."""
        if not unit.track.change.restarts:
            return True
        if self._restarting is None:
            self._restarting = unit.track
        if self._restarting is unit.track:
            return True
        self._queued.append(unit)
        return False

    def _is_over(self, track: Track) -> None:
        """A change has ended, or has not begun after all: the next restart may begin."""
        if self._restarting is not track:
            return
        self._restarting, queued, self._queued = None, self._queued, []
        for unit in queued:
            self._make_ready(unit)

    def put_off(self, unit: Unit, seconds: float) -> bool:
        """Offer a step that was taken again later; True if its change was left out meanwhile."""
        track = unit.track
        with self._lock:
            self._give_way(unit)
            track.busy = False
            if track.cause is not None:
                track.ended = True
                self._leave(unit)
            else:
                lane = self._lanes[track.change.address.host]
                heapq.heappush(lane.later, (time.monotonic() + seconds, unit.id))
                lane.condition.notify()
            if track.ended or not track.position:
                self._is_over(track)
            return track.ended

    def _make_ready(self, unit: Unit) -> None:
        lane = self._lanes[unit.track.change.address.host]
        heapq.heappush(lane.ready, unit.id)
        lane.condition.notify()

    def finish(self, unit: Unit) -> bool:
        """A step is done; True if the rest of its change was left out meanwhile."""
        track = unit.track
        with self._lock:
            self._give_way(unit)
            track.busy = False
            track.position += 1
            self._leave(unit)
            for id_ in self._next.get(unit.id, ()):
                self._waits[id_] -= 1
                if not self._waits[id_]:
                    self._make_ready(self._units[id_])
            if track.position == len(track.units) or track.cause is not None:
                track.ended = True
                self._is_over(track)
            return track.cause is not None

    def fail(self, unit: Unit, cause: Cause) -> list[Track]:
        """A step failed: its change ends, and with it whatever depends on it.

        Returns:
            The other tracks that end now, in order. One whose step is in flight ends with that.
        """
        with self._lock:
            self._give_way(unit)
            track = unit.track
            track.busy, track.ended = False, True
            track.cause = track.cause if track.cause is not None else cause
            ended = self._leave_out(track, cause)
            self._is_over(track)
            return sorted(ended, key=lambda other: other.first)

    def halt(
        self, cause: Cause, which: Callable[[Change], bool] = lambda change: True
    ) -> list[Track]:
        """Leave out what has not begun, of some changes or of all, and what depends on it.

        Returns:
            The tracks that end now, in order. One whose step is in flight ends with that.
        """
        ended: list[Track] = []
        with self._lock:
            for track in self.tracks:
                if which(track.change) and self._doom(track, cause, ended):
                    ended += self._leave_out(track, cause)
        return sorted(ended, key=lambda track: track.first)

    def _leave_out(self, track: Track, cause: Cause) -> list[Track]:
        """Take out a track's open steps and what waits for them; a step in flight is not open."""
        ended: list[Track] = []
        todo = [track]
        while todo:
            current = todo.pop()
            for id_ in current.units[current.position + current.busy :]:
                self._leave(self._units[id_])
                for later in self._next.get(id_, ()):
                    other = self._units[later].track
                    if self._doom(other, cause, ended):
                        todo.append(other)
        return ended

    def _doom(self, track: Track, cause: Cause, ended: list[Track]) -> bool:
        """Note that a track is not carried on; False if that is known already."""
        if track.ended or track.cause is not None:
            return False
        track.cause, track.ended = cause, not track.busy
        if track.ended:
            ended.append(track)
            self._is_over(track)
        return True

    def _leave(self, unit: Unit) -> None:
        lane = self._lanes[unit.track.change.address.host]
        lane.left -= 1
        if not lane.left:
            lane.condition.notify_all()

    def wake(self) -> None:
        """Let sleeping workers see that nothing more shall begin."""
        with self._lock:
            self._wake_all()

    def _wake_all(self) -> None:
        if self._stopped():
            for lane in self._lanes.values():
                lane.condition.notify_all()
