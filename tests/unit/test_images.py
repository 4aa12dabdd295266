"""Images against a real web server: had once, checked, unpacked within bounds, or refused."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import zstandard

from kvmplan.images import web
from kvmplan.images.errors import ImageError
from kvmplan.images.fetch import Image, Images, Wanted
from kvmplan.images.store import Store
from kvmplan.images.unpack import unpacked
from tests.webserver import WebServer, web_server

DISK = bytes(510) + b"\x55\xaa" + os.urandom(700_000) + bytes(400_000)
"""A disk with a boot sector, and nothing behind its middle."""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(web, "SECONDS_SILENT", 0.5)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with web_server() as it:
        yield it


@pytest.fixture
def images(tmp_path: Path) -> Images:
    return Images(lambda: tmp_path / "cache", tmp_path)


def silent(_: str, __: int, ___: int | None) -> None:
    pass


def get(
    images: Images, format_: str | None = None, capacity: int | None = None, **source: Any
) -> Image:
    return images.get(Wanted(source, format_, capacity), silent)


def refused(images: Images, format_: str | None = None, **source: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        get(images, format_, **source)
    return caught.value


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def left_behind(tmp_path: Path) -> list[str]:
    blobs = tmp_path / "cache" / "blobs"
    return [path.name for path in blobs.iterdir()] if blobs.is_dir() else []


def test_image_is_had_once(server: WebServer, images: Images, tmp_path: Path) -> None:
    url = server.put("/once.img", DISK)
    with ThreadPoolExecutor(10) as threads:
        found = set(threads.map(lambda _: get(images, url=url), range(10)))
    (image,) = found
    assert (image.format, image.capacity) == ("raw", len(DISK))
    assert image.path.read_bytes() == DISK
    assert image.path.stat().st_blocks * 512 < len(DISK) - 200_000
    assert server.requests["/once.img"] == 1
    # Another run asks whether there is another one; with a checksum it need not.
    again = Images(lambda: tmp_path / "cache", tmp_path)
    assert get(again, url=url) == image
    assert server.requests["/once.img"] == 2
    assert server.sent["/once.img"] == len(DISK)
    third = Images(lambda: tmp_path / "cache", tmp_path)
    assert get(third, url=url, checksum=sha256(DISK)) == image
    assert server.requests["/once.img"] == 2
    server.put("/once.img", DISK + bytes(512))
    fourth = Images(lambda: tmp_path / "cache", tmp_path)
    assert get(fourth, url=url).capacity == len(DISK) + 512


def test_pruning(server: WebServer, images: Images, tmp_path: Path) -> None:
    url = server.put("/pruned.img", DISK)
    image = get(images, url=url)
    store = Store(tmp_path / "cache")
    (blob,) = store.blobs()
    assert blob.sources == (url,)
    assert store.prune(3600.0) == []
    assert store.prune(0.0) == [blob]
    assert not image.path.exists()
    assert get(Images(lambda: tmp_path / "cache", tmp_path), url=url) == image


@pytest.mark.parametrize("ranges", [True, False])
def test_cut_downloads_go_on(server: WebServer, images: Images, ranges: bool) -> None:
    path = f"/cut-{ranges}.img"
    # With ranges every answer is 300 kB; without, one that is cut once is whole afterwards.
    url = server.put(path, DISK, cut=300_000, ranges=ranges, cut_once=not ranges, failures=1)
    assert get(images, url=url, checksum=sha256(DISK)).path.read_bytes() == DISK
    assert server.requests[path] == (5 if ranges else 3)


def test_redirect(server: WebServer, images: Images) -> None:
    server.put("/there.img", DISK)
    url = server.put("/here.img", b"", redirect="/there.img")
    assert get(images, url=url, checksum=sha256(DISK)).capacity == len(DISK)
    elsewhere = server.put("/away.img", b"", redirect="file:///etc/passwd")
    assert "not allowed" in refused(images, url=elsewhere).summary


def test_sums_file(server: WebServer, images: Images) -> None:
    digest = hashlib.sha512(DISK).hexdigest()
    url = server.put("/sums/disk.img", DISK)
    sums = server.put("/sums/SHA512SUMS", f"{'0' * 128}  other.img\n{digest} *disk.img\n".encode())
    assert get(images, url=url, checksum=sums).path.name == f"sha512-{digest}"
    bsd = server.put("/sums/BSD", f"SHA512 (disk.img) = {digest}\n".encode())
    assert get(images, url=url, checksum=bsd).capacity == len(DISK)
    assert server.requests["/sums/disk.img"] == 1
    none = server.put("/sums/NONE", b"nothing\n")
    assert refused(images, url=url, checksum=none).code == "KVP651"


def test_bad_servers(
    server: WebServer, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = refused(images, url=server.url + "/missing.img")
    assert (missing.code, "404" in missing.summary) == ("KVP650", True)
    cut = server.put("/never.img", DISK, cut=0)
    assert "ends too early" in refused(images, url=cut).summary
    stalled = server.put("/stalled.img", DISK, stalls=True, ranges=False)
    assert "says nothing" in refused(images, url=stalled).summary
    monkeypatch.setattr(web, "SLOW_SECONDS", 1.0)
    drip = server.put("/drip.img", DISK, stalls=True)
    assert "less than 1024 bytes a second" in refused(images, url=drip).summary
    wrong = server.put("/wrong.img", DISK)
    mismatch = refused(images, url=wrong, checksum=sha256(b""))
    assert (mismatch.code, sha256(DISK) in mismatch.summary) == ("KVP651", True)
    closed = refused(images, url="http://127.0.0.1:1/x.img")
    assert closed.code == "KVP650"
    assert left_behind(tmp_path) == []


def pixz(data: bytes) -> bytes:
    return lzma.compress(data[:5]) + lzma.compress(data[5:])


def zst_frames(data: bytes) -> bytes:
    pack = zstandard.ZstdCompressor().compress
    return pack(data[:5]) + pack(data[5:])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "gz-twice": lambda data: gzip.compress(data[:5]) + gzip.compress(data[5:]) + bytes(100),
    "bz2": bz2.compress,
    "bz2-twice": lambda data: bz2.compress(data[:5]) + bz2.compress(data[5:]),
    "xz": lzma.compress,
    "xz-twice": pixz,
    "zst": zstandard.ZstdCompressor().compress,
    "zst-twice": zst_frames,
}


@pytest.mark.parametrize("packer", PACKERS)
def test_unpacking(packer: str, images: Images, tmp_path: Path) -> None:
    packed = PACKERS[packer](DISK)
    for size in (1, 7, 1000, 10**7):
        data = packed if size > 1 else PACKERS[packer](DISK[:2000])
        parts = (data[at : at + size] for at in range(0, len(data), size))
        assert b"".join(unpacked(parts, 10**7)) == (DISK if size > 1 else DISK[:2000])
    with pytest.raises(ImageError, match=r"ends too early|cannot be unpacked"):
        list(unpacked(iter([packed[:-30] if "gz-" not in packer else packed[:-130]]), 10**7))
    file = tmp_path / "image.any"
    file.write_bytes(packed)
    image = get(images, file="image.any", checksum=sha256(packed))
    assert image.path.read_bytes() == DISK
    assert get(images, file="image.any") == image
    assert refused(images, file="image.any", checksum=sha256(DISK)).code == "KVP651"


@pytest.mark.parametrize("packer", ["gz", "bz2", "xz", "zst"])
def test_bombs(packer: str, images: Images, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(PACKERS[packer](bytes(50_000_000)))
    error = refused(images, file="bomb", max_size=1_000_000)
    assert (error.code, "more than 1000000 bytes" in error.summary) == ("KVP652", True)
    assert left_behind(tmp_path) == []


def test_decoders_get_no_more_memory_than_images_need(images: Images, tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 28}]
    (tmp_path / "greedy.xz").write_bytes(lzma.compress(DISK, filters=filters))
    assert "emory" in refused(images, file="greedy.xz").summary
    wide = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    (tmp_path / "greedy.zst").write_bytes(packer.compress(DISK) + packer.flush())
    assert "unpacked" in refused(images, file="greedy.zst").summary


def qemu_img(*arguments: str | Path) -> None:
    subprocess.run(["qemu-img", *map(str, arguments)], check=True, capture_output=True)


def test_formats(images: Images, tmp_path: Path) -> None:
    qemu_img("create", "-f", "qcow2", tmp_path / "good", "3M")
    good = get(images, file="good")
    assert (good.format, good.capacity, good.path) == ("qcow2", 3 << 20, tmp_path / "good")
    over = tmp_path / "over"
    qemu_img("create", "-f", "qcow2", "-u", "-b", "/etc/shadow", "-F", "raw", over, "1M")
    assert "'/etc/shadow'" in refused(images, file="over").summary
    outside = f"data_file={tmp_path}/outside,data_file_raw=on"
    qemu_img("create", "-f", "qcow2", "-o", outside, tmp_path / "split", "1M")
    assert "another file" in refused(images, file="split").summary
    for name in ("vmdk", "vdi", "qed", "vpc"):
        qemu_img("create", "-f", name, tmp_path / name, "4M")
        assert "image; qcow2 and raw are used" in refused(images, file=name).summary
    (tmp_path / "page").write_bytes(b"<!DOCTYPE html><title>Not found</title>".ljust(4096))
    assert "no disk image" in refused(images, file="page").summary
    assert get(images, "raw", file="page").capacity == 4096
    (tmp_path / "broken").write_bytes(b"QFI\xfb" + bytes(8192))
    assert refused(images, file="broken").code == "KVP652"
    assert refused(images, file="nowhere").code == "KVP650"


def test_qemu_img_is_not_needed(
    images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    qemu_img("create", "-f", "qcow2", tmp_path / "good", "3M")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert get(images, file="good").capacity == 3 << 20


def test_full_cache(server: WebServer, images: Images, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    url = server.put("/full.img", DISK)
    assert refused(images, url=url).code == "KVP654"
