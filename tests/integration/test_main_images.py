"""Volumes that are born with bytes: inline content, images from files, hosts and the web."""

from __future__ import annotations

import gzip
import hashlib
import json
import lzma
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from kvmplan.host import streams
from kvmplan.images import web
from tests.integration.support import SecretRef, connection, idle_domain, kvmplan, stack
from tests.privatehost import PrivateHost
from tests.webserver import WebServer, web_server

TEXT = "instance-id: web\nname: {{ not an expression }}\n"


def path_of(opened: libvirt.virConnect, pool: str, name: str) -> Path:
    """Where a volume is."""
    return Path(opened.storagePoolLookupByName(pool).storageVolLookupByName(name).path())


def bytes_of(opened: libvirt.virConnect, pool: str, name: str) -> bytes:
    """What a volume holds."""
    return path_of(opened, pool, name).read_bytes()


def test_content(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as it, connection(private_host) as live:
        pool = it.tag
        it.env["SEED_PASSWORD"] = "hunter2hunter2"
        (tmp_path / "seed.j2").write_text("password: {{ password }}\n")
        template = {"template": "seed.j2", "vars": {"password": SecretRef("SEED_PASSWORD")}}
        it.specs["pools"] = {pool: {"path": str(tmp_path / "pool"), "autostart": False}}
        it.specs["volumes"] = {
            f"{pool}/meta": {"content": TEXT},
            f"{pool}/grown": {"content": TEXT, "capacity": "1MiB"},
            f"{pool}/secret": {"content": template},
        }
        before = it.settle()
        assert "instance-id" not in before.out
        assert "hunter2" not in before.out
        assert bytes_of(live, pool, "meta") == TEXT.encode()
        assert bytes_of(live, pool, "grown") == TEXT.encode().ljust(1 << 20, b"\0")
        assert bytes_of(live, pool, "secret") == b"password: hunter2hunter2\n"
        secrets = "".join(secret.XMLDesc() for secret in live.listAllSecrets())
        assert "hunter2" not in secrets
        # An edit is noted, and acts when that is asked for.
        it.volumes[f"{pool}/meta"]["content"] = "other\n"
        noted = it.in_sync()
        assert "content: not what it was born with" in noted.out
        assert bytes_of(live, pool, "meta") == TEXT.encode()
        address = f"volume.{pool}/meta"
        it.apply("--replace", address, "--allow-data-loss", address)
        assert bytes_of(live, pool, "meta") == b"other\n"
        assert "born with" not in it.in_sync().out


@pytest.fixture
def server() -> Iterator[WebServer]:
    with web_server() as it:
        yield it


def qcow2(path: Path, size: str = "8M", *, filled: int = 0) -> bytes:
    """A qcow2 image of random bytes; its own."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(bytes(510) + b"\x55\xaa" + os.urandom(filled or 100_000))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
    qemu_img("resize", "-q", path, size)
    return path.read_bytes()


def qemu_img(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["qemu-img", *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return done.stdout


def same(left: Path | str, right: Path | str) -> bool:
    """Whether two images hold the same for a guest, up to the end of the shorter one."""
    return subprocess.run(["qemu-img", "compare", "-q", left, right]).returncode == 0


def test_images(private_host: PrivateHost, tmp_path: Path, server: WebServer) -> None:
    """From the web, packed or not, from a file and from the host; ten of one are had once."""
    image = tmp_path / "image.qcow2"
    data = qcow2(image)
    packed = gzip.compress(data)
    url = server.put("/image.qcow2.gz", packed)
    checksum = f"sha256:{hashlib.sha256(packed).hexdigest()}"
    with stack(tmp_path, private_host) as it, connection(private_host) as live:
        it.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        pool = it.tag
        it.specs["pools"] = {pool: {"path": str(tmp_path / "pool"), "autostart": False}}
        it.specs["volumes"] = {
            f"{pool}/web-{{{{ each.key }}}}.qcow2": {
                "for_each": list(range(10)),
                "capacity": "1GiB",
                "source": {"url": url, "checksum": checksum},
            },
            f"{pool}/file": {"source": {"file": "image.qcow2"}},
            f"{pool}/raw": {"source": {"file": "image.raw"}, "capacity": "2MiB"},
        }
        it.settle()
        assert server.requests == {"/image.qcow2.gz": 1}
        for number in range(10):
            found = path_of(live, pool, f"web-{number}.qcow2")
            assert same(image, found)
            assert json.loads(qemu_img("info", "--output=json", found))["virtual-size"] == 1 << 30
        assert path_of(live, pool, "file").read_bytes() == data
        raw = image.with_suffix(".raw").read_bytes()
        assert path_of(live, pool, "raw").read_bytes() == raw.ljust(2 << 20, b"\0")
        assert (
            live.storagePoolLookupByName(pool).storageVolLookupByName("file").info()[1] == 8 << 20
        )
        # The host copies what a pool of its own has; the spec of a born volume is noted only.
        it.volumes[f"{pool}/copy"] = {
            "source": {"host_path": str(path_of(live, pool, "file"))},
            "capacity": "16MiB",
        }
        it.settle()
        assert same(image, path_of(live, pool, "copy"))
        it.volumes[f"{pool}/file"] = {"source": {"url": url}}
        noted = it.in_sync()
        assert "source.url: born from (none), the spec says" in noted.out
        address = f"volume.{pool}/file"
        it.apply("--replace", address, "--allow-data-loss", address)
        assert "born from" not in it.in_sync().out
        listed = kvmplan("cache", "list", env=it.env)
        assert url in listed.out, str(listed)
    assert list((tmp_path / "pool").iterdir()) == []


BAD = {
    "checksum": "KVP651",
    "missing": "KVP650",
    "cut": "KVP650",
    "stalled": "KVP650",
    "page": "KVP652",
    "over": "KVP652",
    "bomb": "KVP652",
    "format": "KVP653",
    "small": "KVP653",
    "elsewhere": "KVP650",
}
"""What is wrong -> what is said of it."""


def test_bad_images_leave_nothing_behind(
    private_host: PrivateHost,
    tmp_path: Path,
    server: WebServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(web, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(web, "SECONDS_SILENT", 0.5)
    monkeypatch.setattr(web, "SLOW_SECONDS", 2.0)
    image, over = tmp_path / "image.qcow2", tmp_path / "over.qcow2"
    data = qcow2(image)
    qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", over, "1M")
    good = server.put("/good", data)
    with stack(tmp_path, private_host) as it:
        pool = it.tag
        it.env["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        it.specs["pools"] = {pool: {"path": str(tmp_path / "pool"), "autostart": False}}
        it.apply()
        wrong = {
            "checksum": {"source": {"url": good, "checksum": f"sha256:{'0' * 64}"}},
            "missing": {"source": f"{server.url}/missing"},
            "cut": {"source": server.put("/cut", data, cut=0)},
            "stalled": {"source": server.put("/stalled", data, stalls=True)},
            "page": {"source": server.put("/page", b"<html>".ljust(9000))},
            "over": {"source": server.put("/over", over.read_bytes())},
            "bomb": {
                "source": {
                    "url": server.put("/bomb", lzma.compress(bytes(20 << 20))),
                    "max_size": "2MiB",
                },
            },
            "format": {"source": good, "format": "raw"},
            "small": {"source": good, "capacity": "1MiB"},
            "elsewhere": {"source": {"host_path": str(image)}},
        }
        assert wrong.keys() == BAD.keys()
        it.specs["volumes"] = {f"{pool}/{name}": fields for name, fields in wrong.items()}
        done = it.apply(code=5)
        for name, code in BAD.items():
            (line,) = [
                row
                for row in done.out.splitlines()
                if row.startswith(f"FAILED  volume.{pool}/{name}:")
            ]
            assert f"[{code}]" in done.out.partition(line)[2].partition("\nFAILED")[0] + line, line
        assert "Traceback" not in done.out + done.err
        assert list((tmp_path / "pool").iterdir()) == []
        # A replacement whose image cannot be had destroys nothing.
        it.specs["volumes"] = {f"{pool}/kept": {"content": "kept\n"}}
        it.apply()
        it.specs["volumes"] = {f"{pool}/kept": {"source": f"{server.url}/missing"}}
        address = f"volume.{pool}/kept"
        it.apply("--replace", address, "--allow-data-loss", address, code=5)
        assert (tmp_path / "pool" / "kept").read_text() == "kept\n"


def test_a_full_pool_and_a_cut_upload(
    private_host: PrivateHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither leaves half an image that could pass for a whole one."""
    image = tmp_path / "image.qcow2"
    data = qcow2(image, "64M", filled=40_000_000)
    device_file, target = tmp_path / "device", tmp_path / "mounted"
    with device_file.open("wb") as file:
        file.truncate(24 << 20)
    target.mkdir()
    subprocess.run(["mkfs.ext4", "-q", device_file], check=True)
    device = private_host.run(["losetup", "--find", "--show", str(device_file)]).stdout.strip()
    try:
        with stack(tmp_path, private_host) as it, connection(private_host) as live:
            small, large = f"{it.tag}-small", f"{it.tag}-large"
            source = {"devices": [device], "format": "ext4"}
            it.specs["pools"] = {
                small: {"type": "fs", "path": str(target), "source": source, "build": False},
                large: {"path": str(tmp_path / "pool")},
            }
            it.specs["volumes"] = {f"{small}/image": {"source": {"file": "image.qcow2"}}}
            full = it.apply(code=5)
            assert "No space left on device" in full.out, str(full)
            assert [path.name for path in target.iterdir()] in ([], ["lost+found"])
            # Cut between two messages, as a kill would: the volume is there, and torn.
            it.specs["volumes"] = {f"{large}/image": {"source": {"file": "image.qcow2"}}}
            with monkeypatch.context() as cut:
                sent = iter(range(3))
                cut.setattr(streams, "_send_all", lambda stream, chunk: next(sent))
                it.env["KVMPLAN_TRACEBACK"] = ""
                it.apply(code=5)
            assert path_of(live, large, "image").stat().st_size < len(data)
            torn = it.plan()
            assert "replace" in torn.out
            it.settle()
            assert path_of(live, large, "image").read_bytes() == data
    finally:
        private_host.run(["umount", str(target)], check=False)
        private_host.run(["losetup", "-d", device])


def test_short_disks(private_host: PrivateHost, tmp_path: Path) -> None:
    """They make volumes; a disk that goes leaves its volume behind as an orphan."""
    qcow2(tmp_path / "image.qcow2")
    with stack(tmp_path, private_host) as it, connection(private_host) as live:
        pool, name = it.tag, f"{it.tag}-web"
        it.specs["pools"] = {pool: {"path": str(tmp_path / "pool"), "autostart": False}}
        disks: dict[str, dict[str, Any]] = {
            "vda": {"size": "16MiB", "pool": pool, "source": {"file": "image.qcow2"}},
            "vdb": {"size": "1MiB", "pool": pool, "format": "raw"},
            "vdc": {"pool": pool, "backing": f"{pool}/{name}-vda.qcow2"},
        }
        it.specs["domains"] = {name: idle_domain(disks=disks)}
        it.settle()
        document = live.lookupByName(name).XMLDesc(0)
        for file in (f"{name}-vda.qcow2", f"{name}-vdb.raw", f"{name}-vdc.qcow2"):
            assert str(path_of(live, pool, file)) in document
        counted = it.run("status")
        assert f"volume.{pool}/{name}-vda.qcow2" in counted.out
        assert "base of 1 guest" in counted.out, str(counted)
        disks["vdb"]["size"] = "2MiB"
        it.settle()
        del disks["vdb"]
        gone = it.plan()
        assert "to destroy" in gone.last
        assert "0 to destroy" in gone.last
        it.apply()
        assert path_of(live, pool, f"{name}-vdb.raw").stat().st_size == 2 << 20
        orphan = f"volume.{pool}/{name}-vdb.raw"
        assert orphan in it.run("orphans").out
        it.apply("--prune", code=7)
        it.apply("--prune", "--allow-data-loss", orphan)
        it.in_sync()
        it.specs["volumes"] = {}
        it.destroy("--allow-data-loss", "volume.*")
