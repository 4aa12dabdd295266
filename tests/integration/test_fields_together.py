"""Fields that lean on each other: what one needs of another is made, and what it forbids goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import Stack, connection, document, idle_domain, stack
from tests.privatehost import PrivateHost

REMOVE = {"lifecycle": {"unlisted": "remove"}}


@pytest.fixture
def made(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path, private_host, domains={}) as made:
        yield made


def given(made: Stack, **fields: Any) -> None:
    """The one domain of a stack, of these fields."""
    made.domains[made.tag] = idle_domain(**fields)


def test_controllers_and_timers_that_nobody_asked_for_stay(made: Stack) -> None:
    fields: dict[str, Any] = {
        "controllers": {"scsi1": {"model": "virtio-scsi"}},
        "clock": {"timers": {"tsc": {"present": False}}},
    }
    given(made, **fields)
    made.apply()
    assert "nlisted" not in made.in_sync().out
    given(made, **fields, **REMOVE)
    made.in_sync()
    given(made, controllers={}, clock={"timers": {}}, **REMOVE)
    planned = made.settle()
    assert [line.split()[0] for line in planned.out.splitlines() if "- " in line] == [
        "clock.timers.tsc",
        "controllers.scsi1",
    ]


def test_a_new_domain_keeps_its_controllers(made: Stack) -> None:
    given(made, controllers={"scsi1": {"model": "virtio-scsi"}}, **REMOVE)
    made.apply()
    made.in_sync()


@pytest.mark.parametrize("tpm", ["1.2", {"version": "1.2"}])
def test_a_tpm_has_a_device_of_its_version(made: Stack, tpm: Any) -> None:
    given(made, tpm=tpm)
    made.apply()
    made.in_sync()
    given(made, tpm="2.0")
    made.settle()
    given(made, tpm=tpm)
    made.settle()


@pytest.mark.parametrize("backing", [None, {"source": "file"}, {"nosharepages": True}])
def test_a_directory_comes_by_virtiofs(
    made: Stack, private_host: PrivateHost, backing: dict[str, Any] | None
) -> None:
    more = {} if backing is None else {"memory_backing": backing}
    shared: dict[str, Any] = {"source": "/srv", "accessmode": "mapped"}
    given(made, filesystems={"share": shared}, **more)
    made.apply()
    shared = {"source": "/srv", "driver": "virtiofs"}
    given(made, filesystems={"share": shared}, **more)
    made.settle()
    with connection(private_host) as conn:
        found = document(conn.lookupByName(made.tag)).find("memoryBacking")
    assert found.find("access").get("mode") == "shared"
    assert found.find("source").get("type") == (backing or {}).get("source", "memfd")
    shared["driver"] = "path"
    given(made, filesystems={"share": shared}, **more)
    made.settle()
