"""Users: who on a host uses which network, volume or file, and which MAC is whose.

Built from the documents of all domains, running and persistent, because libvirt itself guards
almost nothing: it lets a disk be deleted under a running guest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lxml.etree import _Element as Element

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory, Record
from kvmplan.mapping.document import parse_to_read


@dataclass(frozen=True, slots=True)
class DiskUse:
    """A domain's disk on some path; `top` is False for a backing file.

    `copy`: the disk is being copied there, by a job that ends.
    """

    domain: str
    target: str
    running: bool
    top: bool = True
    shared: bool = False
    copy: bool = False


@dataclass(slots=True)
class Users:
    """Who uses what on one host.

    Attributes:
        volumes: ``POOL/NAME`` -> disks on it, backing chains included.
        paths: path -> disks on it.
        networks: network -> names of domains with NICs on it.
        running_networks: the same, of running domains only.
        macs: MAC -> names of domains.
        overlays: path of a base -> names of the volumes over it.
    """

    volumes: dict[str, list[DiskUse]] = field(default_factory=dict)
    paths: dict[str, list[DiskUse]] = field(default_factory=dict)
    networks: dict[str, set[str]] = field(default_factory=dict)
    running_networks: dict[str, set[str]] = field(default_factory=dict)
    macs: dict[str, set[str]] = field(default_factory=dict)
    overlays: dict[str, set[str]] = field(default_factory=dict)


def users_of(inventory: Inventory) -> Users:
    """The users of everything on a host, from an inventory that holds all its domains."""
    users = Users()
    for record in inventory.records.values():
        if record.address.kind is Kind.DOMAIN:
            _domain(users, record, inventory.volume_by_path)
        elif record.address.kind is Kind.VOLUME:
            base = parse_to_read(record.document).findtext("backingStore/path")
            if base is not None:
                users.overlays.setdefault(base, set()).add(record.address.name)
    return users


def _domain(users: Users, record: Record, volume_by_path: Mapping[str, str]) -> None:
    name = record.address.name
    documents = [(record.document, False)]
    if record.running is not None:
        documents.append((record.running, True))
    for text, running in documents:
        root = parse_to_read(text)
        for disk in root.iterfind("devices/disk"):
            for path, volume, use in _disk(disk, name, running):
                found = volume or (volume_by_path.get(path) if path else None)
                if path:
                    users.paths.setdefault(path, []).append(use)
                if found:
                    users.volumes.setdefault(found, []).append(use)
        for nic in root.iterfind("devices/interface"):
            _nic(users, nic, name, running)


def _disk(
    disk: Element, domain: str, running: bool
) -> Iterator[tuple[str | None, str | None, DiskUse]]:
    target = disk.find("target")
    name = target.get("dev", "") if target is not None else ""
    shared = disk.find("shareable") is not None or disk.find("readonly") is not None
    layer: Element | None = disk
    top = True
    while layer is not None:
        source = layer.find("source")
        if source is not None:
            volume = f"{source.get('pool')}/{source.get('volume')}" if source.get("pool") else None
            path = source.get("file") or source.get("dev")
            if path or volume:
                yield path, volume, DiskUse(domain, name, running, top, shared)
        layer, top = layer.find("backingStore"), False
    for source in disk.iterfind("mirror/source"):
        # A block copy writes there, until it is over.
        volume = f"{source.get('pool')}/{source.get('volume')}" if source.get("pool") else None
        path = source.get("file") or source.get("dev")
        if path or volume:
            yield path, volume, DiskUse(domain, name, running, False, shared, True)


def _nic(users: Users, nic: Element, domain: str, running: bool) -> None:
    source, mac = nic.find("source"), nic.find("mac")
    network = source.get("network") if source is not None else None
    if network is not None:
        users.networks.setdefault(network, set()).add(domain)
        if running:
            users.running_networks.setdefault(network, set()).add(domain)
    if mac is not None:
        users.macs.setdefault(mac.get("address", "").lower(), set()).add(domain)


def running_disk(users: Users, volume: Address) -> DiskUse | None:
    """The disk of a running guest that has this volume as its top layer."""
    return next(
        (use for use in users.volumes.get(volume.name, []) if use.running and use.top), None
    )
