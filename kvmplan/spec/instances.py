"""Instances: what a guest consists of that is made anew when it shall begin from nothing."""

from __future__ import annotations

from collections.abc import Mapping

from kvmplan.address import Address, Kind
from kvmplan.kinds.domain import Domain
from kvmplan.spec.desired import Resource
from kvmplan.spec.shortdisks import ORIGINS


def image_disks(
    address: Address, domain: Domain, resources: Mapping[Address, Resource]
) -> tuple[Address, ...]:
    """The volumes that a domain's short disks make from an image.

    An empty disk of the short way is there for what the guest writes, and a volume that is declared
    by itself may be anybody's: neither belongs to the instance.
    """
    found = []
    for target, disk in (domain.disks or {}).items():
        if disk.volume is None:
            continue
        volume = resources.get(Address(address.host, Kind.VOLUME, disk.volume))
        if volume is None or volume.stands_for != (address.name, "disks", target, "volume"):
            continue
        if any(getattr(volume.model, name, None) is not None for name in ORIGINS):
            found.append(volume.address)
    return tuple(found)
