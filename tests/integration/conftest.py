"""Fixtures of the tests against a real libvirtd, which the suite starts itself.

Nothing is skipped here: without root or without the packages these tests fail and say why.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from tests.integration.canary import below
from tests.integration.support import SECRETS, connection
from tests.privatehost import LabError, PrivateHost, TinyGuest
from tests.privatehost import tiny_guest as build_tiny_guest
from tests.privatehost.host import hosts

_PREFIX = "pytest"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test below this directory, so that `-m "not integration"` leaves them out."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.integration)


def host_name(purpose: str) -> str:
    """Return a name for a host of this very process, so that sessions and workers never meet."""
    return f"{_PREFIX}-{os.getpid()}-{purpose}"


@pytest.fixture(scope="session")
def private_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateHost]:
    """A private libvirt host, one for each worker, removed at the end.

    No secret of the session may be left in any log of it, nor in any file that a test has left.
    """
    _remove_orphans()
    with _up(host_name("shared")) as host:
        yield host
        folders = (host.directory / "log", tmp_path_factory.getbasetemp())
        found = [file for folder in folders for file in below(folder, sorted(SECRETS))]
        assert not found, f"these hold a secret: {found}"


@pytest.fixture
def conn(private_host: PrivateHost) -> Iterator[libvirt.virConnect]:
    """A connection of the test's own to the private host."""
    with connection(private_host) as opened:
        yield opened


@pytest.fixture
def own_host() -> Iterator[PrivateHost]:
    """A private libvirt host for one test that kills, restarts or fills it."""
    with _up(host_name("own")) as host:
        yield host


@pytest.fixture(scope="session")
def tiny_guest() -> TinyGuest:
    """The tiny guest's kernel and initramfs."""
    try:
        return build_tiny_guest()
    except LabError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@contextlib.contextmanager
def _up(name: str) -> Iterator[PrivateHost]:
    host = PrivateHost(name)
    try:
        host.up()
    except LabError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    try:
        yield host
    finally:
        host.down()


def _remove_orphans() -> None:
    """Remove the hosts of test sessions that were killed before they could do it."""
    for host in hosts():
        prefix, _, rest = host.name.partition("-")
        pid = rest.partition("-")[0]
        if prefix == _PREFIX and pid.isdigit() and not Path("/proc", pid).exists():
            host.down()
