"""Virtual ports of switches: the only place where their fields are declared.

https://libvirt.org/formatdomain.html#setting-up-a-network-interface-with-open-vswitch-or-802-1qbg,
on a NIC or for all NICs of a network. Libvirt gives an Open vSwitch port its interfaceid.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kvmplan.mapping.markers import NoDefault, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import Uuid

ONE_TYPE_ONLY = tuple(
    f"./parameters/@{name}"
    for name in ("interfaceid", "managerid", "typeid", "typeidversion", "instanceid")
)
"""Libvirt refuses what another type has, its own interfaceid included."""

MADE_UP = "libvirt makes one up for a new port"
NEEDED = "a port of type 802.1Qbg needs it"


class VirtualPort(Mapped):
    """The port of a switch that a NIC is plugged into."""

    scalar: ClassVar[str] = "type"
    type: Annotated[
        Literal["openvswitch", "802.1Qbg", "802.1Qbh", "midonet"] | None,
        Xml("./@type", clears=ONE_TYPE_ONLY),
        NoDefault("a port is of some type"),
    ] = None
    """Whose port it is."""
    interfaceid: Annotated[
        Uuid | None, Xml("./parameters/@interfaceid"), NoDefault(MADE_UP, picked=True)
    ] = None
    """A UUID that the switch knows the port by."""
    profileid: Annotated[str | None, Field(min_length=1), Xml("./parameters/@profileid")] = None
    """The switch's profile for it."""
    managerid: Annotated[
        int | None, Field(ge=0, le=255), Xml("./parameters/@managerid"), NoDefault(NEEDED)
    ] = None
    """802.1Qbg: the database that describes the type."""
    typeid: Annotated[
        int | None, Field(ge=0, lt=2**24), Xml("./parameters/@typeid"), NoDefault(NEEDED)
    ] = None
    """802.1Qbg: the type of the port."""
    typeidversion: Annotated[
        int | None, Field(ge=0, le=255), Xml("./parameters/@typeidversion"), NoDefault(NEEDED)
    ] = None
    """802.1Qbg: the version of the type."""
    instanceid: Annotated[
        Uuid | None, Xml("./parameters/@instanceid"), NoDefault(MADE_UP, picked=True)
    ] = None
    """802.1Qbg: a UUID of this very port."""
