"""Domains: the only place where their fields are declared.

https://libvirt.org/formatdomain.html. Devices have modules of their own beside this one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field, model_validator

from kvmplan.kinds import disk, interface
from kvmplan.kinds.devices import AGENT, Graphics, Tpm
from kvmplan.kinds.disk import Disk
from kvmplan.kinds.interface import Interface
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.markers import (
    AtLeast,
    Birth,
    Foreign,
    Group,
    Items,
    NotRunning,
    On,
    Overlay,
    Pairs,
    Policy,
    Presence,
    Runtime,
    Same,
    Through,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.paths import drop, unset
from kvmplan.mapping.strategy import Situation, born, live, next_boot, when
from kvmplan.mapping.types import Duration, ForeignXml, HostPath, Size, XmlText

NEXT_BOOT = On(next_boot())
BORN = On(born())
CPU_MODES = ("host-passthrough", "host-model", "maximum", "custom")
KIB = 1024
QXL_ONLY = tuple(f"./devices/video/model/@{name}" for name in ("ram", "vram64", "vgamem"))
"""Attributes that libvirt's schema refuses beside any other type of video."""


def _same_machine(live_value: Any, wanted: Any, _: Any) -> bool:
    """An alias is a family: any ``pc-q35-*`` is a ``q35``: a QEMU upgrade changes nothing."""
    family = {"pc": "i440fx"}.get(str(wanted), str(wanted))
    return re.fullmatch(rf"(pc-)?{re.escape(family)}-[\d.]+(-\w+)*", str(live_value)) is not None


def _same_memory(live_value: Any, wanted: Any, _: Any) -> bool:
    """Libvirt keeps memory in whole KiB, rounded up."""
    return (
        isinstance(live_value, int)
        and isinstance(wanted, int)
        and live_value == -(-wanted // KIB) * KIB
    )


def _within_maximum(group: str) -> Any:
    def test(situation: Situation) -> bool:
        maximum = situation.at(situation.running, group, "maximum")
        return maximum is not None and situation.after is not None and situation.after <= maximum

    return test


def _grows(situation: Situation) -> bool:
    running = situation.at(situation.running, *situation.path)
    return running is not None and situation.after is not None and situation.after >= running


VCPUS = On(
    when(
        _within_maximum("vcpus"),
        when(
            _grows,
            live(Verb.SET_VCPUS),
            next_boot("guests rarely give CPUs back while they run"),
        ),
        next_boot("above the running maximum"),
    )
)
MEMORY = On(
    when(
        _within_maximum("memory"),
        live(Verb.SET_MEMORY),
        next_boot("above the running maximum"),
    )
)


class Topology(Mapped):
    """How the guest sees its CPUs arranged. The product is the maximum of vcpus."""

    sockets: Annotated[int | None, Field(ge=1), Xml("./cpu/topology/@sockets")] = None
    """Sockets."""
    dies: Annotated[int | None, Field(ge=1), Xml("./cpu/topology/@dies")] = None
    """Dies in each socket."""
    cores: Annotated[int | None, Field(ge=1), Xml("./cpu/topology/@cores")] = None
    """Cores in each die."""
    threads: Annotated[int | None, Field(ge=1), Xml("./cpu/topology/@threads")] = None
    """Threads of each core."""


class Vcpus(Mapped):
    """Virtual CPUs."""

    scalar: ClassVar[str] = "current"
    maximum: Annotated[
        int | None,
        Field(ge=1, le=4096),
        Xml("./vcpu"),
        AtLeast("current"),
        On(next_boot("the maximum is fixed while the guest runs")),
    ] = None
    """How many it can have while it runs. Equal to `current` at birth, raised when too low."""
    current: Annotated[
        int | None, Field(ge=1, le=4096), Xml("./vcpu/@current", absent="./vcpu"), VCPUS
    ] = None
    """How many are plugged in."""
    topology: Annotated[Topology | None, Group(".")] = None
    """How the guest sees them arranged."""
    pinning: Annotated[
        dict[str, str] | None, Pairs("./cputune/vcpupin", key="@vcpu", value="@cpuset")
    ] = None
    """Which CPUs of the host each may run on: ``{"0": "0-3"}``."""


class Memory(Mapped):
    """Memory."""

    scalar: ClassVar[str] = "current"
    maximum: Annotated[
        Size | None,
        Field(gt=0),
        Xml("./memory", unit="KiB"),
        Same(_same_memory),
        AtLeast("current"),
        On(next_boot("the maximum is fixed while the guest runs")),
    ] = None
    """How much it can have while it runs. Equal to `current` at birth, raised when too low."""
    current: Annotated[
        Size | None,
        Field(gt=0),
        Xml("./currentMemory", unit="KiB", absent="./memory"),
        Same(_same_memory),
        MEMORY,
    ] = None
    """How much it has, by its balloon."""


class CpuCache(Mapped):
    """The CPU cache that the guest sees."""

    scalar: ClassVar[str] = "mode"
    mode: Annotated[
        Literal["emulate", "passthrough", "disable"] | None, Xml("./cpu/cache/@mode")
    ] = None
    """Where its description comes from."""


class Cpu(Mapped):
    """The CPU that the guest sees."""

    scalar: ClassVar[str] = "mode"
    mode: Annotated[
        Literal["host-passthrough", "host-model", "maximum", "custom"] | None,
        Xml(
            "./cpu/@mode",
            clears=("./cpu/model", "./cpu/@match", "./cpu/@check", "./cpu/@migratable"),
        ),
        NotRunning(),
    ] = None
    """``custom`` for a model by name. Born as the host's own where it is accelerated."""
    model: Annotated[str | None, Xml("./cpu/model"), NotRunning()] = None
    """A model's name, such as ``EPYC``."""
    features: Annotated[
        dict[str, Literal["force", "require", "optional", "disable", "forbid"]] | None,
        Pairs("./cpu/feature", key="@name", value="@policy"),
        NotRunning(),
    ] = None
    """Features to add or take away."""
    cache: Annotated[CpuCache | None, Group("."), NotRunning()] = None
    """Its cache."""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A mode, or a model by name."""
        if isinstance(value, str):
            return {"mode": value} if value in CPU_MODES else {"mode": "custom", "model": value}
        return value

    @model_validator(mode="before")
    @classmethod
    def _model_is_custom(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("model") is not None:
            return {"mode": "custom", **value}
        return value


def _read_firmware(domain: Element, _: Any) -> str:
    system = domain.find("os")
    if system is None:
        return "bios"
    loader = system.find("loader")
    flash = loader is not None and loader.get("type") == "pflash"
    return "uefi" if flash or system.get("firmware") == "efi" else "bios"


def _write_firmware(domain: Element, value: str | None, _: Any) -> None:
    system = domain.find("os")
    if system is None:
        return
    if value == "uefi":
        if system.find("loader") is None:
            system.set("firmware", "efi")
        return
    unset(system, "firmware")
    for tag in ("firmware", "loader", "nvram"):
        for node in system.findall(tag):
            drop(node)


def _read_secure_boot(domain: Element, _: Any) -> bool:
    loader = domain.find("os/loader")
    feature = domain.find("os/firmware/feature[@name='secure-boot']")
    return (loader is not None and loader.get("secure") == "yes") or (
        feature is not None and feature.get("enabled") == "yes"
    )


def _write_secure_boot(domain: Element, value: bool | None, _: Any) -> None:
    """The loader's own word where there is one, else firmware selection by feature.

    https://libvirt.org/formatdomain.html#bios-bootloader
    """
    system = domain.find("os")
    if system is None:
        return
    for node in system.findall("firmware"):
        drop(node)
    loader = system.find("loader")
    if loader is not None:
        loader.set("secure", "yes" if value else "no")
    if value is None or loader is not None:
        return
    holder = etree.Element("firmware")
    for name in ("enrolled-keys", "secure-boot"):
        etree.SubElement(holder, "feature", {"enabled": "yes" if value else "no", "name": name})
    system.insert(1, holder)


class Firmware(Mapped):
    """What starts the guest's boot loader."""

    scalar: ClassVar[str] = "type"
    type: Annotated[
        Literal["bios", "uefi"] | None,
        Through(_read_firmware, _write_firmware, "./os/@firmware", omitted="bios"),
    ] = None
    """``bios`` or ``uefi``. Born as bios on x86, as uefi where there is nothing else."""
    loader: Annotated[HostPath | None, Xml("./os/loader"), NotRunning()] = None
    """A certain firmware image of the host."""
    nvram_template: Annotated[HostPath | None, Xml("./os/nvram/@template"), NotRunning()] = None
    """What the guest's UEFI variables start from."""
    secure_boot: Annotated[
        bool | None,
        Through(_read_secure_boot, _write_secure_boot, "./os/firmware/feature", omitted=False),
        NotRunning(),
    ] = None
    """UEFI that starts signed code only."""


class Kernel(Mapped):
    """Direct kernel boot."""

    image: Annotated[HostPath | None, Xml("./os/kernel")] = None
    """The kernel, on the host."""
    initrd: Annotated[HostPath | None, Xml("./os/initrd")] = None
    """Its initial RAM disk."""
    cmdline: Annotated[str | None, Xml("./os/cmdline")] = None
    """Its command line."""


class Domain(Mapped):
    """A virtual machine."""

    yields: ClassVar[tuple[tuple[str, str], ...]] = (("./os/boot", "./devices/*/boot"),)
    type: Annotated[Literal["kvm", "qemu"] | None, Xml("./@type"), NEXT_BOOT] = None
    """``kvm`` or ``qemu``. Born as kvm where the host offers it for the architecture."""
    uuid: Annotated[
        str | None,
        Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"),
        Xml("./uuid"),
        BORN,
    ] = None
    """Only where it must be a certain one."""
    title: Annotated[
        str | None, Field(pattern=r"^[^\n]*$"), Xml("./title"), On(live(Verb.SET_TITLE))
    ] = None
    """A title, one line."""
    description: Annotated[str | None, Xml("./description"), On(live(Verb.SET_DESCRIPTION))] = None
    """A description."""
    metadata: Annotated[ForeignXml | None, Foreign("./metadata"), On(live(Verb.SET_METADATA))] = (
        None
    )
    """Elements of other tools, by namespace; only the namespaces named here are managed."""
    memory: Annotated[Memory | None, Group("."), NEXT_BOOT] = None
    """Memory."""
    vcpus: Annotated[Vcpus | None, Group("."), NEXT_BOOT] = None
    """Virtual CPUs."""
    arch: Annotated[str | None, Xml("./os/type/@arch"), NEXT_BOOT] = None
    """Architecture. Born as the host's."""
    machine: Annotated[str | None, Xml("./os/type/@machine"), Same(_same_machine), NEXT_BOOT] = None
    """Machine type; an alias is a family. Born as q35 on x86, virt on ARM."""
    firmware: Annotated[Firmware | None, Group("."), NEXT_BOOT] = None
    """bios or uefi."""
    kernel: Annotated[Kernel | None, Group("."), NEXT_BOOT] = None
    """Direct kernel boot."""
    boot: Annotated[
        tuple[Literal["hd", "network", "cdrom", "fd"], ...] | None,
        Field(strict=False),
        Xml("./os/boot/@dev", many=True, clears=("./devices/*/boot",)),
        NEXT_BOOT,
    ] = None
    """What to boot from, in order."""
    cpu: Annotated[Cpu | None, Group("."), NEXT_BOOT] = None
    """The CPU that the guest sees."""
    disks: Annotated[
        dict[str, Disk] | None,
        Items("./devices/disk", key=("target",), skeleton="devices/disk"),
        disk.PLUG,
    ] = None
    """Disks, by target."""
    interfaces: Annotated[
        dict[str, Interface] | None,
        Items("./devices/interface", key=("mac",), named=True, skeleton="devices/interface"),
        interface.PLUG,
    ] = None
    """Network interfaces, by a name of yours."""
    console: Annotated[
        bool | None,
        Presence("./devices/console", skeleton="devices/console", also=("./devices/serial",)),
        NEXT_BOOT,
    ] = None
    """A serial console. Born with one."""
    agent: Annotated[bool | None, Presence(AGENT, skeleton="devices/agent"), NEXT_BOOT] = None
    """The guest agent's channel. Born with one."""
    tpm: Annotated[Tpm | None, Group("./devices/tpm", skeleton="devices/tpm"), NEXT_BOOT] = None
    """An emulated TPM."""
    graphics: Annotated[
        dict[str, Graphics] | None,
        Items("./devices/graphics", key=("type",), skeleton="devices/graphics"),
        NEXT_BOOT,
    ] = None
    """Graphical consoles."""
    video: Annotated[
        str | None,
        Xml("./devices/video/model/@type", clears=QXL_ONLY, skeleton="devices/video"),
        NEXT_BOOT,
    ] = None
    """The graphics card: virtio, qxl, vga, none …"""
    memballoon: Annotated[
        Literal["virtio", "virtio-transitional", "virtio-non-transitional", "xen", "none"] | None,
        Xml("./devices/memballoon/@model", clears=("./devices/memballoon/address",)),
        NEXT_BOOT,
    ] = None
    """The balloon that memory changes go through. Born as ``virtio``."""
    rng: Annotated[str | None, Xml("./devices/rng/backend", skeleton="devices/rng"), NEXT_BOOT] = (
        None
    )
    """The host's source of random numbers. Born as /dev/urandom."""
    xml: Annotated[XmlText | None, Overlay(), NEXT_BOOT] = None
    """A libvirt XML fragment merged over the result, for what has no field yet."""
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
