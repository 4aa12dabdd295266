"""References: what names what, in specs and in live objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory, Record
from kvmplan.kinds.context import HostContext
from kvmplan.kinds.models import MODELS
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.lens import read
from kvmplan.mapping.model import walk
from kvmplan.spec.desired import Resource


def wanted(resource: Resource) -> tuple[Address, ...]:
    """What a resource of the spec names, its pool and `depends_on` included."""
    targets = [reference.target for reference in (*resource.references, *resource.depends_on)]
    if resource.address.kind is Kind.VOLUME:
        targets.append(Address(resource.address.host, Kind.POOL, resource.address.pool))
    return tuple(sorted(set(targets)))


def found(record: Record, inventory: Inventory, skeleton: Any) -> tuple[Address, ...]:
    """What a live object uses: volumes of its disks, networks of its NICs, a base, a pool."""
    model, address = MODELS[record.address.kind], record.address
    context = HostContext(skeleton=skeleton, volume_at=inventory.volume_by_path.get)
    tree: Mapping[str, Any] = read(model, parse_to_read(record.document), context)
    targets = {
        Address(address.host, Kind(binding.ref.kind), value)
        for _, binding, value in walk(model, tree)
        if binding.ref is not None and isinstance(value, str)
    }
    if address.kind is Kind.VOLUME:
        targets.add(Address(address.host, Kind.POOL, address.pool))
    return tuple(sorted(targets))
