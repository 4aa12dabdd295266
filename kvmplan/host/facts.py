"""What a host is: versions, guest architectures, CPU features, from libvirt's capabilities."""

from __future__ import annotations

from typing import Any

import libvirt
from lxml import etree

from kvmplan.host.connection import Connections
from kvmplan.host.errors import translating
from kvmplan.inventory import GuestFacts, HostFacts


def read_facts(connections: Connections) -> HostFacts:
    """Ask a host what it is: five calls, whatever it holds.

    Raises:
        HostError: it did not answer.
    """
    connection = connections.main
    with translating("reading the host's capabilities"):
        document = etree.fromstring(connection.getCapabilities().encode())
        return HostFacts(
            uri=connections.uri,
            uuid=document.findtext("./host/uuid") or "",
            arch=document.findtext("./host/cpu/arch") or "x86_64",
            libvirt_version=dotted(connection.getLibVersion()),
            hypervisor=str(connection.getType()),
            hypervisor_version=dotted(connection.getVersion()),
            read_only=connections.read_only,
            guests=_guests(document),
            cpu_features=_cpu_features(connection, document),
            has_secrets=_offers_secrets(connection),
        )


def dotted(number: int) -> str:
    """A version such as 9000000 as ``9.0.0``."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _guests(document: etree._Element) -> dict[str, GuestFacts]:
    guests: dict[str, GuestFacts] = {}
    for arch in document.iterfind("./guest/arch"):
        name = arch.get("name") or ""
        before = guests.get(name)
        types = [kind.get("type") or "" for kind in arch.iterfind("./domain")]
        machines = dict(before.machines) if before else {}
        for machine in arch.iterfind(".//machine"):
            if machine.text:
                machines[machine.text] = machine.get("canonical") or machine.text
        # A paravirtualised and a full guest of one architecture are two <guest> elements.
        known = before.types if before else ()
        emulator = arch.findtext("./emulator") or (before.emulator if before else "")
        guests[name] = GuestFacts(tuple(sorted({*known, *types})), machines, emulator)
    return guests


def _cpu_features(connection: Any, document: etree._Element) -> frozenset[str]:
    """Named features and those that the CPU model stands for, spelled out by libvirt."""
    cpu = document.find("./host/cpu")
    if cpu is None:
        return frozenset()
    features = {feature.get("name") or "" for feature in cpu.iterfind("./feature")}
    try:
        text = etree.tostring(cpu, encoding="unicode", with_tail=False)
        expand = libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES
        whole = etree.fromstring(connection.baselineCPU([text], expand).encode())
    except libvirt.libvirtError:
        # Architectures without CPU models, and drivers without CPUs, name all that there is.
        return frozenset(features)
    features |= {
        feature.get("name") or ""
        for feature in whole.iterfind("./feature")
        if feature.get("policy") != "disable"
    }
    return frozenset(features)


def _offers_secrets(connection: Any) -> bool:
    try:
        connection.numOfSecrets()
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
        return False
    return True
