"""Birth: what a new object has when its spec does not say, from the host's facts.

Values go into the skeleton; the declared fields are patched over it. Every default is a birth
default: nothing of it is enforced later.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from kvmplan.address import Kind
from kvmplan.kinds.pooltypes import pool_type


class Guest(Protocol):
    """What a host offers for an architecture: domain types, and machines by name."""

    @property
    def types(self) -> tuple[str, ...]:
        """``kvm`` and ``qemu``, as offered."""
        ...

    @property
    def machines(self) -> Mapping[str, str]:
        """Name or alias -> canonical name."""
        ...


class Facts(Protocol):
    """What birth defaults depend on; `kvmplan.inventory.HostFacts` has it."""

    @property
    def arch(self) -> str:
        """The host's architecture."""
        ...

    @property
    def guests(self) -> Mapping[str, Guest]:
        """By architecture."""
        ...

    @property
    def cpu_features(self) -> frozenset[str]:
        """Flags of the host's CPU, ``vmx`` and ``svm`` among them."""
        ...


MACHINES = {
    "x86_64": "q35",
    "i686": "q35",
    "aarch64": "virt",
    "armv7l": "virt",
    "riscv64": "virt",
    "ppc64": "pseries",
    "ppc64le": "pseries",
    "s390x": "s390-ccw-virtio",
}
"""The modern machine of each architecture; libvirt's own default on x86 is of 1996."""
PCIE = ("q35", "virt")
ROOT_PORTS = 14
"""PCIe root ports that are made beside the devices: a port takes one hot-plugged device, and
ports themselves cannot be hot-plugged."""
UEFI_ONLY = frozenset({"aarch64", "armv7l", "riscv64"})


def domain_birth(desired: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """Values of the domain skeleton: type, arch, machine, cpu, firmware, pcie, root_ports, acpi."""
    arch = desired.get("arch") or facts.arch
    guest = facts.guests.get(arch)
    offered = guest.types if guest else ()
    type_ = desired.get("type") or ("kvm" if "kvm" in offered else "qemu")
    machine = desired.get("machine") or _machine(arch, guest.machines if guest else {})
    return {
        "type": type_,
        "arch": arch,
        "machine": machine,
        "cpu": _cpu(type_, arch, facts),
        "firmware": "efi" if arch in UEFI_ONLY else "",
        "pcie": any(part in machine for part in PCIE),
        "root_ports": ROOT_PORTS,
        "acpi": arch in UEFI_ONLY,
    }


def _machine(arch: str, offered: Mapping[str, str]) -> str:
    modern = MACHINES.get(arch, "")
    if modern in offered or not offered:
        return modern or "none"
    return next(iter(offered))


def _cpu(type_: str, arch: str, facts: Facts) -> str:
    """The host's own CPU where guests are accelerated by its hardware.

    Under paravirtual nesting ``/dev/kvm`` opens although the CPU has neither vmx nor svm, and QEMU
    aborts on the host's own model: libvirt's default is left there. Emulated x86 gets all that
    QEMU can emulate; distributions of today no longer start on its default.
    """
    if type_ == "kvm":
        accelerated = arch not in ("x86_64", "i686") or facts.cpu_features & {"vmx", "svm"}
        return "host-passthrough" if accelerated and arch == facts.arch else ""
    return "maximum" if arch in ("x86_64", "i686", "aarch64") else ""


def network_birth(desired: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the network skeleton: forward."""
    return {"forward": (desired.get("forward") or {}).get("mode") or "nat"}


def pool_birth(desired: Mapping[str, Any]) -> dict[str, Any]:
    """Values of the pool skeleton: type."""
    return {"type": desired.get("type") or "dir"}


def volume_birth(desired: Mapping[str, Any], kept_in: str) -> dict[str, Any]:
    """Values of the volume skeleton, in a pool of a type: format, capacity in bytes, sparse.

    Overlays take the capacity of their base.
    """
    kind = pool_type(kept_in)
    return {
        "format": desired.get("format") or kind.formats[0],
        "capacity": desired.get("capacity") or 0,
        "sparse": kind.sparse,
    }


def builds(desired: Mapping[str, Any], build: bool | None) -> bool:
    """Whether a new pool is built."""
    return pool_type(desired.get("type")).builds if build is None else build


def skeleton_name(kind: Kind) -> str:
    """The template that documents of a kind are born from."""
    return kind.value
