"""Volumes that a run was killed over: what it left is finished, what others made stays theirs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import libvirt
import pytest

from tests.faults.zygote import ROOT
from tests.integration.support import NOTHING_APPLIED, Stack, Tree, idle_domain, kvmplan, stack
from tests.privatehost import PrivateHost

KILLED = """
import os, runpy, signal, sys
import libvirt
name, when, nth = sys.argv[1], sys.argv[2], int(sys.argv[3])
owner = getattr(libvirt, name.partition(".")[0])
method = name.partition(".")[2]
real, calls = getattr(owner, method), iter(range(1, 10**6))
def cut(*given, **named):
    last = next(calls) == nth
    if last and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(*given, **named)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(owner, method, cut)
sys.argv = ["kvmplan", *sys.argv[4:]]
runpy.run_module("kvmplan", run_name="__main__")
"""
"""A kvmplan that is killed before or after the n-th call of a method."""

CREATE, CLONE = "virStoragePool.createXML", "virStoragePool.createXMLFrom"
SEND = "virStream.send"
BYTES = os.urandom(300_000)
VOLUME = "disk.qcow2"
STRANGE = (
    f"<volume><name>{VOLUME}</name><capacity unit='MiB'>4</capacity><allocation>0</allocation>"
    "<target><format type='qcow2'/></target></volume>"
)


@pytest.fixture
def it(private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path) -> Iterator[Stack]:
    """A stack with a volume in a pool that is there already."""
    with stack(tmp_path, private_host) as made:
        (tmp_path / "pool").mkdir()
        target = f"<target><path>{tmp_path}/pool</path></target>"
        pool = conn.storagePoolDefineXML(f"<pool type='dir'><name>{made.tag}</name>{target}</pool>")
        pool.create()
        declare(made, capacity="4MiB")
        try:
            yield made
        finally:
            made.destroy()
            for left in pool.listAllVolumes():
                left.delete()
            pool.destroy()
            pool.undefine()


def declare(made: Stack, **volume: Any) -> None:
    made.specs["volumes"] = {f"{made.tag}/{VOLUME}": volume}


def applying(made: Stack, *program: str) -> list[str]:
    """The command of a process of its own that applies it."""
    assert made.host is not None
    made.write()
    connect = ("--connect", made.host.uri)
    return [sys.executable, *program, "apply", str(made.path), *connect, "--auto-approve"]


def kill(made: Stack, method: str, when: str, nth: int = 1) -> None:
    """Apply with a kvmplan that is killed; its lock is removed, as an operator would."""
    program = ("-c", KILLED, method, when, str(nth))
    done = subprocess.run(
        applying(made, *program),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9, done
    (lock,) = json.loads(specs_of(made, "lock", "--json"))
    specs_of(made, "force-unlock", lock["id"])


def specs_of(made: Stack, command: str, *flags: str, code: int = 0) -> str:
    """What a command that takes ``--specs`` says."""
    assert made.host is not None
    made.write()
    done = kvmplan(command, *flags, "--specs", made.path, "--connect", made.host.uri)
    assert done.code == code, str(done)
    return done.out + done.err


def make(conn: libvirt.virConnect, made: Stack) -> None:
    """A stranger makes a volume of that name."""
    conn.storagePoolLookupByName(made.tag).createXML(STRANGE)


def write(made: Stack) -> bytes:
    """A guest of somebody's writes into it; what the file holds then."""
    file = made.directory / "pool" / VOLUME
    source = made.directory / "bytes"
    source.write_bytes(BYTES)
    command = ["qemu-io", "-c", f"write -s {source} 0 {len(BYTES) // 512 * 512}", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    return file.read_bytes()


def bytes_of(made: Stack) -> bytes:
    return (made.directory / "pool" / VOLUME).read_bytes()


def claimed(conn: libvirt.virConnect, made: Stack) -> Tree:
    """What is claimed of volumes."""
    for secret in conn.listAllSecrets():
        if secret.usageID() == f"kvmplan/claims/{made.uid}":
            text = secret.XMLDesc().partition("<description>")[2].partition("</description>")[0]
            entries: Tree = json.loads(text.replace("&quot;", '"'))["entries"]
            return {name: entry.get("phase", "done") for name, entry in entries.items()}
    return {}


def stays_theirs(conn: libvirt.virConnect, made: Stack, before: bytes) -> None:
    """Whatever is done, a stranger's bytes are there; the stack owns nothing of that name."""
    data = ("--allow-data-loss", "volume.*")
    planned = made.plan(*data)
    assert planned.code == 0, str(planned)
    assert "Unowned" in planned.out
    assert "was cut" in planned.out
    made.apply(*data)
    assert claimed(conn, made) == {}
    made.volumes[f"{made.tag}/{VOLUME}"]["capacity"] = "8MiB"
    refused = made.plan(*data)
    assert (refused.code, "KVP220" in refused.err) == (1, True), str(refused)
    made.apply(*data, code=1)
    made.destroy()
    assert bytes_of(made) == before


def test_a_volume_that_appears_right_before_ours_stays_its_makers(
    it: Stack, conn: libvirt.virConnect
) -> None:
    real = libvirt.virStoragePool.createXML

    def late(pool: Any, xml: str, flags: int = 0) -> Any:
        real(pool, STRANGE, 0)
        return real(pool, xml, flags)

    with mock.patch.object(libvirt.virStoragePool, "createXML", late):
        done = it.apply(code=5)
    assert "it exists now" in done.out
    assert claimed(conn, it) == {}
    before = write(it)
    planned = it.plan()
    assert (planned.code, "Unowned" in planned.out) == (0, True), str(planned)
    it.apply()
    it.volumes[f"{it.tag}/{VOLUME}"]["capacity"] = "8MiB"
    assert "KVP220" in it.apply(code=1).err
    it.destroy()
    assert bytes_of(it) == before


def test_one_that_appears_after_a_run_was_killed_stays_its_makers(
    it: Stack, conn: libvirt.virConnect
) -> None:
    kill(it, CREATE, "before")
    assert list(claimed(conn, it).values()) == ["creating"]
    make(conn, it)
    stays_theirs(conn, it, write(it))


def test_one_that_was_written_after_a_run_was_killed_is_not_lost(
    it: Stack, conn: libvirt.virConnect
) -> None:
    kill(it, CREATE, "after")
    stays_theirs(conn, it, write(it))


def test_what_was_written_can_be_adopted(it: Stack, conn: libvirt.virConnect) -> None:
    kill(it, CREATE, "after")
    before = write(it)
    it.apply("--adopt")
    assert list(claimed(conn, it).values()) == ["done"]
    assert "Unowned" not in it.in_sync().out
    assert bytes_of(it) == before


@pytest.mark.parametrize(
    "volume",
    [
        {"capacity": "4MiB"},
        {"capacity": "3TiB"},
        {"capacity": "4MiB", "format": "raw"},
        {"capacity": "4MiB", "format": "raw", "allocation": "4MiB"},
        {"capacity": "4MiB", "format": "vmdk"},
    ],
)
def test_what_a_killed_run_has_made_is_kept(
    it: Stack, conn: libvirt.virConnect, volume: Tree
) -> None:
    declare(it, **volume)
    kill(it, CREATE, "after")
    inode = (it.directory / "pool" / VOLUME).stat().st_ino
    it.settle()
    assert (it.directory / "pool" / VOLUME).stat().st_ino == inode
    assert list(claimed(conn, it).values()) == ["done"]


@pytest.mark.parametrize(
    ("volume", "method", "when", "nth"),
    [
        ({"content": "declared", "format": "raw"}, CREATE, "after", 1),
        ({"content": "declared", "format": "raw"}, SEND, "before", 1),
        ({"content": "declared", "format": "raw"}, SEND, "after", 1),
        ({"clone": True}, CLONE, "before", 1),
        ({"clone": True}, CLONE, "after", 1),
    ],
)
def test_what_a_killed_run_was_filling_is_made_again(
    it: Stack, conn: libvirt.virConnect, volume: Tree, method: str, when: str, nth: int
) -> None:
    expected = b"declared"
    if "clone" in volume:
        gold = it.directory / "pool" / "gold.img"
        gold.write_bytes(BYTES)
        conn.storagePoolLookupByName(it.tag).refresh()
        expected, volume = BYTES, {"clone": f"{it.tag}/gold.img", "format": "raw"}
    declare(it, **volume)
    kill(it, method, when, nth)
    it.settle()
    assert bytes_of(it)[: len(expected)] == expected
    assert list(claimed(conn, it).values()) == ["done"]


@pytest.mark.parametrize("kind", ["network", "pool", "domain"])
def test_what_has_a_uuid_is_its_makers_whenever_it_appears(
    it: Stack, conn: libvirt.virConnect, kind: str
) -> None:
    """The claim of a run that was killed names the uuid that it would have given."""
    name = f"{it.tag}-x"
    strange, define, look_up, spec = {
        "network": (
            f"<network><name>{name}</name></network>",
            "networkDefineXML",
            "networkLookupByName",
            {"forward": "none"},
        ),
        "pool": (
            f"<pool type='dir'><name>{name}</name>"
            f"<target><path>{it.directory}</path></target></pool>",
            "storagePoolDefineXML",
            "storagePoolLookupByName",
            {"path": str(it.directory)},
        ),
        "domain": (
            f"<domain type='qemu'><name>{name}</name><memory>65536</memory>"
            "<os><type>hvm</type></os></domain>",
            "defineXML",
            "lookupByName",
            idle_domain(),
        ),
    }[kind]
    it.specs = {"stack": it.specs["stack"], f"{kind}s": {name: spec}}
    kill(it, f"virConnect.{define}", "before")
    theirs = getattr(conn, define)(strange)
    assert it.plan().code in (0, 1)
    assert it.destroy().last == NOTHING_APPLIED
    assert getattr(conn, look_up)(name).UUIDString() == theirs.UUIDString()
    theirs.undefine()
    it.specs = {"stack": it.specs["stack"]}


def test_two_that_make_the_same_at_once(it: Stack, conn: libvirt.virConnect) -> None:
    """One makes it; to the other it is another stack's, from the moment that libvirt says so."""
    other = Stack(it.directory, it.host, {"volumes": it.specs["volumes"]}, uid=str(uuid.uuid4()))
    other.specs["stack"] = {"name": "other", "uid": other.uid}
    real = libvirt.virStoragePool.createXML
    first: list[bool] = []

    def late(pool: Any, xml: str, flags: int = 0) -> Any:
        if not first:
            first.append(True)
            subprocess.run(applying(other, "-m", "kvmplan"), cwd=ROOT, check=True)
        return real(pool, xml, flags)

    with mock.patch.object(libvirt.virStoragePool, "createXML", late):
        done = it.apply(code=5)
    assert "it exists now" in done.out, str(done)
    before = write(it)
    assert "KVP221" in it.plan().err
    it.destroy()
    assert bytes_of(it) == before
    other.in_sync()
    other.destroy()
