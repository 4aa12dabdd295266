"""Images: how fast they go to a host, and how much memory that takes."""

from __future__ import annotations

import hashlib
import json
import lzma
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from kvmplan.host.live import LibvirtHost
from tests.webserver import web_server

MIB = 1024 * 1024
DATA, HOLE, PARTS = 24, 40, 8
"""MiB of data and of nothing in each part of the image."""
VOLUMES = 10
ROUNDS = 9
STACK = """\
stack: {{name: bytes, uid: 5c0d2a54-6b1e-4c55-9a53-1f6a8a3a2b13}}
pools:
  bytes: {{path: {pool}, autostart: false}}
volumes:
  "bytes/{{{{ each.key }}}}.raw":
    for_each: {keys}
    source: {{url: "{url}", checksum: "sha256:{digest}"}}
"""
VOLUME = "<volume><name>{}</name><capacity>{}</capacity><allocation>0</allocation></volume>"
MEASURED = """\
import json, re, sys
from pathlib import Path
from kvmplan.cli import run
def mib(name):
    return int(re.search(name + r":\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
arguments = sys.argv[1:]
sys.stdout = open("/dev/null", "w")
run(["plan", *arguments])
before = mib("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
code = run(["apply", *arguments, "--auto-approve"])
sys.stdout = sys.__stdout__
print(json.dumps([code, before, mib("VmHWM")]))
"""
"""An apply, and the most memory it takes; what a plan leaves there is its start."""


def image(path: Path) -> None:
    """A raw image, a part of it holes."""
    numbers = random.Random(1)
    with path.open("wb") as file:
        for _ in range(PARTS):
            file.write(numbers.randbytes(DATA * MIB))
            file.seek(HOLE * MIB, os.SEEK_CUR)
        file.truncate(PARTS * (DATA + HOLE) * MIB)
        file.seek(510)
        file.write(b"\x55\xaa")


def upload(uri: str, folder: Path) -> tuple[float, float]:
    """Seconds of our upload and of virsh's of the same image, in turn; medians."""
    from kvmplan.host import open_host

    file, pool = folder / "image.raw", folder / "uploads"
    pool.mkdir()
    image(file)
    host = open_host("local", uri)
    _virsh(uri, "pool-create-as", "uploads", "dir", "--target", pool)
    try:
        rounds = [(_ours(host, file), _virshs(uri, file)) for _ in range(ROUNDS + 1)]
    finally:
        _virsh(uri, "pool-destroy", "uploads")
        host.close()
    ours, theirs = zip(*rounds[1:], strict=True)
    return statistics.median(ours), statistics.median(theirs)


def _ours(host: LibvirtHost, file: Path) -> float:
    from kvmplan.address import Address, Kind
    from kvmplan.kinds.verbs import Verb

    address, size = Address("local", Kind.VOLUME, "uploads/ours"), file.stat().st_size
    host.perform(Verb.CREATE_VOLUME, address, {"xml": VOLUME.format("ours", size)})
    seconds = _seconds(lambda: host.perform(Verb.UPLOAD, address, {"data": file}))
    host.perform(Verb.DELETE_VOLUME, address, {})
    return seconds


def _virshs(uri: str, file: Path) -> float:
    size = str(file.stat().st_size)
    _virsh(uri, "vol-create-as", "uploads", "virsh", size, "--allocation", "0")
    told = ("vol-upload", "--sparse", "virsh", file, "--pool", "uploads")
    seconds = _seconds(lambda: _virsh(uri, *told))
    _virsh(uri, "vol-delete", "virsh", "--pool", "uploads")
    return seconds


def _virsh(uri: str, *arguments: str | Path) -> None:
    command = ["virsh", "-q", "-c", uri, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def memory(uri: str, folder: Path) -> tuple[int, int, int]:
    """MiB that an apply of packed images takes at its peak, and before; and what was asked for."""
    # The dictionary of xz -9, without the time that it takes.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 64 * MIB}]
    packed = lzma.compress((folder / "image.raw").read_bytes()[: 256 * MIB], filters=filters)
    spec = folder / "bytes.yaml"
    with web_server() as server:
        url = server.put("/image.xz", packed)
        digest = hashlib.sha256(packed).hexdigest()
        keys = json.dumps(list(range(VOLUMES)))
        spec.write_text(STACK.format(pool=folder / "bytes", keys=keys, url=url, digest=digest))
        done = subprocess.run(
            [sys.executable, "-c", MEASURED, str(spec), "--connect", uri],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "NO_PROXY": "*"},
        )
        code, before, peak = json.loads(done.stdout)
        if code:
            raise SystemExit(f"the apply of images exited {code}:\n{done.stderr[-3000:]}")
        return peak, before, sum(server.requests.values())


def _seconds(run: Callable[[], object]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun
