"""Sources: what disks and bases are on, in one form, however it is written.

A volume goes by its path where the specs or the host tell it, so that whoever names the path means
the same. What a network serves goes by its name there and its servers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from posixpath import normpath
from typing import Any, NamedTuple

from lxml.etree import _Element as Element

from kvmplan.address import Address, Kind
from kvmplan.inventory import EMPTY, Inventory
from kvmplan.mapping.document import parse_to_read, parse_written
from kvmplan.spec.desired import Resource
from kvmplan.spec.paths import path_of

Tree = Mapping[str, Any]
PLACES = ("volume", "file", "block", "network")
"""The fields of a disk of which one says what it is on."""


class Written(NamedTuple):
    """A disk that a domain writes to: its target, what it is on, and how that is written."""

    target: str
    source: str
    text: str


class Sources:
    """What is on one host, as far as it is known.

    Args:
        host: its name.
        resources: the spec's.
        inventory: the host's; None where only the specs are looked at.
    """

    def __init__(
        self, host: str, resources: Mapping[Address, Resource], inventory: Inventory | None = None
    ) -> None:
        self._host, self._resources, self._inventory = host, resources, inventory
        self._directories: dict[str, str | None] = {}

    def of_disk(self, domain: Tree, target: str) -> str | None:
        """What a domain's disk is on; None if on nothing."""
        disk: Tree = domain["disks"][target]
        if disk.get("network"):
            return _with_servers(disk["network"], _fragment(domain.get("xml"), target))
        return self.of(disk.get("volume"), disk.get("file") or disk.get("block"))

    def on(self, domain: Tree) -> set[str]:
        """What a domain's disks are on."""
        found = (self.of_disk(domain, target) for target in domain.get("disks") or ())
        return {source for source in found if source is not None}

    def written(self, domain: Tree) -> Iterator[Written]:
        """The disks that a domain has to itself."""
        for target, disk in sorted((domain.get("disks") or {}).items()):
            source = self.of_disk(domain, target)
            if source is None or disk.get("shareable") or disk.get("readonly"):
                continue
            if disk.get("device") != "cdrom":
                yield Written(target, source, next(disk[it] for it in PLACES if disk.get(it)))

    def is_left(self, domain: Tree | None, source: str) -> bool:
        """Whether the disks that are declared of a domain are all on something else."""
        return domain is not None and "disks" in domain and source not in self.on(domain)

    def of_base(self, volume: Tree) -> str | None:
        """What a volume is an overlay of; None if of nothing."""
        backing: Tree = volume.get("backing") or EMPTY
        return self.of(backing.get("volume"), backing.get("path"))

    def of(self, volume: str | None, path: str | None) -> str | None:
        """The source that is written as ``POOL/NAME`` or as a path."""
        if volume is not None:
            return self._path(Address(self._host, Kind.VOLUME, volume)) or volume
        return normpath(path) if path is not None else None

    def volume(self, source: str) -> str | None:
        """The volume that a source is on the host: ``POOL/NAME``."""
        if source.startswith("/"):
            return self._inventory.volume_by_path.get(source) if self._inventory else None
        return source

    def _path(self, volume: Address) -> str | None:
        if self._inventory is not None:
            live = self._inventory.volume_paths.get(volume.name)
            if live is not None:
                return live
        written = path_of(volume, self._resources)
        if written is not None or self._inventory is None:
            return written
        if volume.pool not in self._directories:
            record = self._inventory.record(Address(self._host, Kind.POOL, volume.pool))
            text = parse_to_read(record.document).findtext("target/path") if record else None
            self._directories[volume.pool] = text
        directory = self._directories[volume.pool]
        return f"{normpath(directory)}/{volume.leaf}" if directory else None


def network_source(source: Element) -> str | None:
    """What a disk's ``<source>`` takes from a network; None if nothing."""
    protocol = source.get("protocol")
    if protocol is None:
        return None
    return _with_servers(f"{protocol}:{source.get('name', '')}", source)


def _with_servers(name: str, source: Element | None) -> str:
    servers = [] if source is None else source.findall("host")
    told = sorted(
        ":".join(server.get(part, "") for part in ("name", "port", "socket")) for server in servers
    )
    return f"{name} at {', '.join(told)}" if told else name


def _fragment(xml: str | None, target: str) -> Element | None:
    """The source that a domain's fragment gives a disk."""
    for disk in parse_written(xml).iterfind("devices/disk") if xml else ():
        at = disk.find("target")
        if at is not None and at.get("dev") == target:
            return disk.find("source")
    return None
