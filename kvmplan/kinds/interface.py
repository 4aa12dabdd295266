"""Network interfaces of a domain: the only place where their fields are declared.

https://libvirt.org/formatdomain.html#network-interfaces. The network, link state and filter change
on a running guest; model, MAC and the rest are refused there (84, 99).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kvmplan.kinds.bandwidth import Bandwidth
from kvmplan.kinds.verbs import Verb
from kvmplan.kinds.virtualport import VirtualPort
from kvmplan.mapping.codecs import LOWER
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
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import live
from kvmplan.mapping.types import Ip, Mac

UPDATE = On(live(Verb.UPDATE_DEVICE))
SOURCE_CLEARS = ("./source",)
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
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("network", "bridge", "direct", "user"),)
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
