"""libvirt, examined: versions, what its drivers answer, and what it says about QEMU."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import libvirt
from lxml import etree

from kvmplan.host.errors import translating
from kvmplan.host.facts import dotted
from kvmplan.host.finding import Finding
from kvmplan.host.live import LibvirtHost
from kvmplan.inventory import HostFacts

_SCHEMAS = Path("/usr/share/libvirt/schemas")

_DRIVERS: tuple[tuple[str, bool, Callable[[Any], Any]], ...] = (
    ("network", True, lambda connection: connection.numOfNetworks()),
    ("storage", True, lambda connection: connection.numOfStoragePools()),
    ("secret", True, lambda connection: connection.numOfSecrets()),
    ("nwfilter", False, lambda connection: connection.numOfNWFilters()),
    ("nodedev", False, lambda connection: connection.numOfDevices(None, 0)),
)
"""Name, whether kvmplan cannot do without, and a call that only that driver answers."""


def examine_libvirt(host: LibvirtHost) -> list[Finding]:
    """Look at a host that is connected.

    Raises:
        HostError: it stopped answering.
    """
    with translating("examining the host"):
        facts = host.facts
        connection = host.connection
        return [
            *_qemu(facts),
            _versions(facts),
            _access(facts),
            *_drivers(connection),
            _pool_types(connection),
            _schemas(),
        ]


def _qemu(facts: HostFacts) -> list[Finding]:
    if facts.hypervisor != "QEMU":
        return [Finding("QEMU", None, f"the hypervisor is {facts.hypervisor}, not QEMU")]
    if not facts.guests:
        remedy = "install an emulator on the host, such as the package qemu-system-x86"
        return [Finding("QEMU", False, "libvirt knows of no emulator", remedy)]
    archs = ", ".join(
        f"{arch} ({len(guest.machines)} machines; {', '.join(guest.types)})"
        for arch, guest in sorted(facts.guests.items())
    )
    found = [Finding("QEMU", True, f"QEMU {facts.hypervisor_version}: {archs}")]
    native = facts.guests.get(facts.arch)
    if native is not None and "kvm" not in native.types:
        text = f"libvirt offers no KVM for {facts.arch}: guests are emulated"
        remedy = "see KVM above; then restart libvirtd, which remembers what it found"
        found.append(Finding("QEMU", False, text, remedy))
    return found


def _versions(facts: HostFacts) -> Finding:
    client = dotted(libvirt.getVersion())
    try:
        binding = version("libvirt-python")
    except PackageNotFoundError:
        binding = "of the distribution"
    text = f"libvirt {facts.libvirt_version}; client library {client}, libvirt-python {binding}"
    return Finding("libvirt", True, text)


def _access(facts: HostFacts) -> Finding:
    if not facts.read_only:
        return Finding("libvirt", True, f"{facts.uri} answers, read and write")
    remedy = "usermod -aG libvirt USER, then log in again; or use sudo"
    return Finding("libvirt", False, f"{facts.uri} answers, read-only: apply cannot work", remedy)


def _drivers(connection: Any) -> list[Finding]:
    answers: list[str] = []
    silent: list[Finding] = []
    for name, needed, ask in _DRIVERS:
        try:
            ask(connection)
            answers.append(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                raise
            remedy = f"install libvirt's {name} driver on the host" if needed else None
            ok = False if needed else None
            silent.append(Finding("libvirt", ok, f"the {name} driver does not answer", remedy))
    return [Finding("libvirt", True, f"drivers: {', '.join(answers) or 'none'}"), *silent]


def _pool_types(connection: Any) -> Finding:
    try:
        document = etree.fromstring(connection.getStoragePoolCapabilities(0).encode())
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return Finding("libvirt", None, "storage pool types are not told by this driver")
    types = [
        pool.get("type") or ""
        for pool in document.iterfind("./pool")
        if pool.get("supported") == "yes"
    ]
    return Finding("libvirt", bool(types), f"storage pool types: {', '.join(types) or 'none'}")


def _schemas() -> Finding:
    if _SCHEMAS.is_dir():
        return Finding("libvirt", True, f"libvirt's schemas are in {_SCHEMAS}")
    text = "libvirt's schemas are not on this machine: documents are checked by the host only"
    return Finding("libvirt", None, text, "apt-get install libvirt-daemon, or copy its schemas")
