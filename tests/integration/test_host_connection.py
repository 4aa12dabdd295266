"""Connections that end, hang or may not write."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmplan.apply.port import ConnectionLost
from kvmplan.host import connection, diagnose, open_host
from kvmplan.host.live import LibvirtHost
from kvmplan.inventory import Wanted
from tests.privatehost import PrivateHost

NOTHING = Wanted(frozenset())


@pytest.fixture
def host(own_host: PrivateHost) -> Iterator[LibvirtHost]:
    opened = open_host(uri=own_host.uri)
    yield opened
    opened.close()


def test_a_daemon_killed_in_mid_use_is_a_lost_connection(
    host: LibvirtHost, own_host: PrivateHost
) -> None:
    host.inventory(NOTHING)
    errors: list[ConnectionLost] = []

    def use() -> None:
        try:
            while True:
                host.inventory(NOTHING)
        except ConnectionLost as error:
            errors.append(error)

    users = [threading.Thread(target=use) for _ in range(3)]
    for user in users:
        user.start()
    own_host.kill()
    for user in users:
        user.join(30)
    assert len(errors) == 3
    assert diagnose(errors[0], "local", own_host.uri).code == "KVP504"
    own_host.restart()
    with pytest.raises(ConnectionLost):
        host.inventory(NOTHING)
    again = open_host(uri=own_host.uri)
    again.inventory(NOTHING)
    again.close()


def test_a_lock_ends_quietly_when_its_host_is_gone(
    host: LibvirtHost, own_host: PrivateHost
) -> None:
    with host.lock("stack", "apply", 0) as lock:
        own_host.kill()
        with pytest.raises(ConnectionLost):
            lock.check()


def test_a_frozen_daemon_is_an_error_and_no_hang(
    own_host: PrivateHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr(connection, "KEEPALIVE_MISSES", 2)
    host = open_host(uri=own_host.uri)
    host.inventory(NOTHING)
    daemon = daemon_of(own_host)
    os.kill(daemon, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(ConnectionLost):
            host.inventory(NOTHING)
        assert time.monotonic() - start < 15
    finally:
        os.kill(daemon, signal.SIGCONT)
        host.close()


def daemon_of(host: PrivateHost) -> int:
    """The pid of the host's own libvirtd: the one in its network namespace."""
    mine = Path(f"/proc/{host.pid}/ns/net").readlink()
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "comm").read_text() == "libvirtd\n" and (path / "ns/net").readlink() == mine:
                return int(path.name)
        except OSError:
            continue
    raise AssertionError("the host has no libvirtd")
