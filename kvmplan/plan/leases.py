"""Leases: those of interfaces without a written MAC are for the MACs that these really have.

The specs give them to derived MACs. An interface that exists keeps the one that it has, under
another key and in a domain of another name, too; which that is, the host tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.network import DhcpHost, Network, NetworkIp
from kvmplan.mapping.model import Mapped
from kvmplan.plan.born import Births
from kvmplan.plan.intent import intend
from kvmplan.spec.desired import Desired, Resource

M = TypeVar("M", bound=Mapped)


def follow_macs(births: Births) -> Desired:
    """The specs of `births`, with leases for the MACs that interfaces on its hosts have."""
    desired = births.desired
    kept: dict[Address, dict[str, str]] = {}
    for address, resource in sorted(desired.resources.items()):
        inventory = births.inventories.get(address.host)
        if inventory is not None and isinstance(resource.model, Domain):
            for network, derived, mac in _kept(resource, resource.model, inventory, births):
                kept.setdefault(Address(address.host, Kind.NETWORK, network), {})[derived] = mac
    resources = {
        address: replace(desired.resources[address], model=_leased(model, macs))
        for address, macs in kept.items()
        if address in desired.resources
        and isinstance(model := desired.resources[address].model, Network)
    }
    return replace(desired, resources={**desired.resources, **resources}) if resources else desired


def _kept(
    resource: Resource, domain: Domain, inventory: Inventory, births: Births
) -> Iterator[tuple[str, str, str]]:
    """Network, derived MAC and real MAC of each interface that asks for a lease and has another."""
    record = inventory.record(resource.address)
    asking = {
        key: births.desired.new_mac(resource.address, key)
        for key, nic in (domain.interfaces or {}).items()
        if nic.ip is not None and nic.mac is None and nic.network is not None
    }
    if record is None or all(_is_in(mac, record.document) for mac in asking.values()):
        return
    tree = intend(resource, inventory, births.desired.stack.uid, births).tree
    for key, derived in asking.items():
        nic = tree["interfaces"][key]
        if nic["mac"] != derived:
            yield nic["network"], derived, nic["mac"]


def _is_in(mac: str, document: str) -> bool:
    """Whether an interface has a MAC; marks name those of interfaces that are gone, too."""
    return f"mac address='{mac}'" in document or f'mac address="{mac}"' in document


def _leased(network: Network, macs: Mapping[str, str]) -> Network:
    """A network with leases for other MACs; one that has a lease of its own already keeps that."""
    leases = [*_leases(network)]
    taken = {host.mac for host in leases if host.mac is not None} - macs.keys()
    moved = {derived: mac for derived, mac in macs.items() if mac not in taken}
    ips = {key: _with_leases(ip, moved) for key, ip in (network.ips or {}).items()}
    return network.model_copy(update={"ips": ips}) if moved else network


def _with_leases(ip: NetworkIp, macs: Mapping[str, str]) -> NetworkIp:
    if ip.dhcp is None or not ip.dhcp.hosts:
        return ip
    hosts = {
        macs.get(key, key): _with(host, mac=macs[key]) if key in macs else host
        for key, host in ip.dhcp.hosts.items()
    }
    return _with(ip, dhcp=_with(ip.dhcp, hosts=hosts))


def given(network: Mapped) -> frozenset[tuple[str | None, str | None]]:
    """The leases of a network: to which MACs it gives which addresses."""
    leases = _leases(network) if isinstance(network, Network) else ()
    return frozenset((host.mac, host.ip) for host in leases)


def _leases(network: Network) -> Iterator[DhcpHost]:
    for ip in (network.ips or {}).values():
        yield from (ip.dhcp.hosts or {}).values() if ip.dhcp is not None else ()


def _with(model: M, **fields: object) -> M:
    return model.model_copy(update=fields)
