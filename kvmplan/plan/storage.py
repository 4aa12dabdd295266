"""Checks of storage: what a type of pool cannot do, sizes that do not fit each other, disk formats.

The same questions are asked offline, of what the specs alone say, and by a plan, of what it changes
and of what is on the host.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.inventory import Inventory, Record
from kvmplan.kinds.contradiction import Contradiction
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.pooltypes import pool_type
from kvmplan.kinds.storage import at_birth, in_pool, lacking, resized
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.model import declared
from kvmplan.mapping.units import format_size
from kvmplan.spec.desired import Resource

CANNOT, CONTRADICTION, SHARED = "KVP116", "KVP115", "KVP132"


class Storage:
    """What is known of pools and volumes, from the specs and, where it is read, from the hosts."""

    def __init__(
        self, resources: Mapping[Address, Resource], inventories: Mapping[str, Inventory]
    ) -> None:
        self._resources, self._inventories = resources, inventories

    def record(self, address: Address) -> Record | None:
        """What is live of it, if it was read."""
        inventory = self._inventories.get(address.host)
        return inventory.record(address) if inventory is not None else None

    def type_of(self, pool: Address) -> str | None:
        """A pool's type; None if nothing says so."""
        record = self.record(pool)
        if record is not None:
            return parse_to_read(record.document).get("type")
        resource = self._resources.get(pool)
        return getattr(resource.model, "type", None) or "dir" if resource is not None else None

    def capacity_of(self, volume: Address) -> int | None:
        """A volume's capacity in bytes, as it shall be; None if that is not known.

        One that says none gets that of what it is made from, however far below: in specs that are
        checked in spite of errors that may lead back to it.
        """
        seen = set[Address]()
        at: Address | None = volume
        while at is not None and at not in seen:
            seen.add(at)
            resource = self._resources.get(at)
            model = resource.model if resource is not None else None
            if isinstance(model, Volume) and model.capacity is not None:
                return model.capacity
            live = self.number(at, "capacity")
            if live is not None or not isinstance(model, Volume):
                return live
            below = model.clone or (model.backing.volume if model.backing is not None else None)
            at = Address(volume.host, Kind.VOLUME, below) if below else None
        return None

    def format_of(self, volume: Address) -> str | None:
        """A volume's format; None if that is not known."""
        record = self.record(volume)
        if record is not None:
            node = parse_to_read(record.document).find("target/format")
            return node.get("type") if node is not None else "raw"
        resource = self._resources.get(volume)
        if resource is None:
            return None
        type_ = self.type_of(Address(volume.host, Kind.POOL, volume.pool))
        written: str | None = getattr(resource.model, "format", None)
        return written or (pool_type(type_).formats[0] if type_ is not None else None)

    def is_encrypted(self, volume: Address) -> bool:
        """Whether a volume's bytes are encrypted, as far as that is known."""
        record, resource = self.record(volume), self._resources.get(volume)
        if record is not None:
            return "<encryption" in record.document
        return getattr(resource.model, "encryption", None) is not None if resource else False

    def number(self, address: Address, name: str) -> int | None:
        """A number of bytes in a live document; None if it is not there."""
        record = self.record(address)
        text = parse_to_read(record.document).findtext(name) if record is not None else None
        return int(text) if text is not None and text.isdigit() else None


def check_storage(
    storage: Storage,
    resources: Iterable[Resource],
    created: Collection[Address],
    changed: Collection[Address],
    found: Diagnostics,
) -> None:
    """KVP116 for what cannot be done, KVP115 for a disk in another format than its volume's.

    Args:
        storage: what is known.
        resources: what is looked at.
        created: what of it shall be made.
        changed: the volumes of it that shall get another size.
        found: gets the problems.
    """
    for resource in resources:
        for code, clash in _clashes(storage, resource, created, changed):
            at = f"{'.'.join(clash.path)} of " if clash.path else ""
            summary = f"{at}{resource.address.short}: {clash.summary}"
            place = place_of(resource, clash.path)
            found.error(code, summary, place, clash.remedy, resource.address)


def _clashes(
    storage: Storage,
    resource: Resource,
    created: Collection[Address],
    changed: Collection[Address],
) -> Iterator[tuple[str, Contradiction]]:
    address, model = resource.address, resource.model
    if isinstance(model, Domain):
        for clash in _on_volumes(storage, resource, model):
            yield CONTRADICTION, clash
    elif isinstance(model, Volume):
        type_ = storage.type_of(Address(address.host, Kind.POOL, address.pool))
        if type_ is not None:
            for clash in in_pool(model, type_):
                yield CANNOT, clash
            for clash in at_birth(model, type_) if address in created else ():
                yield CANNOT, clash
            for clash in resized(type_) if address in changed else ():
                yield CANNOT, clash
        for clash in _clone(storage, address, model):
            yield CANNOT, clash
    elif address.kind is Kind.POOL and address in created:
        for name in lacking(declared(model)):
            type_ = getattr(model, "type", None) or "dir"
            summary = f"a new pool of type {type_} needs its {name}"
            yield CANNOT, Contradiction((), summary, f"write {name.replace('.', ': {')}: …")


def _clone(storage: Storage, address: Address, volume: Volume) -> Iterator[Contradiction]:
    """A clone that is smaller than its source would be cut."""
    if volume.clone is None or volume.capacity is None:
        return
    source = storage.capacity_of(Address(address.host, Kind.VOLUME, volume.clone))
    if source is not None and volume.capacity < source:
        size = format_size(source)
        summary = f"{format_size(volume.capacity)} are less than its source {volume.clone} has"
        yield Contradiction(("capacity",), summary, f"write {size} or more, or take it out")


def _on_volumes(storage: Storage, resource: Resource, domain: Domain) -> Iterator[Contradiction]:
    """A volume's format is known: another one would show the guest other bytes than are in it.

    So would an encrypted one that is taken as it is.
    """
    for name, disk in (domain.disks or {}).items():
        if disk.volume is None:
            continue
        volume = Address(resource.address.host, Kind.VOLUME, disk.volume)
        if disk.encryption is None and storage.is_encrypted(volume):
            summary = f"{disk.volume} is encrypted, and the disk does not say by what secret"
            yield Contradiction(("disks", name), summary, "write encryption: {secret: …} here too")
        known = storage.format_of(volume) if disk.format is not None else None
        if known is not None and disk.format != ("raw" if known in ("iso", "none") else known):
            summary = f"{disk.volume} is of format {known}, not {disk.format}"
            yield Contradiction(("disks", name, "format"), summary, "take the disk's format out")


def place_of(resource: Resource, path: tuple[str, ...]) -> Place | None:
    """Where a field is written, or the nearest that is around it."""
    places = resource.places
    nearest = (places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places)
    return next(nearest, resource.place)
