"""Where the image is that a volume is born from. No document holds it; the claim remembers it."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from kvmplan.mapping.markers import Policy, Runtime
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import HostPath, Size

CHECKSUM = re.compile(r"sha256:[0-9a-fA-F]{64}|sha512:[0-9a-fA-F]{128}")


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        known = parts.scheme in ("http", "https") and parts.hostname and (parts.port or True)
    except ValueError:
        known = False
    if not known or not value.isprintable() or not value.isascii() or " " in value:
        raise ValueError(f"'{value}' is no address such as https://example.org/image.qcow2")
    if parts.username is not None:
        raise ValueError("an address is shown in plans: credentials go into ~/.netrc")
    return value


def _checksum(value: str) -> str:
    if value.startswith(("http://", "https://")):
        return _url(value)
    if not CHECKSUM.fullmatch(value):
        raise ValueError(
            "a checksum is sha256: and 64 hexadecimal digits, sha512: and 128, "
            "or the address of a SHA256SUMS file"
        )
    return value.lower()


class Source(Mapped):
    """An image: gz, bz2, xz and zst are unpacked on the way."""

    scalar: ClassVar[str] = "url"
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("url", "file", "host_path"),)
    url: Annotated[str | None, AfterValidator(_url), Runtime("source.url")] = None
    """Its address, by http or https. Fetched once for all volumes and runs."""
    file: Annotated[str | None, Field(min_length=1), Runtime("source.file")] = None
    """A file of the machine that runs kvmplan, relative to the repository."""
    host_path: Annotated[HostPath | None, Runtime("source.host_path")] = None
    """A file of the host, in an active pool there: copied by the host itself."""
    checksum: Annotated[str | None, AfterValidator(_checksum), Runtime("source.checksum")] = None
    """``sha256:…`` or ``sha512:…`` of it as it is fetched, or the address of a SHA256SUMS file."""
    max_size: Annotated[Size | None, Field(gt=0), Policy()] = None
    """How much it may unpack to. By default little more than the volume's capacity, else 64GiB."""
