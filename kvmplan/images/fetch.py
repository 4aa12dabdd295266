"""Fetching: from what a spec says of a source to an image that can be uploaded.

What several volumes and several runs want is fetched once: by its checksum where one is written, by
what the server says of its version elsewhere.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kvmplan.images.checksums import Checksum, find_checksum, parse_checksum
from kvmplan.images.errors import MISMATCH, NO_ROOM, UNREACHABLE, ImageError
from kvmplan.images.formats import examine
from kvmplan.images.store import Known, Store
from kvmplan.images.unpack import is_packed, unpacked
from kvmplan.images.web import CHUNK, Download, Version, show, text_of

LIMIT = 64 * 1024**3
"""Bytes that an image may come to where neither a capacity nor `max_size` is written."""
ROOM = 1024**3
"""What the tables of a full qcow2 image may add to its capacity; far less, of any usual one."""

Told = Callable[[str, int, int | None], None]
"""Gets what is going on (``download``, ``check``), bytes done and bytes in all, where known."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image on this machine.

    Attributes:
        path: its bytes, unpacked.
        format: ``qcow2`` or ``raw``.
        capacity: bytes, as a guest sees it.
    """

    path: Path
    format: str
    capacity: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a spec says of an image: its source's fields, and those of its volume that matter."""

    source: Mapping[str, Any]
    format: str | None = None
    capacity: int | None = None

    @property
    def limit(self) -> int:
        """How many bytes it may come to."""
        given: int | None = self.source.get("max_size")
        if given is not None:
            return given
        return LIMIT if self.capacity is None else self.capacity + ROOM

    @property
    def name(self) -> str:
        """How it is called in messages."""
        url = self.source.get("url")
        return show(url) if url else str(self.source.get("file"))


class Images:
    """Fetches images. Any thread may ask; who asks for what another one fetches waits for it.

    Args:
        cache: gives the folder of the cache, asked for when it is needed.
        root: where relative files start: the repository of the specs.
    """

    def __init__(self, cache: Callable[[], Path], root: Path) -> None:
        self._cache, self._root = cache, root
        self._guard = threading.Lock()
        # Decoders may take 80 MiB: one image is on its way at a time.
        self._one = threading.Lock()
        self._had: dict[str, str] = {}

    def get(self, wanted: Wanted, told: Told) -> Image:
        """The image at a source.

        Raises:
            ImageError: it cannot be had, is not what it should be, or must not be used.
        """
        try:
            fetch = self._file if "file" in wanted.source else self._url
            path = fetch(wanted, told)
            found = examine(path, wanted.format)
        except ImageError as error:
            if error.code == UNREACHABLE:  # says by itself what could not be reached
                raise
            raise ImageError(error.code, f"{wanted.name}: {error.summary}", error.remedy) from error
        except OSError as error:
            summary = f"{wanted.name}: it cannot be read: {error.strerror or error}"
            raise ImageError(UNREACHABLE, summary, "look at the file") from error
        return Image(path, found.name, found.capacity)

    @property
    def _store(self) -> Store:
        return Store(self._cache())

    # ------------------------------------------------------------------ the web

    def _url(self, wanted: Wanted, told: Told) -> Path:
        url = str(wanted.source["url"])
        store = self._store
        with store.alone(url):
            checksum = self._checksum(wanted)
            known = self._in_cache(store, url, checksum)
            return known or self._downloaded(store, wanted, checksum, told)

    def _downloaded(
        self, store: Store, wanted: Wanted, checksum: Checksum | None, told: Told
    ) -> Path:
        url = str(wanted.source["url"])
        last = store.known(url) if checksum is None else None
        version = Version(last.etag, last.modified) if last is not None else Version()
        with self._one, Download(url) as download:
            if not download.open(version if version.is_known else None):
                assert last is not None
                return self._remember(store, url, last.blob)
            chunks = _reported(download.chunks(), told, "download", download.length)
            return self._keep(store, wanted, checksum, chunks, lambda: download.version)

    def _in_cache(self, store: Store, source: str, checksum: Checksum | None) -> Path | None:
        """What needs not be asked for: it is known by its checksum, or this run has had it."""
        if checksum is not None:
            return store.find(_blob(checksum))
        with self._guard:
            name = self._had.get(source)
        return store.find(name) if name is not None else None

    def _remember(self, store: Store, source: str, blob: str) -> Path:
        with self._guard:
            self._had[source] = blob
        path = store.find(blob)
        if path is None:
            raise ImageError(NO_ROOM, "it was removed from the cache meanwhile", "apply again")
        return path

    def _keep(
        self,
        store: Store,
        wanted: Wanted,
        checksum: Checksum | None,
        chunks: Iterator[bytes],
        version: Callable[[], Version],
    ) -> Path:
        """Unpack into the cache, check, look at it; only then is it kept."""
        source = str(wanted.source.get("url") or self._path(wanted))
        digest = hashlib.new(checksum.algorithm if checksum is not None else "sha256")
        with store.writing() as writer:
            for piece in unpacked(_hashed(chunks, digest), wanted.limit):
                writer.write(piece)
            writer.end()
            found = Checksum(digest.name, digest.hexdigest())
            _compare(checksum, found)
            examine(writer.path, wanted.format)
            last = version()
            known = Known(source, last.etag, last.modified, _blob(found))
            store.keep(writer, known)
        return self._remember(store, source, known.blob)

    def _checksum(self, wanted: Wanted) -> Checksum | None:
        given = wanted.source.get("checksum")
        if given is None:
            return None
        if not str(given).startswith(("http://", "https://")):
            return parse_checksum(given)
        path = wanted.source.get("file") or unquote(urlsplit(str(wanted.source["url"])).path)
        return find_checksum(text_of(given), str(path).rpartition("/")[2], show(given))

    # ------------------------------------------------------------------ this machine

    def _path(self, wanted: Wanted) -> Path:
        return (self._root / str(wanted.source["file"])).absolute()

    def _file(self, wanted: Wanted, told: Told) -> Path:
        """A file as it is; a packed one by way of the cache."""
        path, checksum = self._path(wanted), self._checksum(wanted)
        with path.open("rb") as opened:
            packed = is_packed(opened.read(16))
        if packed:
            return self._packed_file(wanted, path, checksum, told)
        if checksum is not None:
            digest = hashlib.new(checksum.algorithm)
            for _ in _hashed(_reported(_read(path), told, "check", path.stat().st_size), digest):
                pass
            _compare(checksum, Checksum(digest.name, digest.hexdigest()))
        return path

    def _packed_file(
        self, wanted: Wanted, path: Path, checksum: Checksum | None, told: Told
    ) -> Path:
        store, status = self._store, path.stat()
        version = Version(f"{status.st_ino}-{status.st_size}-{status.st_mtime_ns}")
        with store.alone(str(path)):
            last = store.known(str(path))
            same = last is not None and last.etag == version.etag
            if last is not None and same and checksum in (None, _checksum_of(last.blob)):
                return self._remember(store, str(path), last.blob)
            chunks = _reported(_read(path), told, "unpack", status.st_size)
            with self._one:
                return self._keep(store, wanted, checksum, chunks, lambda: version)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb", buffering=0) as opened:
        while chunk := opened.read(CHUNK):
            yield chunk


def _reported(chunks: Iterator[bytes], told: Told, what: str, total: int | None) -> Iterator[bytes]:
    done = 0
    told(what, done, total)
    for chunk in chunks:
        done += len(chunk)
        told(what, done, total)
        yield chunk


def _hashed(chunks: Iterator[bytes], digest: Any) -> Iterator[bytes]:
    for chunk in chunks:
        digest.update(chunk)
        yield chunk


def _compare(wanted: Checksum | None, found: Checksum) -> None:
    if wanted is not None and wanted != found:
        summary = f"it has the checksum {found}, not {wanted}"
        remedy = "see whether it was replaced by another version, or tampered with"
        raise ImageError(MISMATCH, summary, remedy)


def _blob(checksum: Checksum) -> str:
    return f"{checksum.algorithm}-{checksum.digest}"


def _checksum_of(blob: str) -> Checksum:
    return parse_checksum(blob.replace("-", ":", 1))
