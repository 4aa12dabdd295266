"""Users: who on a host uses which network, volume or file, and which MAC is whose.

Built from the documents of all domains, running and persistent, because libvirt itself guards
almost nothing: it lets a disk be deleted under a running guest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import pairwise
from posixpath import normpath

from lxml.etree import _Element as Element

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory, Record
from kvmplan.kinds.bridges import has_own_bridge
from kvmplan.mapping.document import parse_to_read
from kvmplan.plan.chains import chains
from kvmplan.plan.sources import Sources, network_source


@dataclass(frozen=True, slots=True)
class DiskUse:
    """A domain's disk on some path; `top` is False for a backing file.

    `copy`: the disk is being copied there, by a job that ends. `saved`: what goes on from a managed
    save image relies on it. `snapshot`: the domain uses it in this snapshot of itself only.
    """

    domain: str
    target: str
    running: bool
    top: bool = True
    shared: bool = False
    copy: bool = False
    saved: bool = False
    snapshot: str = ""

    @property
    def user(self) -> str:
        """Who uses it, in words."""
        return f"domain.{self.domain}" + (f" (snapshot {self.snapshot})" if self.snapshot else "")


Use = tuple[str | None, str | None, DiskUse]
"""Path, ``POOL/NAME`` where it is known without one, and who."""


@dataclass(slots=True)
class Users:
    """Who uses what on one host.

    Attributes:
        volumes: ``POOL/NAME`` -> disks on it, backing chains included.
        paths: path -> disks on it; what a network serves is here by `network_source`.
        networks: network -> names of domains with NICs on it.
        running_networks: the same, of running domains only.
        bridges: bridge -> names of running domains with NICs on it, past any network.
        macs: MAC -> names of domains.
        devices: interfaces of the host that running guests have to themselves.
        overlays: path of a base -> names of the volumes over it.
        layers: path of a base -> paths of what is written over it: whatever writes to the base
            makes those worthless. Other than `overlays` without snapshots of LVM's and ZFS's,
            whose origins go on being written to.
        unknown: pool that is off -> names of stopped domains with disks in it: nothing tells what
            these are overlays of.
        same: path -> the others of the same file: what uses one uses them all.
    """

    volumes: dict[str, list[DiskUse]] = field(default_factory=dict)
    paths: dict[str, list[DiskUse]] = field(default_factory=dict)
    networks: dict[str, set[str]] = field(default_factory=dict)
    running_networks: dict[str, set[str]] = field(default_factory=dict)
    bridges: dict[str, set[str]] = field(default_factory=dict)
    macs: dict[str, set[str]] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)
    overlays: dict[str, set[str]] = field(default_factory=dict)
    layers: dict[str, set[str]] = field(default_factory=dict)
    unknown: dict[str, set[str]] = field(default_factory=dict)
    same: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def names_of(self, path: str) -> tuple[str, ...]:
        """All paths of a file."""
        return (path, *self.same.get(path, ()))

    def lay(self, base: str, overlay: str) -> None:
        """Note what is written over a base, by whatever path."""
        for path in self.names_of(normpath(base)):
            self.layers.setdefault(path, set()).add(normpath(overlay))


def users_of(inventory: Inventory) -> Users:
    """The users of everything on a host, from an inventory that holds all its domains."""
    users = Users(same=inventory.other_paths)
    off = _pools_off(inventory)
    for record in inventory.records.values():
        if record.address.kind is Kind.DOMAIN:
            _domain(users, record, inventory.volume_by_path)
            if off and not record.active:
                _out_of_sight(users, record, off)
            for text in inventory.snapshots.get(record.address.name, ()):
                _snapshot(users, record.address.name, text, inventory.volume_by_path)
        elif record.address.kind is Kind.VOLUME:
            _over(users, record)
    return users


def _over(users: Users, volume: Record) -> None:
    """What a volume is over, and whether that is by its own format."""
    root = parse_to_read(volume.document)
    base, format_ = root.findtext("backingStore/path"), root.find("target/format")
    if base is None:
        return
    for path in users.names_of(base):
        users.overlays.setdefault(path, set()).add(volume.address.name)
    if format_ is not None and format_.get("type") != "raw":
        users.lay(base, root.findtext("target/path") or volume.key)


def _domain(users: Users, record: Record, volume_by_path: Mapping[str, str]) -> None:
    name = record.address.name
    documents = [(record.document, False)]
    if record.saved is not None:
        documents.append((record.saved, False))
    if record.running is not None:
        documents.append((record.running, True))
    for text, running in documents:
        root = parse_to_read(text)
        for disk in root.iterfind("devices/disk"):
            _note(users, _disk(disk, name, running, record.managed_save), volume_by_path)
        _note(users, _others(root, name, running), volume_by_path)
        for nic in root.iterfind("devices/interface"):
            _nic(users, nic, name, running)
    for _, chain in chains(record):
        for path, base in pairwise(chain):
            users.lay(base, path)


def _note(users: Users, uses: Iterable[Use], volume_by_path: Mapping[str, str]) -> None:
    for path, volume, use in uses:
        paths = users.names_of(path) if path else ()
        for known in paths:
            users.paths.setdefault(known, []).append(use)
        for found in {volume} if volume else {volume_by_path.get(known) for known in paths}:
            if found:
                users.volumes.setdefault(found, []).append(use)


def _others(root: Element, domain: str, running: bool) -> Iterator[Use]:
    """What a domain uses beside disks: NVRAM, kernel, loader, firmware configuration, volumes."""
    for tag in ("nvram", "kernel", "initrd", "loader"):
        node = root.find(f"os/{tag}")
        source = node.find("source") if node is not None else None
        path = source.get("file") if source is not None else node.text if node is not None else None
        if path:
            yield path, None, DiskUse(domain, tag, running, False, True)
    for entry in root.iterfind("sysinfo/entry[@file]"):
        yield entry.get("file"), None, DiskUse(domain, "sysinfo", running, False, True)
    for source in root.iterfind("devices/filesystem/source[@volume]"):
        yield None, _volume_in(source), DiskUse(domain, "filesystem", running, False)


def _snapshot(users: Users, domain: str, text: str, volume_by_path: Mapping[str, str]) -> None:
    """What a snapshot's metadata names: the disks as they were, and the overlays it made."""
    root = parse_to_read(text)
    name = root.findtext("name") or ""
    for path in ("disks/disk", "domain/devices/disk", "inactiveDomain/devices/disk"):
        for disk in root.iterfind(path):
            uses = _disk(disk, domain, False)
            kept = ((p, v, replace(use, top=False, snapshot=name)) for p, v, use in uses)
            _note(users, kept, volume_by_path)
    below = dict(_paths(root.iterfind("domain/devices/disk")))
    for target, overlay in _paths(root.iterfind("disks/disk[@snapshot='external']")):
        base = below.get(target)
        if overlay and base and base != overlay:
            users.lay(base, overlay)


def _paths(disks: Iterable[Element]) -> Iterator[tuple[str, str | None]]:
    """Disks by their targets, and where each is; a snapshot's own say the target as their name."""
    for disk in disks:
        target, source = disk.find("target"), disk.find("source")
        name = disk.get("name") if target is None else target.get("dev")
        yield name or "", None if source is None else _file_of(source)


def _file_of(source: Element) -> str | None:
    """The file or device of a source; ``/a/../b`` is ``/b``, as libvirt's volumes are told."""
    path = source.get("file") or source.get("dev")
    return normpath(path) if path else None


def _pools_off(inventory: Inventory) -> dict[str, str]:
    """Directory -> name of each pool that is not active."""
    found = {}
    for address, record in inventory.records.items():
        if address.kind is Kind.POOL and not record.active:
            path = parse_to_read(record.document).findtext("target/path")
            if path:
                found[path.rstrip("/") + "/"] = address.name
    return found


def _out_of_sight(users: Users, record: Record, off: Mapping[str, str]) -> None:
    """A stopped domain's chain is told by the volumes of its pool; that one is off."""
    for source in parse_to_read(record.document).iterfind("devices/disk/source"):
        path = source.get("file") or source.get("dev") or ""
        for directory, pool in off.items():
            if path.startswith(directory) or source.get("pool") == pool:
                users.unknown.setdefault(pool, set()).add(record.address.name)


def _volume_in(source: Element) -> str | None:
    return f"{source.get('pool')}/{source.get('volume')}" if source.get("pool") else None


def _disk(disk: Element, domain: str, running: bool, saved: bool = False) -> Iterator[Use]:
    target = disk.find("target")
    name = target.get("dev", "") if target is not None else ""
    shared = disk.find("shareable") is not None or disk.find("readonly") is not None
    layer: Element | None = disk
    top = True
    while layer is not None:
        source = layer.find("source")
        if source is not None:
            volume = _volume_in(source)
            path = _file_of(source) or network_source(source)
            if path or volume:
                yield path, volume, DiskUse(domain, name, running, top, shared, saved=saved)
        layer, top = layer.find("backingStore"), False
    for source in disk.iterfind("mirror/source"):
        # A block copy writes there, until it is over.
        volume = _volume_in(source)
        path = source.get("file") or source.get("dev")
        if path or volume:
            yield path, volume, DiskUse(domain, name, running, False, shared, copy=True)


def _nic(users: Users, nic: Element, domain: str, running: bool) -> None:
    source, mac = nic.find("source"), nic.find("mac")
    network = source.get("network") if source is not None else None
    if network is not None:
        users.networks.setdefault(network, set()).add(domain)
        if running:
            users.running_networks.setdefault(network, set()).add(domain)
    elif running and source is not None and nic.get("type") == "bridge":
        users.bridges.setdefault(source.get("bridge", ""), set()).add(domain)
    if running:
        ends = (source, nic.find("target"))
        users.devices.update(end.get("dev", "") for end in ends if end is not None)
    if mac is not None:
        users.macs.setdefault(mac.get("address", "").lower(), set()).add(domain)


def carried(users: Users, network: Record) -> tuple[str, ...]:
    """The running domains that a network carries, or would: by its name, or by its bridge."""
    names = users.running_networks.get(network.address.name, set())
    return tuple(sorted(names | past(users, network)))


def unplugged(users: Users, network: Record) -> tuple[str, ...]:
    """Those of them that are off it while it restarts: whoever is in a bridge, not on a device."""
    bridge = parse_to_read(network.running or network.document).find("bridge")
    return carried(users, network) if bridge is not None else ()


def past(users: Users, network: Record) -> Set[str]:
    """The running domains on a network's bridge past the network; one of the host's own stays."""
    root = parse_to_read(network.running or network.document)
    bridge = root.find("bridge")
    if bridge is None or not has_own_bridge(root):
        return set()
    return users.bridges.get(bridge.get("name", ""), set())


def uses_of(users: Users, sources: Sources, source: str) -> set[DiskUse]:
    """The disks that are on a source, or on something over it."""
    volume = sources.volume(source)
    return {*users.volumes.get(volume or "", ()), *users.paths.get(source, ())}


def running_disk(users: Users, volume: Address) -> DiskUse | None:
    """The disk of a running guest that has this volume as its top layer."""
    return next(
        (use for use in users.volumes.get(volume.name, []) if use.running and use.top), None
    )
