"""What nothing new can be without: an interface its network, a disk its source.

What is there already may have it, whatever the specs leave out. What a fragment says (`xml:`) is
not looked into.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator

from kvmplan.kinds.contradiction import Contradiction, Path
from kvmplan.kinds.disk import Disk, bus_of_target
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.network import Network
from kvmplan.mapping.model import Mapped

IsNew = Callable[[Path], bool]
"""Whether what is at a path is not there yet."""
NEEDED = (
    ("redirdevs", ("tcp",), ("host", "port")),
    ("serials", ("file", "unix"), ("path",)),
)
"""Of devices of some types, what each needs."""


def lacks(model: Mapped, is_new: IsNew) -> Iterator[Contradiction]:
    """What an object, or a new member of it, cannot be made without."""
    if isinstance(model, Domain) and model.xml is None:
        yield from _devices(model, is_new)
        yield from _machine(model, is_new)
        yield from _spoken_to(model) if is_new(()) else ()
    elif isinstance(model, Network):
        yield from _network(model, is_new)
        yield from _addressed(model) if is_new(()) else ()
        yield from _served(model, is_new)


def _devices(domain: Domain, is_new: IsNew) -> Iterator[Contradiction]:
    for name, disk in (domain.disks or {}).items():
        if is_new(("disks", name)):
            yield from _disk(name, disk)
            yield from _on_bus(name, disk, domain.machine if is_new(()) else "")
    for name, nic in (domain.interfaces or {}).items():
        path = ("interfaces", name)
        direct = nic.direct is not None and nic.direct.dev
        card = nic.hostdev is not None and nic.hostdev.pci
        if is_new(path) and not (nic.network or nic.bridge or direct or card or nic.user):
            remedy = "write its network, bridge, direct: {dev: …}, hostdev or user: true"
            yield Contradiction(path, "it is plugged into nothing", remedy)
    for name, shared in (domain.filesystems or {}).items():
        if is_new(("filesystems", name)) and shared.source is None:
            summary = "nothing of the host is shared"
            yield Contradiction(("filesystems", name), summary, "write its source")
    for field, types, needed in NEEDED:
        for name, device in (getattr(domain, field) or {}).items():
            missing = [inner for inner in needed if getattr(device, inner) is None]
            if is_new((field, name)) and device.type in types and missing:
                words = " and ".join(missing)
                summary = f"one of type {device.type} needs its {words}"
                yield Contradiction((field, name), summary, f"write its {words}")


def _disk(name: str, disk: Disk) -> Iterator[Contradiction]:
    drive = disk.device in ("cdrom", "floppy")
    if drive and disk.bus is None and bus_of_target(name, disk.device or "") == "virtio":
        summary = "virtio has no drives whose medium can be taken out"
        yield Contradiction(("disks", name), summary, "call it sda, or write bus: sata")
    if not drive and not (disk.volume or disk.file or disk.block or disk.network):
        summary = "it is on nothing, and only drives (`device: cdrom`) can be empty"
        yield Contradiction(("disks", name), summary, "write its volume, file, block or network")


def _on_bus(name: str, disk: Disk, machine: str | None) -> Iterator[Contradiction]:
    """`machine`: None for the one that new domains are born with, empty where nobody knows."""
    bus = disk.bus or bus_of_target(name, disk.device or "")
    if bus == "ide" and (machine is None or "q35" in machine):
        summary = "a machine of type q35 has no IDE"
        remedy = "call it sda and write bus: sata, or write machine: pc"
        yield Contradiction(("disks", name), summary, remedy)
    if disk.iothread is not None and disk.bus is None and bus != "virtio":
        summary = f"a disk on {bus}, as its name has it, has none"
        yield Contradiction(("disks", name, "iothread"), summary, "write bus: virtio")


def _spoken_to(domain: Domain) -> Iterator[Contradiction]:
    """Libvirt refuses "chardev 'spicevmc'" of a guest without such a display."""
    if any(graphics.type == "spice" for graphics in (domain.graphics or {}).values()):
        return
    channels, redirdevs = domain.channels or {}, domain.redirdevs or {}
    paths = [("channels", name) for name, it in channels.items() if it.type == "spicevmc"]
    paths += [
        ("redirdevs", name) for name, it in redirdevs.items() if it.type in (None, "spicevmc")
    ]
    for path in paths:
        yield Contradiction(path, "it is reached through SPICE", "write graphics: spice, too")


def _machine(domain: Domain, is_new: IsNew) -> Iterator[Contradiction]:
    topology = domain.vcpus.topology if domain.vcpus is not None else None
    parts = ("sockets", "cores", "threads")
    missing = [name for name in parts if topology is not None and getattr(topology, name) is None]
    if is_new(("vcpus", "topology")) and missing:
        summary = f"a topology is whole, and says nothing of {' and '.join(missing)}"
        yield Contradiction(("vcpus", "topology"), summary, "write sockets, cores and threads")
    cells = (domain.numa.cells if domain.numa is not None else None) or {}
    numbers = sorted(cell.id for cell in cells.values())
    if is_new(("numa", "cells")) and numbers != list(range(len(numbers))):
        summary = f"they count from 0 without a gap; these are {', '.join(map(str, numbers))}"
        yield Contradiction(("numa", "cells"), summary, "number them anew")
    rng, clock, memory = domain.rng, domain.clock, domain.memory
    if rng is not None and rng.period is not None and rng.bytes is None and is_new(("rng",)):
        summary = "a period is the time for a number of bytes"
        yield Contradiction(("rng", "period"), summary, "write bytes, too")
    timezone = clock is not None and clock.offset == "timezone" and clock.timezone is None
    if timezone and is_new(("clock",)):
        yield Contradiction(("clock",), "offset: timezone needs one", "write timezone, too")
    slots = memory is not None and memory.slots is not None
    most = memory is not None and memory.hotplug_maximum is not None
    if is_new(("memory",)) and (slots is not most or (domain.memory_devices and not slots)):
        summary = "memory devices need slots, and the most that it can have with them"
        path: Path = ("memory",) if slots or most else ("memory_devices",)
        yield Contradiction(path, summary, "write memory.slots and memory.hotplug_maximum")


def _network(network: Network, is_new: IsNew) -> Iterator[Contradiction]:
    subnets = [ipaddress.ip_interface(ip.address).network for ip in (network.ips or {}).values()]
    for key, route in (network.routes or {}).items():
        path = ("routes", key)
        if is_new(path) and route.via is None:
            yield Contradiction(path, "a route leads through somebody", "write via")
        elif route.via is not None and is_new(()):
            gateway = ipaddress.ip_address(route.via)
            if not any(it.version == gateway.version and gateway in it for it in subnets):
                summary = f"{route.via} is in no subnet of the network"
                yield Contradiction((*path, "via"), summary, "name a guest on it")


def _addressed(network: Network) -> Iterator[Contradiction]:
    mode = (network.forward.mode if network.forward is not None else None) or "nat"
    if mode in ("nat", "route", "open") and not network.ips:
        summary = f"it has no address, and forward mode {mode} needs one"
        remedy = "write ips: [10.10.0.1/24], or forward: none"
        # A warning: the addresses are what is written last of a network that is being thought out.
        yield Contradiction(("ips",), summary, remedy, warns=True)


def _served(network: Network, is_new: IsNew) -> Iterator[Contradiction]:
    for key, ip in (network.ips or {}).items():
        for name, host in ((ip.dhcp.hosts if ip.dhcp else None) or {}).items():
            path = ("ips", key, "dhcp", "hosts", name)
            if is_new(path) and host.ip is None:
                yield Contradiction(path, "a lease is of an address", "write its ip")
    for key, record in ((network.dns.txt if network.dns else None) or {}).items():
        if is_new(("dns", "txt", key)) and record.value is None:
            yield Contradiction(("dns", "txt", key), "a record says something", "write its value")
