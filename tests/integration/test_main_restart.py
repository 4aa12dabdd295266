"""Restarts: only with their word, one after another, and none after one that went wrong."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.integration.support import (
    Stack,
    connection,
    document,
    idle_domain,
    network,
    stack,
    subnet,
)
from tests.privatehost import PrivateHost

ALL = ("--allow-restart", "all")


class Guests:
    """A stack of three running domains without a system: they go down by force only."""

    def __init__(self, made: Stack, conn: libvirt.virConnect) -> None:
        self.stack, self.conn = made, conn
        self.names = [f"{made.tag}-{letter}" for letter in "abc"]

    def domain(self, name: str) -> libvirt.virDomain:
        return self.conn.lookupByName(name)

    @property
    def ids(self) -> list[int]:
        return [self.domain(name).ID() for name in self.names]

    def nvram(self, domain: libvirt.virDomain) -> str:
        """The inode of its NVRAM file."""
        assert self.stack.host is not None
        path = document(domain, 0).findtext("os/nvram")
        return self.stack.host.run(["stat", "-c", "%i", path]).stdout

    def maximum(self, size: str) -> None:
        for name in self.names:
            self.stack.domains[name]["memory"] = {"current": "64MiB", "maximum": size}


def guest(**more: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "memory": {"current": "64MiB", "maximum": "64MiB"},
        "on_change": "restart",
        "shutdown_timeout": "1s",
        "force": True,
        "state": "running",
        **more,
    }
    return idle_domain(**fields)


@pytest.fixture
def guests(private_host: PrivateHost, tmp_path: Path) -> Iterator[Guests]:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        found = Guests(made, conn)
        made.specs["domains"] = {name: guest() for name in found.names}
        made.specs["domains"][found.names[0]] |= {"autostart": True, "firmware": "uefi"}
        made.apply()
        yield found


def test_a_few_at_a_time_and_one_after_another(guests: Guests) -> None:
    made, before = guests.stack, guests.ids
    first = guests.domain(guests.names[0])
    inode = guests.nvram(first)
    redefine = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
    first.snapshotCreateXML(
        "<domainsnapshot><name>kept</name><state>shutoff</state><creationTime>1</creationTime>"
        f"{first.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)}</domainsnapshot>",
        redefine,
    )
    guests.maximum("96MiB")
    refused = made.apply(code=7)
    assert refused.err.count("KVP217") == 3
    assert guests.ids == before
    done = made.apply(*ALL, "--max-restarts", "2", "--json")
    order = [
        (event["type"], event["hook"]["resource"]["resource_name"][-1])
        for event in done.events
        if event["type"] in ("apply_start", "apply_complete")
    ]
    restarted = [entry for entry in order if entry[1] in "ab"]
    assert restarted == [
        ("apply_start", "a"),
        ("apply_complete", "a"),
        ("apply_start", "b"),
        ("apply_complete", "b"),
    ]
    now = guests.ids
    assert (now[0] > before[0], now[1] > now[0], now[2] == before[2]) == (True, True, True)
    assert first.autostart() == 1
    assert first.snapshotListNames() == ["kept"]
    assert guests.nvram(first) == inode
    planned = made.plan("--allow-restart", f"domain.{made.tag}-*")
    assert planned.code == 2
    pending = planned.out.partition("Pending restart (1)")[2]
    assert f"domain.{guests.names[2]}  since 20" in pending
    status = made.run("status")
    assert "pending restart since 20" in status.out
    made.apply("--allow-restart", f"domain.{made.tag}-*")
    assert guests.ids[:2] == now[:2]
    assert "Pending restart" not in made.in_sync().out
    first.snapshotLookupByName("kept").delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)


def test_one_that_does_not_come_back_stops_the_rest(guests: Guests) -> None:
    made, (a, b, c) = guests.stack, guests.names
    disk = made.directory / "b.raw"
    disk.write_bytes(bytes(2**20))
    made.domains[b]["disks"] = {"vda": {"file": str(disk), "format": "raw"}}
    made.apply()
    disk.rename(disk.with_suffix(".away"))
    guests.maximum("96MiB")
    before = guests.ids
    done = made.apply(*ALL, code=5)
    assert guests.domain(a).ID() > before[0]
    assert "KVP609" in done.out
    assert "was shut down for its restart and does not start" in done.out
    assert f"skipped domain.{c} (no further restarts after the one of domain.{b})" in done.out
    assert guests.domain(c).ID() == before[2]
    assert document(guests.domain(c)).findtext("memory") == "65536"
    del made.domains[b]["state"]
    planned = made.plan(*ALL)
    assert "a restart was cut while it was down: it is started again" in planned.out
    disk.with_suffix(".away").rename(disk)
    made.apply(*ALL)
    assert guests.domain(b).isActive()
    assert guests.domain(c).ID() > before[2]
    assert "Pending restart" not in made.in_sync().out


def test_without_force_a_guest_that_stays_up_runs_on(guests: Guests) -> None:
    made, a = guests.stack, guests.names[0]
    made.domains[a]["force"] = False
    before = guests.domain(a).ID()
    made.domains[a]["memory"] = {"current": "64MiB", "maximum": "96MiB"}
    done = made.apply(*ALL, code=5)
    assert "it runs on as it was, and gets the change at its next start" in done.out
    assert guests.domain(a).ID() == before
    assert document(guests.domain(a)).findtext("memory") == str(96 * 1024)
    waiting = made.plan()
    assert f"domain.{a}  since 20" in waiting.out.partition("Pending restart (1)")[2]
    made.domains[a]["force"] = True
    made.apply(*ALL)
    assert guests.domain(a).ID() > before
    assert "Pending restart" not in made.in_sync().out


def test_a_saved_guest_is_pending_and_its_image_is_kept(guests: Guests) -> None:
    made, a = guests.stack, guests.names[0]
    del made.domains[a]["state"]
    made.domains[a].pop("firmware")
    domain = guests.domain(a)
    domain.managedSave(0)
    made.domains[a]["memory"] = {"current": "64MiB", "maximum": "96MiB"}
    made.apply(*ALL)
    assert domain.hasManagedSaveImage() == 1
    saved = " ".join(made.plan().out.partition("Pending restart (1)")[2].split())
    assert "memory.maximum" in saved
    assert "saved: its next start goes on" in saved
    domain.create()
    before = domain.ID()
    done = made.apply(*ALL)
    assert guests.domain(a).ID() > before, str(done)
    assert "Pending restart" not in made.in_sync().out


EXPANDED: dict[str, dict[str, Any]] = {
    "cpu.model": {"cpu": "Nehalem"},
    "numa.cells.0": {
        "numa": {"cells": {"0": {"cpus": "0", "memory": "32MiB"}}},
        "vcpus": 2,
    },
    "features.smm": {"features": {"smm": False}},
    "interfaces.eth0.mtu": {"mtu": 1300},
}
"""Fields whose running value libvirt expands: nobody can tell from the outside what runs."""


def boot(guests: Guests, *fields: str) -> dict[str, Any]:
    """Start the second guest with fields that libvirt expands, and edit some of them."""
    made, b = guests.stack, guests.names[1]
    made.specs["networks"] = {f"{made.tag}-lan": network(subnet())}
    spec: dict[str, Any] = made.domains[b]
    nic = {"network": f"{made.tag}-lan", "mtu": 1400}
    spec |= {"cpu": "qemu64", "vcpus": 2, "features": {"smm": True}, "interfaces": {"eth0": nic}}
    spec["video"] = "vga"
    spec["numa"] = {"cells": {"0": {"cpus": "0-1", "memory": "64MiB"}}}
    guests.domain(b).destroy()
    made.apply()
    made.in_sync()
    for name in fields:
        edit = copy.deepcopy(EXPANDED[name])
        if "numa" in edit:
            edit["numa"]["cells"]["1"] = {"cpus": "1", "memory": "32MiB"}
        nic["mtu"] = edit.pop("mtu", nic["mtu"])
        spec |= edit
    return spec


def test_what_no_running_document_tells_is_pending_until_the_guest_was_off(
    guests: Guests, private_host: PrivateHost
) -> None:
    made, b = guests.stack, guests.names[1]
    spec = boot(guests, *EXPANDED)
    before = guests.domain(b).ID()
    spec["on_change"] = "next-boot"
    done = made.apply()
    assert "waiting for restart" in done.out
    for _ in range(2):
        told = made.in_sync().out.partition("Pending restart (1)")[2]
        assert all(name in told for name in (*EXPANDED, "numa.cells.1")), told
        assert "cpu.model running with qemu64, defined as Nehalem" in " ".join(told.split())
        assert "pending restart since 20" in made.run("status").out
        private_host.restart()
    with connection(private_host) as conn:
        guests.conn = conn
        assert guests.domain(b).ID() == before
        restarts_for_it(guests, before)


def restarts_for_it(guests: Guests, before: int) -> None:
    made, b = guests.stack, guests.names[1]
    assert document(guests.domain(b)).find("metadata/{*}with") is None
    made.domains[b]["on_change"] = "restart"
    planned = made.plan(*ALL)
    assert planned.code == 2
    assert "forces restart" in planned.out
    made.apply(*ALL)
    assert guests.domain(b).ID() > before
    assert "Pending restart" not in made.in_sync().out


@pytest.mark.parametrize("field", sorted(EXPANDED))
def test_a_restart_for_what_no_running_document_tells_takes_place(
    guests: Guests, field: str
) -> None:
    made, b = guests.stack, guests.names[1]
    boot(guests, field)
    before = guests.domain(b).ID()
    done = made.apply(*ALL)
    assert guests.domain(b).ID() > before, str(done)
    assert "not restarted" not in done.out
    assert "Pending restart" not in made.in_sync().out


def test_a_guest_that_was_off_meanwhile_is_not_pending_and_not_restarted(guests: Guests) -> None:
    made, b = guests.stack, guests.names[1]
    boot(guests, "cpu.model")["on_change"] = "next-boot"
    made.apply()
    saved = guests.domain(b)
    saved.managedSave(0)
    saved.create()
    assert "cpu.model" in made.in_sync().out.partition("Pending restart (1)")[2]
    saved.destroy()
    saved.create()
    assert "Pending restart" not in made.in_sync().out


def test_a_pending_field_that_is_edited_again_is_still_told(guests: Guests) -> None:
    made, b = guests.stack, guests.names[1]
    spec = boot(guests, "cpu.model")
    spec["on_change"] = "next-boot"
    spec["video"] = "virtio"
    made.apply()
    before = guests.domain(b).ID()
    spec |= {"cpu": "Westmere", "video": "cirrus"}
    planned = made.plan()
    assert "Nehalem -> Westmere" in planned.out
    told = " ".join(planned.out.partition("Pending restart (1)")[2].split())
    assert "cpu.model running with qemu64, defined as Nehalem" in told
    assert "video running with vga, defined as virtio" in told
    made.apply()
    told = " ".join(made.in_sync().out.partition("Pending restart (1)")[2].split())
    assert "cpu.model running with qemu64, defined as Westmere" in told

    spec |= {"cpu": "qemu64", "video": "vga", "on_change": "restart"}
    made.apply()
    assert "Pending restart" not in made.in_sync().out
    assert guests.domain(b).ID() == before


def test_a_restart_names_what_was_released_while_it_waited(guests: Guests) -> None:
    made, b = guests.stack, guests.names[1]
    spec = boot(guests, "cpu.model")
    spec |= {"on_change": "next-boot", "video": "virtio"}
    made.apply()
    before = guests.domain(b).ID()
    del spec["video"], spec["cpu"]
    spec["title"] = "live"
    made.apply()
    assert "Pending restart" not in made.in_sync().out
    spec["on_change"] = "restart"
    assert "restart:" not in made.in_sync().out
    spec["features"] = {"smm": False}
    planned = made.plan(*ALL)
    told = " ".join(planned.out.split())
    assert "released while it waited for that takes effect, too: cpu.model, video" in told
    made.apply(*ALL)
    assert guests.domain(b).ID() > before
    spec["features"] = {"smm": True}
    assert "released while it waited" not in made.plan(*ALL).out
