"""Checksums: as written (``sha256:…``), or looked up in a list such as ``SHA256SUMS``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kvmplan.images.errors import MISMATCH, ImageError

LENGTHS = {64: "sha256", 128: "sha512"}
"""Hexadecimal digits -> algorithm."""
_PLAIN = re.compile(r"\\?([0-9a-fA-F]{64}|[0-9a-fA-F]{128})\s+\*?(\S.*)")
_TAGGED = re.compile(r"SHA(?:256|512) \((.+)\) = ([0-9a-fA-F]+)")


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest and its algorithm, ``sha256`` or ``sha512``."""

    algorithm: str
    digest: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.digest}"


def parse_checksum(text: str) -> Checksum:
    """``sha256:HEX`` or ``sha512:HEX``, which the spec has made sure of."""
    algorithm, _, digest = text.partition(":")
    return Checksum(algorithm, digest.lower())


def find_checksum(sums: str, name: str, shown: str) -> Checksum:
    """The checksum of a file in a list of them.

    Args:
        sums: the list, as ``sha256sum`` writes it, or BSD's ``SHA256 (NAME) = HEX``.
        name: the file's name.
        shown: where the list is from.

    Raises:
        ImageError: it has none.
    """
    for line in sums.splitlines():
        plain, tagged = _PLAIN.fullmatch(line.strip()), _TAGGED.fullmatch(line.strip())
        digest, listed = (plain[1], plain[2]) if plain else ("", "")
        digest, listed = (tagged[2], tagged[1]) if tagged else (digest, listed)
        if listed.rpartition("/")[2] == name and len(digest) in LENGTHS:
            return Checksum(LENGTHS[len(digest)], digest.lower())
    summary = f"{shown} has no sha256 or sha512 checksum of '{name}'"
    raise ImageError(MISMATCH, summary, "write the checksum itself: sha256:…")
