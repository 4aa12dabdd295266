"""Waits: steps that wait for others' work on their objects, or for guests; since when, for what."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from dataclasses import dataclass

from kvmplan.apply.problems import Busy
from kvmplan.apply.schedule import Unit
from kvmplan.kinds.verbs import Verb

SECONDS_BETWEEN_LOOKS = 1.0
"""How often a busy object, or a guest that is waited for, is looked at."""


_WAITING = {
    Verb.SHUTDOWN: "guest-shutdown",
    Verb.DETACH: "guest-unplug",
    Verb.CLONE_VOLUME: "copy",
    Verb.AWAIT: "guest-agent",
}
"""What a step that takes long waits for; of other verbs, libvirt."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A step that waits.

    Attributes:
        since: the moment it was first found busy, on the monotonic clock.
        what: the jobs it waits for, in words.
        again: seconds until the next look.
    """

    unit: Unit
    since: float
    what: str
    again: float = 0.0


class Waits:
    """What waits in one apply, each step for `timeout` seconds. Any thread may call any method."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._guard = threading.Lock()
        self._waits: dict[int, Wait] = {}

    def look(self, unit: Unit, jobs: Collection[str]) -> tuple[Wait | None, bool]:
        """What a step has to wait for, given the jobs on its object just now.

        Returns:
            Nothing if it may begin; and whether it has been found busy for the first time.

        Raises:
            Busy: it has waited for long enough.
        """
        now = time.monotonic()
        with self._guard:
            before = self._waits.pop(unit.id, None)
            if not jobs:
                return None, False
            since = before.since if before is not None else now
            what = " and ".join(jobs)
            left = self._timeout - (now - since)
            if left <= 0:
                raise Busy(f"busy: {what} is at work on it")
            wait = Wait(unit, since, what, min(SECONDS_BETWEEN_LOOKS, left))
            self._waits[unit.id] = wait
            return wait, before is None

    def again(self, unit: Unit, since: float, what: str, timeout: float) -> Wait | None:
        """That a guest is not ready `timeout` seconds after `since` is to be looked at again.

        Returns:
            None if time is up.
        """
        left = timeout - (time.monotonic() - since)
        with self._guard:
            if left <= 0:
                self._waits.pop(unit.id, None)
                return None
            wait = Wait(unit, since, what, min(SECONDS_BETWEEN_LOOKS, left))
            self._waits[unit.id] = wait
            return wait

    def over(self, unit: Unit) -> None:
        """A step waits no more."""
        with self._guard:
            self._waits.pop(unit.id, None)

    @property
    def all(self) -> tuple[Wait, ...]:
        """What waits now."""
        with self._guard:
            return tuple(wait for wait in self._waits.values() if not wait.unit.track.ended)


def waits_for(unit: Unit) -> str:
    """What a step under way waits for, in a word."""
    return _WAITING.get(unit.step.verb, "libvirt") if unit.step else "libvirt"
