"""A guest's state: stopped, paused, in a snapshot, replaced, or edited in many ways at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import libvirt
import pytest

from tests.integration.support import (
    Stack,
    connection,
    console_of,
    document,
    network,
    stack,
    subnet,
    tiny_domain,
    wait_until,
)
from tests.privatehost import Console, PrivateHost, TinyGuest

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("guest")]
MIB = 1024**2


@dataclass
class Guest:
    """A stack with one tiny guest."""

    stack: Stack
    conn: libvirt.virConnect
    console: Console

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.stack.domains[self.stack.tag]
        return spec

    @property
    def domain(self) -> libvirt.virDomain:
        return self.conn.lookupByName(self.stack.tag)


@pytest.fixture(scope="module")
def guest(
    private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    directory = tmp_path_factory.mktemp("guest")
    with stack(directory, private_host) as made, connection(private_host) as conn:
        tag = made.tag
        domain = tiny_domain(
            tiny_guest,
            tag,
            directory / f"{tag}.console",
            disks={"vda": f"{tag}/main.qcow2"},
            interfaces={"lan": tag},
        )
        made.specs |= {
            "networks": {tag: network(subnet())},
            "pools": {tag: {"path": str(directory / "pool")}},
            "volumes": {
                f"{tag}/main.qcow2": {"capacity": "16MiB"},
                f"{tag}/more.qcow2": {"capacity": "8MiB"},
            },
            "domains": {tag: domain},
        }
        made.apply()
        console = console_of(directory, tag)
        console.wait_ready()
        yield Guest(made, conn, console)


def test_many_edits_in_one_apply(guest: Guest) -> None:
    before = guest.domain.ID()
    tag = guest.stack.tag
    guest.spec.update(
        {
            "title": "many",
            "vcpus": {"current": 2, "maximum": 6},
            "memory": {"current": "128MiB", "maximum": "256MiB"},
            "disks": {"vda": f"{tag}/main.qcow2", "vdb": f"{tag}/more.qcow2"},
            "interfaces": {"lan": {"network": tag}, "more": {"network": tag, "link": "down"}},
            "video": "vga",
        }
    )
    guest.stack.volumes[f"{tag}/main.qcow2"]["capacity"] = "24MiB"
    planned = guest.stack.plan()
    assert planned.code == 2
    guest.stack.apply()
    pending = guest.stack.in_sync().out.partition("Pending restart")[2]
    for name in ("vcpus.maximum", "memory.maximum", "video"):
        assert name in pending
    assert "vcpus.current" not in pending
    state = guest.console.wait_state(
        lambda seen: seen.cpus == 2 and len(seen.nics) == 2 and len(seen.disks) == 2
    )
    assert state.disks == {"vda": 24 * MIB, "vdb": 8 * MIB}
    assert guest.domain.ID() == before


def test_a_paused_guest_runs_on(guest: Guest) -> None:
    before = guest.domain.ID()
    guest.domain.suspend()
    planned = guest.stack.settle()
    assert "state" in planned.out
    assert guest.domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    assert guest.domain.ID() == before
    del guest.spec["state"]
    guest.domain.suspend()
    guest.stack.in_sync()  # nobody's business
    guest.domain.resume()
    guest.spec["state"] = "running"


def test_fewer_vcpus_wait_for_the_next_boot(guest: Guest) -> None:
    maximum = guest.spec["vcpus"]["maximum"]
    guest.spec["vcpus"] = {"current": 2, "maximum": maximum}
    guest.stack.apply()
    guest.spec["vcpus"] = {"current": 1, "maximum": maximum}
    planned = guest.stack.settle()
    assert "next-boot" in planned.out
    assert guest.domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) == 2
    assert "vcpus.current" in guest.stack.in_sync().out
    guest.spec["vcpus"] = {"current": 2, "maximum": maximum}
    guest.stack.settle()


def test_a_guest_in_a_snapshot_is_in_sync(guest: Guest) -> None:
    pool = guest.stack.directory / "pool"
    others = "".join(
        f"<disk name='{name}' snapshot='no'/>" for name in guest.spec["disks"] if name != "vda"
    )
    xml = f"""<domainsnapshot><name>backup</name><disks>{others}
      <disk name='vda' snapshot='external'><source file='{pool}/main.snap'/></disk>
    </disks></domainsnapshot>"""
    flags = (
        libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
        | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    )
    guest.domain.snapshotCreateXML(xml, flags)
    try:
        assert "in a snapshot" in guest.stack.in_sync().out
        guest.spec["title"] = "edited meanwhile"
        guest.stack.settle()
        assert document(guest.domain).find("devices/disk/source").get("file").endswith(".snap")
        volume = guest.stack.volumes[f"{guest.stack.tag}/main.qcow2"]
        capacity, volume["capacity"] = volume["capacity"], "32MiB"
        assert "cannot be resized" in guest.stack.apply(code=7).err
        volume["capacity"] = capacity
        refused = guest.stack.destroy("--exclude", f"domain.{guest.stack.tag}", code=7)
        assert "main.qcow2" in refused.err
    finally:
        pivot = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
        guest.domain.blockCommit("vda", None, None, 0, pivot)
        # Not by its numbers: they are equal before it has begun, too.
        wait_until(lambda: "ready='yes'" in guest.domain.XMLDesc(), "ready to pivot")
        guest.domain.blockJobAbort("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
        (pool / "main.snap").unlink()
    guest.stack.in_sync()


def test_a_transient_guest_is_made_persistent(guest: Guest) -> None:
    before = guest.domain.ID()
    guest.domain.undefine()
    assert not guest.domain.isPersistent()
    planned = guest.stack.settle()
    assert planned.last == "Plan: 0 to add, 1 to change, 0 to destroy.", str(planned)
    assert "its definition was removed" in planned.out
    assert guest.domain.isPersistent()
    assert guest.domain.ID() == before


def test_it_is_restarted_gracefully_and_back_when_its_agent_answers(guest: Guest) -> None:
    """By the agent, without force: it would be powered off after the timeout otherwise."""
    guest.spec["on_change"] = "restart"
    guest.spec["force"] = False
    guest.spec["shutdown_timeout"] = "2m"
    guest.spec["video"] = "none"
    wait_until(lambda: has_agent(guest.domain), "the agent listens", 60)
    refused = guest.stack.apply(code=7)
    assert "KVP217" in refused.err
    before = guest.domain.ID()
    done = guest.stack.apply("--allow-restart", f"domain.{guest.stack.tag}")
    assert "updated, restarted" in done.out
    assert guest.domain.ID() > before
    assert guest.domain.getTime()
    assert "Pending restart" not in guest.stack.in_sync().out
    del guest.spec["on_change"]
    guest.spec["force"] = True
    guest.spec["shutdown_timeout"] = "20s"


def has_agent(domain: libvirt.virDomain) -> bool:
    """Whether the guest's agent listens."""
    channel = "devices/channel/target[@name='org.qemu.guest_agent.0'][@state='connected']"
    return document(domain, 0).find(channel) is not None


def test_it_stops_and_starts(guest: Guest) -> None:
    guest.spec["state"] = "stopped"
    planned = guest.stack.settle()
    assert "stop" in planned.out
    assert not guest.domain.isActive()
    assert "Power down" in guest.console.text()  # by the agent or the button
    guest.spec["state"] = "running"
    guest.stack.settle()
    assert guest.domain.isActive()
    guest.stack.run("plan")
    assert "Pending restart" not in guest.stack.in_sync().out


def test_a_domain_is_replaced_without_its_volumes(guest: Guest) -> None:
    address = f"domain.{guest.stack.tag}"
    guest.spec["shutdown_timeout"] = "1s"
    mac = document(guest.domain).find("devices/interface/mac").get("address")
    volume = guest.stack.directory / "pool" / "main.qcow2"
    inode = volume.stat().st_ino
    planned = guest.stack.plan("--replace", address)
    assert planned.last == "Plan: 1 to add, 0 to change, 1 to destroy.", str(planned)
    guest.stack.apply("--replace", address)
    guest.stack.in_sync()
    assert guest.domain.isActive()
    assert document(guest.domain).find("devices/interface/mac").get("address") == mac
    assert volume.stat().st_ino == inode
    guest.domain.destroy()
