"""Busy domains: what others do to them is waited for or left alone, never ended."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from tests.integration.support import (
    Run,
    Stack,
    connection,
    idle_domain,
    kvmplan,
    stack,
    wait_until,
)
from tests.privatehost import PrivateHost

AT_ONCE = ("--job-timeout", "0s")


@dataclass
class Busy:
    """A running domain with a disk, another one, and two volumes that nothing uses yet."""

    stack: Stack
    conn: libvirt.virConnect
    pool: Path

    @property
    def domain(self) -> libvirt.virDomain:
        return self.conn.lookupByName(self.stack.tag)

    def by_hand(self, command: str, *arguments: str) -> Run:
        """Start, stop or restart."""
        assert self.stack.host is not None
        self.stack.write()
        where = ("--specs", self.stack.path, "--connect", self.stack.host.uri)
        return kvmplan(command, *arguments, *where)

    def end_jobs(self) -> None:
        """End what a failed test has left."""
        if self.domain.jobStats()["type"]:
            self.domain.abortJob()
        elif self.domain.blockJobInfo("vda", 0):
            self.domain.blockJobAbort("vda", 0)

    def title(self, text: str) -> None:
        for name in self.stack.domains:
            self.stack.domains[name]["title"] = text

    def is_left_alone(self, job: str, *addresses: str) -> None:
        """Whether an apply leaves just these out as busy, and does the rest."""
        done = self.stack.apply(*AT_ONCE, code=5)
        for address in addresses:
            assert f"skipped {address} (busy: {job}" in done.out, str(done)
        assert f"0 failed, {len(addresses)} skipped" in done.last
        assert f"ok      domain.{self.stack.tag}-other" in done.out


@pytest.fixture(scope="module")
def guests(private_host: PrivateHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Busy]:
    directory = tmp_path_factory.mktemp("busy")
    with stack(directory, private_host) as made, connection(private_host) as conn:
        tag = made.tag
        made.specs |= {
            "pools": {tag: {"path": str(directory / "pool")}},
            "volumes": {
                f"{tag}/main.qcow2": {"capacity": "16MiB"},
                f"{tag}/scratch.qcow2": {"capacity": "16MiB"},
                f"{tag}/copy.qcow2": {"capacity": "16MiB"},
            },
            "domains": {
                tag: idle_domain(
                    disks={"vda": f"{tag}/main.qcow2"}, force=True, shutdown_timeout="1s"
                ),
                f"{tag}-other": idle_domain(),
            },
        }
        made.apply()
        disk = directory / "pool" / "main.qcow2"
        subprocess.run(
            ["qemu-io", "-c", "write -P 7 0 8M", disk], check=True, stdout=subprocess.DEVNULL
        )
        made.domains[tag]["state"] = "running"
        made.apply()
        yield Busy(made, conn, directory / "pool")


@pytest.fixture
def busy(guests: Busy) -> Iterator[Busy]:
    yield guests
    guests.end_jobs()


def test_a_backup_keeps_its_domain_and_its_scratch_volume(busy: Busy) -> None:
    tag, scratch = busy.stack.tag, busy.pool / "scratch.qcow2"
    busy.domain.backupBegin(
        f"<domainbackup mode='pull'><server transport='unix' socket='{busy.pool}/nbd'/>"
        f"<disks><disk name='vda' type='file'><driver type='qcow2'/><scratch file='{scratch}'/>"
        "</disk></disks></domainbackup>",
        None,
        libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL,
    )
    busy.title("backed up")
    busy.stack.volumes[f"{tag}/scratch.qcow2"]["capacity"] = "24MiB"
    busy.is_left_alone("a backup", f"domain.{tag}", f"volume.{tag}/scratch.qcow2")
    refused = busy.by_hand("restart", f"domain.{tag}", *AT_ONCE)
    assert busy.domain.jobStats()["operation"] == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP
    assert (refused.code, "is busy: a backup" in refused.err) == (5, True), str(refused)
    ending = threading.Timer(1.0, busy.domain.abortJob)
    ending.start()
    busy.stack.apply("--job-timeout", "2m")
    ending.join()
    busy.stack.in_sync()


def test_a_block_copy_is_shown_and_waited_for(busy: Busy) -> None:
    tag = busy.stack.tag
    busy.domain.blockCopy(
        "vda",
        f"<disk type='file'><source file='{busy.pool}/copy.qcow2'/><driver type='qcow2'/></disk>",
        {"bandwidth": 1},
        libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB | libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT,
    )
    busy.title("copied")
    busy.stack.volumes[f"{tag}/copy.qcow2"]["capacity"] = "24MiB"
    planned = busy.stack.plan()
    assert f"domain.{tag}  a block copy of vda" in planned.out
    rows = json.loads(busy.stack.run("status", "--json").out)["resources"]
    status = {row["address"]: row for row in rows}[f"local:domain.{tag}"]
    assert "busy" in status["status"]
    assert status["busy"] == ["a block copy of vda"]
    busy.is_left_alone("a block copy", f"domain.{tag}", f"volume.{tag}/copy.qcow2")
    down = busy.stack.destroy("--target", f"domain.{tag}", *AT_ONCE, code=5)
    assert f"skipped domain.{tag} (busy: a block copy" in down.out
    assert busy.domain.blockJobInfo("vda", 0)
    busy.domain.blockJobAbort("vda", 0)
    busy.stack.settle()


def test_a_block_pull_that_no_document_shows(busy: Busy) -> None:
    tag = busy.stack.tag
    flags = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
    flags |= libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA
    snapshot = "<domainsnapshot><disks><disk name='vda' snapshot='external'>"
    snapshot += f"<source file='{busy.pool}/over.qcow2'/></disk></disks></domainsnapshot>"
    busy.domain.snapshotCreateXML(snapshot, flags)
    busy.domain.blockPull("vda", 1, libvirt.VIR_DOMAIN_BLOCK_PULL_BANDWIDTH_BYTES)
    busy.title("pulled")
    busy.is_left_alone("a block pull", f"domain.{tag}")
    assert busy.domain.blockJobInfo("vda", 0)
    busy.domain.blockJobAbort("vda", 0)
    pivot = libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE
    busy.domain.blockCommit("vda", None, None, 0, pivot)
    wait_until(lambda: _is_ready(busy.domain), "committed")
    busy.domain.blockJobAbort("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
    (busy.pool / "over.qcow2").unlink()
    busy.stack.settle()


def test_by_hand_and_in_agreement_with_the_spec(busy: Busy) -> None:
    tag = busy.stack.tag
    mine, other = f"domain.{tag}", f"domain.{tag}-other"
    before = busy.domain.ID()
    refused = busy.by_hand("stop", mine)
    assert (refused.code, "KVP218" in refused.err) == (7, True), str(refused)
    refused = busy.by_hand("start", other)
    assert (refused.code, "KVP218" in refused.err) == (7, True), str(refused)
    done = busy.by_hand("restart", mine)
    assert (done.code, done.last) == (0, f"{mine}: restarted"), str(done)
    assert busy.domain.ID() > before
    busy.stack.in_sync()
    assert busy.by_hand("restart", other).code == 5
    busy.by_hand("hold", mine)
    done = busy.by_hand("stop", mine)
    assert (done.code, done.last) == (0, f"{mine}: stopped"), str(done)
    assert busy.by_hand("start", mine).last == f"{mine}: started"
    assert busy.by_hand("start", mine).last == f"{mine}: runs already"
    busy.domain.suspend()
    assert busy.by_hand("start", mine).last == f"{mine}: resumed"
    busy.by_hand("release", mine)
    busy.stack.in_sync()
    for pattern, code in ((f"pool.{tag}", "KVP254"), ("domain.nobody", "KVP250")):
        wrong = busy.by_hand("restart", pattern)
        assert (wrong.code, code in wrong.err) == (1, True), str(wrong)
    busy.by_hand("forget", other)
    stranger = busy.by_hand("stop", other)
    assert (stranger.code, "KVP254" in stranger.err) == (1, True), str(stranger)
    busy.by_hand("adopt", other)


def _is_ready(domain: libvirt.virDomain) -> bool:
    info = domain.blockJobInfo("vda", 0)
    return bool(info["cur"] == info["end"])
