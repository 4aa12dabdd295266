"""MACs: what interfaces without a written MAC get, each another one.

An interface that exists keeps the MAC it has (`kvmplan.plan.names`): this is for those to come.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kvmplan.address import Address
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.macs import Macs, derived_mac
from kvmplan.spec.desired import Resource


def other_macs(resources: Mapping[Address, Resource], stack: str) -> Macs:
    """The MACs of interfaces whose derived one is another's: by domain, by the user's name.

    Args:
        resources: all of a stack, by address.
        stack: its uid.
    """
    nics = list(_nics(resources.values()))
    taken = {mac for _, _, mac in nics if mac is not None}
    others: dict[Address, dict[str, str]] = {}
    for address, key in sorted((address, key) for address, key, mac in nics if mac is None):
        attempt = 0
        while (mac := derived_mac(stack, address, key, attempt)) in taken:
            attempt += 1
        taken.add(mac)
        if attempt:
            others.setdefault(address, {})[key] = mac
    return others


def _nics(resources: Iterable[Resource]) -> Iterator[tuple[Address, str, str | None]]:
    """All interfaces: domain, the user's name, and the MAC if one is written."""
    for resource in resources:
        if isinstance(resource.model, Domain):
            for key, nic in (resource.model.interfaces or {}).items():
                yield resource.address, key, nic.mac
