"""Backing chains: a declared volume below a disk's top layer, as a snapshot or a backup leaves it.

The guest writes to an overlay for a while; pointing its disk back at the base would lose all that.
The running document tells what QEMU has open. What the persistent one says was true once: libvirt
keeps a ``<backingStore>`` beside whatever source is written there, so the storage is asked as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from posixpath import normpath
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.inventory import EMPTY, Record
from kvmplan.mapping.document import parse_to_read

Bases = Mapping[str, str]


def overlays(
    record: Record, tree: Mapping[str, Any], volume_at: Callable[[str], str | None]
) -> dict[str, str]:
    """What lies over the volumes that a domain's disks are declared on.

    Args:
        record: the domain.
        tree: what is wanted of it.
        volume_at: the ``POOL/NAME`` of a path.

    Returns:
        Path of a disk's top layer -> path of the declared volume somewhere below it.
    """
    wanted = {target: disk.get("volume") for target, disk in (tree.get("disks") or {}).items()}
    found: dict[str, str] = {}
    for target, (top, *below) in chains(record):
        volume = wanted.get(target)
        base = next((path for path in below if volume and volume_at(path) == volume), None)
        if base is not None:
            found.setdefault(top, base)
    return found


def chains(record: Record) -> Iterator[tuple[str, list[str]]]:
    """The disks of a domain that are written over others: target, and paths from the top down."""
    documents = ((record.running, EMPTY), (record.saved, EMPTY), (record.document, record.bases))
    for document, bases in documents:
        for disk in _disks(document):
            chain = _chain(disk, bases)
            if len(chain) > 1:
                target = disk.find("target")
                yield target.get("dev", "") if target is not None else "", chain


def known_bases(
    document: str, running: str | None, volume: Callable[[str], str | None]
) -> dict[str, str]:
    """What the storage says of the chains in a persistent document.

    Chains that are open in the running document are true, and are not looked for.

    Args:
        document: the persistent one.
        running: the running one, of what runs.
        volume: the document of the volume at a path; None if no pool has it.

    Returns:
        Path of an overlay -> path of what it is over, ``""`` for nothing; without those that the
        storage does not know, or does not look into (it does into files only).
    """
    is_open = {path for disk in _disks(running) for path in _chain(disk, EMPTY)}
    found: dict[str, str] = {}
    for disk in _disks(document):
        for path, _ in pairwise(_chain(disk, EMPTY)):
            text = volume(path) if path not in is_open else None
            root = parse_to_read(text) if text is not None else None
            if root is None or root.get("type") != "file":
                continue
            base = root.findtext("backingStore/path") or ""
            if not base or volume(base) is not None:
                found[path] = base
    return found


def _disks(document: str | None) -> Iterator[Element]:
    if document is not None and "<backingStore" in document:
        yield from parse_to_read(document).iterfind("devices/disk")


def _chain(disk: Element, bases: Bases) -> list[str]:
    """The paths of a disk's layers, as far as they have one and nothing speaks against it."""
    found: list[str] = []
    layer: Element | None = disk
    while layer is not None:
        source = layer.find("source")
        path = None if source is None else source.get("file") or source.get("dev")
        if path is None or (found and not _may_be_over(found[-1], path, bases)):
            break
        found.append(path)
        layer = layer.find("backingStore")
    return found


def _may_be_over(path: str, base: str, bases: Bases) -> bool:
    known = bases.get(path)
    return known is None or (known != "" and normpath(known) == normpath(base))


def strays(live: Mapping[str, Any], tree: Mapping[str, Any]) -> bool:
    """Whether a disk is on another volume than the declared one: only then is a chain looked at."""
    disks = live.get("disks") or {}
    return any(
        disk.get("volume") is not None
        and target in disks
        and disks[target].get("volume") != disk["volume"]
        for target, disk in (tree.get("disks") or {}).items()
    )
