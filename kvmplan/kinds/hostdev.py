"""Devices of the host that are given to a guest: the only place where their fields are declared.

https://libvirt.org/formatdomain.html#host-device-assignment. Known by what they are on the host: a
PCI address, or vendor and product of a USB device. Both are plugged in and out while the guest
runs, as far as the host can (PCI needs an IOMMU and memory that is pinned from then on).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from kvmplan.mapping.codecs import YES_NO
from kvmplan.mapping.markers import Through, Xml
from kvmplan.mapping.model import Mapped

PCI = re.compile(r"(?:([0-9a-f]{4}):)?([0-9a-f]{2}):([0-9a-f]{2})\.([0-7])")
PCI_PARTS = ("domain", "bus", "slot", "function")
USB = re.compile(r"(?:0x)?([0-9a-f]{4}):(?:0x)?([0-9a-f]{4})")


def _pci(value: Any) -> str:
    found = PCI.fullmatch(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"'{value}' is no PCI address; write it like 0000:03:00.0")
    return f"{found[1] or '0000'}:{found[2]}:{found[3]}.{found[4]}"


def _usb(value: Any) -> str:
    if isinstance(value, Mapping):
        value = ":".join(str(value.get(name)) for name in ("vendor", "product"))
    found = USB.fullmatch(value.lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(
            f"'{value}' is no USB device; write it like {{vendor: '0x1234', product: '0xbeef'}}"
        )
    return f"{found[1]}:{found[2]}"


PciAddress = Annotated[
    str,
    BeforeValidator(_pci),
    WithJsonSchema({"type": "string", "examples": ["0000:03:00.0"]}),
]
"""A PCI address, ``DOMAIN:BUS:SLOT.FUNCTION``."""
UsbId = Annotated[
    str,
    BeforeValidator(_usb),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "examples": ["1234:beef"]},
                {
                    "type": "object",
                    "properties": {"vendor": {"type": "string"}, "product": {"type": "string"}},
                    "required": ["vendor", "product"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]
"""``{vendor, product}`` of a USB device; ``1234:beef`` when it is compared."""


def _number(text: str | None) -> int:
    return int(text or "0", 0)


def pci_of(device: Element) -> str | None:
    """The PCI address of a device's source; None where it has none."""
    address = device.find("source/address")
    if address is None:
        return None
    domain, bus, slot, function = (_number(address.get(name)) for name in PCI_PARTS)
    return f"{domain:04x}:{bus:02x}:{slot:02x}.{function:x}"


def pci_parts(value: str) -> dict[str, str]:
    """A PCI address as the attributes of an element."""
    found = PCI.fullmatch(value)
    assert found is not None
    return {name: f"0x{part}" for name, part in zip(PCI_PARTS, found.groups(), strict=True)}


def _read_pci(hostdev: Element, _: Any) -> str | None:
    return pci_of(hostdev) if hostdev.get("type") == "pci" else None


def _read_usb(hostdev: Element, _: Any) -> str | None:
    vendor, product = hostdev.find("source/vendor"), hostdev.find("source/product")
    if hostdev.get("type") != "usb" or vendor is None or product is None:
        return None
    return f"{_number(vendor.get('id')):04x}:{_number(product.get('id')):04x}"


def _source(hostdev: Element, kind: str) -> Element:
    """An empty source of a kind, which keeps what is no address."""
    hostdev.set("mode", "subsystem")
    hostdev.set("type", kind)
    source = hostdev.find("source")
    if source is None:
        source = etree.Element("source")
        hostdev.insert(0, source)
    for node in list(source):
        source.remove(node)
    return source


def _write_pci(hostdev: Element, value: str | None, _: Any) -> None:
    if value is None:
        return
    etree.SubElement(_source(hostdev, "pci"), "address", pci_parts(value))


def _write_usb(hostdev: Element, value: str | None, _: Any) -> None:
    if value is None:
        return
    source = _source(hostdev, "usb")
    for name, number in zip(("vendor", "product"), value.split(":"), strict=True):
        etree.SubElement(source, name, {"id": f"0x{number}"})


class Hostdev(Mapped):
    """A device of the host, known by a name of yours."""

    exclusive = (("pci", "usb"),)
    pci: Annotated[PciAddress | None, Through(_read_pci, _write_pci, "./source/address")] = None
    """The PCI address that it has on the host."""
    usb: Annotated[UsbId | None, Through(_read_usb, _write_usb, "./source/vendor")] = None
    """``{vendor, product}`` of a USB device: ``{vendor: "0x1234", product: "0xbeef"}``."""
    managed: Annotated[bool | None, Xml("./@managed", codec=YES_NO)] = None
    """Whether libvirt takes it from the host's driver and gives it back. Born as true."""
    startup_policy: Annotated[
        Literal["mandatory", "requisite", "optional"] | None,
        Xml("./source/@startupPolicy"),
    ] = None
    """Whether the guest starts without it (``optional``); USB only."""
    boot: Annotated[int | None, Field(ge=1), Xml("./boot/@order")] = None
    """Its turn in the boot order; instead of the domain's `boot`."""

    @model_validator(mode="after")
    def _is_one(self) -> Hostdev:
        if self.pci is None and self.usb is None:
            raise ValueError("say which device of the host: pci or usb")
        return self
