"""Torn volumes: what a cut run has left behind, told from what others have made since.

A volume has no uuid and keeps no mark: whose one is that has a claimed name, is told by how far its
claim says that the run had come, and by what the volume shows of itself. Where neither tells, it is
not ours, and its bytes are somebody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.address import Address, Kind, parse_address
from kvmplan.inventory import Claim, Inventory, Record
from kvmplan.kinds.pooltypes import pool_type
from kvmplan.mapping.document import parse_to_read
from kvmplan.plan.references import found as live_references

CREATING = "creating"
"""The phase of a claim until what it speaks of is whole: it is about to be made."""
BEGUN = "begun"
"""The phase of a volume's claim right before the call that makes or fills it, where nothing would
show afterwards that nobody else has: what has its name since then is its run's."""
UNFINISHED = frozenset({CREATING, BEGUN})

FILLING = ("clone", "source", "content", "seed")
"""Fields that give a new volume its bytes: unless it is whole, it holds a part of them."""

DOUBTFUL = "a run of this stack was cut as it was about to make one, which this is not known to be"
"""What is said of a volume that has a name which was about to be ours."""

CLUSTER = 64 * 1024
"""Of a qcow2, unless it says otherwise."""


def is_blank(record: Record) -> bool:
    """Whether nobody has written anything into a volume, by what libvirt says of its size.

    A raw file without a block, or a qcow2 that is its header, its reference counts (a table and a
    block) and the top of its table of clusters. Anything else may hold something.
    """
    root = parse_to_read(record.document)
    if root.get("type", "file") != "file":
        return False
    format_ = root.find("target/format")
    match "raw" if format_ is None else format_.get("type"):
        case "raw":
            return _number(root, "allocation") == 0
        case "qcow2":
            cluster = _number(root, "target/clusterSize") or CLUSTER
            entries = -(-(_number(root, "capacity") or 0) // (cluster * cluster // 8))
            size = _number(root, "physical")
            return size is not None and 0 < size <= 3 * cluster + 8 * entries
    return False


def _number(root: Element, path: str) -> int | None:
    """A size in bytes, as libvirt writes them; None if there is none."""
    text = root.findtext(path)
    return int(text) if text is not None and text.isdecimal() else None


def shows_blank(tree: Mapping[str, Any], pool: str) -> bool:
    """Whether a new volume, in a pool of a type, is `is_blank` once it is made."""
    formats = pool_type(pool).formats
    blank = tree.get("format", formats[0]) in ("qcow2", "raw") and "qcow2" in formats
    return blank and not tree.get("allocation") and tree.get("encryption") is None


def can_be_ours(record: Record, claim: Claim, *, vouched: bool) -> bool:
    """Whether what has a claimed name is what was claimed; `vouched`: `made_for_guests` says so."""
    if claim.phase == BEGUN:
        return claim.key in (record.key, "")
    if claim.phase == CREATING and record.address.kind is Kind.VOLUME:
        return vouched or is_blank(record)
    return claim.key == record.key


def is_begun(inventory: Inventory, address: Address) -> bool:
    """Whether a volume of that address was being made when a run was cut."""
    claim = inventory.claim(address)
    return address.kind is Kind.VOLUME and claim is not None and claim.phase in UNFINISHED


def made_for_guests(inventory: Inventory, skeleton: Any) -> frozenset[Address]:
    """Volumes of a cut run that are whole, although that is not noted yet.

    A guest is defined after its volumes are whole: where one of that same run is defined, they are,
    and so are those that they are overlays of. What is written there since is not to be lost.
    """
    return _below(_guests(inventory), inventory, skeleton)


def made_for_overlays(inventory: Inventory, skeleton: Any) -> frozenset[Address]:
    """Bases that are whole if they are ours at all: an overlay comes after its base."""
    return _below(begun_volumes(inventory), inventory, skeleton)


def begun_volumes(inventory: Inventory) -> Iterator[Record]:
    """What is there of the volumes that were being made when a run was cut."""
    for claim in inventory.claims.entries.values() if inventory.claims else ():
        if claim.phase in UNFINISHED:
            record = inventory.record(parse_address(claim.address, inventory.host))
            if record is not None and record.address.kind is Kind.VOLUME:
                yield record


def _below(users: Iterable[Record], inventory: Inventory, skeleton: Any) -> frozenset[Address]:
    """The unfinished volumes that these are on, and those that they are overlays of."""
    todo = [it for record in users for it in live_references(record, inventory, skeleton)]
    seen = set[Address]()
    while todo:
        address = todo.pop()
        record = inventory.record(address)
        if address in seen or record is None or not is_begun(inventory, address):
            continue
        seen.add(address)
        todo += live_references(record, inventory, skeleton)
    return frozenset(seen)


def _guests(inventory: Inventory) -> Iterator[Record]:
    """The guests that a cut run has made."""
    for claim in inventory.claims.entries.values() if inventory.claims else ():
        if claim.phase == CREATING:
            record = inventory.record(parse_address(claim.address, inventory.host))
            begun = record is not None and record.key == claim.key
            if record is not None and begun and record.address.kind is Kind.DOMAIN:
                yield record
