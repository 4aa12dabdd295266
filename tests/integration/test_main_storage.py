"""Storage on a real host: types of pools, sizes, encryption, and whatever may hold a volume."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest
from lxml import etree

from kvmplan.kinds.pooltypes import POOL_TYPES
from tests.elements import the
from tests.integration.support import Stack, document, idle_domain, stack, wait_until
from tests.privatehost import PrivateHost
from tests.unit.test_kinds_pools import WHOLE

MIB = 1024**2
WORDS = ("--allow-data-loss", "volume.*")


@pytest.fixture
def made(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path, private_host) as it:
        it.specs["pools"] = {it.tag: {"path": str(tmp_path / "pool")}}
        yield it


def pool_capabilities(conn: libvirt.virConnect) -> dict[str, Any]:
    root = etree.fromstring(conn.getStoragePoolCapabilities().encode())
    return {str(node.get("type")): node for node in root.iterfind("pool")}


def test_the_table_says_what_libvirt_says(conn: libvirt.virConnect) -> None:
    told = pool_capabilities(conn)
    for name, kind in POOL_TYPES.items():
        formats = {v.text for v in told[name].iterfind("volOptions/enum/value")}
        if formats:
            assert set(kind.formats) == formats, name
        else:
            assert kind.formats == ("raw",), name


def test_every_type_of_pools_is_defined(made: Stack, conn: libvirt.virConnect) -> None:
    """By definition only: no server of these kinds is here. Some types this libvirt is without."""
    told = pool_capabilities(conn)
    there = [name for name in WHOLE if told[name].get("supported") == "yes"]
    assert set(there) >= {"fs", "netfs", "logical", "disk", "iscsi", "scsi", "mpath"}
    for name in there:
        spec = {"type": name, "active": False, "build": False, "autostart": False}
        own = {"path": str(made.directory / name)} if name == "dir" else {}
        made.specs["pools"][f"{made.tag}-{name}"] = {**spec, **WHOLE[name], **own}
    made.settle()
    conn.storagePoolLookupByName(f"{made.tag}-iscsi").XMLDesc(0).index("iscsi/secret")
    made.specs["pools"][f"{made.tag}-bad"] = {"type": "iscsi", "path": "/dev/disk/by-path"}
    wrong = made.plan()
    assert wrong.code == 1
    assert wrong.out.count("error[KVP116]") == 2, str(wrong)
    del made.specs["pools"][f"{made.tag}-bad"]


def test_a_file_system_on_a_device_of_its_own(
    made: Stack, conn: libvirt.virConnect, private_host: PrivateHost
) -> None:
    image = made.directory / "device.img"
    with image.open("wb") as file:
        file.truncate(64 * MIB)
    device = private_host.run(["losetup", "--find", "--show", str(image)]).stdout.strip()
    target = made.directory / "mounted"
    target.mkdir()
    name = f"{made.tag}-fs"
    try:
        made.specs["pools"][name] = {
            "type": "fs",
            "path": f"{target}/",
            "source": {"devices": [device], "format": "ext4"},
            "build": True,
        }
        made.specs["volumes"] = {f"{name}/a.qcow2": {"capacity": "16MiB"}}
        refused = made.apply(code=7)
        assert f"--allow-data-loss pool.{name}" in refused.err
        made.apply("--allow-data-loss", f"pool.{name}")
        made.in_sync()
        pool = conn.storagePoolLookupByName(name)
        assert 'format type="qcow2"' in pool.storageVolLookupByName("a.qcow2").XMLDesc(0).replace(
            "'", '"'
        )
        pool.destroy()
        planned = made.settle()
        assert "start" in planned.out
        assert pool.isActive()
        made.volumes[f"{name}/b.img"] = {
            "capacity": "256MiB",
            "allocation": "256MiB",
            "format": "raw",
        }
        full = made.apply(code=7)
        assert "KVP240" in full.err, str(full)
        del made.volumes[f"{name}/b.img"]
        made.destroy()
        made.apply("--allow-data-loss", f"pool.{name}", code=5)  # its file system is still there
        assert image.stat().st_size == 64 * MIB
        # A run that is cut there goes on: what is formatted is taken as it is, and started.
        made.apply("--allow-data-loss", f"pool.{name}")
        made.in_sync()
        made.destroy()
        made.specs["volumes"], made.specs["pools"] = {}, {}
    finally:
        private_host.run(["umount", str(target)], check=False)
        private_host.run(["losetup", "-d", device])


def test_sizes_copies_and_encryption(made: Stack, conn: libvirt.virConnect) -> None:
    tag = made.tag
    made.specs["volumes"] = {
        f"{tag}/base.qcow2": {"capacity": "8MiB"},
        f"{tag}/copy.qcow2": {"clone": f"{tag}/base.qcow2", "capacity": "24MiB"},
        f"{tag}/copy.img": {"clone": f"{tag}/base.qcow2", "format": "raw"},
        f"{tag}/over.qcow2": {"backing": f"{tag}/base.qcow2"},
    }
    disk = {"volume": f"{tag}/copy.qcow2", "encryption": f"{tag}/key"}
    made.specs["domains"] = {tag: idle_domain(disks={"vda": disk})}
    made.settle()
    pool = conn.storagePoolLookupByName(tag)
    pool.refresh()
    made.in_sync()
    assert pool.storageVolLookupByName("copy.qcow2").info()[1] == 24 * MIB
    over = etree.fromstring(pool.storageVolLookupByName("over.qcow2").XMLDesc(0))
    assert the(over, "backingStore/format").get("type") == "qcow2"
    secret = document(conn.lookupByName(tag)).find("devices/disk/source/encryption/secret")
    assert secret.get("usage") == f"{tag}/key"
    disk["encryption"] = str(uuid.uuid4())
    disk["volume"] = f"{tag}/over.qcow2"
    made.settle()
    secret = document(conn.lookupByName(tag)).find("devices/disk/source/encryption/secret")
    assert secret.get("uuid") == disk["encryption"]
    made.volumes[f"{tag}/small.qcow2"] = {"clone": f"{tag}/copy.qcow2", "capacity": "8MiB"}
    assert "KVP116" in made.plan().out
    del made.volumes[f"{tag}/small.qcow2"]


def test_a_guest_runs_on_an_encrypted_volume(
    made: Stack, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    """With a secret that is on the host: kvmplan knows its name, and never its value."""
    tag = made.tag
    usage = f"<usage type='volume'><volume>{tag}/key</volume></usage>"
    secret = conn.secretDefineXML(f"<secret ephemeral='yes' private='no'>{usage}</secret>")
    try:
        secret.setValue(b"a passphrase of the host")
        made.specs["volumes"] = {
            f"{tag}/plain.img": {
                "format": "raw",
                "capacity": "1MiB",
                "encryption": f"{tag}/key",
            }
        }
        disk = {"volume": f"{tag}/plain.img", "encryption": f"{tag}/key"}
        running = {"state": "running", "shutdown_timeout": "1s", "force": True}
        made.specs["domains"] = {tag: idle_domain(disks={"vda": disk}, **running)}
        applied_in_the_end(made)
        made.in_sync()
        conn.storagePoolLookupByName(tag).refresh()
        made.in_sync()
        assert (tmp_path / "pool" / "plain.img").read_bytes()[:6] == b"LUKS\xba\xbe"
        domain = conn.lookupByName(tag)
        assert domain.isActive()
        assert document(domain, 0).find("devices/disk/source/encryption/secret") is not None
        del made.volumes[f"{tag}/plain.img"]["encryption"]
        assert made.plan().code == 0, "what it was born with is not changed"
        made.destroy("--allow-data-loss", "volume.*")
    finally:
        secret.undefine()


def applied_in_the_end(made: Stack) -> None:
    """Apply until QEMU has measured the CPU, which it cannot where clocks tick slowly."""
    for _ in range(20):
        done = made.run("apply", "--auto-approve")
        if done.code == 0:
            return
        assert "Unable to get accurate CPU usage" in done.out, str(done)
        assert "apply again" in done.out, str(done)
    raise AssertionError(str(done))


def test_what_snapshots_overlays_and_saved_guests_hold(
    made: Stack, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    """Each keeps its volume from going and from shrinking; when it is gone, the volume may go."""
    tag = made.tag
    disk, other = f"{tag}/disk.qcow2", f"{tag}/other.qcow2"
    made.specs["volumes"] = {disk: {"capacity": "16MiB"}, other: {"capacity": "16MiB"}}
    made.specs["domains"] = {tag: idle_domain(disks={"vda": disk, "vdb": other}, force=True)}
    made.apply()
    domain = conn.lookupByName(tag)

    internal = domain.snapshotCreateXML("<domainsnapshot><name>before</name></domainsnapshot>")
    del made.domains[tag]["disks"]["vdb"]
    made.settle()
    del made.volumes[other]
    assert "(snapshot before)" in made.apply("--prune", *WORDS, code=7).err
    made.volumes[other] = {"capacity": "8MiB"}
    assert "(snapshot before)" in made.apply(*WORDS, code=7).err
    internal.delete()
    made.apply(*WORDS)
    made.in_sync()

    _an_overlay_in_another_pool(made, conn, other, tmp_path)

    made.domains[tag]["state"] = "running"
    made.apply()
    made.volumes[disk] = {"capacity": "8MiB"}
    assert f"used by domain.{tag}" in made.apply(*WORDS, code=7).err
    made.volumes[disk] = {"capacity": "16MiB"}
    del made.domains[tag]["state"]
    domain.managedSave()
    made.in_sync()
    made.volumes[disk] = {"capacity": "8MiB"}
    assert f"used by domain.{tag}" in made.apply(*WORDS, code=7).err
    assert domain.hasManagedSaveImage()
    domain.managedSaveRemove()
    made.apply(*WORDS)
    made.in_sync()


def _an_overlay_in_another_pool(
    made: Stack, conn: libvirt.virConnect, base: str, tmp_path: Path
) -> None:
    """A stranger's domain, stopped, on an overlay in a pool that is off: nothing names the base."""
    tag = made.tag
    folder = tmp_path / "theirs"
    folder.mkdir()
    pool = conn.storagePoolDefineXML(
        f"<pool type='dir'><name>{tag}-theirs</name><target><path>{folder}</path></target></pool>"
    )
    pool.create()
    path = conn.storagePoolLookupByName(tag).storageVolLookupByName(base.partition("/")[2]).path()
    volume = pool.createXML(
        "<volume><name>over.qcow2</name><capacity>8388608</capacity><target><format type='qcow2'/>"
        f"</target><backingStore><path>{path}</path><format type='qcow2'/></backingStore></volume>"
    )
    stranger = conn.defineXML(
        f"<domain type='qemu'><name>{tag}-theirs</name><memory>65536</memory><os><type>hvm</type>"
        "</os><devices><disk type='file'><driver name='qemu' type='qcow2'/>"
        f"<source file='{volume.path()}'/><target dev='vda'/></disk></devices></domain>"
    )
    kept = made.volumes.pop(base)
    try:
        seen = made.apply("--prune", *WORDS, code=7)
        assert f"used by volume.{tag}-theirs/over.qcow2" in seen.err, str(seen)
        pool.destroy()
        unseen = made.apply("--prune", *WORDS, code=7)
        assert "KVP213" in unseen.err, str(unseen)
        assert f"domain.{tag}-theirs" in unseen.err
        made.volumes[base] = kept
        made.in_sync()
    finally:
        stranger.undefine()
        if pool.isActive():
            pool.destroy()
        pool.undefine()
        (folder / "over.qcow2").unlink()


def test_a_pool_that_was_undefined_comes_back_with_its_volumes(
    made: Stack, conn: libvirt.virConnect
) -> None:
    tag = made.tag
    made.specs["volumes"] = {
        f"{tag}/base.qcow2": {"capacity": "1MiB"},
        f"{tag}/a.qcow2": {"backing": f"{tag}/base.qcow2"},
    }
    disks = {"vda": f"{tag}/a.qcow2", "vdb": {"size": "1MiB", "pool": tag}}
    made.specs["domains"] = {tag: idle_domain(disks=disks)}
    made.apply()
    pool = conn.storagePoolLookupByName(tag)
    volumes = {volume.path(): volume.info() for volume in pool.listAllVolumes()}
    pool.destroy()
    pool.undefine()
    planned = made.settle().out
    assert "its pool is made again" in planned
    assert "Plan: 1 to add, 0 to change, 0 to destroy." in planned
    pool = conn.storagePoolLookupByName(tag)
    assert {volume.path(): volume.info() for volume in pool.listAllVolumes()} == volumes
    pool.destroy()
    pool.undefine()
    for path in volumes:
        Path(path).unlink()
    made.apply()
    made.settle()  # the first run could not see that they are gone


def test_a_base_becomes_the_overlay(made: Stack, conn: libvirt.virConnect) -> None:
    tag = made.tag
    base, overlay = {"capacity": "1MiB"}, f"{tag}/a.qcow2"
    made.specs["volumes"] = {f"{tag}/a.qcow2": {"backing": f"{tag}/b.qcow2"}}
    made.specs["volumes"][f"{tag}/b.qcow2"] = base
    made.apply()
    made.specs["volumes"] = {overlay: base, f"{tag}/b.qcow2": {"backing": overlay}}
    both = ("--replace", f"volume.{tag}/a.qcow2", "--replace", f"volume.{tag}/b.qcow2")
    made.apply(*both, *WORDS)
    made.in_sync()
    pool = conn.storagePoolLookupByName(tag)
    paths = {
        volume.name(): document(volume, 0).findtext("backingStore/path")
        for volume in pool.listAllVolumes()
    }
    assert paths == {"a.qcow2": None, "b.qcow2": pool.storageVolLookupByName("a.qcow2").path()}


def test_odd_states_are_seen_and_left_alone(
    made: Stack, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    """By virsh: a snapshot with metadata, a copy that goes on, a definition taken, a saved guest.

    Plans say so, change nothing of it, and what they do beside it breaks nothing.
    """
    tag, disk = made.tag, f"{made.tag}/disk.qcow2"
    made.specs["volumes"] = {disk: {"capacity": "16MiB"}}
    made.specs["domains"] = {
        tag: idle_domain(disks={"vda": disk}, state="running", title="a", force=True)
    }
    made.apply()
    domain = conn.lookupByName(tag)
    pool = tmp_path / "pool"

    only_disks = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY
    domain.snapshotCreateXML("<domainsnapshot><name>night</name></domainsnapshot>", only_disks)
    overlay = document(domain).find("devices/disk/source").get("file")
    assert overlay == str(pool / "disk.night")
    assert "in a snapshot" in made.in_sync().out

    copy = tmp_path / "copy.qcow2"
    domain.blockCopy(
        "vda",
        f"<disk type='file'><source file='{copy}'/><driver type='qcow2'/></disk>",
        {},
        libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB,
    )
    plan = json.loads(made.run("plan", "--format", "json").out)
    assert plan["summary"]["change"] == 0, plan["resource_changes"]
    assert plan["busy"][0]["jobs"] == ["a block copy of vda"]
    made.in_sync()
    assert domain.blockJobInfo("vda", 0)

    domain.blockJobAbort("vda", 0)
    copy.unlink()

    before = domain.ID()
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA)
    assert "its definition was removed" in made.settle().out
    assert (domain.ID(), domain.isPersistent()) == (before, 1)
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        assert document(domain, flags).find("devices/disk/source").get("file") == overlay

    made.domains[tag]["title"] = "b"
    made.settle()
    del made.domains[tag]["state"]
    domain.managedSave()
    assert "in a snapshot" in made.in_sync().out
    made.domains[tag]["title"] = "c"
    made.settle()
    assert domain.hasManagedSaveImage()
    anew, gone = ("apply", "--replace", f"domain.{tag}"), ("destroy",)
    for command, code, why in ((anew, 1, "KVP137"), (gone, 7, "KVP211")):
        refused = made.run(*command, "--auto-approve", "--allow-data-loss", "volume.*")
        assert (refused.code, why in refused.err) == (code, True), str(refused)
        assert "its guest is saved" in refused.out
    assert domain.hasManagedSaveImage()
    made.domains[tag]["state"] = "running"
    assert "start" in made.settle().out
    assert not domain.hasManagedSaveImage()
    assert document(domain, 0).find("devices/disk/source").get("file") == overlay
    again = made.run("apply", "--auto-approve", "--replace", f"domain.{tag}")
    assert (again.code, "KVP137" in again.err) == (1, True), str(again)
    assert "without what was written since" in " ".join(again.out.split())
    assert document(domain, 0).find("devices/disk/source").get("file") == overlay

    kept = made.run("destroy", "--auto-approve", "--exclude", f"domain.{tag}", *WORDS)
    assert (kept.code, f"used by domain.{tag}" in kept.err) == (7, True), str(kept)
    domain.blockCommit("vda", None, None, 0, libvirt.VIR_DOMAIN_BLOCK_COMMIT_ACTIVE)
    wait_until(lambda: at_end(domain), "committed")
    domain.blockJobAbort("vda", libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT)
    Path(overlay).unlink()
    assert "in a snapshot" not in made.in_sync().out


def at_end(domain: libvirt.virDomain) -> bool:
    """Whether a commit waits for the switch to the base."""
    mirror = document(domain, 0).find("devices/disk/mirror")
    return mirror is not None and mirror.get("ready") == "yes"
