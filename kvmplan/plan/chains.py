"""Backing chains: a declared volume below a disk's top layer, as a snapshot or a backup leaves it.

The guest writes to an overlay for a while; pointing its disk back at the base would lose all that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.inventory import Record
from kvmplan.mapping.document import parse_to_read


def overlays(
    record: Record, tree: Mapping[str, Any], volume_at: Callable[[str], str | None]
) -> dict[str, str]:
    """What lies over the volumes that a domain's disks are declared on.

    Args:
        record: the domain; libvirt tells the chain in the running document.
        tree: what is wanted of it.
        volume_at: the ``POOL/NAME`` of a path.

    Returns:
        Path of a disk's top layer -> path of the declared volume somewhere below it.
    """
    wanted = {target: disk.get("volume") for target, disk in (tree.get("disks") or {}).items()}
    found: dict[str, str] = {}
    for document in (record.running, record.document):
        if document is None or "<backingStore" not in document:
            continue
        for disk in parse_to_read(document).iterfind("devices/disk"):
            target, top = disk.find("target"), _path(disk)
            volume = wanted.get(target.get("dev", "")) if target is not None else None
            below = _below(disk, volume, volume_at) if volume is not None else None
            if top is not None and below is not None:
                found.setdefault(top, below)
    return found


def _below(disk: Element, volume: str, volume_at: Callable[[str], str | None]) -> str | None:
    """The path of a volume in the chain below a disk's top layer."""
    layer = disk.find("backingStore")
    while layer is not None:
        path = _path(layer)
        if path is not None and volume_at(path) == volume:
            return path
        layer = layer.find("backingStore")
    return None


def _path(layer: Element) -> str | None:
    source = layer.find("source")
    return None if source is None else source.get("file") or source.get("dev")


def strays(live: Mapping[str, Any], tree: Mapping[str, Any]) -> bool:
    """Whether a disk is on another volume than the declared one: only then is a chain looked at."""
    disks = live.get("disks") or {}
    return any(
        disk.get("volume") is not None
        and target in disks
        and disks[target].get("volume") != disk["volume"]
        for target, disk in (tree.get("disks") or {}).items()
    )
