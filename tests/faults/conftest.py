"""Fixtures of the tests with faults: a host of their own, and runs of kvmplan that break."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.course import Course
from tests.faults.zygote import Zygote
from tests.privatehost import LabError, PrivateHost

NewCourse = Callable[[], Course]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test below this directory."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="module")
def fault_host() -> Iterator[PrivateHost]:
    """A private libvirt host whose daemon may die."""
    host = PrivateHost(f"pytest-{os.getpid()}-faults")
    try:
        host.up()
        yield host
    except LabError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    finally:
        host.down()


@pytest.fixture(scope="module")
def zygote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """The server of runs with faults."""
    server = Zygote(tmp_path_factory.mktemp("zygote"))
    yield server
    server.close()


@pytest.fixture(scope="module")
def new_course(
    fault_host: PrivateHost, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory
) -> NewCourse:
    """Makes courses, each at its beginning and with names of its own."""
    return lambda: Course(fault_host, tmp_path_factory.mktemp("course"), zygote)
