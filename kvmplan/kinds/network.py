"""Networks: the only place where their fields are declared.

https://libvirt.org/formatnetwork.html. DHCP and DNS entries change live; the bridge, addresses and
forwarding of an active network are written for its next start (libvirt answers 84 otherwise).
"""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds.bandwidth import Bandwidth
from kvmplan.kinds.dnsmasq import DNSMASQ, DnsmasqOption
from kvmplan.kinds.prefixed import read_prefixed, write_prefixed
from kvmplan.kinds.route import Route
from kvmplan.kinds.verbs import Verb
from kvmplan.kinds.virtualport import VirtualPort
from kvmplan.mapping.codecs import IP, LOWER, ON_OFF, YES_NO
from kvmplan.mapping.markers import (
    Birth,
    Group,
    Items,
    NoDefault,
    On,
    Policy,
    Runtime,
    Through,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.paths import unset
from kvmplan.mapping.strategy import live, next_boot
from kvmplan.mapping.types import HostPath, Ip, IpInterface, IpRange, Mac, Port

NEXT_START = On(next_boot("networks take this at their next start"))


def _section(name: str, *, modify: bool = False) -> On:
    """Members of a section that libvirt updates on an active network (virNetworkUpdate)."""
    change = live(Verb.UPDATE_NETWORK, section=name, modify=modify)
    return On(change, added=change, removed=change)


def _read_span(element: Element, _: Any) -> str | None:
    start, end = element.get("start"), element.get("end")
    if start is None or end is None:
        return None
    try:
        return f"{IP.decode(start)}-{IP.decode(end)}"
    except ValueError:
        return f"{start}-{end}"


def _write_span(element: Element, value: str | None, _: Any) -> None:
    if value is not None:
        start, _dash, end = value.partition("-")
        element.set("start", start)
        element.set("end", end)


def _read_interface(element: Element, _: Any) -> str | None:
    written = read_prefixed(element)
    try:
        return None if written is None else str(ipaddress.ip_interface(written))
    except ValueError:
        return written


def _write_interface(element: Element, value: str | None, _: Any) -> None:
    if value is not None:
        interface = ipaddress.ip_interface(value)
        write_prefixed(element, interface.ip, interface.network.prefixlen)


def _span(tag: str) -> Through:
    """``A-B`` in the start and end of a child element, which is made and removed with it."""

    def read(element: Element, context: Any) -> str | None:
        node = element.find(tag)
        if node is None or node.get("start") is None:
            return None
        return f"{node.get('start')}-{node.get('end')}"

    def write(element: Element, value: str | None, context: Any) -> None:
        node = element.find(tag)
        if value is None:
            if node is not None:
                element.remove(node)
            return
        if node is None:
            node = element.makeelement(tag, {}, None)
            element.append(node)
        _write_span(node, value, context)

    return Through(read, write, f"./{tag}")


def _read_dev(network: Element, _: Any) -> str | None:
    forward = network.find("forward")
    return None if forward is None else forward.get("dev")


def _write_dev(network: Element, value: str | None, _: Any) -> None:
    """Libvirt repeats it in the first ``<interface>``: that goes along, or it would come back."""
    forward = network.find("forward")
    if forward is None:
        if value is None:
            return
        forward = etree.SubElement(network, "forward")
    first, old = forward.find("interface"), forward.get("dev")
    if first is not None and old is not None and first.get("dev") == old != value:
        forward.remove(first)
    unset(forward, "dev")
    if value is not None:
        forward.set("dev", value)


class Nat(Mapped):
    """Which addresses and ports NAT uses."""

    addresses: Annotated[IpRange | None, _span("address")] = None
    """The outgoing addresses: ``192.0.2.10-192.0.2.20``."""
    ports: Annotated[str | None, Field(pattern=r"^\d+-\d+$"), _span("port")] = None
    """The outgoing ports: ``1024-65535``."""


class Forward(Mapped):
    """How guests reach beyond the network."""

    scalar: ClassVar[str] = "mode"
    mode: Annotated[
        Literal[
            "nat", "route", "open", "bridge", "private", "vepa", "passthrough", "hostdev", "none"
        ]
        | None,
        Xml("./forward/@mode", omitted="none", removes="./forward"),
    ] = None
    """``none`` isolates the network; ``bridge`` uses a bridge of the host."""
    dev: Annotated[str | None, Through(_read_dev, _write_dev, "./forward/@dev")] = None
    """The host's interface to forward through."""
    interfaces: Annotated[
        tuple[str, ...] | None,
        Field(strict=False),
        Xml("./forward/interface/@dev", many=True, clears=("./forward/@dev",)),
    ] = None
    """The host's interfaces, for macvtap and passthrough modes."""
    nat: Annotated[Nat | None, Group("./forward/nat")] = None
    """Addresses and ports of NAT."""


class Bridge(Mapped):
    """The network's bridge on the host."""

    scalar: ClassVar[str] = "name"
    name: Annotated[
        str | None,
        Field(max_length=15, pattern=r"^[^/\s]+$"),
        Xml("./bridge/@name"),
        NoDefault("a new network gets one that libvirt picks", picked=True),
    ] = None
    """Name of the bridge device, at most 15 characters; libvirt picks ``virbrN`` by itself."""
    stp: Annotated[bool | None, Xml("./bridge/@stp", codec=ON_OFF), Birth(True)] = None
    """Spanning tree protocol."""
    delay: Annotated[int | None, Field(ge=0), Xml("./bridge/@delay"), Birth(0)] = None
    """Forward delay in seconds."""
    zone: Annotated[str | None, Xml("./bridge/@zone")] = None
    """firewalld zone."""


class NetworkDomain(Mapped):
    """The DNS domain of the network."""

    scalar: ClassVar[str] = "name"
    name: Annotated[
        str | None, Xml("./domain/@name"), NoDefault("what is said of a domain needs its name")
    ] = None
    """The domain's name."""
    local_only: Annotated[bool | None, Xml("./domain/@localOnly", codec=YES_NO)] = None
    """Whether names of this domain are never asked of other servers."""


class DhcpRange(Mapped):
    """A range of addresses that DHCP gives out."""

    scalar: ClassVar[str] = "range"
    range: Annotated[IpRange, Through(_read_span, _write_span, ".")]
    """First and last address: ``10.10.0.50-10.10.0.199``."""


class DhcpHost(Mapped):
    """A static lease."""

    mac: Annotated[Mac | None, Xml("./@mac", codec=LOWER)] = None
    """The guest's MAC address."""
    ip: Annotated[Ip | None, Xml("./@ip", codec=IP), NoDefault("a lease is of an address")] = None
    """The address it gets."""
    name: Annotated[str | None, Xml("./@name")] = None
    """The host name it gets."""


class Bootp(Mapped):
    """What DHCP tells guests that boot from the network."""

    file: Annotated[str | None, Xml("./@file"), NoDefault("guests boot from a file")] = None
    """The boot file."""
    server: Annotated[str | None, Xml("./@server")] = None
    """The TFTP server, when it is not the network itself."""


class Dhcp(Mapped):
    """The network's DHCP server."""

    ranges: Annotated[
        dict[str, DhcpRange] | None, Items("./range", key=("range",)), _section("ip-dhcp-range")
    ] = None
    """Ranges of addresses for guests without a static lease."""
    hosts: Annotated[
        dict[str, DhcpHost] | None,
        Items("./host", key=("mac", "name", "ip")),
        _section("ip-dhcp-host", modify=True),
    ] = None
    """Static leases."""
    bootp: Annotated[Bootp | None, Group("./bootp")] = None
    """Network boot."""


class NetworkIp(Mapped):
    """An address of the host on the network."""

    scalar: ClassVar[str] = "address"
    address: Annotated[IpInterface, Through(_read_interface, _write_interface, "./@address")]
    """Address with prefix: ``10.10.0.1/24``."""
    tftp: Annotated[HostPath | None, Xml("./tftp/@root")] = None
    """Directory that TFTP serves."""
    dhcp: Annotated[Dhcp | None, Group("./dhcp")] = None
    """The DHCP server on this address."""


class DnsForwarder(Mapped):
    """A DNS server that questions are forwarded to."""

    scalar: ClassVar[str] = "address"
    domain: Annotated[str | None, Xml("./@domain")] = None
    """Only questions on this domain."""
    address: Annotated[Ip | None, Xml("./@addr", codec=IP)] = None
    """The server's address."""


class DnsHost(Mapped):
    """Names of one address."""

    ip: Annotated[Ip, Xml("./@ip", codec=IP)]
    """The address."""
    names: Annotated[
        tuple[str, ...], Field(strict=False, min_length=1), Xml("./hostname", many=True)
    ]
    """Its names."""


class DnsTxt(Mapped):
    """A TXT record."""

    name: Annotated[str, Xml("./@name")]
    """The record's name."""
    value: Annotated[str | None, Xml("./@value"), NoDefault("a record says something")] = None
    """Its text."""


class DnsSrv(Mapped):
    """A SRV record."""

    service: Annotated[str, Xml("./@service")]
    """The service."""
    protocol: Annotated[str | None, Xml("./@protocol")] = None
    """``tcp`` or ``udp``."""
    domain: Annotated[str | None, Xml("./@domain")] = None
    """The domain; by default the network's."""
    target: Annotated[str | None, Xml("./@target")] = None
    """Who serves it."""
    port: Annotated[Port | None, Xml("./@port")] = None
    """On which port."""
    priority: Annotated[int | None, Field(ge=0), Xml("./@priority")] = None
    """Lower is asked first."""
    weight: Annotated[int | None, Field(ge=0), Xml("./@weight")] = None
    """Share among equal priorities."""


class Dns(Mapped):
    """The network's DNS server."""

    enable: Annotated[bool | None, Xml("./@enable", codec=YES_NO, omitted=True)] = None
    """Whether it serves at all."""
    forwarders: Annotated[
        dict[str, DnsForwarder] | None, Items("./forwarder", key=("domain", "address"))
    ] = None
    """Where other questions go."""
    txt: Annotated[dict[str, DnsTxt] | None, Items("./txt", key=("name",)), _section("dns-txt")] = (
        None
    )
    """TXT records."""
    srv: Annotated[
        dict[str, DnsSrv] | None,
        Items("./srv", key=("service", "protocol", "target", "domain"), joined=True),
        _section("dns-srv"),
    ] = None
    """SRV records, as many of a service as it has targets: ``ldap/tcp/web``."""
    hosts: Annotated[
        dict[str, DnsHost] | None, Items("./host", key=("ip",)), _section("dns-host")
    ] = None
    """Names of addresses."""


class Portgroup(Mapped):
    """A class of connections that NICs can choose."""

    name: Annotated[str, Xml("./@name")]
    """The group's name."""
    default: Annotated[bool | None, Xml("./@default", codec=YES_NO, omitted=False)] = None
    """Whether NICs that name no group are in it."""
    vlan: Annotated[
        tuple[int, ...] | None, Field(strict=False), Xml("./vlan/tag/@id", many=True)
    ] = None
    """VLAN ids."""


class Network(Mapped):
    """A virtual network."""

    forward: Annotated[Forward | None, Group("."), NEXT_START] = None
    """How guests reach beyond it. Born as ``nat``."""
    bridge: Annotated[Bridge | None, Group("."), NEXT_START] = None
    """Its bridge on the host."""
    mac: Annotated[
        Mac | None,
        Xml("./mac/@address", codec=LOWER),
        NEXT_START,
        NoDefault("a new network gets one that libvirt makes up", picked=True),
    ] = None
    """The bridge's MAC address."""
    mtu: Annotated[int | None, Field(ge=68, le=65535), Xml("./mtu/@size"), NEXT_START] = None
    """The MTU of bridge and NICs."""
    domain: Annotated[NetworkDomain | None, Group("."), NEXT_START] = None
    """Its DNS domain."""
    bandwidth: Annotated[Bandwidth | None, Group("./bandwidth"), NEXT_START] = None
    """How much may pass between its guests and what is beyond."""
    vlan: Annotated[
        tuple[int, ...] | None, Field(strict=False), Xml("./vlan/tag/@id", many=True), NEXT_START
    ] = None
    """VLAN ids of all its NICs."""
    virtualport: Annotated[VirtualPort | None, Group("./virtualport"), NEXT_START] = None
    """The switch's port that each of its NICs is plugged into."""
    port_isolated: Annotated[bool | None, Xml("./port/@isolated", codec=YES_NO), NEXT_START] = None
    """Whether its guests are kept apart."""
    dns: Annotated[Dns | None, Group("./dns"), NEXT_START] = None
    """Its DNS server."""
    ips: Annotated[
        dict[str, NetworkIp] | None,
        Items("./ip", key=("address",)),
        NEXT_START,
        NoDefault("a new network has those that are written; `ips: {}` takes yours out"),
    ] = None
    """The host's addresses on it, each with its DHCP server."""
    routes: Annotated[dict[str, Route] | None, Items("./route", key=("to",)), NEXT_START] = None
    """Static routes on the host."""
    portgroups: Annotated[
        dict[str, Portgroup] | None,
        Items("./portgroup", key=("name",)),
        _section("portgroup", modify=True),
    ] = None
    """Classes of connections."""
    dnsmasq_options: Annotated[
        tuple[DnsmasqOption, ...] | None, Field(strict=False), DNSMASQ, NEXT_START
    ] = None
    """Lines for dnsmasq's own configuration, beyond what libvirt knows of it."""
    autostart: Annotated[
        bool | None, Runtime("autostart"), On(live(Verb.SET_AUTOSTART)), Birth(True)
    ] = None
    """Whether it starts with the host."""
    active: Annotated[bool | None, Runtime("active"), On(live(Verb.START)), Birth(True)] = None
    """Whether it is up. Enforced unless it says otherwise."""
    on_change: Annotated[Literal["next-boot", "restart"] | None, Policy()] = None
    """What becomes of changes that need a restart, which cuts running guests off for a moment."""
