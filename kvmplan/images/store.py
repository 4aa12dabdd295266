"""The store: unpacked images in the user's cache, by the checksum of what was fetched.

``blobs/`` holds images, ``sources/`` what is known of addresses, ``locks/`` a file for each address
that is being fetched, so that whoever wants the same waits for it. Any of it may be deleted while
nothing is applied. A blob is there only once it is whole, checked and known to be an image.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from kvmplan.images.errors import NO_ROOM, ImageError

SECONDS_UNTIL_STALE = 24 * 3600.0
"""Age of a half-written file that nobody works on any more."""
_BLOCK = 64 * 1024
_PART = ".part"


@dataclass(frozen=True, slots=True)
class Known:
    """What was fetched from an address last: which version, and what came of it."""

    source: str
    etag: str
    modified: str
    blob: str


@dataclass(frozen=True, slots=True)
class Blob:
    """One image in the cache: its bytes as a file, those it takes, when it was used last."""

    name: str
    size: int
    allocated: int
    used: float
    sources: tuple[str, ...]


class Store:
    """The images of one user on this machine. Any thread of any process may use it.

    Args:
        folder: where; made when something is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> Path | None:
        """A blob by its name; used now. None if there is none that only we can have written."""
        path = self._folder / "blobs" / name
        if not _is_ours(path):
            return None
        with suppress(OSError):
            os.utime(path)
        return path

    def known(self, source: str) -> Known | None:
        """What is known of an address, if its image is here."""
        path = self._entry(source)
        with suppress(OSError, ValueError, TypeError):
            if _is_ours(path):
                known = Known(**json.loads(path.read_text()))
                return known if self.find(known.blob) is not None else None
        return None

    @contextmanager
    def alone(self, source: str) -> Iterator[None]:
        """Be the only one who fetches from an address; wait for who does.

        Raises:
            ImageError: the cache cannot be written.
        """
        with _translated():
            path = self._place("locks") / _key(source)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            with suppress(OSError):  # where files cannot be locked, it is fetched twice
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    @contextmanager
    def writing(self) -> Iterator[Writer]:
        """A file for an image that is on its way; gone at the end unless it was kept.

        Raises:
            ImageError: the cache cannot be written.
        """
        with _translated():
            handle, name = tempfile.mkstemp(_PART, dir=self._place("blobs"))
        writer = Writer(handle, Path(name))
        try:
            yield writer
        finally:
            writer.close()
            writer.path.unlink(missing_ok=True)

    def keep(self, writer: Writer, known: Known) -> Path:
        """Keep a whole image under the name of its checksum, and note where it is from.

        Raises:
            ImageError: the cache cannot be written.
        """
        path = self._folder / "blobs" / known.blob
        with _translated():
            writer.sync()
            writer.path.replace(path)
            self.note(known)
        return path

    def note(self, known: Known) -> None:
        """Remember what an address has. Raises OSError."""
        folder = self._place("sources")
        handle, name = tempfile.mkstemp(_PART, dir=folder)
        with os.fdopen(handle, "w") as opened:
            json.dump(asdict(known), opened)
        Path(name).replace(self._entry(known.source))

    def blobs(self) -> list[Blob]:
        """What is here, what was used last first."""
        sources: dict[str, list[str]] = {}
        for known in self._all_known():
            sources.setdefault(known.blob, []).append(known.source)
        found = []
        for path in _files(self._folder / "blobs"):
            if path.suffix == _PART:
                continue
            status = path.stat()
            names = tuple(sorted(sources.get(path.name, ())))
            allocated = status.st_blocks * 512
            found.append(Blob(path.name, status.st_size, allocated, status.st_mtime, names))
        return sorted(found, key=lambda blob: (-blob.used, blob.name))

    def prune(self, unused_for: float) -> list[Blob]:
        """Remove what was not used for so many seconds, and what cut runs have left.

        Raises:
            OSError: it cannot be removed.
        """
        now = time.time()
        gone = [blob for blob in self.blobs() if now - blob.used >= unused_for]
        for blob in gone:
            (self._folder / "blobs" / blob.name).unlink(missing_ok=True)
        names = {blob.name for blob in gone}
        for known in self._all_known():
            if known.blob in names:
                self._entry(known.source).unlink(missing_ok=True)
        for folder in ("blobs", "sources"):
            for path in _files(self._folder / folder):
                if path.suffix == _PART and now - path.stat().st_mtime > SECONDS_UNTIL_STALE:
                    path.unlink(missing_ok=True)
        return gone

    def _all_known(self) -> Iterator[Known]:
        for path in _files(self._folder / "sources"):
            with suppress(OSError, ValueError, TypeError):
                yield Known(**json.loads(path.read_text()))

    def _entry(self, source: str) -> Path:
        return self._folder / "sources" / _key(source)

    def _place(self, name: str) -> Path:
        place = self._folder / name
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        return place


class Writer:
    """Writes an image; zeros become holes.

    Attributes:
        path: the file.
    """

    def __init__(self, handle: int, path: Path) -> None:
        self._file, self.path = os.fdopen(handle, "wb", buffering=0), path
        self._length = 0

    def write(self, piece: bytes) -> None:
        """Append. Raises ImageError where the cache has no room."""
        view, zeros = memoryview(piece), bytes(min(len(piece), _BLOCK))
        with _translated():
            for start in range(0, len(view), _BLOCK):
                block = view[start : start + _BLOCK]
                if block == zeros[: len(block)]:
                    self._file.seek(len(block), os.SEEK_CUR)
                else:
                    self._write_all(block)
        self._length += len(piece)

    def end(self) -> None:
        """All is written: give the file its length, which may end in a hole."""
        with _translated():
            self._file.truncate(self._length)

    def sync(self) -> None:
        """Have it on disk. Raises OSError."""
        os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write_all(self, block: memoryview) -> None:
        while block:
            block = block[self._file.write(block) :]


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        summary = f"the cache of images cannot be written: {error.strerror or error}{where}"
        remedy = "make room (`kvmplan cache prune`), or point XDG_CACHE_HOME where there is some"
        raise ImageError(NO_ROOM, summary, remedy) from error


def _is_ours(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    ours = status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode)
    return ours and not status.st_mode & 0o022


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _key(source: str) -> str:
    return sha256(source.encode()).hexdigest()[:40]
