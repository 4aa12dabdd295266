"""A watch on this process: which files it opens to write, and what it starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_TRUNC
STARTS = ("subprocess.Popen", "os.posix_spawn", "os.exec", "os.system", "os.spawn")


@dataclass
class Seen:
    """What was seen.

    Attributes:
        files: paths that were opened to be written.
        arguments: command lines of what was started.
        added: environment variables that a child got and this process does not have.
    """

    files: set[str] = field(default_factory=set)
    arguments: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)

    def event(self, name: str, given: tuple[Any, ...]) -> None:
        """One audit event."""
        if name == "open" and isinstance(given[0], str | bytes) and given[2] & WRITING:
            self.files.add(os.fsdecode(given[0]))
        elif name in STARTS:
            self.arguments.append(repr(given[:2]))
            environment = given[3] if name == "subprocess.Popen" else given[-1]
            if isinstance(environment, dict):
                own = os.environ
                self.added += [f"{k}={v}" for k, v in environment.items() if own.get(k) != v]


_watching: list[Seen] = []
_installed: list[bool] = []


def _hook(name: str, given: tuple[Any, ...]) -> None:
    for seen in _watching:
        seen.event(name, given)


@contextmanager
def watch() -> Iterator[Seen]:
    """Watch for a while. The hook stays, and does nothing afterwards."""
    if not _installed:
        sys.addaudithook(_hook)
        _installed.append(True)
    seen = Seen()
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.remove(seen)
