"""What cannot stand beside a ``!default``: fields that lean on one which a fresh object lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from kvmplan.kinds.contradiction import Contradiction, Path
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.network import Network

Defaults = Collection[Path]
SOURCES = ("volume", "file", "block", "network")


def of_domain(domain: Domain, defaults: Defaults) -> Iterator[Contradiction]:
    """What a domain says that leans on what it gives back."""
    yield from _memory(domain, defaults)
    rng, clock, firmware = domain.rng, domain.clock, domain.firmware
    if ("rng", "bytes") in defaults and rng is not None and rng.period is not None:
        summary = "a period is the time for a number of bytes, and a new one has none"
        yield Contradiction(("rng", "period"), summary, "write `period: !default` too")
    timezone = clock is not None and clock.offset == "timezone"
    if ("clock", "timezone") in defaults and timezone:
        summary = "offset: timezone needs one"
        yield Contradiction(("clock", "timezone"), summary, "name one, or write another offset")
    if ("firmware", "loader") in defaults and firmware is not None and firmware.nvram_template:
        summary = "it goes with a loader, and without one libvirt selects both"
        remedy = "write `nvram_template: !default` too"
        yield Contradiction(("firmware", "nvram_template"), summary, remedy)
    yield from _disks(domain, defaults)


def _memory(domain: Domain, defaults: Defaults) -> Iterator[Contradiction]:
    slots, whole = ("memory", "slots") in defaults, ("memory",) in defaults
    if slots and domain.memory is not None and domain.memory.hotplug_maximum is not None:
        summary = "it is of memory in slots, and a new domain has none"
        remedy = "take it out: it goes with the slots"
        yield Contradiction(("memory", "hotplug_maximum"), summary, remedy)
    if (slots or whole) and domain.memory_devices:
        summary = "they need `memory.slots`, and a new domain has none"
        yield Contradiction(("memory_devices",), summary, "write how many slots there are")
    if whole and domain.numa is not None and domain.numa.cells:
        summary = "the memory is the sum of its cells, and not what a new domain has"
        yield Contradiction(("memory",), summary, "write the sum")


def _disks(domain: Domain, defaults: Defaults) -> Iterator[Contradiction]:
    """Only drives can be empty; on virtio there are none."""
    for name, disk in (domain.disks or {}).items():
        fixed = disk.device in ("disk", "lun") or (disk.device is None and name.startswith("vd"))
        given = next((it for it in SOURCES if ("disks", name, it) in defaults), None)
        kept = any(getattr(disk, it) is not None for it in SOURCES)
        if fixed and given is not None and not kept:
            summary = "a new disk has none, and only drives (`device: cdrom`) can be empty"
            yield Contradiction(("disks", name, given), summary, "name one, or take the disk out")


def of_network(network: Network, defaults: Defaults) -> Iterator[Contradiction]:
    """What a network says that leans on what it gives back."""
    if not network.ips and not {("forward",), ("forward", "mode")}.isdisjoint(defaults):
        summary = "a new network is one with nat, which needs an address"
        yield Contradiction(("forward",), summary, "write its `ips`, or a mode")
