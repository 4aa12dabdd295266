"""Domains: the only place where their fields are declared.

https://libvirt.org/formatdomain.html. Devices have modules of their own beside this one.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from kvmplan.kinds import disk, interface
from kvmplan.kinds.agent import AGENT
from kvmplan.kinds.compute import Cpu, Memory, Vcpus
from kvmplan.kinds.devices import Graphics, Tpm
from kvmplan.kinds.disk import Disk
from kvmplan.kinds.firmware import Firmware, Kernel
from kvmplan.kinds.interface import Interface
from kvmplan.kinds.verbs import Verb
from kvmplan.kinds.waiting import WaitFor
from kvmplan.mapping.markers import (
    Birth,
    Foreign,
    Group,
    Items,
    On,
    Overlay,
    Policy,
    Presence,
    Runtime,
    Same,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import born, live, next_boot
from kvmplan.mapping.types import Duration, ForeignXml, XmlText

NEXT_BOOT = On(next_boot())
BORN = On(born())
QXL_ONLY = tuple(f"./devices/video/model/@{name}" for name in ("ram", "vram64", "vgamem"))
"""Attributes that libvirt's schema refuses beside any other type of video."""


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
        Field(strict=False, min_length=1),
        Xml("./os/boot/@dev", many=True, clears=("./devices/*/boot",)),
        Birth(("hd",)),
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
        Xml(
            "./devices/video/model/@type",
            clears=QXL_ONLY,
            removes="./devices/video",
            skeleton="devices/video",
        ),
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
    wait_for: Annotated[WaitFor | None, Policy()] = None
    """What is waited for after each of its starts; what `depends_on` it begins afterwards."""
