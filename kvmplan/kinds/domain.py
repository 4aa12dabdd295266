"""Domains: the only place where their fields are declared.

https://libvirt.org/formatdomain.html. Devices have modules of their own beside this one.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds import disk, sharing
from kvmplan.kinds.agent import AGENT
from kvmplan.kinds.cloud_init import CloudInit
from kvmplan.kinds.compute import Cpu, Memory, Numa, Vcpus
from kvmplan.kinds.devices import Graphics, Tpm
from kvmplan.kinds.disk import Disk
from kvmplan.kinds.firmware import Firmware, Kernel
from kvmplan.kinds.hostdev import Hostdev
from kvmplan.kinds.ignition import Ignition
from kvmplan.kinds.interface import Interface
from kvmplan.kinds.peripherals import (
    Channel,
    Controller,
    Input,
    MemoryDevice,
    Redirdev,
    Rng,
    Serial,
    Vsock,
    Watchdog,
)
from kvmplan.kinds.platform import Clock, Events, Features
from kvmplan.kinds.plug import PLUG
from kvmplan.kinds.sharing import SHARED_MEMORY, Filesystem, MemoryBacking
from kvmplan.kinds.tuning import (
    BLOCK_TUNING,
    CPU_TUNING,
    IOTHREADS,
    MEMORY_LIMITS,
    BlockTune,
    CpuTune,
    MemTune,
)
from kvmplan.kinds.verbs import Verb
from kvmplan.kinds.waiting import WaitFor
from kvmplan.mapping.markers import (
    Birth,
    Companion,
    Foreign,
    Free,
    Group,
    Items,
    NoDefault,
    On,
    Overlay,
    Policy,
    Presence,
    Runtime,
    Same,
    Through,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.paths import drop, insert
from kvmplan.mapping.strategy import born, live, next_boot
from kvmplan.mapping.types import Duration, ForeignXml, Uuid, XmlText

NEXT_BOOT = On(next_boot())
BORN = On(born())
AFTER_IOTHREADS = frozenset({"iothreadids", "blkiotune", "memtune", "cputune", "os", "features"})
QXL_ONLY = tuple(f"./devices/video/model/@{name}" for name in ("ram", "vram64", "vgamem"))
"""Attributes that libvirt's schema refuses beside any other type of video."""


SCSI_CONTROLLER = Companion(
    ("./target/@bus", "scsi"), "./devices/controller[@type='scsi']", "devices/scsi-controller"
)
"""Libvirt's own choice would be a controller that the cloud kernels of today do not drive."""


def _read_iothreads(domain: Element, _: Any) -> int:
    return int(domain.findtext("iothreads") or 0)


def _write_iothreads(domain: Element, value: int | None, _: Any) -> None:
    """The count and the list of numbers must agree; what is too many in the list goes."""
    count, node, listed = value or 0, domain.find("iothreads"), domain.find("iothreadids")
    if listed is not None:
        for extra in list(listed)[count:]:
            drop(extra)
        if len(listed) == 0:
            drop(listed)
    if node is None and count:
        node = etree.Element("iothreads")
        insert(domain, node, AFTER_IOTHREADS)
    if node is not None and count:
        node.text = str(count)
    elif node is not None:
        drop(node)


def _same_machine(live_value: Any, wanted: Any, _: Any) -> bool:
    """An alias is a family: any ``pc-q35-*`` is a ``q35``: a QEMU upgrade changes nothing."""
    family = {"pc": "i440fx"}.get(str(wanted), str(wanted))
    return re.fullmatch(rf"(pc-)?{re.escape(family)}-[\d.]+(-\w+)*", str(live_value)) is not None


class Domain(Mapped):
    """A virtual machine."""

    yields: ClassVar[tuple[tuple[str, str], ...]] = (("./os/boot", "./devices/*/boot"),)
    type: Annotated[Literal["kvm", "qemu"] | None, Xml("./@type"), NEXT_BOOT] = None
    """``kvm`` or ``qemu``. Born as kvm where the host offers it for the architecture."""
    uuid: Annotated[
        Uuid | None,
        Xml("./uuid"),
        BORN,
        Free(),
    ] = None
    """Only where it must be a certain one."""
    title: Annotated[
        str | None, Field(pattern=r"^[^\n]*$"), Xml("./title"), On(live(Verb.SET_TITLE)), Free()
    ] = None
    """A title, one line."""
    description: Annotated[
        str | None, Xml("./description"), On(live(Verb.SET_DESCRIPTION)), Free()
    ] = None
    """A description."""
    metadata: Annotated[
        ForeignXml | None,
        Foreign("./metadata"),
        On(live(Verb.SET_METADATA)),
        NoDefault("only the namespaces that are named are managed"),
    ] = None
    """Elements of other tools, by namespace; only the namespaces named here are managed."""
    memory: Annotated[Memory | None, Group("."), NEXT_BOOT] = None
    """Memory."""
    memory_backing: Annotated[MemoryBacking | None, Group("./memoryBacking"), NEXT_BOOT] = None
    """What its memory is on the host."""
    vcpus: Annotated[Vcpus | None, Group("."), NEXT_BOOT] = None
    """Virtual CPUs."""
    iothreads: Annotated[
        int | None,
        Field(ge=0),
        Through(_read_iothreads, _write_iothreads, "./iothreads", omitted=0),
        IOTHREADS,
    ] = None
    """How many threads there are for I/O that disks and controllers choose."""
    blkio: Annotated[BlockTune | None, Group("./blkiotune"), BLOCK_TUNING] = None
    """Its share of the host's disks."""
    memtune: Annotated[MemTune | None, Group("./memtune"), MEMORY_LIMITS] = None
    """Limits of the memory that it takes of the host."""
    cputune: Annotated[CpuTune | None, Group("./cputune"), CPU_TUNING] = None
    """Its share of the host's CPUs."""
    arch: Annotated[str | None, Xml("./os/type/@arch"), NEXT_BOOT] = None
    """Architecture. Born as the host's."""
    machine: Annotated[str | None, Xml("./os/type/@machine"), Same(_same_machine), NEXT_BOOT] = None
    """Machine type; an alias is a family. Born as q35 on x86, virt on ARM."""
    firmware: Annotated[Firmware | None, Group("."), NEXT_BOOT] = None
    """bios or uefi."""
    kernel: Annotated[Kernel | None, Group("."), NEXT_BOOT] = None
    """Direct kernel boot."""
    ignition: Annotated[Ignition | None, Group("."), NEXT_BOOT] = None
    """What its Ignition is told at its first boot, by QEMU's firmware configuration."""
    boot: Annotated[
        tuple[Literal["hd", "network", "cdrom", "fd"], ...] | None,
        Field(strict=False, min_length=1),
        Xml("./os/boot/@dev", many=True, clears=("./devices/*/boot",)),
        Birth(("hd",)),
        NEXT_BOOT,
    ] = None
    """What to boot from, in order."""
    features: Annotated[Features | None, Group("./features"), NEXT_BOOT] = None
    """What the hypervisor offers."""
    cpu: Annotated[Cpu | None, Group("."), NEXT_BOOT] = None
    """The CPU that the guest sees."""
    numa: Annotated[Numa | None, Group("."), NEXT_BOOT] = None
    """How CPUs and memory belong together, as the guest sees it."""
    clock: Annotated[Clock | None, Group("."), NEXT_BOOT] = None
    """The guest's clock."""
    events: Annotated[Events | None, Group("."), NEXT_BOOT] = None
    """What becomes of the domain when its guest goes down."""
    disks: Annotated[
        dict[str, Disk] | None,
        Items(
            "./devices/disk", key=("target",), skeleton="devices/disk", companion=SCSI_CONTROLLER
        ),
        disk.PLUG,
    ] = None
    """Disks, by target."""
    controllers: Annotated[
        dict[str, Controller] | None,
        Items("./devices/controller", key=("name",), skeleton="devices/controller", furnished=True),
        NEXT_BOOT,
    ] = None
    """Controllers, by type and number: ``scsi1``. Libvirt makes others by itself."""
    interfaces: Annotated[
        dict[str, Interface] | None,
        Items("./devices/interface", key=("mac",), named=True, skeleton="devices/interface"),
        PLUG,
    ] = None
    """Network interfaces, by a name of yours."""
    filesystems: Annotated[
        dict[str, Filesystem] | None,
        Items(
            "./devices/filesystem",
            key=("tag",),
            skeleton="devices/filesystem",
            companion=SHARED_MEMORY,
        ),
        sharing.PLUG,
    ] = None
    """Directories of the host, by the tag that the guest mounts them by."""
    serials: Annotated[
        dict[str, Serial] | None,
        Items("./devices/serial", key=("port",), skeleton="devices/serial"),
        NEXT_BOOT,
    ] = None
    """Serial ports, by number."""
    console: Annotated[
        bool | None,
        Presence("./devices/console", skeleton="devices/console", also=("./devices/serial",)),
        NEXT_BOOT,
    ] = None
    """A serial console. Born with one."""
    agent: Annotated[bool | None, Presence(AGENT, skeleton="devices/agent"), NEXT_BOOT] = None
    """The guest agent's channel. Born with one."""
    channels: Annotated[
        dict[str, Channel] | None,
        Items("./devices/channel", key=("name",), skeleton="devices/channel"),
        PLUG,
    ] = None
    """Other channels, by their name in the guest."""
    inputs: Annotated[
        dict[str, Input] | None,
        Items("./devices/input", key=("device",), skeleton="devices/input"),
        PLUG,
    ] = None
    """Keyboards, mice, tablets, by bus and kind: ``usb-tablet``."""
    tpm: Annotated[Tpm | None, Group("./devices/tpm", skeleton="devices/tpm"), NEXT_BOOT] = None
    """An emulated TPM."""
    graphics: Annotated[
        dict[str, Graphics] | None,
        Items("./devices/graphics", key=("type",), skeleton="devices/graphics"),
        NEXT_BOOT,
    ] = None
    """Graphical consoles."""
    sound: Annotated[
        str | None,
        Xml("./devices/sound/@model", removes="./devices/sound", clears=("./devices/sound/codec",)),
        NEXT_BOOT,
    ] = None
    """A sound card: ich9, virtio, usb …"""
    video: Annotated[
        str | None,
        Xml(
            "./devices/video/model/@type",
            clears=QXL_ONLY,
            removes="./devices/video",
            skeleton="devices/video",
        ),
        NEXT_BOOT,
    ] = None
    """The graphics card: virtio, qxl, vga, none …"""
    hostdevs: Annotated[
        dict[str, Hostdev] | None,
        Items("./devices/hostdev", key=("pci", "usb"), named=True, skeleton="devices/hostdev"),
        PLUG,
    ] = None
    """Devices of the host, by a name of yours."""
    redirdevs: Annotated[
        dict[str, Redirdev] | None,
        Items("./devices/redirdev", key=("name",), skeleton="devices/redirdev"),
        PLUG,
    ] = None
    """USB devices that the console's user lends, by a name of yours."""
    watchdog: Annotated[
        Watchdog | None, Group("./devices/watchdog", skeleton="devices/watchdog"), PLUG
    ] = None
    """What watches over a guest that does not answer any more."""
    memballoon: Annotated[
        Literal["virtio", "virtio-transitional", "virtio-non-transitional", "xen", "none"] | None,
        Xml("./devices/memballoon/@model", clears=("./devices/memballoon/address",)),
        NEXT_BOOT,
    ] = None
    """The balloon that memory changes go through. Born as ``virtio``."""
    rng: Annotated[Rng | None, Group("./devices/rng", skeleton="devices/rng"), PLUG] = None
    """A source of random numbers. Born as the host's /dev/urandom."""
    panic: Annotated[
        Literal["isa", "pseries", "hyperv", "s390", "pvpanic"] | None,
        Xml("./devices/panic/@model", removes="./devices/panic"),
        NEXT_BOOT,
    ] = None
    """How the guest's kernel tells the host that it has crashed."""
    memory_devices: Annotated[
        dict[str, MemoryDevice] | None,
        Items("./devices/memory", key=("name",), skeleton="devices/memory"),
        PLUG,
    ] = None
    """Memory modules, by a name of yours."""
    vsock: Annotated[Vsock | None, Group("./devices/vsock", skeleton="devices/vsock"), PLUG] = None
    """A socket between guest and host."""
    xml: Annotated[XmlText | None, Overlay(), NEXT_BOOT] = None
    """A libvirt XML fragment merged over the result, for what has no field yet. What leaves it is
    released and stays, but what nothing tells apart (a hostdev, an argument of QEMU's) goes with
    the next edit that merges it anew."""
    state: Annotated[
        Literal["running", "stopped"] | None,
        Runtime("state"),
        On(live(Verb.START)),
        Birth("running"),
    ] = None
    """``running`` or ``stopped``. Absent: started at birth, nobody's business afterwards."""
    autostart: Annotated[
        bool | None, Runtime("autostart"), On(live(Verb.SET_AUTOSTART)), Birth(False)
    ] = None
    """Whether it starts with the host."""
    on_change: Annotated[Literal["next-boot", "restart"] | None, Policy()] = None
    """What becomes of changes that need a restart."""
    shutdown_timeout: Annotated[Duration | None, Policy()] = None
    """How long the guest may take to shut down. By default 2m."""
    force: Annotated[bool | None, Policy()] = None
    """Whether a restart or ``state: stopped`` may end in a power-off."""
    wait_for: Annotated[WaitFor | None, Policy()] = None
    """What is waited for after each of its starts; what `depends_on` it begins afterwards."""
    cloud_init: Annotated[CloudInit | None, Policy()] = None
    """What its cloud-init is told: a seed, as a volume of the stack's own and a disk on it."""
