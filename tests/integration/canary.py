"""Canaries: values that must not come out anywhere, in any spelling."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import secrets
import string
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from pathlib import Path
from urllib.parse import quote

ALPHABET = string.ascii_letters + string.digits
OF_THE_USER = "secret.txt"
"""The name of files that tests keep secrets in, as a user would."""
LARGEST = 4 * 1024**2
HASHES = ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s")


def canary(length: int = 8) -> str:
    """A new one: random, so that a hit is no accident. VNC passwords have eight characters."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length - 2)) + "&'"


def spellings(value: str) -> Iterator[bytes]:
    """The value as XML, JSON, URLs, base64 and hexadecimal would hold it, and its digests."""
    raw = value.encode()
    yield raw
    for text in (escape(value), escape(value, quote=False), json.dumps(value)[1:-1], quote(value)):
        yield text.encode()
    yield value.replace("&", "&amp;").replace("'", "&apos;").encode()
    # Without the end, so that a value in a longer text is found as well.
    yield base64.b64encode(raw[: len(raw) // 3 * 3])
    yield base64.urlsafe_b64encode(raw[: len(raw) // 3 * 3])
    yield raw.hex().encode()
    for name in HASHES:
        yield hashlib.new(name, raw).hexdigest().encode()
    yield hashlib.blake2b(raw, digest_size=16).hexdigest().encode()


def finds(data: bytes, values: list[str]) -> list[str]:
    """Which of the values are somewhere in the data; zips are unpacked."""
    texts = [data]
    if data[:2] == b"PK":
        with (
            suppress(zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError),  # meant to be
            zipfile.ZipFile(io.BytesIO(data)) as archive,
        ):
            texts += [archive.read(name) for name in archive.namelist()]
    return [
        value
        for value in values
        if any(form in text for form in set(spellings(value)) for text in texts)
    ]


def below(folder: Path, values: list[str]) -> list[str]:
    """Files below a folder that hold one of the values, but for `OF_THE_USER` and disk images."""
    return [
        str(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.name != OF_THE_USER
        and file.stat().st_size < LARGEST
        and finds(file.read_bytes(), values)
    ]


def processes(values: list[str]) -> list[str]:
    """Command lines of running processes that hold one of the values."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it is gone
            lines.append(file.read_bytes())
    if not finds(b"\n".join(lines), values):
        return []
    return [line.decode(errors="replace") for line in lines if finds(line, values)]
