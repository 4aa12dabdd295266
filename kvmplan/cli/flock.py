"""The lock on this machine: runs of one stack on one host meet here before they ask the host.

It is a `flock` on a file, which the kernel takes back when its holder ends, however that happens;
so whoever waits here is told at once, and by whom it is kept waiting. It adds to the lock on the
host and never stands for it: where files cannot be locked, that one is all there is.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

LOOK_SECONDS = 0.2
UNSEEN_SECONDS = 1.0
"""How long a holder may take from having the lock to having said who it is."""

_TOLD = ("pid", "who", "operation", "specs", "since")


class HeldHere(Exception):
    """Another process of this machine has the lock. The message says which, if it is known."""

    def __init__(self, holder: Mapping[str, str] | None) -> None:
        self.pid = holder["pid"] if holder else ""
        known = "{who} since {since} ({operation} of {specs})"
        said = known.format_map(holder) if holder else "another process of this machine"
        super().__init__(f"locked by {said}")


@contextmanager
def held_here(
    file: Path,
    about: Mapping[str, str],
    timeout: float,
    waiting: Callable[[HeldHere], None] = lambda _: None,
) -> Iterator[None]:
    """Hold the lock that a file stands for; without it, where that file cannot be locked.

    Args:
        file: made if it is not there, for its owner alone; it stays.
        about: `who`, `operation`, `specs` and `since`, for those who meet the lock.
        timeout: seconds to wait for another holder; 0: do not.
        waiting: told who is waited for, at each look.

    Raises:
        HeldHere: another process has it, and still had it at the end of the timeout.
    """
    descriptor = _open(file)
    if descriptor is None:
        yield
        return
    try:
        if _take(descriptor, time.monotonic() + timeout, waiting):
            _say(descriptor, {**about, "pid": str(os.getpid())})
        yield
    finally:
        os.close(descriptor)


def _open(file: Path) -> int | None:
    from kvmplan.apply.journal import make_private

    with suppress(OSError):
        make_private(file.parent)
        return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    return None


def _take(descriptor: int, deadline: float, waiting: Callable[[HeldHere], None]) -> bool:
    """Take the lock; False where it cannot be taken by anybody."""
    unseen = time.monotonic() + UNSEEN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            now = time.monotonic()
        except OSError:
            return False
        holder = _holder(descriptor)
        if now >= deadline and (holder is not None or now >= unseen):
            raise HeldHere(holder)
        if holder is not None:
            waiting(HeldHere(holder))
        time.sleep(LOOK_SECONDS if holder is None else min(LOOK_SECONDS, deadline - now))


def _holder(descriptor: int) -> dict[str, str] | None:
    """Who says to hold it; None while the file still speaks of a process that is gone."""
    try:
        said = json.loads(os.pread(descriptor, 4096, 0))
        holder = {name: str(said[name]) for name in _TOLD}
        os.kill(int(holder["pid"]), 0)
    except PermissionError:
        return holder
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return holder


def _say(descriptor: int, about: Mapping[str, str]) -> None:
    """For those who meet the lock; a full disk makes them know less, no more."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(about).encode(), 0)
