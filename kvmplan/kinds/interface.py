"""Network interfaces of a domain: the only place where their fields are declared.

https://libvirt.org/formatdomain.html#network-interfaces. The network, link state and filter change
on a running guest; model, MAC and the rest are refused there (84, 99).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds.bandwidth import Bandwidth
from kvmplan.kinds.hostdev import PciAddress, pci_of, pci_parts
from kvmplan.kinds.verbs import Verb
from kvmplan.kinds.virtualport import VirtualPort
from kvmplan.mapping.codecs import LOWER, YES_NO
from kvmplan.mapping.markers import (
    Case,
    Free,
    Group,
    Is,
    NoDefault,
    NotRunning,
    On,
    Pairs,
    Policy,
    Ref,
    Through,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import live
from kvmplan.mapping.types import Ip, Mac

UPDATE = On(live(Verb.UPDATE_DEVICE))
SOURCE_CLEARS = ("./source", "./@managed")
PLUGGED = "an interface is plugged into something"


class Direct(Mapped):
    """A macvtap device on an interface of the host."""

    scalar: ClassVar[str] = "dev"
    dev: Annotated[str | None, Xml("./source/@dev"), NoDefault(PLUGGED)] = None
    """The host's interface."""
    mode: Annotated[
        Literal["vepa", "bridge", "private", "passthrough"] | None,
        Xml("./source/@mode", omitted="vepa"),
    ] = None
    """How it is shared."""


def _read_card(interface: Element, _: Any) -> str | None:
    return pci_of(interface)


def _write_card(interface: Element, value: str | None, _: Any) -> None:
    """The first card of an interface is managed; libvirt drops a ``no``, so later ones say none."""
    source = interface.find("source")
    if value is None:
        if source is not None:
            interface.remove(source)
        return
    if source is None:
        source = etree.Element("source")
        interface.insert(1 if interface.find("mac") is not None else 0, source)
        interface.set("managed", "yes")
    for address in source.findall("address"):
        source.remove(address)
    etree.SubElement(source, "address", {"type": "pci", **pci_parts(value)})


class Card(Mapped):
    """A network card of the host, or a virtual function of one (SR-IOV), for this guest alone."""

    scalar: ClassVar[str] = "pci"
    pci: Annotated[
        PciAddress | None, Through(_read_card, _write_card, "./source/address"), NoDefault(PLUGGED)
    ] = None
    """The PCI address that it has on the host."""
    managed: Annotated[bool | None, Xml("./@managed", codec=YES_NO, omitted=False)] = None
    """Whether libvirt takes it from the host's driver and gives it back. Born as true."""


class Filter(Mapped):
    """A network filter, and what it is told about this interface."""

    scalar: ClassVar[str] = "name"
    name: Annotated[str, Xml("./@filter")]
    """The filter's name."""
    parameters: Annotated[
        dict[str, str] | None, Pairs("./parameter", key="@name", value="@value")
    ] = None
    """Values of its variables: ``{IP: 10.10.0.10}``."""


class Interface(Mapped):
    """A network interface, known by the user's name; its MAC pairs it with the live one."""

    scalar: ClassVar[str] = "network"
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("network", "bridge", "direct", "hostdev", "user"),
    )
    mac: Annotated[
        Mac | None,
        Xml("./mac/@address", codec=LOWER),
        Free(),
        NoDefault("a new interface gets a derived one, and keeps it"),
    ] = None
    """Its MAC address. Derived from stack, host, domain and name when it is not given."""
    network: Annotated[
        str | None,
        Case("./@type", ("network",), SOURCE_CLEARS),
        Xml("./source/@network"),
        UPDATE,
        Ref("network"),
        NoDefault(PLUGGED),
    ] = None
    """A virtual network."""
    ip: Annotated[Ip | None, Policy()] = None
    """Its IPv4 address: a static lease and the domain's name in DNS, in the stack's own network.
    Where that has a lease of it in the domain's name already, an unset `mac` is the lease's."""
    portgroup: Annotated[str | None, Xml("./source/@portgroup")] = None
    """The network's port group."""
    bridge: Annotated[
        str | None,
        Case("./@type", ("bridge",), SOURCE_CLEARS),
        Xml("./source/@bridge"),
        UPDATE,
        NoDefault(PLUGGED),
    ] = None
    """A bridge of the host."""
    direct: Annotated[
        Direct | None,
        Case("./@type", ("direct",), SOURCE_CLEARS),
        Group("."),
        NoDefault(PLUGGED),
    ] = None
    """An interface of the host, through macvtap."""
    hostdev: Annotated[
        Card | None,
        Case("./@type", ("hostdev",), SOURCE_CLEARS),
        Group("."),
        NoDefault(PLUGGED),
    ] = None
    """A network card of the host, given to the guest: its PCI address."""
    user: Annotated[
        bool | None, Is("./@type", "user", clears=SOURCE_CLEARS), NoDefault(PLUGGED)
    ] = None
    """User-mode networking: outgoing only, needs no rights."""
    model: Annotated[str | None, Xml("./model/@type")] = None
    """The card that the guest sees. Born as ``virtio``."""
    link: Annotated[Literal["up", "down"] | None, Xml("./link/@state", omitted="up"), UPDATE] = None
    """Whether its cable is plugged in."""
    mtu: Annotated[int | None, Field(ge=68, le=65535), Xml("./mtu/@size"), NotRunning()] = None
    """Its MTU."""
    filter: Annotated[Filter | None, Group("./filterref"), UPDATE] = None
    """A network filter of the host, by name."""
    bandwidth: Annotated[Bandwidth | None, Group("./bandwidth"), UPDATE] = None
    """How much may pass. Its host needs the kernel's sfq queue."""
    virtualport: Annotated[VirtualPort | None, Group("./virtualport")] = None
    """The switch's port that it is plugged into: ``openvswitch``."""
    boot: Annotated[int | None, Field(ge=1), Xml("./boot/@order")] = None
    """Its turn in the boot order; instead of the domain's `boot`."""
