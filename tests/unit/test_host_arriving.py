"""Records that are still being read: whoever asks for one waits for that one, or gets the error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import pytest

from kvmplan.address import Address, Kind
from kvmplan.apply.port import ConnectionLost
from kvmplan.host import arriving
from kvmplan.host.arriving import Arriving, Deliver
from kvmplan.inventory import Record

A, B, GONE, NEVER = (Address("local", Kind.DOMAIN, name) for name in ("a", "b", "gone", "never"))
POOL = Address("local", Kind.POOL, "p")


def record(address: Address) -> Record:
    return Record(address, address.name, "<domain/>")


def arrive(read: Callable[[Deliver], object], alive: Callable[[], bool] = lambda: True) -> Arriving:
    return Arriving({POOL: record(POOL)}, {A, B, GONE}, read, alive, nullcontext)


def test_one_is_waited_for_and_no_other() -> None:
    rest = threading.Event()

    def read(deliver: Deliver) -> None:
        deliver(record(B))
        rest.wait(10)
        deliver(record(A))

    records = arrive(read)
    assert records[POOL].key == "p"
    assert records.get(B) == record(B)
    assert records.get(NEVER) is None, "what nobody reads is not waited for"
    rest.set()
    assert list(records) == [A, B, POOL], "in order, whatever came first"
    assert len(records) == 3
    assert records.get(GONE) is None, "it vanished before it was read"


def test_who_waits_is_woken() -> None:
    go = threading.Event()

    def read(deliver: Deliver) -> None:
        go.wait(10)
        deliver(record(A))
        deliver(record(B))

    records = arrive(read)
    threading.Timer(0.05, go.set).start()
    assert records[B] == record(B)


def test_errors_of_reading_come_out_where_something_is_missing() -> None:
    def read(deliver: Deliver) -> None:
        deliver(record(A))
        raise ValueError("broken")

    waits: list[str] = []

    @contextmanager
    def waiting() -> Iterator[None]:
        waits.append("begun")
        with pytest.raises(ValueError, match="broken"):
            yield
        raise LookupError("translated")

    records = Arriving({}, {A, B}, read, lambda: True, waiting)
    with pytest.raises(LookupError, match="translated"):
        records.get(B)
    assert records[A] == record(A)
    with pytest.raises(LookupError, match="translated"):
        list(records)
    assert waits == ["begun"] * 2


def test_a_dead_connection_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "_LOOK_SECONDS", 0.01)
    go = threading.Event()
    records = arrive(lambda deliver: go.wait(10), alive=lambda: False)
    with pytest.raises(ConnectionLost):
        records.get(A)
    go.set()
