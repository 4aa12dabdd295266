"""Every field of pools and volumes, changed, drifted, released, and replaced where it was born."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvmplan.address import Kind
from tests.integration.fields import NOTED, SILENT, Bench, Edit, Group, account, field_stack
from tests.integration.support import Stack, Tree, connection
from tests.privatehost import PrivateHost

UUID = "2b1d8f52-6a43-4c58-9a3a-0d6d3b0d3a01"
OFF = {"active": False, "build": False}


def born(path: str, before: Any, after: Any, *, released: bool = True) -> Edit:
    return Edit(path, before, after, NOTED, default=False, released=released)


POOLS = (
    Group(
        "dir",
        {},
        (
            born("path", "$dir/$own-a", "$dir/$own-b"),
            born("permissions mode", "0711", "0750"),
            Edit("permissions owner", 0, 1, SILENT, default=False),
            Edit("permissions group", 0, 1, SILENT, default=False),
            Edit("autostart", True, False, "live"),
        ),
    ),
    Group("kind", {"path": "$dir/$own", **OFF}, (born("type", "dir", "mpath"),)),
    Group(
        "fs",
        {"type": "fs", **OFF, "path": "$dir/$own"},
        (
            born("source devices", ["/dev/kvmplan-a"], ["/dev/kvmplan-b"]),
            born("source format", "ext4", "xfs"),
        ),
    ),
    Group(
        "netfs",
        {"type": "netfs", **OFF, "path": "$dir/$own"},
        (
            born("source hosts", ["192.0.2.1"], ["192.0.2.2"]),
            born("source dir", "/one", "/two"),
            born("source format", "nfs", "cifs"),
        ),
    ),
    Group(
        "logical",
        {"type": "logical", **OFF},
        (born("source name", "one", "two"), born("path", "/dev/one", "/dev/two")),
    ),
    Group(
        "iscsi",
        {
            "type": "iscsi",
            **OFF,
            "path": "/dev/disk/by-path",
            "source": {
                "hosts": ["192.0.2.3:3261"],
                "devices": ["iqn.2026-01.org.example:t"],
                "auth": {"type": "chap"},
            },
        },
        (
            born("source initiator", "iqn.2026-01.org.example:a", "iqn.2026-01.org.example:b"),
            born("source auth username", "a", "b", released=False),
            born("source auth secret", "$tag/a", UUID, released=False),
        ),
    ),
    Group(
        "scsi",
        {"type": "scsi", **OFF, "path": "/dev/disk/by-path"},
        (born("source adapter name", "scsi_host31", "scsi_host32"),),
    ),
    Group("build", {"path": "$dir/$own"}, (Edit("build", True, False, SILENT),)),
)
VOLUMES = (
    Group("raw.img", {"format": "raw"}, (Edit("capacity", "1MiB", "2MiB", "live", default=False),)),
    Group("cow.qcow2", {}, (Edit("capacity", "1MiB", "2MiB", "live", default=False),)),
    Group(
        "born.img",
        {"capacity": "1MiB"},
        (
            born("format", "raw", "qcow2"),
            Edit("allocation", "0B", "1MiB", SILENT, default=False),
            born("permissions mode", "0600", "0640"),
            Edit("permissions owner", 0, 1, SILENT, default=False),
            Edit("permissions group", 0, 1, SILENT, default=False),
        ),
    ),
    Group("over.qcow2", {}, (born("backing volume", "$tag/a.qcow2", "$tag/b.qcow2"),)),
    Group(
        "path.qcow2",
        {},
        (
            born("backing path", "$dir/pool/a.qcow2", "$dir/pool/c.img"),
            born("backing format", "qcow2", "raw"),
        ),
    ),
    Group("clone.qcow2", {}, (born("clone", "$tag/a.qcow2", "$tag/b.qcow2"),)),
)
CANNOT_POOL = {
    "permissions label": "libvirt keeps it for files with a security driver only",
    "source auth type": "chap goes with iSCSI and ceph with RBD: neither can be edited",
    "source adapter type": "its fields go with the type: see test_kinds_pools",
    "source adapter parent": "of a Fibre Channel adapter, looked for: see test_kinds_pools",
    "source adapter wwnn": "the same",
    "source adapter wwpn": "the same",
    "active": "tried in test_main_drift: what was stopped is started again",
}
CANNOT_VOLUME = {
    "permissions label": "libvirt keeps it for files with a security driver only",
    "encryption format": "there is one: luks",
    "encryption secret": "libvirt forgets it: tried in test_main_storage",
    "content": "no plan shows it: tried in test_main_images",
    "seed": "of the stack's own volumes alone: tried in test_main_cloud",
    **dict.fromkeys(
        [f"source {name}" for name in ("url", "file", "host_path", "checksum", "max_size")],
        "tried in test_main_images",
    ),
}


def surroundings(made: Stack) -> Tree:
    """What the volumes of the table refer to."""
    return {
        "pools": {made.tag: {"path": str(made.directory / "pool")}},
        "volumes": {
            f"{made.tag}/a.qcow2": {"capacity": "1MiB"},
            f"{made.tag}/b.qcow2": {"capacity": "1MiB"},
            f"{made.tag}/c.img": {"capacity": "1MiB", "format": "raw"},
        },
    }


@pytest.fixture(scope="module", params=[Kind.POOL, Kind.VOLUME], ids=str)
def bench(
    private_host: PrivateHost,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("fields")
    with field_stack(directory, private_host) as made, connection(private_host) as conn:
        if request.param is Kind.POOL:
            bench = Bench(made, conn, Kind.POOL, POOLS)
        else:
            bench = Bench(made, conn, Kind.VOLUME, VOLUMES, key="$tag/$name")
            bench.others |= surroundings(made)
        bench.turn("before")
        made.apply()
        yield bench


def test_every_field_has_a_line(summaries: Path) -> None:
    account(Kind.POOL, POOLS, CANNOT_POOL, summaries)
    account(Kind.VOLUME, VOLUMES, CANNOT_VOLUME, summaries)


def test_what_was_born_is_in_sync(bench: Bench) -> None:
    bench.stack.in_sync()


def test_every_field_changes(bench: Bench) -> None:
    bench.turn("after")
    bench.check_change()
    bench.stack.apply()
    bench.stack.in_sync()


def test_every_field_drifts(bench: Bench) -> None:
    bench.undo()
    bench.check_drift()
    bench.stack.apply()
    bench.stack.in_sync()


def test_what_was_born_is_replaced_on_request(bench: Bench) -> None:
    flags = ["--replace", f"{bench.kind}.*", "--allow-data-loss", "volume.*"]
    if bench.kind is Kind.POOL:
        flags = ["--replace", "pool.*"]
    bench.stack.apply(*flags)
    bench.stack.in_sync()
    notes = {item["address"]: item["notes"] for item in bench.plan()["resource_changes"]}
    assert not {address: found for address, found in notes.items() if found}


def test_every_field_is_released(bench: Bench) -> None:
    bench.turn("released")
    bench.stack.in_sync()


def test_every_field_goes_back_to_its_birth(bench: Bench) -> None:
    bench.turn("default")
    bench.stack.apply()
    bench.stack.in_sync()


@pytest.mark.parametrize("format_", ["raw", "qcow2"])
def test_a_smaller_capacity_is_data_loss(
    private_host: PrivateHost, tmp_path: Path, format_: str
) -> None:
    with field_stack(tmp_path, private_host) as made:
        name = f"{made.tag}/disk.img"
        made.specs["pools"] = {made.tag: {"path": str(tmp_path / "pool")}}
        made.specs["volumes"] = {name: {"capacity": "2MiB", "format": format_}}
        made.apply()
        made.volumes[name]["capacity"] = "1MiB"
        assert "data-loss" in made.apply(code=7).out
        made.apply("--allow-data-loss", f"volume.{name}")
        made.in_sync()
