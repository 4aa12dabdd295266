"""What is remembered of runs in which nothing was to be done: files in the user's cache.

They may be deleted at any time. They hold digests, and of specs the addresses and where the hosts
are. Whatever is wrong with a file, or with writing it, costs time only: the plan is made without.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from kvmplan import __version__
from kvmplan.address import parse_address
from kvmplan.cli.places import cache_folder
from kvmplan.plan.insync import SIZE, InSync, Outline

LARGEST = 64 * 1024 * 1024
"""Bytes of a file that is read."""
OUTLINES = 32
"""How many outlines are kept, the newest: each is of one state of some specs."""


class Memory:
    """What was in sync of one stack on certain hosts."""

    def __init__(self, stack_uid: str, uris: Iterable[str]) -> None:
        name = blake2b("\n".join([stack_uid, *sorted(uris)]).encode(), digest_size=16).hexdigest()
        self._file = _file("in-sync", name)
        content = _trusted(self._file)
        known = (content[n : n + SIZE] for n in range(0, len(content), SIZE))
        self.in_sync = InSync(_program(), known)

    def keep(self) -> None:
        """Write what was in sync in this run, if some of that is not written already."""
        if self.in_sync.is_new:
            _write(self._file, b"".join(sorted(self.in_sync.used)))


def recall(inputs: str) -> Outline | None:
    """The outline of specs with this digest of inputs; None if it is not remembered."""
    try:
        content = json.loads(_trusted(_outline_file(inputs)))
        wanted = {
            parse_address(a): bytes.fromhex(digest) for a, digest in content["wanted"].items()
        }
        return Outline(
            content["name"],
            content["uid"],
            dict(content["hosts"]),
            wanted,
            frozenset(parse_address(address) for address in content["leans_on"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def remember(inputs: str, outline: Outline) -> None:
    """Keep the outline of specs for the next run."""
    content = {
        "name": outline.stack_name,
        "uid": outline.stack_uid,
        "hosts": dict(outline.hosts),
        "wanted": {str(address): digest.hex() for address, digest in outline.wanted.items()},
        "leans_on": sorted(map(str, outline.leans_on)),
    }
    file = _outline_file(inputs)
    _write(file, json.dumps(content).encode())
    if file is None:
        return
    with contextlib.suppress(OSError):
        kept = sorted(file.parent.iterdir(), key=lambda one: one.stat().st_mtime_ns)
        for old in kept[:-OUTLINES]:
            old.unlink(missing_ok=True)


def _outline_file(inputs: str) -> Path | None:
    name = blake2b(f"{inputs} {_program()}".encode(), digest_size=16).hexdigest()
    return _file("specs", name)


def _file(folder: str, name: str) -> Path | None:
    """None where nobody knows the user's home."""
    with contextlib.suppress(OSError):
        return cache_folder() / folder / name
    return None


def _trusted(file: Path | None) -> bytes:
    """The file's content if nobody but us can have written it, else nothing."""
    if file is None:
        return b""
    try:
        with file.open("rb") as opened:
            status = os.fstat(opened.fileno())
            ours = status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode)
            if not ours or status.st_mode & 0o022 or status.st_size > LARGEST:
                return b""
            return opened.read()
    except OSError:
        return b""


def _write(file: Path | None, content: bytes) -> None:
    if file is None:
        return
    with contextlib.suppress(OSError):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(content)
            Path(name).replace(file)
        except OSError:
            Path(name).unlink(missing_ok=True)


def _program() -> str:
    """Which program judges: its version, and when its files were changed, for those who edit it."""
    package = Path(__file__).parent.parent
    changed = [
        entry.stat().st_mtime_ns
        for folder in (package, *(part for part in package.iterdir() if part.is_dir()))
        for entry in os.scandir(folder)
        if entry.name.endswith(".py")
    ]
    return f"{__version__} {len(changed)} {max(changed)} {sum(changed)}"
