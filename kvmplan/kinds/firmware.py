"""What starts a domain: the only place where firmware and kernel fields are declared.

https://libvirt.org/formatdomain.html#operating-system-booting
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping.markers import NotRunning, Through, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.paths import drop, unset
from kvmplan.mapping.types import HostPath


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
    selected = system.get("firmware") == "efi"
    if value is None or loader is not None or (not value and not selected):
        return
    holder = etree.Element("firmware")
    for name in ("enrolled-keys", "secure-boot"):
        etree.SubElement(holder, "feature", {"enabled": "yes" if value else "no", "name": name})
    system.insert(1, holder)


def _read_loader(domain: Element, _: Any) -> str | None:
    return domain.findtext("os/loader")


def _write_loader(domain: Element, value: str | None, _: Any) -> None:
    """An image of one's own is flash that the guest cannot write; libvirt then selects nothing.

    Without it libvirt selects again, from images whose variables may be of another layout: a copy
    of them is made anew then.
    """
    system = domain.find("os")
    if system is None:
        return
    loader = system.find("loader")
    if value is None:
        if loader is not None:
            if _read_firmware(domain, None) == "uefi":
                system.set("firmware", "efi")
            drop(loader)
        return
    if loader is None:
        secure = _read_secure_boot(domain, None)
        loader = etree.SubElement(system, "loader", {"readonly": "yes", "type": "pflash"})
        loader.set("secure", "yes" if secure else "no")
    loader.text = value
    unset(system, "firmware")
    for node in system.findall("firmware"):
        drop(node)


class Firmware(Mapped):
    """What starts the guest's boot loader."""

    scalar: ClassVar[str] = "type"
    type: Annotated[
        Literal["bios", "uefi"] | None,
        Through(_read_firmware, _write_firmware, "./os/@firmware", omitted="bios"),
    ] = None
    """``bios`` or ``uefi``. Born as bios on x86, as uefi where there is nothing else."""
    loader: Annotated[
        HostPath | None, Through(_read_loader, _write_loader, "./os/loader"), NotRunning()
    ] = None
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
