"""Measure kvmplan against the floor of the same run; prints JSON lines, asserts nothing.

``python -m tests.benchmarks [COUNT]``: COUNT synthetic domains and volumes, 1,000 by default.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks import images
from tests.benchmarks.claims import claims_share
from tests.privatehost import PrivateHost

ROOT = Path(__file__).parent.parent.parent
FLOOR = Path(__file__).parent / "floor.py"
RUNS = 5

MOST_OBJECTS = 50_000
"""Of one stack that are made here; the specs' own limit is twice that."""

BYTECODE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
"""What would have every process of ours compile its sources again."""

STACK = """\
stack: {{name: bench, uid: 3b0f5f0e-4f0f-4a0c-8f6f-0d2f7a1c5b11}}
pools:
  bench: {{path: {pool}, autostart: false}}
volumes:
  "bench/v{{{{ each.key }}}}.raw": {{for_each: {keys}, capacity: 1MiB, format: raw}}
"""
SMALL = """\
stack: {{name: small, uid: 7d0c2a54-6b1e-4c55-9a53-1f6a8a3a2b12}}
pools:
  small: {{path: {pool}, autostart: false}}
volumes:
  small/a.raw: {{capacity: 1MiB, format: raw}}
  small/b.raw: {{capacity: 1MiB, format: raw}}
domains:
  small-a:
    {{type: qemu, vcpus: 1, memory: 128MiB, state: stopped,
     disks: {{vda: {{volume: small/a.raw}}}}}}
  small-b:
    {{type: qemu, vcpus: 1, memory: 128MiB, state: stopped,
     disks: {{vda: {{volume: small/b.raw}}}}}}
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


def seconds(run: Callable[[], object]) -> float:
    """The wall time of one run."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


def medians(*runs: Callable[[], float]) -> list[float]:
    """The median of each of several timed runs, which take turns, so that all meet the same load.

    One of each comes before and does not count.
    """
    for run in runs:
        run()
    rounds = [[run() for run in runs] for _ in range(RUNS)]
    return [statistics.median(times) for times in zip(*rounds, strict=True)]


class Processes:
    """Runs commands to their end; they must succeed. Their bytecode is kept, as if installed."""

    def __init__(self, folder: str) -> None:
        kept = {name: text for name, text in os.environ.items() if name not in BYTECODE}
        self._environment = {**kept, "PYTHONPYCACHEPREFIX": str(Path(folder) / "bytecode")}

    def output(self, *arguments: str) -> str:
        """What Python prints, given these arguments."""
        done = subprocess.run(
            [sys.executable, *arguments],
            check=True,
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def timed(self, *arguments: str) -> Callable[[], float]:
        """How long Python takes with these arguments."""
        return lambda: seconds(lambda: self.output(*arguments))


def kvmplan(*arguments: str) -> None:
    """Run kvmplan inside this process, output discarded; it must succeed."""
    from kvmplan.cli import run

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = run(list(arguments))
    if code != 0:
        raise SystemExit(f"kvmplan {' '.join(arguments)} exited {code}:\n{out.getvalue()[-3000:]}")


def documents_of(uri: str) -> list[str]:
    """The persistent documents of all domains, as they were defined through apply."""
    import libvirt

    connection = libvirt.open(uri)
    return [d.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) for d in connection.listAllDomains()]


def undefine_all(uri: str) -> None:
    """Remove all definitions of domains."""
    import libvirt

    for domain in libvirt.open(uri).listAllDomains():
        domain.undefine()


def raw_defines(uri: str, documents: list[str], threads: int) -> float:
    """Seconds that bare defines of these documents take: so many at once, on 2 connections."""
    import libvirt

    connections = [libvirt.open(uri), libvirt.open(uri)]
    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        jobs = enumerate(documents)
        list(pool.map(lambda job: connections[job[0] % 2].defineXML(job[1]), jobs))
    return time.perf_counter() - begun


def apply_and_phase(*arguments: str) -> tuple[float, float]:
    """Seconds that a whole apply takes, and those in which it carries out the plan's steps."""
    from kvmplan.apply import applier

    whole, phases = applier.apply, []

    def timed(*given: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        finished = whole(*given, **options)
        phases.append(time.perf_counter() - begun)
        return finished

    applier.apply = timed
    try:
        through = seconds(lambda: kvmplan("apply", *arguments, "--auto-approve", "--no-color"))
    finally:
        applier.apply = whole
    return through, phases[0]


def measure_defines(uri: str, specs: Path) -> None:
    """Defining through apply, against raw defines of the very same documents, in turn.

    Apply carries out 4 steps at once, so raw defines are made in 4 threads; one after another, as a
    script of the user's would make them, they are shown for comparison. The first round does not
    count.
    """
    rounds = []
    for _ in range(1 + RUNS):
        through, phase = apply_and_phase(str(specs), "--connect", uri)
        documents = documents_of(uri)
        undefine_all(uri)
        threaded = raw_defines(uri, documents, 4)
        undefine_all(uri)
        rounds.append((through, phase, threaded, raw_defines(uri, documents, 1)))
        undefine_all(uri)
    times = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    through, phase, threaded, serial = times
    for name, ours, raw in (
        ("define through apply / raw defines", through, threaded),
        ("define, the apply phase alone / raw defines", phase, threaded),
        ("define through apply / raw defines, one after another", through, serial),
    ):
        report(name, ours / raw, 1.5, ours=ours, raw=raw)
    kvmplan("apply", str(specs), "--connect", uri, "--auto-approve")


def forget() -> None:
    """Delete what earlier runs have remembered."""
    shutil.rmtree(os.environ["XDG_CACHE_HOME"], ignore_errors=True)


def measure_noop(uri: str, specs: Path, processes: Processes) -> None:
    """A plan that changes nothing, against the read floor; as whole processes and inside one.

    Cold: with an empty cache, as on a fresh machine. Warm: as every plan after the first.
    """
    arguments = ("plan", str(specs), "--connect", uri)

    def cold(run: Callable[[], float]) -> Callable[[], float]:
        def emptied() -> float:
            forget()
            return run()

        return emptied

    whole = processes.timed("-m", "kvmplan", *arguments)
    inside = partial(seconds, lambda: kvmplan(*arguments))
    bare = processes.timed(str(FLOOR), uri)
    read = lambda: float(processes.output(str(FLOOR), uri))  # noqa: E731
    for name, plan_of, floor_of in (
        ("no-op plan / read floor, whole process", whole, bare),
        ("no-op plan / read floor, without start-up", inside, read),
        ("no-op plan / read floor, whole process, empty cache", cold(whole), bare),
        ("no-op plan / read floor, without start-up, empty cache", cold(inside), read),
    ):
        plan, floor = medians(plan_of, floor_of)
        report(name, plan / floor, 2.0, plan=plan, floor=floor)


def measure_startup(processes: Processes) -> None:
    """``--help`` against a bare interpreter."""
    bare, shown = medians(processes.timed("-c", "pass"), processes.timed("-m", "kvmplan", "--help"))
    report("--help / python -c pass", shown / bare, 4.5, help=shown, bare=bare)


def measure_small(uri: str, folder: Path, processes: Processes) -> None:
    """A plan that changes nothing of a stack of five objects, against a bare interpreter."""
    spec = folder / "small.yaml"
    spec.write_text(SMALL.format(pool=folder / "small"))
    arguments = (str(spec), "--connect", uri)
    kvmplan("apply", *arguments, "--auto-approve")
    bare, plan = medians(
        processes.timed("-c", "pass"), processes.timed("-m", "kvmplan", "plan", *arguments)
    )
    report("no-op plan of 5 objects / python -c pass", plan / bare, 18.0, plan=plan, bare=bare)
    kvmplan("destroy", *arguments, "--auto-approve", "--allow-data-loss", "volume.*")


def measure_claims(uri: str, folder: Path, count: int) -> None:
    """What claims cost of an apply of so many objects."""
    whole, mine, times = claims_share(kvmplan, uri, folder, count)
    details = {"objects": count, "apply": whole, "claims": mine, "reads and writes": times}
    report("claims / apply of many objects", mine / whole, 0.05, **details)


def measure_images(uri: str, folder: Path) -> None:
    """Uploads against virsh's; the memory of an apply that fetches, unpacks and uploads."""
    ours, theirs = images.upload(uri, folder)
    report("upload / virsh vol-upload --sparse", ours / theirs, 1.25, ours=ours, virsh=theirs)
    peak, before, requests = images.memory(uri, folder)
    details = {"peak": peak, "before": before, "requests": requests}
    report("MiB above start of an apply of images", peak - before, 100, **details)


def main(count: int) -> None:
    """Everything, on a private host of its own."""
    host = PrivateHost(f"bench-{os.getpid()}")
    host.up()
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
            processes = Processes(folder)
            measure_startup(processes)
            measure_small(host.uri, Path(folder), processes)
            measure_images(host.uri, Path(folder))
            specs = Path(folder) / "specs"
            specs.mkdir()
            keys = json.dumps([f"{number:04}" for number in range(count)])
            pool = Path(folder) / "pool"
            (specs / "stack.yaml").write_text(STACK.format(pool=pool, keys=keys))
            kvmplan("apply", str(specs), "--connect", host.uri, "--auto-approve")
            (specs / "domains.yaml").write_text(DOMAINS.format(keys=keys))
            measure_defines(host.uri, specs)
            measure_noop(host.uri, specs, processes)
            measure_claims(host.uri, Path(folder), min(10 * count, MOST_OBJECTS))
    finally:
        host.down()


main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
