"""Guests in external snapshots, taken by virsh: what was written since then is not lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from tests.integration.support import Stack, document, idle_domain, stack, wait_until
from tests.privatehost import PrivateHost

DISKS = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
NO_METADATA = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA


@pytest.fixture
def made(private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path) -> Iterator[Stack]:
    """A running guest with two disks, and a volume that nobody uses."""
    with stack(tmp_path, private_host) as it:
        it.specs["pools"] = {it.tag: {"path": str(tmp_path / "pool")}}
        names = [f"{it.tag}/{name}.qcow2" for name in ("a", "b", "two")]
        it.specs["volumes"] = {name: {"capacity": "8MiB"} for name in names}
        disks = {"vda": names[0], "vdb": {"volume": names[2], "bus": "virtio"}}
        running = {"state": "running", "shutdown_timeout": "1s", "force": True}
        it.specs["domains"] = {it.tag: idle_domain(disks=disks, **running)}
        it.apply()
        yield it
        _forget_overlays(conn.storagePoolLookupByName(it.tag))


def _forget_overlays(pool: Any) -> None:
    """Nothing of the stack goes while somebody's overlay is over it."""
    pool.refresh()
    for volume in pool.listAllVolumes():
        if not volume.name().endswith(".qcow2"):
            volume.delete()


def snapshot(domain: libvirt.virDomain, name: str, target: str, flags: int = 0) -> None:
    """What `virsh snapshot-create-as --disk-only` makes, of one disk."""
    others = {"vda", "vdb"} - {target}
    disks = f"<disk name='{target}' snapshot='external'/>"
    disks += "".join(f"<disk name='{other}' snapshot='no'/>" for other in others)
    text = f"<domainsnapshot><name>{name}</name><disks>{disks}</disks></domainsnapshot>"
    domain.snapshotCreateXML(text, DISKS | flags)


def disk(
    domain: libvirt.virDomain, target: str, flags: int = libvirt.VIR_DOMAIN_XML_INACTIVE
) -> Any:
    devices = document(domain, flags).iterfind("devices/disk")
    return next((it for it in devices if it.find("target").get("dev") == target), None)


def layers(node: Any) -> list[str]:
    """The files of a disk from the top down."""
    found = []
    while node is not None and node.find("source") is not None:
        found.append(Path(node.find("source").get("file")).name)
        node = node.find("backingStore")
    return found


def test_another_volume_is_not_put_over_the_base_of_a_snapshot(
    made: Stack, conn: libvirt.virConnect
) -> None:
    tag, disks = made.tag, made.domains[made.tag]["disks"]
    domain = conn.lookupByName(tag)
    snapshot(domain, "s1", "vda")
    assert layers(disk(domain, "vda")) == ["a.s1", "a.qcow2"]
    assert "in a snapshot" in made.in_sync().out

    disks["vda"] = f"{tag}/b.qcow2"
    assert "next-boot" in made.plan().out
    made.apply()
    assert layers(disk(domain, "vda")) == ["b.qcow2"]
    assert layers(disk(domain, "vdb")) == ["two.qcow2"]

    disks["vda"] = f"{tag}/a.qcow2"
    back = made.plan()
    assert (back.code, "KVP137" in back.out) == (1, True), str(back)
    assert f"{tag}/a.s1" in back.out
    # As an earlier version left it: b is over nothing, whatever the definition says.
    text = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
    base = conn.storagePoolLookupByName(tag).storageVolLookupByName("a.qcow2").path()
    chain = (
        f"<backingStore type='file'><format type='qcow2'/><source file='{base}'/></backingStore>"
    )
    conn.defineXML(text.replace("b.qcow2'/>", f"b.qcow2'/>{chain}"))
    assert layers(disk(domain, "vda")) == ["b.qcow2", "a.qcow2"]
    assert "KVP137" in made.plan().out
    domain.destroy()
    assert "KVP137" in made.plan().out
    pool = conn.storagePoolLookupByName(tag)
    pool.storageVolLookupByName("a.s1").delete()
    assert "snapshot s1" in made.plan().out
    domain.snapshotLookupByName("s1").delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
    made.settle()
    assert layers(disk(domain, "vda")) == ["a.qcow2"]


def test_a_guest_that_is_off_in_a_snapshot_is_in_sync(
    made: Stack, conn: libvirt.virConnect
) -> None:
    """With its overlay known as a volume, and unknown."""
    domain = conn.lookupByName(made.tag)
    snapshot(domain, "s1", "vda")
    snapshot(domain, "s2", "vda")
    made.domains[made.tag]["state"] = "stopped"
    made.settle()
    assert "in a snapshot" in made.in_sync().out
    pool = conn.storagePoolLookupByName(made.tag)
    assert {"a.s1", "a.s2"} <= {volume.name() for volume in pool.listAllVolumes()}
    made.domains[made.tag]["title"] = "off"
    made.settle()
    assert layers(disk(domain, "vda")) == ["a.s2", "a.s1", "a.qcow2"]
    made.domains[made.tag]["state"] = "running"
    made.settle()
    assert layers(disk(domain, "vda", 0)) == ["a.s2", "a.s1", "a.qcow2"]


@pytest.mark.parametrize("flags", [0, NO_METADATA])
def test_a_disk_does_not_come_back_without_what_was_written_since(
    made: Stack, conn: libvirt.virConnect, flags: int
) -> None:
    tag, disks = made.tag, made.domains[made.tag]["disks"]
    domain = conn.lookupByName(tag)
    if flags:
        snapshot(domain, "snap1", "vdb")
        domain.snapshotLookupByName("snap1").delete(
            libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY
        )
    else:
        snapshot(domain, "snap1", "vdb")
    added = disks.pop("vdb")
    # Nobody in this guest lets go of a disk.
    del made.domains[tag]["state"]
    domain.destroy()
    made.settle()
    assert disk(domain, "vdb") is None
    disks["vdb"] = added
    refused = made.apply(code=1)
    assert "KVP137" in refused.err, str(refused)
    assert f"{tag}/two.snap1" in refused.err
    assert disk(domain, "vdb") is None
    disks["vdb"] = {**added, "readonly": True}
    made.settle()
    del disks["vdb"]
    made.settle()
    folder = made.directory / "pool"
    disks["vdb"] = {"file": str(folder / "two.snap1"), "format": "qcow2", "bus": "virtio"}
    made.settle()
    disks["vdb"] = {"file": str(folder / "two.qcow2"), "format": "qcow2", "bus": "virtio"}
    assert "KVP137" in made.plan().out
    disks["vdb"] = {"file": str(folder / "two.snap1"), "format": "qcow2", "bus": "virtio"}
    made.in_sync()


def test_growing_what_is_in_a_snapshot_says_so(made: Stack, conn: libvirt.virConnect) -> None:
    domain = conn.lookupByName(made.tag)
    snapshot(domain, "s1", "vda", NO_METADATA)
    volume = f"{made.tag}/a.qcow2"
    made.volumes[volume] = {"capacity": "16MiB"}
    assert "it is in a snapshot" in made.apply(code=7).err
    domain.blockCommit("vda", None, None, 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE)

    def ready() -> bool:
        mirror = disk(domain, "vda", 0).find("mirror")
        return mirror is not None and mirror.get("ready") == "yes"

    wait_until(ready, "committed")
    domain.blockJobAbort("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
    made.settle()
