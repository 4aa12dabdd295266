"""Records that are still being read: the plan is made of the first while the last arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager

from kvmplan.address import Address
from kvmplan.apply.port import ConnectionLost
from kvmplan.host.threads import start
from kvmplan.inventory import Record

Deliver = Callable[[Record], None]
Waiting = Callable[[], AbstractContextManager[None]]
"""Makes what to wait in: it may turn what is raised there into something else."""

_LOOK_SECONDS = 1.0


def in_order(records: Mapping[Address, Record]) -> dict[Address, Record]:
    """Records by address: they arrive in any order, and nobody shall see that."""
    ordered = sorted(records, key=lambda address: (address.kind, address.name))
    return {address: records[address] for address in ordered}


class Arriving(Mapping[Address, Record]):
    """The records of a host. Asking for one waits until it is read, asking for all for the last.

    Any thread may ask. What the reading raises, asking for what is missing for it raises.
    """

    def __init__(
        self,
        here: dict[Address, Record],
        due: Set[Address],
        read: Callable[[Deliver], object],
        alive: Callable[[], bool],
        waiting: Waiting,
    ) -> None:
        """Begin to read.

        Args:
            here: what is read already.
            due: what will be, unless it vanishes.
            read: reads that and delivers each record.
            alive: whether the connections are.
            waiting: made for each time that someone has to wait.
        """
        self._here, self._due, self._read = here, due, read
        self._alive, self._waiting = alive, waiting
        self._came = threading.Condition()
        self._waiters = 0
        self._over = False
        self._reading = start(self._work)

    def __getitem__(self, address: Address) -> Record:
        found = self._here.get(address)
        if found is None and address in self._due:
            self._wait(address)
        return self._here[address] if found is None else found

    def __iter__(self) -> Iterator[Address]:
        self._wait(None)
        return iter(self._here)

    def __len__(self) -> int:
        self._wait(None)
        return len(self._here)

    def _work(self) -> None:
        try:
            self._read(self._deliver)
            self._here = in_order(self._here)
        finally:
            self._over = True
            self._wake()

    def _deliver(self, record: Record) -> None:
        self._here[record.address] = record
        # Whoever begins to wait after this line looks again before it sleeps.
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        with self._came:
            self._came.notify_all()

    def _wait(self, address: Address | None) -> None:
        with self._waiting():
            with self._came:
                self._waiters += 1
                try:
                    self._sleep(address)
                finally:
                    self._waiters -= 1
            if self._over and (address is None or address not in self._here):
                # It raises why the record is not there, if that is not that it has vanished.
                self._reading.result()

    def _sleep(self, address: Address | None) -> None:
        while not self._over and (address is None or address not in self._here):
            if not self._came.wait(_LOOK_SECONDS) and not self._alive():
                raise ConnectionLost("the daemon does not answer any more")
