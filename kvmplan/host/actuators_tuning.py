"""Verbs that tune a domain while it runs: limits of disks, CPUs and memory, threads, pinning.

Most of these calls take one scope at a time, in Python at least (error 8 for both): the running
guest comes first, so that what it refuses is not written down either.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import libvirt
from lxml import etree

from kvmplan.host.verb import Target, flags, verb
from kvmplan.kinds.verbs import Verb

UNLIMITED = 2**53 - 1
"""VIR_DOMAIN_MEMORY_PARAM_UNLIMITED, in KiB, which the Python binding does not name."""
CPU_NAMES = {"shares": "cpu_shares", "period": "vcpu_period", "quota": "vcpu_quota"}
"""What libvirt's calls name otherwise than its documents."""
EVENTS = {
    "on_poweroff": libvirt.VIR_DOMAIN_LIFECYCLE_POWEROFF,
    "on_reboot": libvirt.VIR_DOMAIN_LIFECYCLE_REBOOT,
    "on_crash": libvirt.VIR_DOMAIN_LIFECYCLE_CRASH,
}
ACTIONS = {
    "destroy": libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY,
    "restart": libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_RESTART,
    "rename-restart": libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME,
    "preserve": libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE,
    "coredump-destroy": libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_DESTROY,
    "coredump-restart": libvirt.VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART,
}

Values = Mapping[str, Any]


def _each(where: int) -> Iterator[int]:
    """The scopes of a flag, the running one first."""
    for scope in (libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG):
        if where & scope:
            yield scope


@verb(Verb.SET_DISK_LIMITS)
def set_disk_limits(target: Target, *, disk: str, values: Values, scope: str) -> None:
    """Limit a disk's throughput; what is not named keeps its limit."""
    domain = target.find()
    # Zero is no limit; a name is only ever given.
    given = {name: 0 if value is None else value for name, value in values.items()}
    domain.setBlockIoTune(disk, given, flags(domain, scope))


@verb(Verb.SET_CPU_TUNING)
def set_cpu_tuning(target: Target, *, values: Values, scope: str) -> None:
    """Set shares, periods and quotas."""
    domain = target.find()
    given = {CPU_NAMES.get(name, name): value for name, value in values.items()}
    for where in _each(flags(domain, scope)):
        domain.setSchedulerParametersFlags(given, where)


@verb(Verb.SET_MEMORY_LIMITS)
def set_memory_limits(target: Target, *, values: Values, scope: str) -> None:
    """Limit the memory that the domain's processes may take of the host."""
    domain = target.find()
    given = {name: UNLIMITED if size is None else -(-size // 1024) for name, size in values.items()}
    for where in _each(flags(domain, scope)):
        domain.setMemoryParameters(given, where)


@verb(Verb.SET_BLOCK_TUNING)
def set_block_tuning(
    target: Target, *, values: Values, devices: Mapping[str, Values], scope: str
) -> None:
    """Weigh and limit the domain's I/O on the host's devices."""
    domain = target.find()
    given = dict(values)
    for name in sorted({name for limits in devices.values() for name in limits}):
        limits = (f"{path},{own[name]}" for path, own in devices.items() if name in own)
        given[f"device_{name}"] = ",".join(limits)
    for where in _each(flags(domain, scope)):
        domain.setBlkioParameters(given, where)


@verb(Verb.SET_IOTHREADS)
def set_iothreads(target: Target, *, count: int, scope: str) -> None:
    """Make I/O threads, or end the last ones, until there are so many."""
    domain = target.find()
    for where in _each(flags(domain, scope)):
        have = _iothreads(domain, where)
        free = (number for number in itertools.count(1) if number not in have)
        for number in itertools.islice(free, max(0, count - len(have))):
            domain.addIOThread(number, where)
        for number in sorted(have, reverse=True)[: max(0, len(have) - count)]:
            domain.delIOThread(number, where)


def _iothreads(domain: Any, where: int) -> set[int]:
    """The numbers of the I/O threads; a persistent document that lists none has 1 to N."""
    inactive: int = libvirt.VIR_DOMAIN_XML_INACTIVE
    document = etree.fromstring(
        domain.XMLDesc(inactive if where & libvirt.VIR_DOMAIN_AFFECT_CONFIG else 0).encode()
    )
    listed = {int(node.get("id", "0")) for node in document.iterfind("iothreadids/iothread")}
    return listed or set(range(1, int(document.findtext("iothreads") or 0) + 1))


@verb(Verb.SET_PINNING)
def set_pinning(target: Target, *, thread: str, cpus: str, scope: str) -> None:
    """Let one of the domain's threads run on certain CPUs of the host only."""
    domain = target.find()
    kind, _, number = thread.partition(" ")
    chosen = _cpu_map(target.connection, cpus)
    where = flags(domain, scope)
    pin: dict[str, Callable[[], Any]] = {
        "vcpu": lambda: domain.pinVcpuFlags(int(number), chosen, where),
        "emulator": lambda: domain.pinEmulator(chosen, where),
        "iothread": lambda: domain.pinIOThread(int(number), chosen, where),
    }
    pin[kind]()


def _cpu_map(connection: Any, cpus: str) -> tuple[bool, ...]:
    wanted: set[int] = set()
    for span in cpus.split(","):
        first, _, last = span.partition("-")
        wanted |= set(range(int(first), int(last or first) + 1))
    total: int = connection.getCPUMap()[0]
    return tuple(number in wanted for number in range(max(total, max(wanted) + 1)))


@verb(Verb.SET_LIFECYCLE)
def set_lifecycle(target: Target, *, event: str, action: str, scope: str) -> None:
    """Say what becomes of the domain when its guest goes down."""
    domain = target.find()
    domain.setLifecycleAction(EVENTS[event], ACTIONS[action], flags(domain, scope))
