"""Busy domains: what others do to them, as far as what was read in bulk already tells.

A running document names block copies and active commits, a pause its reason. Backups, other block
jobs and what goes on while the guest runs are seen only by asking the domain itself: apply does
that right before each step (`kvmplan.apply.port.Reader.jobs`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory, Record, State
from kvmplan.plan.change import Busy

PAUSING_JOBS = {
    "migration": "a migration",
    "save": "a save",
    "dump": "a core dump",
    "from-snapshot": "a snapshot being reverted to",
    "snapshot": "a snapshot",
    "starting-up": "its start",
    "postcopy": "a migration",
}
"""libvirt's reasons for a pause that ends with the job behind it, in words."""

BLOCK_JOBS = {
    "pull": "a block pull",
    "copy": "a block copy",
    "commit": "a block commit",
    "active-commit": "a block commit",
    "backup": "a backup",
}
"""libvirt's kinds of block jobs, in words."""


def block_job(kind: str, target: str) -> str:
    """A block job in words: ``a block copy of vda``."""
    return f"{BLOCK_JOBS.get(kind, 'a block job')} of {target}"


def jobs_in(record: Record) -> tuple[str, ...]:
    """What is at work on a domain, as its record tells; nothing for other kinds."""
    jobs = []
    if record.state is State.PAUSED and record.reason in PAUSING_JOBS:
        jobs.append(PAUSING_JOBS[record.reason])
    if record.running is not None and "<mirror" in record.running:
        from kvmplan.mapping.document import parse_to_read

        for disk in parse_to_read(record.running).iterfind("devices/disk"):
            mirror, target = disk.find("mirror"), disk.find("target")
            if mirror is not None and target is not None:
                jobs.append(block_job(mirror.get("job", "copy"), target.get("dev", "")))
    return tuple(jobs)


def busy(inventories: Mapping[str, Inventory], known: Collection[Address]) -> Iterator[Busy]:
    """The busy ones among the known domains."""
    for address in sorted(known):
        if address.kind is not Kind.DOMAIN:
            continue
        record = inventories[address.host].record(address)
        if record is not None and record.active and (jobs := jobs_in(record)):
            yield Busy(address, jobs)
