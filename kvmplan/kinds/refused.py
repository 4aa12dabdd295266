"""What libvirt refuses, or drops without a word, of one device or network: as it is written.

Only what is wrong whatever the host has already: a field that is left out may be there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kvmplan.kinds.contradiction import Contradiction, Path
from kvmplan.kinds.disk import Disk
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.interface import Interface
from kvmplan.kinds.network import Dns, Network, NetworkIp
from kvmplan.kinds.peripherals import AGENT_NAME

UNFILTERED = ("direct", "hostdev", "user")
"""What an interface is plugged into where libvirt neither filters nor sets an MTU."""
UNADDRESSED = ("bridge", "private", "vepa", "passthrough", "hostdev")
"""Modes that put guests on a network of somebody else's."""
LEAST_QUOTA = 1000
OUT = "take it out"
WHOLE_MODES = ("host-passthrough", "maximum")
"""Modes of CPUs that name no model."""
OF_TYPES = (
    ("serials", "path", ("file", "unix")),
    ("channels", "path", ("unix",)),
    ("redirdevs", "host", ("tcp",)),
    ("redirdevs", "port", ("tcp",)),
)
"""Fields that only devices of some types have."""


def of_domain(domain: Domain) -> Iterator[Contradiction]:
    """What is refused of a domain's devices."""
    yield from _quotas(domain)
    for name, disk in (domain.disks or {}).items():
        yield from _disk(("disks", name), disk)
    for name, nic in (domain.interfaces or {}).items():
        yield from _nic(("interfaces", name), nic)
    for field, inner, types in OF_TYPES:
        for name, device in (getattr(domain, field) or {}).items():
            given = getattr(device, inner) is not None
            if given and device.type is not None and device.type not in types:
                summary = f"type {device.type} has none"
                remedy = f"{OUT}, or write type: {types[0]}"
                yield Contradiction((field, name, inner), summary, remedy)
    if AGENT_NAME in (domain.channels or {}):
        summary = "the guest agent has a field of its own"
        yield Contradiction(("channels", AGENT_NAME), summary, "write `agent: true` instead")
    for name, made in (domain.controllers or {}).items():
        for inner in ("queues", "iothread"):
            other = made.model is not None and not made.model.startswith("virtio")
            if other and getattr(made, inner) is not None:
                summary = f"a controller of model {made.model} has none"
                remedy = f"{OUT}, or write model: virtio-scsi"
                yield Contradiction(("controllers", name, inner), summary, remedy)
    yield from _machine(domain)


def _machine(domain: Domain) -> Iterator[Contradiction]:
    cpu, clock, memory = domain.cpu, domain.clock, domain.memory
    if cpu is not None and cpu.model is not None and cpu.mode in WHOLE_MODES:
        summary = f"mode {cpu.mode} is a model of its own"
        yield Contradiction(("cpu", "model"), summary, f"{OUT}, or write mode: custom")
    if clock is not None and clock.timezone is not None and clock.offset not in (None, "timezone"):
        summary = f"offset {clock.offset} has none"
        yield Contradiction(("clock", "timezone"), summary, f"{OUT}, or write offset: timezone")
    most = memory.hotplug_maximum if memory is not None else None
    if memory is not None and most is not None and most < (memory.maximum or 0):
        summary = "it is less than the maximum without memory devices"
        yield Contradiction(("memory", "hotplug_maximum"), summary, "make it more")
    maximum = domain.vcpus.maximum if domain.vcpus is not None else None
    for name, cell in ((domain.numa.cells if domain.numa else None) or {}).items():
        last = int(cell.cpus.replace("-", ",").rpartition(",")[2]) if cell.cpus else 0
        if maximum is not None and last >= maximum:
            summary = f"there is no CPU {last}: they are 0 to {maximum - 1}"
            yield Contradiction(("numa", "cells", name, "cpus"), summary, "take it out of the set")
    cid = domain.vsock.cid if domain.vsock is not None else None
    if isinstance(cid, int) and cid < 3:
        yield Contradiction(("vsock", "cid"), f"{cid} is the host's own", "write 3, or more")
    features, firmware = domain.features, domain.firmware
    uefi = firmware is not None and firmware.type == "uefi"
    if uefi and features is not None and features.acpi is False:
        yield Contradiction(("features", "acpi"), "UEFI needs ACPI", OUT)


def _quotas(domain: Domain) -> Iterator[Contradiction]:
    for name in ("quota", "global_quota", "emulator_quota", "iothread_quota"):
        quota = getattr(domain.cputune, name, None)
        if quota is not None and 0 < quota < LEAST_QUOTA:
            summary = f"libvirt takes no quota below {LEAST_QUOTA} microseconds"
            yield Contradiction(("cputune", name), summary, "make it more, or -1 for no limit")


def _disk(path: Path, disk: Disk) -> Iterator[Contradiction]:
    drive = disk.device in ("cdrom", "floppy")
    if drive and disk.bus == "virtio":
        summary = "virtio has no drives whose medium can be taken out"
        yield Contradiction((*path, "bus"), summary, "write sata or scsi, or device: disk")
    if disk.iothread is not None and disk.bus not in (None, "virtio"):
        summary = f"a disk on {disk.bus} has none"
        yield Contradiction((*path, "iothread"), summary, f"{OUT}, or write bus: virtio")
    if disk.io == "native" and disk.cache not in (None, "none", "directsync"):
        summary = f"native I/O bypasses the cache, which is {disk.cache}"
        yield Contradiction((*path, "io"), summary, "write cache: none, or io: threads")
    limits = disk.iotune
    for unit in ("bytes_sec", "iops_sec", "bytes_sec_max", "iops_sec_max") if limits else ():
        ways = [f"{way}_{unit}" for way in ("read", "write") if getattr(limits, f"{way}_{unit}")]
        if ways and getattr(limits, f"total_{unit}"):
            summary = f"there is a limit of both ways beside it, total_{unit}"
            yield Contradiction((*path, "iotune", ways[0]), summary, "keep either")


def _nic(path: Path, nic: Interface) -> Iterator[Contradiction]:
    others = ("bridge", "direct", "hostdev", "user")
    other = next((name for name in others if getattr(nic, name)), None)
    if nic.portgroup is not None and other is not None:
        summary = f"an interface of `{other}` is in no network that has port groups"
        yield Contradiction((*path, "portgroup"), summary, f"{OUT}, or name a network")
    if nic.filter is not None and other in UNFILTERED:
        summary = f"libvirt filters nothing of an interface of `{other}`"
        remedy = f"{OUT}, or plug the interface into a network or bridge"
        yield Contradiction((*path, "filter"), summary, remedy)
    if nic.virtualport is not None and other == "user":
        yield Contradiction((*path, "virtualport"), "user-mode networking has none", OUT)
    if nic.mtu is not None and other in UNFILTERED:
        yield Contradiction((*path, "mtu"), f"libvirt sets none of an interface of `{other}`", OUT)


def of_network(network: Network) -> Iterator[Contradiction]:
    """What is refused of a network."""
    yield from _mode(network)
    for key, ip in (network.ips or {}).items():
        yield from _served(("ips", key), ip)
    for key, route in (network.routes or {}).items():
        if route.via is not None and (":" in route.via) is not (":" in route.to):
            summary = f"{route.via} is no address of the family of {route.to}"
            yield Contradiction(("routes", key, "via"), summary, "name one of the same family")
    chosen = [name for name, group in (network.portgroups or {}).items() if group.default]
    for name in chosen[1:]:
        summary = f"{chosen[0]} is the default already"
        yield Contradiction(("portgroups", name, "default"), summary, "keep one of them")
    yield from _dns(network.dns)


def _mode(network: Network) -> Iterator[Contradiction]:
    forward, bridge = network.forward, network.bridge
    if forward is None:
        return
    if forward.dev and forward.interfaces and forward.interfaces[0] != forward.dev:
        summary = f"the first of the interfaces is {forward.interfaces[0]}"
        yield Contradiction(("forward", "dev"), summary, f"{OUT}, or put it first")
    ports = forward.nat.ports if forward.nat is not None else None
    if ports is not None:
        first, _, last = ports.partition("-")
        if not 0 < int(first) <= int(last) < 2**16:
            summary = f"{ports} is no range of ports"
            yield Contradiction(("forward", "nat", "ports"), summary, "write it like 1024-65535")
    if forward.mode in UNADDRESSED:
        where = f"forward mode {forward.mode} uses a device of the host as it is"
        paths: list[Path] = [(name,) for name in ("mac", "mtu", "domain")]
        values = [(path, getattr(network, path[0])) for path in paths]
        for name in ("stp", "delay", "zone", *(("name",) if forward.mode != "bridge" else ())):
            values.append((("bridge", name), getattr(bridge, name) if bridge else None))
        for path, value in values:
            if value is not None:
                yield Contradiction(path, where, f"{OUT}, or choose another mode")
    own = forward.mode in ("nat", "route", "open", "none")
    if own and network.vlan and (network.virtualport is None):
        summary = f"forward mode {forward.mode} makes a bridge of its own, which has no VLANs"
        yield Contradiction(("vlan",), summary, f"{OUT}, or choose another mode")


def _served(path: Path, ip: NetworkIp) -> Iterator[Contradiction]:
    subnet = ipaddress.ip_interface(ip.address).network
    dhcp = ip.dhcp
    if subnet.version == 6:
        if ip.tftp is not None:
            yield Contradiction((*path, "tftp"), "libvirt serves it over IPv4 only", OUT)
        if dhcp is not None and dhcp.bootp is not None:
            yield Contradiction((*path, "dhcp", "bootp"), "libvirt serves it over IPv4 only", OUT)
    for key, span in ((dhcp.ranges if dhcp else None) or {}).items():
        ends = span.range.split("-")
        taken = {str(subnet.network_address), str(subnet.broadcast_address)}.intersection(ends)
        if subnet.version == 4 and subnet.prefixlen < 31 and taken:
            summary = f"{sorted(taken)[0]} is no guest's: it means the subnet, or all of it"
            yield Contradiction((*path, "dhcp", "ranges", key), summary, "leave it out")
    for key, host in ((dhcp.hosts if dhcp else None) or {}).items():
        if host.mac is None and host.name is None:
            summary = "nothing says whose lease it is"
            yield Contradiction((*path, "dhcp", "hosts", key), summary, "write its mac or name")


def _dns(dns: Dns | None) -> Iterator[Contradiction]:
    if dns is None:
        return
    for key, record in (dns.srv or {}).items():
        if record.protocol is None:
            summary = "a record is of some protocol"
            yield Contradiction(("dns", "srv", key), summary, "write protocol: tcp or udp")
        if record.port is not None and record.target is None:
            summary = "a port is a target's, and the record names none"
            yield Contradiction(("dns", "srv", key, "port"), summary, "write the target")
