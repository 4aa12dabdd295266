"""The lock of this machine: told who holds it, freed by the kernel, never in the way."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kvmplan.cli import flock
from kvmplan.cli.flock import HeldHere, held_here

ROOT = Path(__file__).parents[2]
ABOUT = {"who": "me@here", "operation": "apply", "specs": "/lab/specs", "since": "2026-01-02"}
HOLD = """
import sys
from pathlib import Path
from kvmplan.cli.flock import held_here
about = dict(who="me@here", operation="apply", specs="/lab/specs", since="2026-01-02")
with held_here(Path(sys.argv[1]), about, 0):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(file: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its stdin is closed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(file)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def free(file: Path) -> bool:
    try:
        with held_here(file, ABOUT, 0):
            return True
    except HeldHere:
        return False


def test_a_contender_is_told_who_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "locks" / "a"
    with holder(file) as process:
        seen: list[str] = []
        waits = held_here(file, ABOUT, 0.3, lambda error: seen.append(str(error)))
        with pytest.raises(HeldHere) as told, waits:
            pass
        assert set(seen) == {str(told.value)}, "who waits knows for whom"
        assert str(told.value) == "locked by me@here since 2026-01-02 (apply of /lab/specs)"
        assert told.value.pid == str(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert free(file)
    assert file.stat().st_mode & 0o777 == 0o600


def test_whoever_waits_gets_it_in_time(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with holder(file) as process:
        assert process.stdin is not None
        waiting = subprocess.Popen([sys.executable, "-c", WAIT, str(file)], cwd=ROOT)
        process.stdin.close()
        assert waiting.wait(60) == 0


WAIT = HOLD.replace(", 0)", ", 50)").replace("    sys.stdin.read()\n", "")


def test_a_holder_that_has_not_said_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flock, "UNSEEN_SECONDS", 0.3)
    file = tmp_path / "a"
    for content in ("", "{", '{"pid": 0}', f'{{"pid": "{2**31 - 1}"}}'):
        file.write_text(content)
        with file.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            with pytest.raises(HeldHere, match="another process"), held_here(file, ABOUT, 0):
                pass


def test_without_a_place_or_without_locks_nothing_is_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    with held_here(tmp_path / "file" / "locks" / "a", ABOUT, 0):
        pass

    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with held_here(tmp_path / "a", ABOUT, 0):
        assert (tmp_path / "a").read_text() == ""
