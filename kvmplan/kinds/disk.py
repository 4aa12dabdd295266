"""Disks of a domain: the only place where their fields are declared.

https://libvirt.org/formatdomain.html#hard-drives-floppy-disks-cdroms
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds.context import host_context
from kvmplan.kinds.plug import Hot, plug
from kvmplan.kinds.secretref import secret_reference
from kvmplan.kinds.source import Source
from kvmplan.kinds.tuning import DISK_LIMITS, DiskLimits
from kvmplan.kinds.verbs import Verb
from kvmplan.kinds.volume import Backing
from kvmplan.mapping.codecs import TEXT
from kvmplan.mapping.markers import (
    Belongings,
    Case,
    Free,
    Group,
    On,
    Policy,
    Presence,
    Ref,
    Through,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import Situation, live, next_boot, when
from kvmplan.mapping.types import HostPath, Name, Size, VolumeName

HOT_BUSES = frozenset({"virtio", "scsi", "usb"})
"""Buses that disks can be plugged into while the guest runs; sata and ide answer with an error."""
SOURCE_CLEARS = ("./source",)
OF_A_SOURCE = Belongings(
    to=(
        *(f"./source/@{name}" for name in ("file", "dev", "dir", "path", "pool", "volume")),
        *(f"./source/@{name}" for name in ("protocol", "name")),
        *(f"./source/host/@{name}" for name in ("name", "port", "socket")),
    ),
    nodes=("./backingStore", "./mirror", "./source/@index"),
)
"""What libvirt notes of one source: its backing chain, its block job, its number in QEMU."""

OF_A_BUS = Belongings(to=("./target/@bus",), nodes=("./address",))
"""A place on one bus is none on another: libvirt refuses it."""


def bus_of_target(target: str, device: str = "disk") -> str:
    """The bus that a target's name suggests, as a fresh disk gets it."""
    if target.startswith("fd"):
        return "fdc"
    if target.startswith("hd"):
        return "ide"
    if target.startswith("sd"):
        return "sata" if device == "cdrom" else "scsi"
    return "virtio"


def _disk_of(situation: Situation) -> Any:
    """The disk that a path leads to: as wanted, else as it is."""
    path = situation.path[:2]
    wanted = situation.at(situation.desired, *path) or {}
    found = situation.at(situation.persistent, *path) or {}
    return {**found, **wanted, "target": path[1]}


def is_hot(situation: Situation) -> bool:
    """Whether the disk's bus takes disks while the guest runs."""
    disk = _disk_of(situation)
    bus = disk.get("bus") or bus_of_target(disk["target"], disk.get("device") or "disk")
    return bus in HOT_BUSES


def _removable(situation: Situation) -> bool:
    return _disk_of(situation).get("device") in ("cdrom", "floppy")


SOURCE = On(
    when(
        _removable,
        live(Verb.UPDATE_DEVICE),
        next_boot("only removable drives change their medium while the guest runs"),
    )
)
PLUG = plug(
    Hot(is_hot, "its bus takes no disks while the guest runs"),
    Hot(is_hot, "its bus lets no disks go while the guest runs"),
)


def _read_volume(disk: Element, context: Any) -> str | None:
    source = disk.find("source")
    if source is None:
        return None
    if disk.get("type") == "volume":
        return f"{source.get('pool')}/{source.get('volume')}"
    path = source.get("file") or source.get("dev")
    if path is None:
        return None
    known = host_context(context)
    return known.volume_at(known.overlays.get(path, path))


def _write_volume(disk: Element, value: str | None, context: Any) -> None:
    """A disk on a volume is written by its path.

    A disk of type ``volume`` needs its pool active at every start, and AppArmor's helper cannot
    resolve it: guests are then refused their own disks.
    """
    encryption = disk.find("source/encryption")
    for source in disk.findall("source"):
        disk.remove(source)
    if value is None:
        return
    facts = host_context(context).volume(value)
    source = etree.Element("source")
    if facts is None or facts.type == "network":
        pool, _, name = value.partition("/")
        disk.set("type", "volume")
        source.set("pool", pool)
        source.set("volume", name)
    else:
        disk.set("type", facts.type)
        source.set("file" if facts.type == "file" else "dev", facts.path)
    if encryption is not None:
        source.append(encryption)
    _set_format(disk, facts.format if facts else None)
    _place_source(disk, source)


def _set_format(disk: Element, format_: str | None) -> None:
    driver = disk.find("driver")
    if driver is not None and format_ is not None:
        driver.set("type", "raw" if format_ == "iso" else format_)


def _place_source(disk: Element, source: Element) -> None:
    target = disk.find("target")
    if target is not None:
        target.addprevious(source)
    else:
        disk.append(source)


class DiskEncryption(Mapped):
    """How the bytes of a disk are encrypted: the passphrase is in a libvirt secret."""

    scalar: ClassVar[str] = "secret"
    format: Annotated[Literal["luks"] | None, Xml("./@format")] = None
    """``luks``, by default."""
    secret: Annotated[str, secret_reference(type="passphrase")]
    """The libvirt secret with the passphrase: its usage id, or its uuid."""


class Disk(Mapped):
    """A disk, known by its target in the guest."""

    scalar: ClassVar[str] = "volume"
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("volume", "file", "block", "network"),)
    belongings: ClassVar[tuple[Belongings, ...]] = (OF_A_SOURCE, OF_A_BUS)
    target: Annotated[str, Field(pattern=r"^(vd|sd|hd|fd|xvd|ubd)[a-z]+$"), Xml("./target/@dev")]
    """Its name on the bus: vda, sda … A name on the host's side; the guest may choose another."""
    device: Annotated[
        Literal["disk", "cdrom", "floppy", "lun"] | None, Xml("./@device", clears=("./readonly",))
    ] = None
    """What the guest sees. Born as ``disk``."""
    volume: Annotated[
        VolumeName | None,
        Through(_read_volume, _write_volume, "./source"),
        SOURCE,
        Ref("volume"),
        Free(),
    ] = None
    """A volume: ``POOL/NAME``."""
    file: Annotated[
        HostPath | None,
        Case("./@type", ("file",), SOURCE_CLEARS),
        Xml("./source/@file", removes="./source"),
        SOURCE,
        Free(),
    ] = None
    """A file on the host."""
    block: Annotated[
        HostPath | None,
        Case("./@type", ("block",), SOURCE_CLEARS),
        Xml("./source/@dev", removes="./source"),
        SOURCE,
    ] = None
    """A block device of the host."""
    network: Annotated[
        str | None,
        Field(pattern=r"^[a-z0-9]+:.+$"),
        Case("./@type", ("network",), SOURCE_CLEARS),
        Through(
            lambda disk, _: _read_network(disk),
            lambda disk, value, _: _write_network(disk, value),
            "./source",
        ),
        SOURCE,
    ] = None
    """A network disk: ``PROTOCOL:NAME``, such as ``nbd:export``; its hosts by `xml:`."""
    size: Annotated[Size | None, Field(gt=0), Policy()] = None
    """The short way: makes the volume ``POOL/DOMAIN-TARGET.FORMAT`` of this capacity, which keeps
    its name when the domain gets another one."""
    pool: Annotated[Name | None, Policy()] = None
    """The pool that the short way makes its volume in."""
    backing: Annotated[Backing | None, Policy()] = None
    """The base that the volume of the short way is an overlay of."""
    clone: Annotated[VolumeName | None, Policy()] = None
    """The volume that the one of the short way is a copy of."""
    source: Annotated[Source | None, Policy()] = None
    """The image that the volume of the short way is made from."""
    bus: Annotated[
        Literal["virtio", "scsi", "sata", "ide", "usb", "fdc"] | None, Xml("./target/@bus")
    ] = None
    """How it is attached. By default from the target's name; CD-ROMs on sata."""
    format: Annotated[str | None, Xml("./driver/@type")] = None
    """Format of a file or block device, or of the short way's volume. Another volume's is known."""
    encryption: Annotated[
        DiskEncryption | None, Group("./source/encryption", skeleton="devices/encryption")
    ] = None
    """The encryption of its source, as the volume has it."""
    cache: Annotated[
        Literal["default", "none", "writethrough", "writeback", "directsync", "unsafe"] | None,
        Xml("./driver/@cache"),
    ] = None
    """How the host caches it."""
    io: Annotated[Literal["threads", "native", "io_uring"] | None, Xml("./driver/@io")] = None
    """How the host does its I/O."""
    discard: Annotated[Literal["unmap", "ignore"] | None, Xml("./driver/@discard")] = None
    """Whether blocks that the guest discards are given back."""
    iothread: Annotated[int | None, Field(ge=1), Xml("./driver/@iothread")] = None
    """The I/O thread that serves it; virtio only."""
    iotune: Annotated[DiskLimits | None, Group("./iotune"), DISK_LIMITS] = None
    """Limits of its throughput."""
    readonly: Annotated[bool | None, Presence("./readonly")] = None
    """The guest cannot write it."""
    shareable: Annotated[bool | None, Presence("./shareable")] = None
    """Several domains may use it at once."""
    serial: Annotated[str | None, Field(max_length=64), Xml("./serial", codec=TEXT)] = None
    """The serial number that the guest sees."""
    boot: Annotated[int | None, Field(ge=1), Xml("./boot/@order")] = None
    """Its turn in the boot order; instead of the domain's `boot`."""


def _read_network(disk: Element) -> str | None:
    source = disk.find("source")
    if source is None or source.get("protocol") is None:
        return None
    return f"{source.get('protocol')}:{source.get('name', '')}"


def _write_network(disk: Element, value: str | None) -> None:
    source = disk.find("source")
    if value is None:
        if source is not None:
            disk.remove(source)
        return
    if source is None:
        source = etree.Element("source")
        _place_source(disk, source)
    protocol, _, name = value.partition(":")
    source.set("protocol", protocol)
    source.set("name", name)
