"""Precedence: which live changes of an object come before its redefine.

libvirt checks every document that it is given as a whole. While changes are carried out one after
another, each document in between must pass, too: no limit below what it limits, nothing named that
is not there, nothing twice that may be there once, nothing in a section that is switched off.
"""

from __future__ import annotations

from collections.abc import Iterable

from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.model import Mapped, chain
from kvmplan.plan.change import FieldChange
from kvmplan.plan.members import is_member


def makes_way(model: type[Mapped], change: FieldChange, waiting: Iterable[FieldChange]) -> bool:
    """Whether a live change is made before the redefine that carries out those that wait.

    It is written down for good by its own verb, so the redefine finds it done; what libvirt refuses
    of it is not written at all, and tried again.
    """
    if _adds_iothreads(change):
        return True
    return any(_is_gone_before(model, change) or _limits(model, later, change) for later in waiting)


def _adds_iothreads(change: FieldChange) -> bool:
    """A disk names its I/O thread: libvirt refuses one that is not there (67)."""
    return change.verb is Verb.SET_IOTHREADS and change.after > (change.before or 0)


def _is_gone_before(model: type[Mapped], change: FieldChange) -> bool:
    """What goes gives up what another can have then: its turn at boot, its slot, an address.

    A network that is to serve no DNS must have no names by then (27).
    """
    leaves = change.verb is Verb.UPDATE_NETWORK and change.after is None
    return change.verb is Verb.DETACH or (leaves and is_member(model, change.path))


def _limits(model: type[Mapped], limit: FieldChange, change: FieldChange) -> bool:
    """Whether a limit falls below what a field still is: that must have gone down by then."""
    follows = chain(model, limit.path)[-1].at_least
    if follows is None or change.path != (*limit.path[:-1], follows.sibling):
        return False
    values = (limit.after, change.before)
    return all(isinstance(value, int) for value in values) and limit.after < change.before
