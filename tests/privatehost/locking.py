"""One process at a time, by a lock on a directory."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the lock of a directory, made when missing; removed at the end if it is empty."""
    handle = _lock(directory)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            directory.rmdir()
        os.close(handle)


def _lock(directory: Path) -> int:
    """Lock the directory that has this path now, not one that a former holder removed."""
    while True:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), directory.stat()):
                return handle
        os.close(handle)
