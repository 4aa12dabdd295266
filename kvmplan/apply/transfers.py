"""Transfers: bytes on their way to volumes, how fast they go, and how long it will take."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kvmplan.address import Address

SECONDS_BETWEEN_REPORTS = 5.0


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far a transfer is.

    Attributes:
        what: ``download``, ``unpack``, ``check`` or ``upload``.
        done, total: bytes; the total may be unknown.
        rate: bytes a second so far.
    """

    what: str
    done: int
    total: int | None
    rate: float

    @property
    def seconds_left(self) -> float | None:
        """How long it will take at this rate, where that is known."""
        if self.total is None or not self.rate:
            return None
        return (self.total - self.done) / self.rate


@dataclass(slots=True)
class _Course:
    what: str
    began: float
    told: float
    done: int = 0
    total: int | None = None


class Transfers:
    """The transfers of one host. Any thread may call any method."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._courses: dict[Address, _Course] = {}

    def told(self, address: Address) -> Callable[[str, int, int | None], None]:
        """Where the transfer for a volume is to be reported to: what, bytes done, bytes in all."""

        def tell(what: str, done: int, total: int | None) -> None:
            with self._guard:
                course = self._courses.get(address)
                if course is None or course.what != what:
                    now = time.monotonic()
                    course = self._courses[address] = _Course(what, now, now)
                course.done, course.total = done, total

        return tell

    def end(self, address: Address) -> None:
        """A volume's step is over."""
        with self._guard:
            self._courses.pop(address, None)

    def get(self, address: Address) -> Transfer | None:
        """How far the transfer for a volume is; None if there is none."""
        with self._guard:
            course = self._courses.get(address)
            return None if course is None else _transfer(course, time.monotonic())

    def due(self, every: float) -> list[tuple[Address, float, Transfer]]:
        """What has not been reported for `every` seconds, with the seconds since its beginning."""
        now = time.monotonic()
        found = []
        with self._guard:
            for address, course in sorted(self._courses.items()):
                if now - course.told >= every:
                    course.told = now
                    found.append((address, now - course.began, _transfer(course, now)))
        return found


def _transfer(course: _Course, now: float) -> Transfer:
    seconds = now - course.began
    return Transfer(course.what, course.done, course.total, course.done / seconds if seconds else 0)
