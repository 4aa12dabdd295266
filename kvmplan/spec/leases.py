"""Leases: an interface's `ip`, written as a static lease and a DNS name into its network.

The network must be the stack's own: what it gives out is in its spec then, and in every plan.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.macs import Macs, new_mac
from kvmplan.kinds.network import Dhcp, DhcpHost, Dns, DnsHost, Network, NetworkIp
from kvmplan.mapping.model import Mapped
from kvmplan.spec import codes
from kvmplan.spec.desired import Resource
from kvmplan.spec.places import nearest

HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")
"""What DNS takes for the name of a host: https://www.rfc-editor.org/rfc/rfc1123#section-2.1"""

M = TypeVar("M", bound=Mapped)


@dataclass(frozen=True, slots=True)
class Lease:
    """What one interface asks of its network; its MAC is `derived` where none is written."""

    domain: Address
    key: str
    mac: str
    derived: bool
    ip: str
    network: str | None
    place: Place | None

    @property
    def words(self) -> str:
        """How messages name it."""
        return f"interfaces.{self.key}.ip of {self.domain.short}"


class Refused(Exception):
    """A network cannot give out an address: why, and what to do."""

    def __init__(self, why: str, remedy: str) -> None:
        self.why, self.remedy = why, remedy
        super().__init__(why)


def write_leases(
    resources: dict[Address, Resource], stack: str, macs: Macs, report: Diagnostics
) -> None:
    """Replace the networks that interfaces ask for addresses by such that give them out.

    Args:
        resources: all of a stack, by address.
        stack: its uid, from which MAC addresses are derived.
        macs: those that are not as they are derived.
        report: gets what cannot be given out: KVP118.
    """
    servers: dict[Address, _Server] = {}
    for lease in [found for r in resources.values() for found in _leases(r, stack, macs)]:
        try:
            address, network = _network(lease, resources)
            server = servers.get(address)
            if server is None:
                assert isinstance(network.model, Network)
                server = servers[address] = _Server(network.model)
            mac = server.mac_for(lease)
            if mac != lease.mac:
                lease = replace(lease, mac=mac)
                resources[lease.domain] = _with_mac(resources[lease.domain], lease.key, mac)
            server.add(lease, report)
        except Refused as error:
            summary = f"{lease.words}: {error.why}"
            report.error(codes.LEASE, summary, lease.place, error.remedy, lease.domain)
    for address, server in servers.items():
        resources[address] = replace(resources[address], model=server.network())


def _leases(resource: Resource, stack: str, macs: Macs) -> Iterator[Lease]:
    model, address = resource.model, resource.address
    if not isinstance(model, Domain) or not model.interfaces:
        return
    for key, nic in model.interfaces.items():
        if nic.ip is not None:
            mac = nic.mac or new_mac(stack, macs, address, key)
            place = nearest(resource.places, ("interfaces", key, "ip"))
            yield Lease(address, key, mac, nic.mac is None, nic.ip, nic.network, place)


def _with_mac(resource: Resource, key: str, mac: str) -> Resource:
    """A domain with a MAC for one of its interfaces, as if it had been written there."""
    assert isinstance(resource.model, Domain)
    interfaces = resource.model.interfaces or {}
    interfaces = {**interfaces, key: _with(interfaces[key], mac=mac)}
    return replace(resource, model=_with(resource.model, interfaces=interfaces))


def _network(lease: Lease, resources: Mapping[Address, Resource]) -> tuple[Address, Resource]:
    if lease.network is None:
        raise Refused(
            "only a virtual network gives out addresses",
            "give the interface a `network` of this stack, or the guest its address by cloud-init",
        )
    address = Address(lease.domain.host, Kind.NETWORK, lease.network)
    found = resources.get(address)
    if found is None:
        raise Refused(
            f"{address.short} is not this stack's, which changes only what is its own",
            f"declare {address.short} here, or write the lease where it is declared",
        )
    return address, found


class _Server:
    """What one network gives out: as its spec says, and more."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._leases: dict[str, dict[str, DhcpHost]] = {}
        self._names: dict[str, DnsHost] = dict(network.dns.hosts or {}) if network.dns else {}
        self._ip_of = {name: ip for ip, host in self._names.items() for name in host.names}
        self._asked: set[Address] = set()
        self._by_ip: dict[str, DhcpHost] = {}
        self._by_mac: dict[str, DhcpHost] = {}
        self._by_name: dict[str, DhcpHost] = {}
        for ip in (network.ips or {}).values():
            for host in (ip.dhcp.hosts or {}).values() if ip.dhcp else ():
                self._know(host)
        self._written = dict(self._by_ip)

    def _know(self, host: DhcpHost) -> None:
        for known, value in (
            (self._by_ip, host.ip),
            (self._by_mac, host.mac),
            (self._by_name, host.name),
        ):
            if value is not None:
                known.setdefault(value, host)

    def mac_for(self, lease: Lease) -> str:
        """The interface's MAC: where none is written, that of a written lease of the same name."""
        host = self._written.get(lease.ip)
        if not lease.derived or host is None or host.mac is None:
            return lease.mac
        if host.name != lease.domain.name:
            return lease.mac
        del self._written[lease.ip]
        return host.mac

    def add(self, lease: Lease, report: Diagnostics) -> None:
        """Give out one more address. Raises Refused."""
        key = _subnet(self._network, lease.ip)
        name = self._name(lease, report)
        self._check_free(lease, name)
        self._asked.add(lease.domain)
        if lease.mac not in self._by_mac:
            given = {"mac": lease.mac, "ip": lease.ip, **({"name": name} if name else {})}
            host = DhcpHost.model_validate(given)
            self._know(host)
            self._leases.setdefault(key, {})[lease.mac] = host
        if name is not None:
            known = self._names[lease.ip].names if lease.ip in self._names else ()
            names = known if name in known else (*known, name)
            self._names[lease.ip] = DnsHost.model_validate({"ip": lease.ip, "names": names})
            self._ip_of[name] = lease.ip

    def _name(self, lease: Lease, report: Diagnostics) -> str | None:
        """The DNS name of an address: the domain's; of its further interfaces with their keys."""
        second = lease.domain in self._asked
        name = f"{lease.domain.name}-{lease.key}" if second else lease.domain.name
        if HOST_NAME.fullmatch(name):
            return name
        summary = f"{lease.words}: it has no DNS name, '{name}' is no name of a host"
        remedy = "name it with letters, digits and '-', or write dns.hosts yourself"
        report.warning(codes.LEASE, summary, lease.place, remedy, lease.domain)
        return None

    def _check_free(self, lease: Lease, name: str | None) -> None:
        """Raise Refused if a lease says otherwise; one that says the same may be written, too."""
        host = self._by_ip.get(lease.ip)
        if host is not None and host.mac != lease.mac:
            whose = host.name or host.mac
            raise Refused(f"{lease.ip} is the lease of {whose} already", "choose another address")
        host = self._by_mac.get(lease.mac)
        if host is not None and host.ip != lease.ip:
            why = f"its MAC {lease.mac} has a lease of {host.ip} already"
            raise Refused(why, "keep one of them")
        host = self._by_name.get(name) if name else None
        if host is not None and host.mac != lease.mac:
            raise Refused(f"the lease of {host.ip} has the name '{name}' already", "rename one")
        other = self._ip_of.get(name) if name else None
        if other not in (None, lease.ip):
            raise Refused(f"dns.hosts gives the name '{name}' to {other}", "take one of them out")

    def network(self) -> Network:
        """The network that gives out all of it."""
        if not self._asked:
            return self._network
        ips = dict(self._network.ips or {})
        for key, leases in self._leases.items():
            dhcp = ips[key].dhcp or Dhcp()
            ips[key] = _with(ips[key], dhcp=_with(dhcp, hosts={**(dhcp.hosts or {}), **leases}))
        made = _with(self._network, ips=ips)
        dns = made.dns or Dns()
        if not self._names or dns.enable is False:
            return made
        return _with(made, dns=_with(dns, hosts=self._names))


def _subnet(network: Network, text: str) -> str:
    """The key of the network's address in whose subnet an address is. Raises Refused."""
    wanted = ipaddress.ip_address(text)
    if wanted.version == 6:
        raise Refused(
            "DHCP knows guests of IPv6 by their DUID, not by their MAC",
            "write an IPv4 address here, and the IPv6 one in dhcp.hosts by name",
        )
    ips = network.ips or {}
    for key, ip in ips.items():
        interface = ipaddress.ip_interface(ip.address)
        if wanted not in interface.network:
            continue
        if wanted == interface.ip:
            raise Refused(f"{text} is the network's own address", "choose another")
        serving = [other for other, it in ips.items() if it.dhcp and _is_ipv4(it)]
        if ip.dhcp is None and serving:
            why = f"the network's DHCP server is on {serving[0]}, and libvirt has one for IPv4"
            raise Refused(why, "choose an address there")
        return key
    subnets = ", ".join(str(ipaddress.ip_interface(ip.address).network) for ip in ips.values())
    why = f"{text} is in none of the network's subnets" + (f" ({subnets})" if subnets else "")
    raise Refused(why, "choose an address there" if subnets else "give the network `ips`")


def _is_ipv4(ip: NetworkIp) -> bool:
    return ipaddress.ip_interface(ip.address).version == 4


def _with(model: M, **fields: object) -> M:
    return model.model_copy(update=fields)
