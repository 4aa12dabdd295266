"""Measure kvmplan against the floor of the same run; prints JSON lines, asserts nothing.

``python -m tests.benchmarks [COUNT]``: COUNT synthetic domains and volumes, 1,000 by default.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.privatehost import PrivateHost

ROOT = Path(__file__).parent.parent.parent
FLOOR = Path(__file__).parent / "floor.py"
RUNS = 5

STACK = """\
stack: {{name: bench, uid: 3b0f5f0e-4f0f-4a0c-8f6f-0d2f7a1c5b11}}
pools:
  bench: {{path: {pool}, autostart: false}}
volumes:
  "bench/v{{{{ each.key }}}}.raw": {{for_each: {keys}, capacity: 1MiB, format: raw}}
"""
DOMAINS = """\
domains:
  "bench-{{{{ each.key }}}}":
    for_each: {keys}
    type: qemu
    vcpus: {{current: 1, maximum: 2}}
    memory: {{current: 128MiB, maximum: 256MiB}}
    title: "machine {{{{ each.key }}}}"
    state: stopped
    disks: {{vda: {{volume: "bench/v{{{{ each.key }}}}.raw"}}}}
    interfaces: {{eth0: {{user: true}}}}
"""


def report(metric: str, value: float, bound: float, **details: float) -> None:
    """One JSON line."""
    rounded = {name: round(number, 4) for name, number in details.items()}
    line = {"metric": metric, "ratio": round(value, 3), "bound": bound, "within": value <= bound}
    print(json.dumps({**line, **rounded}), flush=True)


def median_seconds(run: Callable[[], None]) -> float:
    """The median wall time of several runs."""
    run()
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def process(*command: str) -> None:
    """Run a command to its end, output discarded; it must succeed."""
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def kvmplan(*arguments: str) -> None:
    """Run kvmplan inside this process, output discarded; it must succeed."""
    from kvmplan.cli import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(list(arguments))
    if code != 0:
        raise SystemExit(f"kvmplan {' '.join(arguments)} exited {code}:\n{out.getvalue()[-3000:]}")


def raw_defines(uri: str, documents: list[str]) -> float:
    """Seconds that bare threaded defines of these documents take: 4 threads, 2 connections."""
    import libvirt

    connections = [libvirt.open(uri), libvirt.open(uri)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(4) as threads:
        jobs = enumerate(documents)
        list(threads.map(lambda job: connections[job[0] % 2].defineXML(job[1]), jobs))
    seconds = time.perf_counter() - begun
    for domain in connections[0].listAllDomains():
        domain.undefine()
    return seconds


def documents_of(uri: str) -> list[str]:
    """The persistent documents of all domains, as they were defined through apply."""
    import libvirt

    connection = libvirt.open(uri)
    return [d.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) for d in connection.listAllDomains()]


def measure_defines(uri: str, specs: Path) -> None:
    """Defining through apply, against raw defines of the very same documents."""
    begun = time.perf_counter()
    kvmplan("apply", str(specs), "--connect", uri, "--auto-approve", "--no-color")
    through = time.perf_counter() - begun
    documents = documents_of(uri)
    kvmplan("destroy", str(specs), "--connect", uri, "--auto-approve", "--target", "domain.*")
    raw = raw_defines(uri, documents)
    kvmplan("apply", str(specs), "--connect", uri, "--auto-approve")
    report("define through apply / raw defines", through / raw, 1.5, apply=through, raw=raw)


def measure_noop(uri: str, specs: Path) -> None:
    """A plan that changes nothing, against the read floor; as whole processes and inside one."""
    command = [sys.executable, "-m", "kvmplan", "plan", str(specs), "--connect", uri]
    floor = [sys.executable, str(FLOOR), uri]
    whole = median_seconds(lambda: process(*command))
    floor_whole = median_seconds(lambda: process(*floor))
    inside = median_seconds(lambda: kvmplan("plan", str(specs), "--connect", uri))
    bare = statistics.median(
        float(subprocess.run(floor, check=True, capture_output=True, text=True).stdout)
        for _ in range(RUNS)
    )
    report(
        "no-op plan / read floor, whole process",
        whole / floor_whole,
        2.0,
        plan=whole,
        floor=floor_whole,
    )
    report("no-op plan / read floor, without start-up", inside / bare, 2.0, plan=inside, floor=bare)


def measure_startup() -> None:
    """``--help`` against a bare interpreter."""
    bare = median_seconds(lambda: process(sys.executable, "-c", "pass"))
    shown = median_seconds(lambda: process(sys.executable, "-m", "kvmplan", "--help"))
    report("--help / python -c pass", shown / bare, 4.5, help=shown, bare=bare)


def main(count: int) -> None:
    """Everything, on a private host of its own."""
    measure_startup()
    host = PrivateHost(f"bench-{os.getpid()}")
    host.up()
    try:
        with tempfile.TemporaryDirectory() as folder:
            specs = Path(folder) / "specs"
            specs.mkdir()
            keys = json.dumps([f"{number:04}" for number in range(count)])
            pool = Path(folder) / "pool"
            (specs / "stack.yaml").write_text(STACK.format(pool=pool, keys=keys))
            kvmplan("apply", str(specs), "--connect", host.uri, "--auto-approve")
            (specs / "domains.yaml").write_text(DOMAINS.format(keys=keys))
            measure_defines(host.uri, specs)
            measure_noop(host.uri, specs)
    finally:
        host.down()


main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
