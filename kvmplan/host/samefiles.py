"""Files that a host knows by several paths: symbolic links that lead to a pool's directory.

libvirt compares paths as they are written, and cannot be asked where a link leads. Where its files
are this machine's, too, they are asked; of a host elsewhere nothing is known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import unescape
from os.path import realpath
from posixpath import basename, dirname, join, normpath

from kvmplan.address import Kind
from kvmplan.inventory import EMPTY, Inventory, Record

_PATH = re.compile(r"""["'>](/[^"'<>]+)["'<]""")


def other_paths(inventory: Inventory) -> Mapping[str, tuple[str, ...]]:
    """Path that a document or a volume names -> the others of the same file."""
    directories: dict[str, str] = {}

    def in_place(path: str) -> str:
        """Where it is, if it is no link itself: one look for all volumes of a directory."""
        above = dirname(path)
        if above not in directories:
            directories[above] = realpath(above)
        return join(directories[above], basename(path))

    volumes = set(inventory.names.get(Kind.VOLUME, EMPTY).values())
    found: dict[str, set[str]] = {}
    for path in volumes:
        if path.startswith("/"):
            found.setdefault(in_place(path), set()).add(path)
    for path in set(_mentioned(inventory)) - volumes:
        found.setdefault(realpath(path), set()).update((path, normpath(path)))
    return {
        path: tuple(sorted(same - {path}))
        for same in found.values()
        if len(same) > 1
        for path in same
    }


def _mentioned(inventory: Inventory) -> Iterator[str]:
    """Everything that looks like a path in what domains, snapshots and volumes say."""
    texts: list[str | None] = [text for some in inventory.snapshots.values() for text in some]
    for record in inventory.records.values():
        texts += _texts(record)
    for text in texts:
        yield from (unescape(path) for path in _PATH.findall(text or ""))


def _texts(record: Record) -> Iterable[str | None]:
    if record.address.kind is Kind.DOMAIN:
        return (record.document, record.running, record.saved)
    return (record.document,) if record.address.kind is Kind.VOLUME else ()
