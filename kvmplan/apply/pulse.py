"""The pulse: what is under way in one apply, told now and then so that nobody takes it for dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kvmplan.address import Address
from kvmplan.apply.events import Event, Progress
from kvmplan.apply.schedule import Unit
from kvmplan.apply.transfers import SECONDS_BETWEEN_REPORTS, Transfer, Transfers
from kvmplan.apply.waits import Waits, waits_for


class Pulse:
    """Any thread may call any method.

    Args:
        waits: what waits.
        transfers: what is being fetched and uploaded.
        emit: gets the events.
        count: how many resources have ended, and how many there are.
        every: seconds between two heartbeats.
    """

    def __init__(
        self,
        waits: Waits,
        transfers: Transfers,
        emit: Callable[[Event], None],
        count: Callable[[], tuple[int, int]],
        every: float,
    ) -> None:
        self._waits, self._transfers, self._emit, self._count = waits, transfers, emit, count
        self._every = every
        self._told = time.monotonic()
        self._guard = threading.Lock()
        self._busy: dict[int, tuple[Unit, float]] = {}

    @contextmanager
    def busy(self, unit: Unit) -> Iterator[None]:
        """While a step is being carried out."""
        with self._guard:
            self._busy[unit.id] = (unit, time.monotonic())
        try:
            yield
        finally:
            with self._guard:
                del self._busy[unit.id]
            self._transfers.end(unit.track.change.address)

    def look(self) -> None:
        """Tell what is due: of each transfer every few seconds, of the rest a heartbeat."""
        every = min(self._every, SECONDS_BETWEEN_REPORTS)
        for address, seconds, transfer in self._transfers.due(every):
            self._tell(address, seconds, transfer.what, transfer)
        if time.monotonic() - self._told >= self._every:
            self._told = time.monotonic()
            self._beat()

    def waiting(self, unit: Unit, what: str) -> None:
        """A step begins to wait for others."""
        self._tell(unit.track.change.address, 0.0, what)

    def _beat(self) -> None:
        """Say what has been running or waiting longest; transfers speak for themselves."""
        with self._guard:
            entries = [(since, unit, "") for unit, since in self._busy.values()]
        entries += [(wait.since, wait.unit, wait.what) for wait in self._waits.all]
        entries = [e for e in entries if self._transfers.get(e[1].track.change.address) is None]
        if not entries:
            return
        since, unit, what = min(entries, key=lambda entry: entry[0])
        seconds = time.monotonic() - since
        self._tell(unit.track.change.address, seconds, what or waits_for(unit))

    def _tell(
        self, address: Address, seconds: float, waiting: str, transfer: Transfer | None = None
    ) -> None:
        self._emit(Progress(address, seconds, waiting, *self._count(), transfer))
