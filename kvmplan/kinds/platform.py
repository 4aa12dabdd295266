"""The machine beneath a domain's devices: features, clock, events.

The only place where their fields are declared.

https://libvirt.org/formatdomain.html, "Hypervisor features", "Time keeping", "Events configuration"
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.codecs import ON_OFF, YES_NO
from kvmplan.mapping.markers import Group, Items, NotRunning, On, Presence, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import Situation, live, next_boot, when


class Hyperv(Mapped):
    """What Windows wants of a hypervisor. Not to be had where guests are emulated."""

    relaxed: Annotated[bool | None, Xml("./relaxed/@state", codec=ON_OFF)] = None
    """Timers that are late are no errors."""
    vapic: Annotated[bool | None, Xml("./vapic/@state", codec=ON_OFF)] = None
    """A virtual interrupt controller."""
    spinlocks: Annotated[
        int | None,
        Field(ge=4095),
        Xml("./spinlocks[@state='on']/@retries", removes="./spinlocks"),
    ] = None
    """How often a lock is tried before the hypervisor is told."""
    vpindex: Annotated[bool | None, Xml("./vpindex/@state", codec=ON_OFF)] = None
    """Numbers of virtual processors."""
    synic: Annotated[bool | None, Xml("./synic/@state", codec=ON_OFF)] = None
    """A synthetic interrupt controller."""
    stimer: Annotated[bool | None, Xml("./stimer/@state", codec=ON_OFF)] = None
    """Synthetic timers."""
    reset: Annotated[bool | None, Xml("./reset/@state", codec=ON_OFF)] = None
    """The hypervisor's way to reset."""
    frequencies: Annotated[bool | None, Xml("./frequencies/@state", codec=ON_OFF)] = None
    """Frequencies of timers, told."""


class Features(Mapped):
    """What the hypervisor offers."""

    acpi: Annotated[bool | None, Presence("./acpi")] = None
    """Power management; without it no guest shuts down when asked. Born with it."""
    apic: Annotated[bool | None, Presence("./apic")] = None
    """A programmable interrupt controller."""
    pae: Annotated[bool | None, Presence("./pae")] = None
    """Physical addresses of more than 32 bits, on 32-bit guests."""
    hyperv: Annotated[Hyperv | None, Group("./hyperv")] = None
    """What Windows wants of a hypervisor."""
    kvm_hidden: Annotated[bool | None, Xml("./kvm/hidden/@state", codec=ON_OFF)] = None
    """KVM does not show itself to the guest."""
    pmu: Annotated[bool | None, Xml("./pmu/@state", codec=ON_OFF)] = None
    """A performance monitoring unit."""
    vmport: Annotated[bool | None, Xml("./vmport/@state", codec=ON_OFF)] = None
    """VMware's I/O port."""
    smm: Annotated[bool | None, Xml("./smm/@state", codec=ON_OFF), NotRunning()] = None
    """System management mode, which secure boot needs."""


class Timer(Mapped):
    """A timer, known by its name."""

    name: Annotated[
        Literal["platform", "hpet", "kvmclock", "pit", "rtc", "tsc", "hypervclock", "armvtimer"],
        Xml("./@name"),
    ]
    """Which."""
    present: Annotated[bool | None, Xml("./@present", codec=YES_NO)] = None
    """Whether the guest has it."""
    tickpolicy: Annotated[
        Literal["delay", "catchup", "merge", "discard"] | None, Xml("./@tickpolicy")
    ] = None
    """What becomes of ticks that were missed."""


class Clock(Mapped):
    """The guest's clock."""

    offset: Annotated[
        Literal["utc", "localtime", "timezone", "variable", "absolute"] | None,
        Xml("./clock/@offset", clears=("./clock/@timezone", "./clock/@basis", "./clock/@start")),
        NotRunning(),
    ] = None
    """What it starts from; Windows wants ``localtime``. Born as ``utc``."""
    timezone: Annotated[str | None, Xml("./clock/@timezone")] = None
    """A time zone, with ``offset: timezone``."""
    timers: Annotated[
        dict[str, Timer] | None, Items("./clock/timer", key=("name",), furnished=True)
    ] = None
    """Timers, by name, beside those that a guest is born with."""


def _at_once(situation: Situation) -> bool:
    return situation.after is not None


def _event(name: str) -> On:
    return On(
        when(
            _at_once,
            live(Verb.SET_LIFECYCLE, event=name),
            next_boot("a running guest keeps it"),
        )
    )


class Events(Mapped):
    """What becomes of the domain when its guest goes down."""

    on_poweroff: Annotated[
        Literal["destroy", "restart", "preserve", "rename-restart"] | None,
        Xml("./on_poweroff", omitted="destroy"),
        _event("on_poweroff"),
    ] = None
    """When the guest powers off. Born as ``destroy``: the domain is off then."""
    on_reboot: Annotated[
        Literal["destroy", "restart", "preserve", "rename-restart"] | None,
        Xml("./on_reboot", omitted="restart"),
        _event("on_reboot"),
    ] = None
    """When the guest reboots. Born as ``restart``."""
    on_crash: Annotated[
        Literal[
            "destroy",
            "restart",
            "preserve",
            "rename-restart",
            "coredump-destroy",
            "coredump-restart",
        ]
        | None,
        Xml("./on_crash", omitted="destroy"),
        _event("on_crash"),
    ] = None
    """When the guest crashes. Born as ``destroy``."""
    on_lockfailure: Annotated[
        Literal["poweroff", "restart", "pause", "ignore"] | None, Xml("./on_lockfailure")
    ] = None
    """When a lock on its disks is lost."""
