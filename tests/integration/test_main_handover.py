"""Disks that running guests hold, and definitions that must be right at every step between."""

from __future__ import annotations

import fcntl
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import libvirt
import pytest

from kvmplan.host import actuators_device
from tests.integration.support import Run, Stack, connection, document, idle_domain, stack
from tests.privatehost import PrivateHost

RUNNING, PERSISTENT = 0, libvirt.VIR_DOMAIN_XML_INACTIVE
WRITE_LOCK = 201
"""The byte of an image that tells QEMU that another one does not share writing to it."""


@dataclass
class Guests:
    """Running guests without a system, and volumes x and y; USB disks leave them at once."""

    stack: Stack
    conn: libvirt.virConnect

    def spec(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.stack.domains[self.name(name)]
        return found

    def name(self, name: str) -> str:
        return f"{self.stack.tag}{name}"

    def disk(self, volume: str, bus: str = "usb", **more: Any) -> dict[str, Any]:
        return {"volume": f"{self.stack.tag}/{volume}", "bus": bus, **more}

    def domain(self, name: str) -> libvirt.virDomain:
        return self.conn.lookupByName(self.name(name))

    def disks(self, name: str, flags: int) -> dict[str, str]:
        """The volumes of a guest, by target."""
        found = document(self.domain(name), flags).iterfind("devices/disk")
        return {
            disk.find("target").get("dev"): disk.find("source").get("file").rpartition("/")[2]
            for disk in found
        }

    def both(self, name: str) -> tuple[dict[str, str], dict[str, str]]:
        return self.disks(name, RUNNING), self.disks(name, PERSISTENT)

    def restart(self, *names: str) -> None:
        """Off all at once, then on."""
        for name in names:
            self.domain(name).destroy()
        for name in names:
            self.domain(name).create()


@pytest.fixture
def guests(private_host: PrivateHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guests]:
    directory = tmp_path_factory.mktemp("handover")
    with stack(directory, private_host) as made, connection(private_host) as conn:
        tag = made.tag
        guest = {"state": "running", "machine": "q35", "shutdown_timeout": "1s", "force": True}
        made.specs |= {
            "pools": {tag: {"path": str(directory / "pool")}},
            "volumes": {f"{tag}/{name}": {"capacity": "8MiB"} for name in "xy"},
            "domains": {f"{tag}{name}": idle_domain(**guest, disks={}) for name in "abc"},
        }
        yield Guests(made, conn)


def impacts(run: Run) -> str:
    return run.out.rpartition("Impact: ")[2].splitlines()[0]


def test_a_disk_moves_between_running_guests_and_two_swap(guests: Guests) -> None:
    guests.spec("c")["disks"] = {"sdb": guests.disk("x")}
    guests.spec("b")["disks"] = {"sdb": guests.disk("y")}
    guests.stack.apply()
    guests.spec("a")["disks"] = {"sdc": guests.disk("x")}
    guests.spec("c")["disks"] = {}
    assert impacts(guests.stack.settle()) == "2 live"
    assert guests.both("a") == ({"sdc": "x"}, {"sdc": "x"})
    assert guests.both("c") == ({}, {})
    guests.spec("a")["disks"] = {"sdb": guests.disk("y")}
    guests.spec("b")["disks"] = {"sdc": guests.disk("x")}
    assert impacts(guests.stack.settle()) == "2 live"
    assert guests.both("a") == ({"sdb": "y"}, {"sdb": "y"})
    assert guests.both("b") == ({"sdc": "x"}, {"sdc": "x"})


def test_what_another_guest_gives_up_at_its_next_boot_is_taken_at_the_next_boot(
    guests: Guests,
) -> None:
    guests.spec("b")["disks"] = {"sdb": guests.disk("x", "sata")}
    guests.stack.apply()
    guests.spec("a").update({"title": "told", "disks": {"sdc": guests.disk("x")}})
    guests.spec("b")["disks"] = {}
    planned = guests.stack.settle()
    assert impacts(planned) == "2 next-boot"
    assert f"domain.{guests.name('b')} runs with" in " ".join(planned.out.split())
    assert guests.both("a") == ({}, {"sdc": "x"})
    assert document(guests.domain("a"), RUNNING).findtext("title") == "told"
    # Neither is it taken in a later run, nor is another guest started on it.
    guests.spec("a")["disks"] = {}
    guests.spec("c").update({"disks": {"sdd": guests.disk("x")}})
    assert impacts(guests.stack.settle()) == "2 next-boot"
    guests.spec("c")["state"] = "stopped"
    guests.stack.apply()
    guests.spec("c")["state"] = "running"
    refused = guests.stack.plan()
    assert refused.code == 1
    assert "KVP132" in refused.out + refused.err
    guests.restart("b")
    guests.stack.settle()
    assert guests.both("c") == ({"sdd": "x"}, {"sdd": "x"})


def test_a_volume_under_another_target_of_the_same_guest_waits_for_its_next_boot(
    guests: Guests,
) -> None:
    guests.spec("a")["disks"] = {"sdb": guests.disk("x"), "sdd": guests.disk("y")}
    guests.stack.apply()
    guests.spec("a")["disks"] = {"sdb": guests.disk("y"), "sdd": guests.disk("x")}
    guests.stack.settle()
    guests.spec("a")["disks"] = {"sdd": guests.disk("x")}
    assert impacts(guests.stack.settle()) == "1 live"
    assert guests.both("a") == ({"sdd": "y"}, {"sdd": "x"})
    guests.spec("a")["disks"] = {"sdb": guests.disk("y"), "sdd": guests.disk("x")}
    assert impacts(guests.stack.settle()) == "1 next-boot"
    guests.restart("a")
    assert guests.both("a")[0] == {"sdb": "y", "sdd": "x"}


def test_what_something_unknown_holds_is_taken_at_the_next_boot_and_said(guests: Guests) -> None:
    guests.stack.apply()
    guests.spec("a")["disks"] = {"sdb": guests.disk("x")}
    with (guests.stack.directory / "pool" / "x").open("rb") as image:
        lock = struct.pack("hhqqi", fcntl.F_RDLCK, 0, WRITE_LOCK, 1, 0)
        fcntl.fcntl(image, fcntl.F_OFD_SETLK, lock)
        done = guests.stack.apply()
    assert guests.both("a") == ({}, {"sdb": "x"})
    said = " ".join((done.out + done.err).split())
    assert "disks.sdb: in use by something else" in said
    assert "waiting for restart: disks.sdb" in said
    guests.stack.in_sync()


def test_a_guest_does_not_go_down_for_a_disk_that_another_one_does_not_let_go(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actuators_device, "DETACH_SECONDS", 2.0)
    guests.spec("b")["disks"] = {"vdb": guests.disk("x", "virtio")}
    guests.stack.apply()
    guests.spec("a").update({"on_change": "restart", "disks": {"sdb": guests.disk("x", "sata")}})
    guests.spec("b")["disks"] = {}
    before = guests.domain("a").ID()
    failed = guests.stack.apply("--allow-restart", "all", code=5)
    assert "has not let go" in failed.out + failed.err
    assert guests.domain("a").ID() == before
    # It still has it: the other guest waits for that, and stays up.
    guests.stack.apply("--allow-restart", "all")
    spared = guests.stack.in_sync("--allow-restart", "all")
    assert "it is not restarted in this run" in " ".join(spared.out.split())
    assert guests.domain("a").ID() == before
    guests.restart("b")
    guests.stack.apply("--allow-restart", "all")
    assert guests.both("a") == ({"sdb": "x"}, {"sdb": "x"})


def test_what_a_guest_does_not_let_go_of_is_not_deleted_behind_its_back(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actuators_device, "DETACH_SECONDS", 2.0)
    guests.spec("b")["disks"] = {"vdb": guests.disk("x", "virtio")}
    guests.stack.apply()
    guests.spec("b")["disks"] = {}
    del guests.stack.volumes[f"{guests.stack.tag}/x"]
    words = ("--prune", "--allow-data-loss", "volume.*")
    left = guests.stack.apply(*words, code=5)
    assert f"the running domain.{guests.name('b')} has not let go of it" in left.out + left.err
    assert guests.both("b") == ({"vdb": "x"}, {})
    guests.stack.apply(*words, code=7)
    guests.restart("b")
    guests.stack.apply(*words)
    assert not (guests.stack.directory / "pool" / "x").exists()


def test_what_was_plugged_in_by_hand_goes_with_the_restart_that_was_shown(guests: Guests) -> None:
    guests.spec("b").update({"on_change": "restart", "lifecycle": {"unlisted": "remove"}})
    guests.stack.apply()
    disk = (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{guests.stack.directory}/pool/x'/><target dev='sdb' bus='sata'/></disk>"
    )
    guests.domain("b").attachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_CONFIG)
    guests.restart("b")
    del guests.stack.volumes[f"{guests.stack.tag}/x"]
    done = guests.stack.apply("--allow-restart", "all", "--prune", "--allow-data-loss", "volume.*")
    assert guests.both("b") == ({}, {}), str(done)


def test_a_maximum_falls_below_the_cpus_that_were_defined(guests: Guests) -> None:
    guests.spec("a")["vcpus"] = {"current": 1, "maximum": 4}
    guests.stack.apply()
    guests.spec("a")["vcpus"] = {"current": 5, "maximum": 6}
    assert impacts(guests.stack.settle()) == "1 next-boot"
    guests.spec("a")["vcpus"] = {"current": 2, "maximum": 4}
    guests.stack.settle()
    domain = guests.domain("a")
    assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_CONFIG) == 2
    assert domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) == 2
    most = libvirt.VIR_DOMAIN_AFFECT_CONFIG | libvirt.VIR_DOMAIN_VCPU_MAXIMUM
    assert domain.vcpusFlags(most) == 4


def test_a_turn_at_boot_and_a_thread_pass_from_one_disk_to_another(guests: Guests) -> None:
    spec = guests.spec("a")
    spec["iothreads"] = 2
    spec["disks"] = {
        "vda": guests.disk("x", "virtio", iothread=2),
        "sdb": guests.disk("y", boot=1),
    }
    guests.stack.apply()
    spec["iothreads"] = 1
    spec["disks"] = {"vda": guests.disk("x", "virtio", iothread=1, boot=1)}
    assert impacts(guests.stack.settle()) == "1 next-boot"
    guests.restart("a")
    guests.stack.in_sync()
