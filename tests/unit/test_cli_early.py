"""Hosts are read while the specs are loaded, and that shows in nothing but the time it takes."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kvmplan.cli import session as sessions
from kvmplan.cli.early import reading_goes_on, suffices
from kvmplan.cli.session import Session, open_session, read_hosts
from kvmplan.diagnostics import Failure, fail
from kvmplan.inventory import Claim, Claims, Inventory, Wanted
from tests.unit.fakehost import FACTS, STACK, short

SPEC = f"""\
stack: {{name: lab, uid: {STACK}}}
pools: {{vms: {{path: /pools/vms}}}}
volumes: {{vms/a: {{capacity: 1GiB}}}}
"""
A = short("volume.vms/a")


class Reads:
    """A host that notes what it is asked for."""

    def __init__(self, claimed: bool) -> None:
        entries = {A.short: Claim(A.short, "/pools/vms/a")} if claimed else {}
        claims = Claims(STACK, "lab", entries)
        names = {A.kind: {A.name: "/pools/vms/a"}}
        self.found = Inventory("local", FACTS, {}, names, claims)
        self.asked: list[Wanted] = []
        self.uri = FACTS.uri
        self.closed = threading.Event()

    def inventory(self, wanted: Wanted, **_: Any) -> Inventory:
        self.asked.append(wanted)
        return self.found

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Session]:
    def open_(host: Any, spec: str = SPEC) -> Session:
        (tmp_path / "lab.yaml").write_text(spec)

        def connect(*_: Any, **__: Any) -> dict[str, Any]:
            if host is None:
                raise fail("KVP502", "nobody answers")
            return {"local": host}

        monkeypatch.setattr(sessions, "connect_hosts", connect)
        return open_session(
            str(tmp_path), (), (), connect=None, read_only=False, on_unreachable="fail", reads=True
        )

    return open_


def test_what_is_claimed_is_read_once(opened: Callable[..., Session]) -> None:
    host = Reads(claimed=True)
    session = opened(host)
    assert read_hosts(session) == {"local": host.found}
    assert [wanted.addresses for wanted in host.asked] == [frozenset()]
    read_hosts(session)
    assert len(host.asked) == 2, "a second plan looks again"


def test_what_is_there_and_not_claimed_is_read_again(opened: Callable[..., Session]) -> None:
    host = Reads(claimed=False)
    read_hosts(opened(host))
    assert [wanted.addresses for wanted in host.asked] == [frozenset(), frozenset({A})]


def test_what_could_not_be_listed_or_has_secrets_is_read_again() -> None:
    found = Reads(claimed=True).found
    wanted = Wanted(frozenset({A}))
    assert suffices(found, wanted)
    assert not suffices(
        Inventory("local", FACTS, {}, found.names, found.claims, (), ("!",)), wanted
    )
    assert not suffices(found, Wanted(frozenset({A}), frozenset({A})))


def test_wrong_specs_come_first_and_leave_nothing_open(opened: Callable[..., Session]) -> None:
    host = Reads(claimed=True)
    with pytest.raises(Failure) as caught:
        opened(host, SPEC + "networks: {lan: {nonsense: 1}}\n")
    assert [found.code for found in caught.value.diagnostics] == ["KVP104"]
    assert host.closed.wait(10)
    with pytest.raises(Failure) as caught:
        opened(None, SPEC + "networks: {lan: {nonsense: 1}}\n")
    assert [found.code for found in caught.value.diagnostics] == ["KVP104"]


def test_wrong_specs_do_not_wait_for_a_host(opened: Callable[..., Session]) -> None:
    answers = threading.Event()

    class Slow(Reads):
        def inventory(self, wanted: Wanted, **_: Any) -> Inventory:
            answers.wait(30)
            return self.found

    host = Slow(claimed=True)
    with pytest.raises(Failure):
        opened(host, SPEC + "networks: {lan: {nonsense: 1}}\n")
    assert not host.closed.is_set()
    answers.set()
    assert host.closed.wait(10)


def test_a_host_that_does_not_answer_is_told(opened: Callable[..., Session]) -> None:
    with pytest.raises(Failure) as caught:
        opened(None)
    assert [found.code for found in caught.value.diagnostics] == ["KVP502"]


def test_the_interpreter_is_as_before() -> None:
    before = sys.getswitchinterval()
    with reading_goes_on():
        assert sys.getswitchinterval() < before
    assert sys.getswitchinterval() == before
