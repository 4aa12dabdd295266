"""Consistency: what fields of one resource say against each other, told before any host is asked.

Each contradiction is one that libvirt or the guest would refuse later, or worse, accept.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable, Iterator

from kvmplan.kinds import givenback, refused
from kvmplan.kinds.compute import Memory, Vcpus
from kvmplan.kinds.contradiction import Contradiction, Path
from kvmplan.kinds.devices import Tpm
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.firmware import Firmware
from kvmplan.kinds.network import Dhcp, Network
from kvmplan.kinds.pool import Pool
from kvmplan.kinds.storage import pool_contradictions, volume_contradictions
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.document import local_name, parse_written, space_of
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import SecretText
from kvmplan.mapping.units import format_size

VNC_PASSWORD = 8
"""VNC cuts passwords off there: https://www.rfc-editor.org/rfc/rfc6143#section-7.2.2"""

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network


def contradictions(
    model: Mapped, name: str, defaults: givenback.Defaults = ()
) -> Iterator[Contradiction]:
    """Everything in a resource of a name that contradicts itself.

    Args:
        model: the resource, without what it gives back.
        name: its name.
        defaults: the paths of what it gives back (``!default``).
    """
    if isinstance(model, Domain):
        yield from _vcpus(model.vcpus)
        yield from _memory(model.memory)
        yield from _iothreads(model, defaults)
        yield from _tpm(model.tpm)
        yield from _boot(model)
        yield from _macs(model)
        yield from _given_twice(model)
        yield from _numa(model)
        yield from _passwords(model)
        yield from _firmware(model.firmware)
        yield from _disks(model)
        yield from _console(model)
        yield from _filesystems(model)
        yield from _fragment(model, name)
        yield from refused.of_domain(model)
        yield from givenback.of_domain(model, defaults)
    elif isinstance(model, Network):
        yield from _forward(model)
        yield from _subnets(model)
        yield from _dhcp(model)
        yield from _dns(model)
        yield from refused.of_network(model)
        yield from givenback.of_network(model, defaults)
    elif isinstance(model, Pool):
        yield from pool_contradictions(model)
    elif isinstance(model, Volume):
        yield from volume_contradictions(model)


def _fragment(domain: Domain, name: str) -> Iterator[Contradiction]:
    """A fragment that says another name or uuid would make another domain, which nobody owns."""
    root = parse_written(domain.xml) if domain.xml is not None else None
    if root is None:
        return
    if local_name(root) != "domain" or space_of(root) is not None:
        summary = f"its root is <{local_name(root)}>, and is merged over a <domain>"
        yield Contradiction(("xml",), summary, "write <domain>…</domain> around it")
    for tag, own in (("name", name), ("uuid", domain.uuid)):
        for node in root.findall(tag):
            if node.text and node.text != own:
                summary = f"its {tag} {node.text.strip()} is not the domain's"
                remedy = "take it out" if tag == "name" else "write it as the field `uuid`"
                yield Contradiction(("xml",), summary, remedy)


def _vcpus(vcpus: Vcpus | None) -> Iterator[Contradiction]:
    if vcpus is None:
        return
    current, maximum = vcpus.current, vcpus.maximum
    if current is not None and maximum is not None and current > maximum:
        summary = f"current is {current}, above the maximum of {maximum}"
        yield Contradiction(("vcpus", "current"), summary, "lower one or raise the other")
    yield from _pinning(vcpus)
    topology = vcpus.topology
    ceiling = maximum if maximum is not None else current
    if topology is None or ceiling is None:
        return
    parts = (topology.sockets, topology.dies or 1, topology.cores, topology.threads)
    if None in parts:
        return
    product = math.prod(part for part in parts if part is not None)
    if product != ceiling:
        summary = f"it makes {product} CPUs, the maximum is {ceiling}"
        yield Contradiction(("vcpus", "topology"), summary, f"write maximum: {product}")


def _iothreads(domain: Domain, defaults: givenback.Defaults) -> Iterator[Contradiction]:
    """Those are numbered from 1, unless somebody has numbered them by hand."""
    count = 0 if ("iothreads",) in defaults else domain.iothreads
    if count is None or "iothreadid" in (domain.xml or ""):
        return
    using = [("disks", name, disk.iothread) for name, disk in (domain.disks or {}).items()]
    using += [
        ("controllers", name, made.iothread) for name, made in (domain.controllers or {}).items()
    ]
    for field, name, number in using:
        if number is not None and number > count:
            summary = f"there is no I/O thread {number}: `iothreads` makes {count}"
            yield Contradiction((field, name, "iothread"), summary, "make as many")
    for name in (domain.cputune.iothreadpin if domain.cputune else None) or {}:
        if name.isdigit() and int(name) > count:
            summary = f"there is no I/O thread {name}: `iothreads` makes {count}"
            yield Contradiction(("cputune", "iothreadpin", name), summary, "make as many")


def _tpm(tpm: Tpm | None) -> Iterator[Contradiction]:
    if tpm is not None and tpm.version == "1.2" and tpm.model not in (None, "tpm-tis"):
        summary = f"a TPM 1.2 cannot be a {tpm.model}"
        yield Contradiction(("tpm", "model"), summary, "write tpm-tis, or version 2.0")


def _pinning(vcpus: Vcpus) -> Iterator[Contradiction]:
    """Libvirt drops the places of CPUs beyond the maximum without a word."""
    for number in vcpus.pinning or {}:
        if vcpus.maximum is not None and number.isdigit() and int(number) >= vcpus.maximum:
            summary = f"there is no CPU {number}: they are 0 to {vcpus.maximum - 1}"
            yield Contradiction(("vcpus", "pinning", number), summary, "take it out")


def _memory(memory: Memory | None) -> Iterator[Contradiction]:
    if memory is None or memory.current is None or memory.maximum is None:
        return
    if memory.current > memory.maximum:
        current, maximum = format_size(memory.current), format_size(memory.maximum)
        summary = f"current is {current}, above the maximum of {maximum}"
        yield Contradiction(("memory", "current"), summary, "lower one or raise the other")


def _boot(domain: Domain) -> Iterator[Contradiction]:
    seen: dict[int, str] = {}
    turns = [("disks", name, disk.boot) for name, disk in (domain.disks or {}).items()]
    turns += [("interfaces", name, nic.boot) for name, nic in (domain.interfaces or {}).items()]
    turns += [("hostdevs", name, given.boot) for name, given in (domain.hostdevs or {}).items()]
    for field, name, turn in turns:
        if turn is None:
            continue
        path, device = (field, name, "boot"), f"{field}.{name}"
        first = seen.setdefault(turn, device)
        if first != device:
            summary = f"{first} has the turn {turn} already"
            yield Contradiction(path, summary, "give each device its own number")
        if domain.boot:
            summary = "the domain has a boot order of its own, which excludes those of devices"
            yield Contradiction(path, summary, "write one of the two")


def _macs(domain: Domain) -> Iterator[Contradiction]:
    seen: dict[str, str] = {}
    for name, nic in (domain.interfaces or {}).items():
        if nic.mac is None:
            continue
        first = seen.setdefault(nic.mac, name)
        if first != name:
            summary = f"{nic.mac} is the MAC of interface '{first}' too"
            yield Contradiction(
                ("interfaces", name, "mac"), summary, "give one of them another, or none"
            )


def _given_twice(domain: Domain) -> Iterator[Contradiction]:
    nics, hostdevs = domain.interfaces or {}, domain.hostdevs or {}
    given = [(("hostdevs", name), it.pci or it.usb) for name, it in hostdevs.items()]
    given += [(("interfaces", name), it.hostdev.pci) for name, it in nics.items() if it.hostdev]
    seen: dict[str, tuple[str, str]] = {}
    for path, own in given:
        first = seen.setdefault(own, path) if own else path
        if first != path:
            summary = f"{own} is '{first[1]}' too"
            yield Contradiction(path, summary, "take one of them out")


def _numa(domain: Domain) -> Iterator[Contradiction]:
    """Libvirt would take the sum of the cells for the maximum, without a word."""
    cells = (domain.numa.cells if domain.numa else None) or {}
    memory = domain.memory
    if not cells or memory is None:
        return
    wanted = memory.maximum if memory.maximum is not None else memory.current
    parts = [cell.memory for cell in cells.values()]
    if wanted is None or None in parts:
        return
    total = sum(part for part in parts if part is not None)
    if total != wanted:
        summary = f"its cells make {format_size(total)}, the maximum is {format_size(wanted)}"
        yield Contradiction(("numa", "cells"), summary, "make them the same")


def _passwords(domain: Domain) -> Iterator[Contradiction]:
    for name, graphics in (domain.graphics or {}).items():
        password = graphics.password
        if graphics.type != "vnc" or not isinstance(password, SecretText):
            continue
        if len(password.reveal().encode()) > VNC_PASSWORD:
            summary = f"VNC looks at the first {VNC_PASSWORD} characters only; this has more"
            yield Contradiction(("graphics", name, "password"), summary, "make it shorter")


def _firmware(firmware: Firmware | None) -> Iterator[Contradiction]:
    if firmware is None or firmware.type != "bios":
        return
    for name in ("loader", "nvram_template", "secure_boot"):
        if getattr(firmware, name):
            summary = f"bios has no {name.replace('_', ' ')}"
            yield Contradiction(("firmware", name), summary, "write type: uefi, or take it out")


def _disks(domain: Domain) -> Iterator[Contradiction]:
    seen: dict[str, str] = {}
    for name, disk in (domain.disks or {}).items():
        source = disk.volume or disk.file or disk.block
        if source is None or disk.shareable or disk.readonly or disk.device == "cdrom":
            continue
        first = seen.setdefault(source, name)
        if first != name:
            path = ("disks", name, "volume" if disk.volume else "file" if disk.file else "block")
            summary = f"{source} is the disk {first} too"
            yield Contradiction(path, summary, "give each its own, or set `shareable: true`")


def _console(domain: Domain) -> Iterator[Contradiction]:
    """Libvirt makes the first serial port a console, whatever it is told."""
    if domain.console is False and domain.serials and "0" in domain.serials:
        summary = "serial port 0 is a console too"
        yield Contradiction(("console",), summary, "take out one of them")


def _filesystems(domain: Domain) -> Iterator[Contradiction]:
    """What libvirt refuses of virtiofs."""
    backing = domain.memory_backing
    for name, shared in (domain.filesystems or {}).items():
        if shared.driver != "virtiofs":
            continue
        if shared.accessmode not in (None, "passthrough"):
            summary = f"virtiofs knows no access mode {shared.accessmode}"
            path = ("filesystems", name, "accessmode")
            yield Contradiction(path, summary, "take it out, or write driver: path")
        if backing is not None and backing.access == "private":
            summary = "virtiofs needs memory that its daemon shares"
            path = ("filesystems", name, "driver")
            yield Contradiction(path, summary, "write access: shared in memory_backing")


def _forward(network: Network) -> Iterator[Contradiction]:
    forward = network.forward
    if forward is None or forward.mode is None:
        return
    where, outwards = f"forward mode {forward.mode}", "take it out, or choose another mode"
    if forward.mode in ("none", "open"):
        for name in ("dev", "interfaces"):
            if getattr(forward, name):
                summary = f"{where} leads through no interface"
                yield Contradiction(("forward", name), summary, outwards)
    if forward.nat is not None and forward.mode != "nat":
        yield Contradiction(("forward", "nat"), f"{where} translates no addresses", outwards)
    if forward.mode in refused.UNADDRESSED:
        for name in ("ips", "routes"):
            if getattr(network, name):
                summary = f"{where} gives the host no addresses on the network"
                yield Contradiction((name,), summary, outwards)


def _dns(network: Network) -> Iterator[Contradiction]:
    """A server that is off and has something to say is refused by libvirt (27)."""
    dns = network.dns
    if dns is None or dns.enable is not False:
        return
    for name in ("forwarders", "hosts", "srv", "txt"):
        if getattr(dns, name):
            summary = "a DNS server that is off has none of these"
            yield Contradiction(("dns", name), summary, "write [], or take out `enable: false`")


def _subnets(network: Network) -> Iterator[Contradiction]:
    seen: list[tuple[str, Subnet]] = []
    for key, ip in (network.ips or {}).items():
        subnet = ipaddress.ip_interface(ip.address).network
        for first, other in seen:
            if other.version == subnet.version and other.overlaps(subnet):
                summary = f"{subnet} overlaps {other} of {first}"
                yield Contradiction(("ips", key, "address"), summary, "choose another subnet")
        seen.append((key, subnet))


def _dhcp(network: Network) -> Iterator[Contradiction]:
    serving: dict[int, str] = {}
    for key, ip in (network.ips or {}).items():
        if ip.dhcp is None:
            continue
        subnet = ipaddress.ip_interface(ip.address).network
        path = ("ips", key, "dhcp")
        first = serving.setdefault(subnet.version, key)
        if first != key:
            summary = (
                f"{first} serves DHCP already, and libvirt serves one IPv{subnet.version} subnet"
            )
            yield Contradiction(path, summary, "keep one of them")
        yield from _leases(ip.dhcp, subnet, path)


def _leases(dhcp: Dhcp, subnet: Subnet, path: Path) -> Iterator[Contradiction]:
    for key, span in (dhcp.ranges or {}).items():
        first, _, last = span.range.partition("-")
        if not _inside((first, last), subnet):
            summary = f"the range leaves its subnet {subnet}"
            yield Contradiction((*path, "ranges", key), summary, f"keep it inside {subnet}")
    seen: dict[str, str] = {}
    for key, host in (dhcp.hosts or {}).items():
        if host.ip is None:
            continue
        at = (*path, "hosts", key, "ip")
        if not _inside((host.ip,), subnet):
            yield Contradiction(at, f"{host.ip} is not in its subnet {subnet}", "choose one in it")
        first = seen.setdefault(host.ip, key)
        if first != key:
            summary = f"{host.ip} is the lease of {first} too"
            yield Contradiction(at, summary, "give one of them another")


def _inside(addresses: Iterable[str], subnet: Subnet) -> bool:
    found = [ipaddress.ip_address(text) for text in addresses]
    return all(address.version == subnet.version and address in subnet for address in found)
