"""Streams: bytes of this machine into a volume of a host, the empty parts left out.

https://libvirt.org/html/libvirt-libvirt-stream.html#virStreamSend
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import libvirt

CHUNK = 256 * 1024
"""Bytes that libvirt takes in one message."""
_ZEROS = bytes(CHUNK)

Part = tuple[bytes, int]
"""Bytes to send, or none and the length of a hole."""


def send(
    connection: Any, volume: Any, data: Path | bytes, told: Callable[[int], None] | None
) -> None:
    """Write into a volume from its beginning on; returns when the host has it all.

    Args:
        connection: the one that `volume` is of.
        volume: its handle; it is new: where nothing is sent, it is empty.
        data: a file, or bytes. A file is read up to the length that it has now.
        told: called with how many bytes are done.

    Raises:
        libvirtError: the host did not take it.
        OSError: the file cannot be read.
    """
    length = len(data) if isinstance(data, bytes) else data.stat().st_size
    if not length:
        return
    stream = connection.newStream(0)
    # Libvirt does not limit a stream that names no length: it would grow the volume.
    volume.upload(stream, 0, length, libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM)
    done = 0
    try:
        for chunk, hole in _joined(_parts(data, length)):
            if hole:
                stream.sendHole(hole)
            else:
                _send_all(stream, chunk)
            done += hole or len(chunk)
            if told is not None:
                told(done)
    except BaseException:
        with contextlib.suppress(libvirt.libvirtError):
            stream.abort()
        raise
    stream.finish()


def _send_all(stream: Any, chunk: bytes) -> None:
    while chunk:
        sent: int = stream.send(chunk)
        chunk = chunk[sent:]


def _joined(parts: Iterator[Part]) -> Iterator[Part]:
    """The parts, with holes that follow each other as one."""
    waiting = 0
    for chunk, hole in parts:
        if hole:
            waiting += hole
            continue
        if waiting:
            yield b"", waiting
            waiting = 0
        yield chunk, 0
    if waiting:
        yield b"", waiting


def _parts(data: Path | bytes, length: int) -> Iterator[Part]:
    if isinstance(data, bytes):
        for start in range(0, length, CHUNK):
            yield _part(data[start : start + CHUNK])
        return
    descriptor = os.open(data, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield from _file_parts(descriptor, length)
    finally:
        os.close(descriptor)


def _file_parts(descriptor: int, length: int) -> Iterator[Part]:
    """The parts of a file; what its file system knows to be holes is not even read."""
    at = 0
    while at < length:
        start = _seek(descriptor, at, os.SEEK_DATA, length)
        if start > at:
            yield b"", start - at
        at = start
        end = _seek(descriptor, at, os.SEEK_HOLE, length) if at < length else at
        while at < end:
            chunk = os.pread(descriptor, min(CHUNK, end - at), at)
            if not chunk:
                raise OSError(0, "it has become shorter while it was read")
            yield _part(chunk)
            at += len(chunk)


def _seek(descriptor: int, at: int, whence: int, length: int) -> int:
    try:
        return min(os.lseek(descriptor, at, whence), length)
    except OSError as error:
        # ENXIO: no data behind it. Else its file system knows no holes, and all of it is data.
        return length if whence == os.SEEK_HOLE or error.errno == errno.ENXIO else at


def _part(chunk: bytes) -> Part:
    return (b"", len(chunk)) if chunk == _ZEROS[: len(chunk)] else (chunk, 0)
