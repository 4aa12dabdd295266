"""Bases: how many guests stand on a volume, through overlays and clones of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.spec.desired import Resource


def guests_per_base(resources: Mapping[Address, Resource]) -> dict[Address, int]:
    """Volumes that others are made from or written over -> guests with a disk on one of those."""
    above = {
        address: replace(address, name=name)
        for address, resource in resources.items()
        if address.kind is Kind.VOLUME and (name := _base(resource.model)) is not None
    }
    if not above:
        return {}
    found = Counter[Address](dict.fromkeys(above.values(), 0))
    for address, resource in resources.items():
        if address.kind is Kind.DOMAIN:
            disks = getattr(resource.model, "disks", None) or {}
            names = {disk.volume for disk in disks.values() if disk.volume}
            volumes = (Address(address.host, Kind.VOLUME, name) for name in names)
            found.update({base for volume in volumes for base in _below(volume, above)})
    return dict(sorted(found.items()))


def _base(model: Any) -> str | None:
    backing = model.backing.volume if model.backing is not None else None
    name: str | None = backing or model.clone
    return name


def _below(volume: Address, above: Mapping[Address, Address]) -> Iterator[Address]:
    seen = {volume}
    while (base := above.get(volume)) is not None and base not in seen:
        yield base
        seen.add(base)
        volume = base
