"""The short way to a disk: ``vda: {size, pool, …}`` makes a volume of the stack's own, and uses it.

Here it becomes what it stands for: a volume, as if it were declared under ``volumes``, and a disk
on it. Nothing behind the specs knows of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.volume import SHORT
from kvmplan.spec import codes
from kvmplan.spec.node import BROKEN, Entry, Node, child, entries

ORIGINS = ("backing", "clone", "source")
"""From which a volume can have its size."""
ELSEWHERE = ("volume", "file", "block", "network")
"""What a disk is on otherwise."""


class ShortVolume(NamedTuple):
    """A volume that a disk stands for: its name, ``POOL/NAME``, its fields in the disk's line."""

    name: str
    entry: Entry
    target: str


def expand(
    domain: Node,
    address: Address,
    default_format: Callable[[str], str],
    report: Diagnostics,
) -> tuple[Node, list[ShortVolume]]:
    """A domain with its short disks on volumes, and those volumes.

    Args:
        domain: its normalised fields.
        address: its own.
        default_format: the format that volumes of a pool are born with.
        report: gets what is wrong; such a disk is left out.
    """
    disks = child(domain, "disks")
    if disks is None or not any(_is_short(entry.node) for entry in entries(disks).values()):
        return domain, []
    made: list[ShortVolume] = []
    kept: dict[str, Entry] = {}
    for target, entry in entries(disks).items():
        if not _is_short(entry.node):
            kept[target] = entry
            continue
        volume = _volume(target, entry, address, default_format, report)
        if volume is None:
            continue
        made.append(_protected(volume, domain))
        rest = {name: e for name, e in entries(entry.node).items() if name not in TAKEN}
        on_it = Entry(entry.mark, Node(volume.name, entry.mark))
        kept[target] = Entry(entry.mark, Node({**rest, "volume": on_it}, *entry.node[1:3], True))
    below = Entry(entries(domain)["disks"].mark, Node(kept, disks.mark, disks.tag, True))
    return domain._replace(value={**entries(domain), "disks": below}, dynamic=True), made


TAKEN = (*SHORT, "format")


def _is_short(disk: Node) -> bool:
    return not entries(disk).keys().isdisjoint(SHORT)


def _volume(
    target: str,
    entry: Entry,
    address: Address,
    default_format: Callable[[str], str],
    report: Diagnostics,
) -> ShortVolume | None:
    fields = entries(entry.node)
    at = f"disks.{target} of {address.short}"
    problems = list(_problems(fields))
    for summary, place, remedy in problems:
        report.error(codes.VALUE, f"{at}: {summary}", (place or entry).place, remedy, address)
    pool, format_ = child(entry.node, "pool"), child(entry.node, "format")
    if problems or pool is None:
        return None
    suffix = str(format_.value) if format_ is not None else default_format(str(pool.value))
    given = {name: fields[name] for name in ORIGINS if name in fields}
    if "size" in fields:
        given["capacity"] = fields["size"]
    given["format"] = fields.get("format") or Entry(entry.mark, Node(suffix, entry.mark))
    name = f"{pool.value}/{address.name}-{target}.{suffix}"
    return ShortVolume(name, Entry(entry.mark, Node(given, entry.mark, None, True)), target)


def _problems(fields: dict[str, Entry]) -> Iterator[tuple[str, Entry | None, str]]:
    """What is wrong with a short disk: in words, where (None: the whole), what to do."""
    other = next((name for name in ELSEWHERE if name in fields), None)
    if other is not None:
        short = next(name for name in SHORT if name in fields)
        summary = f"'{short}' makes a volume of its own, and '{other}' says where it is already"
        yield summary, fields[other], "keep one of them"
    for name in ("pool", "format"):
        entry = fields.get(name)
        broken = entry is not None and entry.node.tag == BROKEN
        if entry is not None and not broken and not isinstance(entry.node.value, str):
            yield f"'{name}' is no text", entry, "write a name"
    if "pool" not in fields:
        yield "it needs the pool that its volume is made in", None, "write pool: NAME"
    if not any(name in fields for name in ("size", *ORIGINS)):
        yield "it needs its size", None, "write size: 20GiB, or what it is made from"


def _protected(volume: ShortVolume, domain: Node) -> ShortVolume:
    """With the domain's `prevent_destroy`, which means its disks above all."""
    lifecycle = child(domain, "lifecycle")
    protect = entries(lifecycle).get("prevent_destroy") if lifecycle is not None else None
    if protect is None:
        return volume
    mark, node = volume.entry
    own = Entry(protect.mark, Node({"prevent_destroy": protect}, protect.mark))
    entry = Entry(mark, node._replace(value={**entries(node), "lifecycle": own}))
    return volume._replace(entry=entry)
