"""Output that is closed, full, or without a reader: no traceback, no half of an apply."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kvmplan.cli.streams import Sink, lost

ROOT = Path(__file__).parents[2]
SPECS = """\
stack: {name: lab, uid: 0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11}
networks:
  "n{{ each.key }}": {for_each: [1, 2, 3, 4, 5, 6], forward: none}
"""
HOST = ("specs.yaml", "--connect", "test:///default")
PLANS = [["plan", *HOST, *more] for more in ((), ("--json",), ("--xml",), ("--format", "json"))]
APPLIES = [["apply", "--auto-approve", *HOST], ["apply", "--auto-approve", *HOST, "--json"]]
OTHERS = [["version"], ["--help"], ["status", *HOST]]
DONE = "Apply complete! Resources: 6 added, 0 changed, 0 destroyed."


@pytest.fixture(autouse=True)
def _specs(tmp_path: Path) -> None:
    (tmp_path / "specs.yaml").write_text(SPECS)


@pytest.fixture
def gone() -> Iterator[int]:
    """A pipe whose reader has left."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def kvmplan(
    folder: Path, command: list[str], redirected: str = "", stdout: int | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command by a shell, which redirects its streams; stdout goes to a pipe else."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(folder / "state")}
    environment.pop("KVMPLAN_TRACEBACK", None)
    shell = ["/bin/sh", "-c", f'exec "$@" {redirected}', "sh"]
    done = subprocess.run(
        [*shell, sys.executable, "-m", "kvmplan", *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    for bad in ("Traceback", "KVP900", "Exception ignored"):
        assert bad not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize("command", [*PLANS, *OTHERS], ids=" ".join)
@pytest.mark.parametrize("redirected", [">/dev/full", ">&-"])
def test_what_cannot_be_written_is_an_error(
    command: list[str], redirected: str, tmp_path: Path
) -> None:
    done = kvmplan(tmp_path, command, redirected)
    assert done.returncode == 1
    assert "error[KVP910]: stdout cannot be written: " in done.stderr


def test_changes_that_nobody_can_read_are_an_error(tmp_path: Path) -> None:
    assert kvmplan(tmp_path, ["plan", *HOST, "--detailed-exitcode"], ">/dev/full").returncode == 1


@pytest.mark.parametrize("command", [*PLANS, *OTHERS], ids=" ".join)
def test_a_reader_that_left_has_seen_what_it_wanted(
    command: list[str], tmp_path: Path, gone: int
) -> None:
    done = kvmplan(tmp_path, command, stdout=gone)
    assert done.returncode == 0
    assert "KVP910" not in done.stderr


def test_a_readers_leave_changes_no_exit_code(tmp_path: Path, gone: int) -> None:
    changes = ["plan", *HOST, "--detailed-exitcode"]
    assert kvmplan(tmp_path, changes, stdout=gone).returncode == 2
    done = kvmplan(tmp_path, ["plan", "nowhere.yaml", "--json"], stdout=gone)
    assert done.returncode == 1
    assert "error[KVP100]" in done.stderr


@pytest.mark.parametrize("command", APPLIES, ids=" ".join)
@pytest.mark.parametrize("redirected", ["", ">/dev/full", ">&-", ">/dev/full <&-"])
def test_an_apply_goes_on_to_its_end(
    command: list[str], redirected: str, tmp_path: Path, gone: int
) -> None:
    done = kvmplan(tmp_path, command, redirected, stdout=gone)
    assert done.returncode == 0, done.stderr
    last = done.stderr.split("warning[KVP910]: ")[1]
    assert last.partition("\n")[0].endswith(f"; the apply went on and ended with: {DONE}")


@pytest.mark.parametrize("command", APPLIES, ids=" ".join)
def test_a_file_that_may_not_grow_keeps_what_it_has(command: list[str], tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        limited = ["/bin/sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "-m", "kvmplan"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": "/proc/nowhere"}
        environment |= {"PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*limited, *command],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert f"the apply went on and ended with: {DONE}" in done.stderr
    assert (tmp_path / "out").stat().st_size in (512, 1024)


@pytest.mark.parametrize("redirected", ["2>/dev/full", "<&- 2>&-"])
@pytest.mark.parametrize("command", [*PLANS[:2], *APPLIES], ids=" ".join)
def test_nobody_misses_stderr(command: list[str], redirected: str, tmp_path: Path) -> None:
    done = kvmplan(tmp_path, command, redirected)
    assert done.returncode == 0
    wanted = "Plan: 6 to add" if command[0] == "plan" else "Apply complete!"
    assert wanted in done.stdout
    assert kvmplan(tmp_path, ["plan", "nowhere.yaml"], redirected).returncode == 1


def test_all_closed_is_no_reason_to_stop(tmp_path: Path) -> None:
    done = kvmplan(tmp_path, APPLIES[0], "<&- >&- 2>&-")
    assert done.returncode == 0
    (journal,) = (tmp_path / "state").rglob("*.jsonl")
    assert "network.n6" in journal.read_text()


def test_without_stdin_nobody_approves(tmp_path: Path) -> None:
    done = kvmplan(tmp_path, ["apply", *HOST], "<&-")
    assert done.returncode == 1
    assert "error[KVP640]" in done.stderr


@pytest.mark.parametrize("command", [["apply", "--json"], [*APPLIES[1], "--expect-digest", "x"]])
def test_the_last_line_of_an_apply_is_a_summary_also_where_it_is_refused(
    command: list[str], tmp_path: Path
) -> None:
    done = kvmplan(tmp_path, command)
    assert done.returncode in (1, 3)
    types = [json.loads(line)["type"] for line in done.stdout.splitlines()]
    assert types[-2:] == ["diagnostic", "change_summary"]


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got: list[bytes] = []

    def read() -> None:
        with os.fdopen(reading, "rb") as stream:
            got.append(stream.read())

    reader = threading.Thread(target=read)
    reader.start()
    with io.TextIOWrapper(io.BufferedWriter(Sink(writing, "w"))) as stream:
        stream.write("x" * 1_000_000)
        stream.flush()
        assert lost(stream) is None
    reader.join(10)
    assert [len(part) for part in got] == [1_000_000]
