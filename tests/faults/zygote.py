"""The server of runs with faults, seen from the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.injector import Fault
from tests.integration.canary import canary, finds

SECRETS = {"VNC_PASSWORD": canary()}
"""The environment of every run that has secrets; none may come out, whatever fails."""
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Faulted:
    """What came of a run with a fault.

    Attributes:
        code: its exit code; negative: the signal that ended it.
        calls: names of the calls that counted, in order; the fault was at the one numbered so.
    """

    code: int
    out: str
    err: str
    calls: tuple[str, ...]

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


class Zygote:
    """Runs kvmplan with faults, each in a process of its own; one at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.run", "serve"],
            cwd=ROOT,
            env={**os.environ, **SECRETS, "KVMPLAN_TRACEBACK": "1", "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, fault: Fault, command: Sequence[str]) -> Faulted:
        """Run a command with a fault, to its end."""
        files = {name: self._directory / f"fault.{name}" for name in ("out", "err", "log")}
        for file in files.values():
            file.unlink(missing_ok=True)
        request = {name: str(file) for name, file in files.items()}
        line = json.dumps({**request, "fault": asdict(fault), "command": list(command)})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        out, err, log = (file.read_text(errors="replace") for file in files.values())
        assert not finds((out + err).encode(), list(SECRETS.values())), f"a secret came out: {err}"
        return Faulted(code, out, err, tuple(log.splitlines()))

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()
