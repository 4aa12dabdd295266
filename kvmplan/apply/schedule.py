"""The schedule: which step may begin, as others end. Knows neither hosts' verbs nor events.

Every step that ends costs its successors only; idle workers sleep until a step of their host is
ready. What depends on a failure is left out, transitively.
"""

from __future__ import annotations

import heapq
import threading
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
        position: how many of them are done.
        busy: whether one is being carried out.
        cause: why the rest is left out, once that is so.
    """

    change: Change
    first: int
    units: tuple[int, ...]
    position: int = 0
    busy: bool = False
    ended: bool = False
    cause: Cause | None = None


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
    def is_last(self) -> bool:
        """Whether its change is over with it."""
        return self.track.position == len(self.track.units) - 1


@dataclass(slots=True)
class _Lane:
    """One host's part."""

    condition: threading.Condition
    ready: list[int] = field(default_factory=list)
    left: int = 0
    """Steps that are neither done nor left out."""


class Schedule:
    """The steps of a plan, given out as they become ready. Any thread may call any method.

    Args:
        changes: in the plan's order; they are carried out in the order of their steps' ids.
        stopped: whether nothing more shall begin.
    """

    def __init__(self, changes: Iterable[Change], stopped: Callable[[], bool]) -> None:
        self._stopped = stopped
        self._lock = threading.Lock()
        self._lanes: dict[str, _Lane] = {}
        self._units: dict[int, Unit] = {}
        self._waits: dict[int, int] = {}
        self._next: dict[int, list[int]] = {}
        self.tracks = [self._track(change, place) for place, change in enumerate(changes)]
        for track in self.tracks:
            self._tie(track)

    def _track(self, change: Change, place: int) -> Track:
        steps = sorted(change.steps, key=lambda step: step.id)
        ids = tuple(step.id for step in steps) or (-1 - place,)
        track = Track(change, place, ids)
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
                while lane.ready:
                    unit = self._units[heapq.heappop(lane.ready)]
                    if unit.track.cause is None and not unit.track.ended:
                        unit.track.busy = True
                        return unit
                if not lane.left:
                    break
                lane.condition.wait()
            self._wake_all()
            return None

    def finish(self, unit: Unit) -> bool:
        """A step is done; True if the rest of its change was left out meanwhile."""
        track = unit.track
        with self._lock:
            track.busy = False
            track.position += 1
            self._leave(unit)
            for id_ in self._next.get(unit.id, ()):
                self._waits[id_] -= 1
                if not self._waits[id_]:
                    lane = self._lanes[self._units[id_].track.change.address.host]
                    heapq.heappush(lane.ready, id_)
                    lane.condition.notify()
            if track.position == len(track.units) or track.cause is not None:
                track.ended = True
            return track.cause is not None

    def fail(self, unit: Unit, cause: Cause) -> list[Track]:
        """A step failed: its change ends, and with it whatever depends on it.

        Returns:
            The other tracks that end now, in order. One whose step is in flight ends with that.
        """
        with self._lock:
            track = unit.track
            track.busy, track.ended = False, True
            track.cause = track.cause if track.cause is not None else cause
            ended = self._leave_out(track, cause)
            return sorted(ended, key=lambda other: other.first)

    def halt(self, cause: Cause, host: str | None = None) -> list[Track]:
        """Leave out whatever has not begun, on one host or on all, and what depends on it.

        Returns:
            The tracks that end now, in order. One whose step is in flight ends with that.
        """
        ended: list[Track] = []
        with self._lock:
            for track in self.tracks:
                if host is not None and track.change.address.host != host:
                    continue
                if self._doom(track, cause, ended):
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
