"""CPUs and memory of a domain: the only place where their fields are declared.

https://libvirt.org/formatdomain.html, from "CPU Allocation" to "CPU model and topology".
Both grow live up to the running maximum; a maximum is fixed while its guest runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from kvmplan.kinds.tuning import VCPU_PINNING, WHOLE_KIB
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.markers import (
    AtLeast,
    Group,
    Items,
    NoDefault,
    NotRunning,
    On,
    Pairs,
    Same,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import Situation, live, next_boot, when
from kvmplan.mapping.types import CpuSet, Number, Size

CPU_MODES = ("host-passthrough", "host-model", "maximum", "custom")
KIB, MIB = 2**10, 2**20
MODULES = "./devices/memory/target/size"
"""Libvirt counts memory devices in; specs do not, so that plugging one in changes nothing else."""


def _same_memory(live_value: Any, wanted: Any, _: Any) -> bool:
    """Libvirt keeps memory in whole KiB, and gives a running guest whole MiB, both rounded up."""
    return (
        isinstance(live_value, int)
        and isinstance(wanted, int)
        and live_value in (-(-wanted // KIB) * KIB, -(-wanted // MIB) * MIB)
    )


def _within_maximum(group: str) -> Any:
    def test(situation: Situation) -> bool:
        maximum = situation.at(situation.running, group, "maximum")
        return _are_numbers(maximum, situation.after) and situation.after <= maximum

    return test


def _grows(situation: Situation) -> bool:
    running = situation.at(situation.running, *situation.path)
    return _are_numbers(running, situation.after) and situation.after >= running


def _are_numbers(*values: Any) -> bool:
    """Whether both are known: what libvirt says of a live object may be no number at all."""
    return all(isinstance(value, int) for value in values)


VCPUS = On(
    when(
        _within_maximum("vcpus"),
        when(
            _grows,
            live(Verb.SET_VCPUS),
            next_boot("guests rarely give CPUs back while they run"),
        ),
        next_boot("above the running maximum"),
    )
)
PINNING = (
    "./devices/hostdev[@type='pci']",
    "./devices/hostdev[@type='mdev']",
    "./devices/interface[@type='hostdev']",
    "./devices/disk[@type='nvme']",
)
"""What reaches into the guest's memory by itself (VFIO): all of it is pinned, and stays."""


def _is_pinned(situation: Situation) -> bool:
    if situation.document is None:
        return False
    root = parse_to_read(situation.document)
    return any(root.find(path) is not None for path in PINNING)


def _has_no_balloon(situation: Situation) -> bool:
    if situation.document is None:
        return False
    balloon = parse_to_read(situation.document).find("./devices/memballoon")
    return balloon is None or balloon.get("model") == "none"


MEMORY = On(
    when(
        _within_maximum("memory"),
        when(
            _is_pinned,
            next_boot("a device of the host pins the guest's memory"),
            when(
                _has_no_balloon,
                next_boot("the running guest has no balloon"),
                live(Verb.SET_MEMORY),
            ),
        ),
        next_boot("above the running maximum"),
    )
)


WHOLE = "a topology is whole; `topology: !default` takes it out"


class Topology(Mapped):
    """How the guest sees its CPUs arranged. The product is the maximum of vcpus."""

    sockets: Annotated[
        int | None, Field(ge=1), Xml("./cpu/topology/@sockets"), NoDefault(WHOLE)
    ] = None
    """Sockets."""
    dies: Annotated[int | None, Field(ge=1), Xml("./cpu/topology/@dies"), NoDefault(WHOLE)] = None
    """Dies in each socket."""
    cores: Annotated[int | None, Field(ge=1), Xml("./cpu/topology/@cores"), NoDefault(WHOLE)] = None
    """Cores in each die."""
    threads: Annotated[
        int | None, Field(ge=1), Xml("./cpu/topology/@threads"), NoDefault(WHOLE)
    ] = None
    """Threads of each core."""


class Vcpus(Mapped):
    """Virtual CPUs."""

    scalar: ClassVar[str] = "current"
    maximum: Annotated[
        int | None,
        Field(ge=1, le=4096),
        Xml("./vcpu"),
        AtLeast("current"),
        On(next_boot("the maximum is fixed while the guest runs")),
    ] = None
    """How many it can have while it runs. Equal to `current` at birth, raised when too low."""
    current: Annotated[
        int | None, Field(ge=1, le=4096), Xml("./vcpu/@current", absent="./vcpu"), VCPUS
    ] = None
    """How many are plugged in."""
    topology: Annotated[Topology | None, Group(".")] = None
    """How the guest sees them arranged."""
    pinning: Annotated[
        dict[str, CpuSet] | None,
        Pairs("./cputune/vcpupin", key="@vcpu", value="@cpuset"),
        VCPU_PINNING,
    ] = None
    """Which CPUs of the host each may run on: ``{"0": "0-3"}``."""


class Memory(Mapped):
    """Memory."""

    scalar: ClassVar[str] = "current"
    maximum: Annotated[
        Size | None,
        Field(gt=0),
        Xml("./memory", unit="KiB", beside=MODULES),
        Same(_same_memory),
        AtLeast("current"),
        On(next_boot("the maximum is fixed while the guest runs")),
    ] = None
    """How much it can have while it runs. Equal to `current` at birth, raised when too low."""
    current: Annotated[
        Size | None,
        Field(gt=0),
        Xml("./currentMemory", unit="KiB", absent="./memory", beside=MODULES),
        Same(_same_memory),
        MEMORY,
    ] = None
    """How much it has, by its balloon. Memory devices come on top of it."""
    slots: Annotated[int | None, Field(ge=1), Xml("./maxMemory/@slots", removes="./maxMemory")] = (
        None
    )
    """How many memory devices can be plugged in."""
    hotplug_maximum: Annotated[
        Size | None,
        Field(gt=0),
        Xml("./maxMemory", unit="KiB"),
        WHOLE_KIB,
        NoDefault("slots need it; `slots: !default` takes out both"),
    ] = None
    """How much it can have with all its memory devices."""


class NumaCell(Mapped):
    """A NUMA cell, known by its number."""

    id: Annotated[Number, Xml("./@id")]
    """Its number."""
    cpus: Annotated[
        CpuSet | None, Xml("./@cpus"), NoDefault("libvirt gives a new cell what is left over")
    ] = None
    """The guest's CPUs in it."""
    memory: Annotated[
        Size | None,
        Field(gt=0),
        Xml("./@memory", unit="KiB"),
        WHOLE_KIB,
        NoDefault("a cell has some memory"),
    ] = None
    """Its part of the guest's memory. The maximum of memory is their sum."""


class Numa(Mapped):
    """How CPUs and memory belong together, as the guest sees it."""

    cells: Annotated[
        dict[str, NumaCell] | None, Items("./cpu/numa/cell", key=("id",)), NotRunning()
    ] = None
    """Cells, by number."""


class CpuCache(Mapped):
    """The CPU cache that the guest sees."""

    scalar: ClassVar[str] = "mode"
    mode: Annotated[
        Literal["emulate", "passthrough", "disable"] | None, Xml("./cpu/cache/@mode")
    ] = None
    """Where its description comes from."""


class Cpu(Mapped):
    """The CPU that the guest sees."""

    scalar: ClassVar[str] = "mode"
    mode: Annotated[
        Literal["host-passthrough", "host-model", "maximum", "custom"] | None,
        Xml(
            "./cpu/@mode",
            clears=("./cpu/model", "./cpu/@match", "./cpu/@check", "./cpu/@migratable"),
        ),
        NotRunning(),
    ] = None
    """``custom`` for a model by name. Born as the host's own where it is accelerated."""
    model: Annotated[
        str | None,
        Xml("./cpu/model"),
        NotRunning(),
        NoDefault("a custom CPU is of some model; `cpu: !default` is the one that a new guest has"),
    ] = None
    """A model's name, such as ``EPYC``."""
    features: Annotated[
        dict[str, Literal["force", "require", "optional", "disable", "forbid"]] | None,
        Pairs("./cpu/feature", key="@name", value="@policy"),
        NotRunning(),
    ] = None
    """Features to add or take away."""
    cache: Annotated[CpuCache | None, Group("."), NotRunning()] = None
    """Its cache."""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """A mode, or a model by name."""
        if isinstance(value, str):
            return {"mode": value} if value in CPU_MODES else {"mode": "custom", "model": value}
        return value

    @model_validator(mode="before")
    @classmethod
    def _model_is_custom(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and value.get("model") is not None:
            return {"mode": "custom", **value}
        return value
