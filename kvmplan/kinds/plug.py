"""How devices join a running guest and leave it: one strategy, whatever the device is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kvmplan.kinds.ports import NO_PORT, no_port_left
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.markers import On
from kvmplan.mapping.strategy import Situation, live, next_boot, plugged, unplugged, when


@dataclass(frozen=True, slots=True)
class Hot:
    """When a device is one that a running guest takes, and what is said of one that is not."""

    test: Callable[[Situation], bool]
    reason: str


def plug(joins: Hot | None = None, leaves: Hot | None = None) -> On:
    """A device that is plugged in and out, and otherwise changed for the next boot only.

    Args:
        joins: which devices can; by default all, as long as there is a port.
        leaves: which devices can; by default all.
    """
    attach = when(no_port_left, next_boot(NO_PORT), live(Verb.ATTACH))
    detach = live(Verb.DETACH)
    if joins is not None:
        attach = when(joins.test, attach, next_boot(joins.reason))
    if leaves is not None:
        detach = when(leaves.test, detach, next_boot(leaves.reason))
    return On(
        next_boot("libvirt changes this for the next boot only"),
        added=when(plugged, next_boot("the running guest has it"), attach),
        removed=when(unplugged, next_boot("the running guest has it no more"), detach),
    )


PLUG = plug()
