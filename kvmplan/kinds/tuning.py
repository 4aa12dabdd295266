"""Limits and weights of a domain on its host: the only place where their fields are declared.

https://libvirt.org/formatdomain.html, "CPU Tuning", "Memory Tuning", "Block I/O Tuning" and, of
disks, "iotune". All are set while the guest runs; the fields of a group go in one call, because
libvirt checks them against each other. Zero and "none" differ: what cannot be taken back from a
running guest waits for its next start.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.markers import Items, On, Pairs, Same, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import Situation, live, next_boot, when
from kvmplan.mapping.types import CpuSet, HostPath, Size

Rate = Annotated[int | None, Field(ge=0)]
Quota = Annotated[int | None, Field(ge=-1)]
"""Microseconds in each period; -1 for no limit."""
Period = Annotated[int | None, Field(ge=1000, le=1_000_000)]
"""Microseconds."""


def _whole_kib(live_value: Any, wanted: Any, _: Any) -> bool:
    return isinstance(wanted, int) and bool(live_value == -(-wanted // 1024) * 1024)


WHOLE_KIB = Same(_whole_kib)
"""Libvirt keeps sizes of memory in whole KiB, rounded up."""


def _given(situation: Situation) -> bool:
    return situation.after is not None


def _unless_gone(verb: Verb) -> On:
    return On(when(_given, live(verb), next_boot("a running guest keeps it")))


def _has_vcpu(situation: Situation) -> bool:
    """Whether the running domain has the vCPU that a path ends at."""
    maximum = situation.at(situation.running, "vcpus", "maximum")
    number = situation.path[-1]
    return (
        situation.after is not None
        and number.isdigit()
        and (maximum is None or int(number) < maximum)
    )


def _has_iothread(situation: Situation) -> bool:
    count = situation.at(situation.running, "iothreads")
    number = situation.path[-1]
    return situation.after is not None and number.isdigit() and int(number) <= (count or 0)


def _serves(situation: Situation) -> bool:
    """Whether a thread that goes has a disk in the running document: libvirt refuses that (8)."""
    if situation.document is None:
        return False
    root = parse_to_read(situation.document)
    listed = [int(node.get("id") or 0) for node in root.iterfind("iothreadids/iothread")]
    threads = sorted(listed) or range(1, int(root.findtext("iothreads") or 0) + 1)
    going = {str(number) for number in threads[situation.after :]}
    used = (node.get("iothread") for node in root.iterfind("devices/*/driver[@iothread]"))
    return not going.isdisjoint(used)


DISK_LIMITS = On(live(Verb.SET_DISK_LIMITS))
CPU_TUNING = _unless_gone(Verb.SET_CPU_TUNING)
MEMORY_LIMITS = On(live(Verb.SET_MEMORY_LIMITS))
BLOCK_TUNING = _unless_gone(Verb.SET_BLOCK_TUNING)
IOTHREADS = On(
    when(
        _given,
        when(
            _serves,
            next_boot("a disk of the running guest is on a thread that goes"),
            live(Verb.SET_IOTHREADS),
        ),
        next_boot("a running guest keeps it"),
    )
)
VCPU_PINNING = On(
    when(
        _has_vcpu,
        live(Verb.SET_PINNING, thread="vcpu"),
        next_boot("the running guest has no such CPU, or keeps its place"),
    )
)
IOTHREAD_PINNING = On(
    when(
        _has_iothread,
        live(Verb.SET_PINNING, thread="iothread"),
        next_boot("the running guest has no such thread, or keeps its place"),
    )
)
EMULATOR_PINNING = On(
    when(_given, live(Verb.SET_PINNING, thread="emulator"), next_boot("a running guest keeps it"))
)


class DiskLimits(Mapped):
    """Limits of a disk's throughput: in total, or of reads and writes apart. Zero is no limit."""

    total_bytes_sec: Annotated[Rate, Xml("./total_bytes_sec", omitted=0)] = None
    """Bytes a second, both ways."""
    read_bytes_sec: Annotated[Rate, Xml("./read_bytes_sec", omitted=0)] = None
    """Bytes read a second."""
    write_bytes_sec: Annotated[Rate, Xml("./write_bytes_sec", omitted=0)] = None
    """Bytes written a second."""
    total_iops_sec: Annotated[Rate, Xml("./total_iops_sec", omitted=0)] = None
    """Requests a second, both ways."""
    read_iops_sec: Annotated[Rate, Xml("./read_iops_sec", omitted=0)] = None
    """Reads a second."""
    write_iops_sec: Annotated[Rate, Xml("./write_iops_sec", omitted=0)] = None
    """Writes a second."""
    total_bytes_sec_max: Annotated[Rate, Xml("./total_bytes_sec_max", omitted=0)] = None
    """Bytes a second in a burst, both ways."""
    read_bytes_sec_max: Annotated[Rate, Xml("./read_bytes_sec_max", omitted=0)] = None
    """Bytes read a second in a burst."""
    write_bytes_sec_max: Annotated[Rate, Xml("./write_bytes_sec_max", omitted=0)] = None
    """Bytes written a second in a burst."""
    total_iops_sec_max: Annotated[Rate, Xml("./total_iops_sec_max", omitted=0)] = None
    """Requests a second in a burst, both ways."""
    read_iops_sec_max: Annotated[Rate, Xml("./read_iops_sec_max", omitted=0)] = None
    """Reads a second in a burst."""
    write_iops_sec_max: Annotated[Rate, Xml("./write_iops_sec_max", omitted=0)] = None
    """Writes a second in a burst."""
    size_iops_sec: Annotated[Rate, Xml("./size_iops_sec", omitted=0)] = None
    """Bytes that count as one request."""


class CpuTune(Mapped):
    """The domain's share of the host's CPUs."""

    shares: Annotated[int | None, Field(ge=1), Xml("./shares")] = None
    """Its weight beside other domains."""
    period: Annotated[Period, Xml("./period")] = None
    """The period that `quota` is of, in microseconds."""
    quota: Annotated[Quota, Xml("./quota")] = None
    """Microseconds that each vCPU may run in a period; -1 for no limit."""
    global_period: Annotated[Period, Xml("./global_period")] = None
    """The period that `global_quota` is of, in microseconds."""
    global_quota: Annotated[Quota, Xml("./global_quota")] = None
    """Microseconds that the whole domain may run in a period; -1 for no limit."""
    emulator_period: Annotated[Period, Xml("./emulator_period")] = None
    """The period that `emulator_quota` is of, in microseconds."""
    emulator_quota: Annotated[Quota, Xml("./emulator_quota")] = None
    """Microseconds that QEMU itself may run in a period; -1 for no limit."""
    iothread_period: Annotated[Period, Xml("./iothread_period")] = None
    """The period that `iothread_quota` is of, in microseconds."""
    iothread_quota: Annotated[Quota, Xml("./iothread_quota")] = None
    """Microseconds that each I/O thread may run in a period; -1 for no limit."""
    emulatorpin: Annotated[CpuSet | None, Xml("./emulatorpin/@cpuset"), EMULATOR_PINNING] = None
    """Which CPUs of the host QEMU itself may run on."""
    iothreadpin: Annotated[
        dict[str, CpuSet] | None,
        Pairs("./iothreadpin", key="@iothread", value="@cpuset"),
        IOTHREAD_PINNING,
    ] = None
    """Which CPUs of the host each I/O thread may run on: ``{"1": "0-3"}``."""


class MemTune(Mapped):
    """Limits of the memory that the domain's processes may take of the host."""

    hard_limit: Annotated[Size | None, Field(gt=0), Xml("./hard_limit", unit="KiB"), WHOLE_KIB] = (
        None
    )
    """What it can never exceed: a guest that tries is killed."""
    soft_limit: Annotated[Size | None, Field(gt=0), Xml("./soft_limit", unit="KiB"), WHOLE_KIB] = (
        None
    )
    """What it is brought back to while memory is scarce."""
    swap_hard_limit: Annotated[
        Size | None, Field(gt=0), Xml("./swap_hard_limit", unit="KiB"), WHOLE_KIB
    ] = None
    """What memory and swap together can never exceed."""


class BlockDevice(Mapped):
    """Limits of the domain's I/O on one device of the host."""

    path: Annotated[HostPath, Xml("./path")]
    """The host's device."""
    weight: Annotated[int | None, Field(ge=1), Xml("./weight")] = None
    """Its weight there beside other domains."""
    read_bytes_sec: Annotated[Rate, Xml("./read_bytes_sec", omitted=0)] = None
    """Bytes read a second; zero is no limit."""
    write_bytes_sec: Annotated[Rate, Xml("./write_bytes_sec", omitted=0)] = None
    """Bytes written a second; zero is no limit."""
    read_iops_sec: Annotated[Rate, Xml("./read_iops_sec", omitted=0)] = None
    """Reads a second; zero is no limit."""
    write_iops_sec: Annotated[Rate, Xml("./write_iops_sec", omitted=0)] = None
    """Writes a second; zero is no limit."""


class BlockTune(Mapped):
    """The domain's share of the host's disks."""

    weight: Annotated[int | None, Field(ge=1), Xml("./weight")] = None
    """Its weight beside other domains."""
    devices: Annotated[dict[str, BlockDevice] | None, Items("./device", key=("path",))] = None
    """By device of the host."""
