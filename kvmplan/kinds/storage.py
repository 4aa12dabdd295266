"""What pools and volumes say against themselves, and against what their type of pool can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kvmplan.kinds.contradiction import Contradiction
from kvmplan.kinds.pool import Pool, PoolSource
from kvmplan.kinds.pooltypes import POOL_TYPES, Build, pool_type
from kvmplan.kinds.source import Source
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.types import SecretText
from kvmplan.mapping.units import format_size

ENCRYPTED = ("raw", "qcow2")
"""Formats that qemu-img can encrypt."""


def pool_contradictions(pool: Pool) -> Iterator[Contradiction]:
    """What a pool says that its type has no use for. One that names no type may be of any."""
    if pool.type is None:
        return
    kind = POOL_TYPES[pool.type]
    known = {*kind.takes, *(name.partition(".")[2] for name in kind.needs)}
    for name in PoolSource.model_fields:
        if getattr(pool.source, name, None) is not None and name not in known:
            summary = f"a {pool.type} pool has no {name}"
            fields = ", ".join(sorted(known - {""}))
            remedy = f"take it out; its source has {fields}" if fields else "take it out"
            yield Contradiction(("source", name), summary, remedy)
    if pool.build and kind.build is Build.NOTHING:
        summary = f"libvirt cannot build {pool.type} pools"
        yield Contradiction(("build",), summary, "prepare it on the storage itself")


def volume_contradictions(volume: Volume) -> Iterator[Contradiction]:
    """What a volume says against itself, whatever its pool."""
    backing = volume.backing
    if backing is not None and backing.path is not None and backing.format is None:
        summary = "a base that is given by its path needs its format: libvirt would take it for raw"
        yield Contradiction(("backing", "path"), summary, "write backing: {path, format: qcow2}")
    if volume.capacity is not None and (volume.allocation or 0) > volume.capacity:
        allocation, capacity = format_size(volume.allocation or 0), format_size(volume.capacity)
        summary = f"{allocation} are more than its capacity of {capacity}"
        yield Contradiction(("allocation",), summary, "lower one or raise the other")
    if volume.encryption is not None and volume.format not in (None, *ENCRYPTED):
        summary = f"volumes of format {volume.format} cannot be encrypted"
        yield Contradiction(("encryption",), summary, f"use {' or '.join(ENCRYPTED)}")
    yield from _content(volume)
    yield from _source(volume.source)
    if volume.encryption is not None and (volume.content or volume.source) is not None:
        summary = "what is uploaded replaces all that an encrypted volume begins with"
        yield Contradiction(("encryption",), summary, "leave it out")


def _content(volume: Volume) -> Iterator[Contradiction]:
    text = volume.content
    if text is None:
        return
    if volume.format not in (None, "raw"):
        summary = f"content makes a raw volume, not {volume.format}"
        yield Contradiction(("format",), summary, "leave the format out")
    size = len((text.reveal() if isinstance(text, SecretText) else text).encode())
    if volume.capacity is not None and volume.capacity < size:
        yield Contradiction(("capacity",), f"its content has {size} bytes", "make it larger")


def _source(source: Source | None) -> Iterator[Contradiction]:
    if source is None:
        return
    if source.host_path is None and source.url is None and source.file is None:
        yield Contradiction(("source",), "it says not where the image is", "give it a url or file")
    if source.host_path is not None and source.checksum is not None:
        summary = "an image that stays on the host is not read here, so nothing can be checked"
        yield Contradiction(("source", "checksum"), summary, "leave it out, or use file or url")


def in_pool(volume: Volume, type_: str) -> Iterator[Contradiction]:
    """What a volume says that its type of pool cannot do, be it there or new."""
    kind = pool_type(type_)
    format_ = volume.format or kind.formats[0]
    where = f"in a pool of type {type_}"
    if format_ not in (*kind.formats, "raw") or (format_ == "raw" and "none" in kind.formats[:1]):
        formats = ", ".join(kind.formats)
        summary = f"there are no volumes of format {format_} {where}"
        yield Contradiction(("format",), summary, f"use one of: {formats}")
    elif volume.backing is not None and format_ not in kind.overlays:
        summary = f"a volume of format {format_} cannot have a base {where}"
        remedy = f"use format {kind.overlays[0]}" if kind.overlays else "use a clone, or its own"
        yield Contradiction(("backing",), summary, remedy)
    if volume.clone is not None and not kind.clones:
        summary = f"libvirt cannot copy volumes {where}"
        yield Contradiction(("clone",), summary, "copy it on the storage itself")
    if volume.encryption is not None and not kind.encrypts:
        summary = f"libvirt cannot encrypt volumes {where}"
        yield Contradiction(("encryption",), summary, "keep it in a pool of files, or take it out")


def at_birth(volume: Volume, type_: str) -> Iterator[Contradiction]:
    """What stands against making a volume in its type of pool."""
    kind = pool_type(type_)
    format_ = volume.format or kind.formats[0]
    if not kind.makes:
        summary = f"libvirt cannot make volumes in a pool of type {type_}"
        remedy = "make it on the storage; apply refreshes the pool and finds it then"
        yield Contradiction((), summary, remedy)
    elif format_ in kind.formats and format_ not in kind.makes:
        summary = f"libvirt cannot make volumes of format {format_}"
        yield Contradiction(("format",), summary, f"use one of: {', '.join(kind.makes)}")
    origins = (volume.backing, volume.clone, volume.source, volume.content, volume.seed)
    if volume.capacity is None and all(origin is None for origin in origins):
        yield Contradiction((), "a new volume needs its capacity", "write capacity: 20GiB")


def resized(type_: str) -> Iterator[Contradiction]:
    """What stands against another size of a volume in its type of pool."""
    if not pool_type(type_).resizes:
        summary = f"libvirt cannot resize volumes in a pool of type {type_}"
        remedy = "resize it on the storage; apply refreshes the pool and sees it then"
        yield Contradiction(("capacity",), summary, remedy)


def lacking(pool: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that a new pool needs and a tree of its fields does not have."""
    source = pool.get("source") or {}

    def given(name: str) -> bool:
        outer, _, inner = name.partition(".")
        return bool(source.get(inner) if inner else pool.get(outer))

    return tuple(name for name in pool_type(pool.get("type")).needs if not given(name))
