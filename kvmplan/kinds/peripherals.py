"""Small devices of a domain: the only place where their fields are declared.

https://libvirt.org/formatdomain.html#devices. Most are plugged in while the guest runs; none is
changed in place. Those without an identity of their own go by an alias of the user's (``ua-NAME``),
which libvirt keeps.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds.tuning import WHOLE_KIB
from kvmplan.mapping.markers import Belongings, Case, NoDefault, Through, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.paths import read_text, unset
from kvmplan.mapping.types import HostPath, Number, Port, Size

AGENT_NAME = "org.qemu.guest_agent.0"
ALIAS = "ua-"
"""The prefix that libvirt wants of a user's own aliases."""
CONTROLLER = re.compile(r"(.+?)(\d+)")


def _read_alias(device: Element, _: Any) -> str | None:
    alias = read_text(device, "./alias/@name") or ""
    return alias.removeprefix(ALIAS) if alias.startswith(ALIAS) else None


def _write_alias(device: Element, value: str | None, _: Any) -> None:
    for node in device.findall("alias"):
        device.remove(node)
    if value is not None:
        node = etree.Element("alias", {"name": f"{ALIAS}{value}"})
        address = device.find("address")
        if address is not None:
            address.addprevious(node)
        else:
            device.append(node)


OWN_NAME = Through(_read_alias, _write_alias, "./alias/@name")
AliasName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
LISTENS = "a device of type tcp is listened for somewhere"


class Rng(Mapped):
    """A source of random numbers."""

    scalar: ClassVar[str] = "device"
    device: Annotated[HostPath | None, Xml("./backend")] = None
    """The host's device. Born as /dev/urandom."""
    bytes: Annotated[int | None, Field(ge=1), Xml("./rate/@bytes")] = None
    """How many bytes the guest gets in a period."""
    period: Annotated[int | None, Field(ge=1), Xml("./rate/@period")] = None
    """The period, in milliseconds."""


class Watchdog(Mapped):
    """What watches over a guest that does not answer any more."""

    scalar: ClassVar[str] = "model"
    belongings: ClassVar[tuple[Belongings, ...]] = (
        Belongings(to=("./@model",), nodes=("./address",)),
    )
    model: Annotated[Literal["i6300esb", "ib700", "itco", "diag288"] | None, Xml("./@model")] = None
    """The device that the guest sees. Born as i6300esb."""
    action: Annotated[
        Literal["reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi"] | None,
        Xml("./@action", omitted="reset"),
    ] = None
    """What it does. Born as ``reset``."""


class Vsock(Mapped):
    """A socket between guest and host."""

    scalar: ClassVar[str] = "cid"

    @staticmethod
    def _read_cid(vsock: Element, _: Any) -> str | int | None:
        if read_text(vsock, "./cid/@auto") == "yes":
            return "auto"
        address = read_text(vsock, "./cid/@address")
        return int(address) if address is not None and address.isdigit() else None

    @staticmethod
    def _write_cid(vsock: Element, value: str | int | None, _: Any) -> None:
        node = vsock.find("cid")
        if node is None:
            node = etree.SubElement(vsock, "cid")
        unset(node, "address")
        node.set("auto", "no" if isinstance(value, int) else "yes")
        if isinstance(value, int):
            node.set("address", str(value))

    cid: Annotated[
        int | Literal["auto"] | None, Through(_read_cid, _write_cid, "./cid/@address")
    ] = None
    """The guest's number, from 3; ``auto`` lets the host choose."""


def _read_input(device: Element, _: Any) -> str | None:
    """None for those on ps2, which every x86 machine has, asked for or not."""
    bus = device.get("bus")
    return None if bus in ("ps2", "xen", None) else f"{bus}-{device.get('type')}"


def _write_input(device: Element, value: str | None, _: Any) -> None:
    if value is not None:
        bus, _dash, kind = value.partition("-")
        device.set("type", kind)
        device.set("bus", bus)


class Input(Mapped):
    """A keyboard, mouse or tablet."""

    scalar: ClassVar[str] = "device"
    device: Annotated[
        Literal[
            "usb-tablet",
            "usb-mouse",
            "usb-keyboard",
            "virtio-tablet",
            "virtio-mouse",
            "virtio-keyboard",
        ],
        Through(_read_input, _write_input, "./@type"),
    ]
    """Bus and kind: ``usb-tablet``."""


def _read_channel(channel: Element, _: Any) -> str | None:
    """None for the guest agent's, which `agent` speaks of."""
    name = read_text(channel, "./target/@name")
    return None if name == AGENT_NAME else name


def _write_channel(channel: Element, value: str | None, _: Any) -> None:
    node = channel.find("target")
    if value is not None and node is not None:
        node.set("name", value)


def _read_socket(device: Element, _: Any) -> str | None:
    return read_text(device, "./source/@path")


def _write_socket(device: Element, value: str | None, _: Any) -> None:
    """A socket is the host's to make, unless somebody has said otherwise."""
    source = device.find("source")
    if value is None:
        if source is not None:
            device.remove(source)
        return
    if source is None:
        source = etree.Element("source")
        device.insert(0, source)
    source.set("path", value)
    if device.get("type") == "unix" and source.get("mode") is None:
        source.set("mode", "bind")


class Channel(Mapped):
    """A channel between guest and host, known by its name in the guest."""

    name: Annotated[str, Through(_read_channel, _write_channel, "./target/@name")]
    """Its name in the guest: ``com.redhat.spice.0``."""
    type: Annotated[Literal["unix", "pty", "spicevmc"] | None, Xml("./@type")] = None
    """What it is on the host. Born as ``unix``."""
    path: Annotated[
        HostPath | None,
        Case("./@type", ("unix",)),
        Through(_read_socket, _write_socket, "./source/@path"),
    ] = None
    """The host's socket. Libvirt chooses one where none is given."""


class Serial(Mapped):
    """A serial port, known by its number."""

    port: Annotated[Number, Field(le=3), Xml("./target/@port")]
    """Its number."""
    type: Annotated[Literal["pty", "file", "unix", "null"] | None, Xml("./@type")] = None
    """What it is on the host. Born as ``pty``."""
    path: Annotated[
        HostPath | None,
        Case("./@type", ("file", "unix")),
        Through(_read_socket, _write_socket, "./source/@path"),
        NoDefault("a port of these types leads somewhere"),
    ] = None
    """The host's file or socket."""


class Redirdev(Mapped):
    """A USB device that whoever looks at the console lends to the guest."""

    name: Annotated[AliasName, OWN_NAME]
    """A name of yours."""
    type: Annotated[Literal["spicevmc", "tcp"] | None, Xml("./@type")] = None
    """How it comes. Born as ``spicevmc``."""
    host: Annotated[
        str | None, Case("./@type", ("tcp",)), Xml("./source/@host"), NoDefault(LISTENS)
    ] = None
    """The address that is listened on."""
    port: Annotated[
        Port | None, Case("./@type", ("tcp",)), Xml("./source/@service"), NoDefault(LISTENS)
    ] = None
    """The port that is listened on."""


def _read_controller(controller: Element, _: Any) -> str | None:
    index = controller.get("index")
    return None if index is None else f"{controller.get('type')}{index}"


def _write_controller(controller: Element, value: str | None, _: Any) -> None:
    found = CONTROLLER.fullmatch(value or "")
    if found is not None:
        controller.set("type", found[1])
        controller.set("index", found[2])


class Controller(Mapped):
    """A controller, known by type and number."""

    name: Annotated[
        str,
        Field(pattern=r"^(ide|fdc|scsi|sata|usb|ccid|virtio-serial|pci|xenbus|isa)\d+$"),
        Through(_read_controller, _write_controller, "./@type"),
    ]
    """Type and number: ``scsi1``."""
    model: Annotated[
        str | None, Xml("./@model"), NoDefault("a new controller gets one that libvirt picks")
    ] = None
    """Its model: ``virtio-scsi``, ``qemu-xhci``, ``pcie-root-port`` …"""
    queues: Annotated[int | None, Field(ge=1), Xml("./driver/@queues")] = None
    """How many queues; virtio-scsi only."""
    iothread: Annotated[int | None, Field(ge=1), Xml("./driver/@iothread")] = None
    """The I/O thread that serves it; virtio-scsi only."""
    ports: Annotated[int | None, Field(ge=1), Xml("./@ports")] = None
    """How many ports; usb and virtio-serial only."""


class MemoryDevice(Mapped):
    """A memory module, known by a name of yours. Needs `memory.slots` and a `numa` cell."""

    name: Annotated[AliasName, OWN_NAME]
    """A name of yours."""
    size: Annotated[Size, Field(gt=0), Xml("./target/size", unit="KiB"), WHOLE_KIB]
    """How much it holds."""
    node: Annotated[int | None, Field(ge=0), Xml("./target/node")] = None
    """The guest's NUMA cell that it belongs to. Born as 0."""
