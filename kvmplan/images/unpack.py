"""Unpacking: gz, bz2, xz and zst on the way, by what the bytes say, with a bound on everything.

A few bytes can stand for terabytes. No step gives more than a piece, decoders get no more memory
than a usual image needs, and the whole ends at a limit.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from kvmplan.images.errors import UNUSABLE, ImageError

PIECE = 1024 * 1024
"""Bytes that are unpacked in one step."""
XZ_MEMORY = 80 * 1024 * 1024
"""``xz -9`` needs 65 MiB."""
ZSTD_WINDOW = 64 * 1024 * 1024
"""``zstd -19`` needs 8 MiB."""
ZSTD_STEP = 512
"""Compressed bytes given at once: four of them can become 128 KiB, and are not held back."""

Chunks = Iterator[bytes]

_LONGEST_MAGIC = 6


def unpacked(chunks: Chunks, limit: int) -> Chunks:
    """The bytes, unpacked if they are packed.

    Args:
        chunks: as they are had.
        limit: how many bytes may come of them.

    Raises:
        ImageError: they are broken, or come to more.
    """
    head, rest = _head(chunks)
    decode = next((d for magic, d in _DECODERS.items() if head.startswith(magic)), None)
    total = 0
    try:
        for piece in decode(rest) if decode is not None else rest:
            total += len(piece)
            if total > limit:
                summary = f"it comes to more than {limit} bytes, the limit for this volume"
                remedy = "if it may be that large, write max_size beside its source"
                raise ImageError(UNUSABLE, summary, remedy)
            if piece:
                yield piece
    except _Cut as error:
        raise ImageError(
            UNUSABLE, "it is packed and ends too early", "have it made anew"
        ) from error
    except (zlib.error, lzma.LZMAError, OSError, ValueError) as error:
        if decode is None:
            raise
        raise ImageError(
            UNUSABLE, f"it cannot be unpacked: {error}", "have it made anew"
        ) from error


def is_packed(head: bytes) -> bool:
    """Whether a file that begins so is packed."""
    return head.startswith(tuple(_DECODERS))


class _Cut(Exception):
    """The packed bytes end in the middle."""


def _head(chunks: Chunks) -> tuple[bytes, Chunks]:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _LONGEST_MAGIC:
            break

    def all_of_it() -> Chunks:
        yield head
        yield from chunks

    return head, all_of_it()


def _gz(chunks: Chunks) -> Chunks:
    decoder = zlib.decompressobj(31)
    for chunk in chunks:
        left = chunk
        while left:
            if decoder.eof:
                left = left.lstrip(b"\0")  # tapes and block devices pad with zeros
                if not left:
                    break
                decoder = zlib.decompressobj(31)
            yield decoder.decompress(left, PIECE)
            left = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    while not decoder.eof:
        more = decoder.decompress(b"", PIECE)
        if not more:
            raise _Cut
        yield more


def _blocks(make: Callable[[], Any]) -> Callable[[Chunks], Chunks]:
    """For decoders of the shape that bz2 and lzma share; files may be several streams in a row."""

    def decode(chunks: Chunks) -> Chunks:
        decoder, padding = make(), b"\0"
        for chunk in chunks:
            left: bytes = chunk
            while left:
                if decoder.eof:
                    left = left.lstrip(padding)
                    if not left:
                        break
                    decoder = make()
                yield decoder.decompress(left, PIECE)
                while not decoder.eof and not decoder.needs_input:
                    yield decoder.decompress(b"", PIECE)
                left = decoder.unused_data if decoder.eof else b""
        if not decoder.eof:
            raise _Cut

    return decode


def _zst(chunks: Chunks) -> Chunks:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW)
    decoder = decompressor.decompressobj()
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), ZSTD_STEP):
                left = chunk[start : start + ZSTD_STEP]
                while left:
                    if decoder.eof:
                        decoder = decompressor.decompressobj()
                    yield decoder.decompress(left)
                    left = decoder.unused_data if decoder.eof else b""
    except zstandard.ZstdError as error:
        raise ValueError(str(error)) from error
    if not decoder.eof:
        raise _Cut


def _xz_decoder() -> lzma.LZMADecompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


_DECODERS: dict[bytes, Callable[[Chunks], Chunks]] = {
    b"\x1f\x8b\x08": _gz,
    b"BZh": _blocks(bz2.BZ2Decompressor),
    b"\xfd7zXZ\0": _blocks(_xz_decoder),
    b"\x28\xb5\x2f\xfd": _zst,
}
"""What packed bytes begin with -> how they are unpacked."""
