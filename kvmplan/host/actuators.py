"""Actuators: the one way by which anything on a host is changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvmplan.address import Address
from kvmplan.host import (  # noqa: F401  (each registers its actuators)
    actuators_device,
    actuators_domain,
    actuators_guest,
    actuators_network,
    actuators_object,
    actuators_outage,
    actuators_rename,
    actuators_storage,
    actuators_tuning,
)
from kvmplan.host.errors import translating
from kvmplan.host.verb import ACTUATORS, Target
from kvmplan.kinds.verbs import Scope, Verb

__all__ = ["ACTUATORS", "perform"]


def perform(connection: Any, verb: Verb, address: Address, arguments: Mapping[str, Any]) -> Any:
    """Do one thing to one object, and wait until it is so.

    Args:
        connection: where.
        verb: what.
        address: to what.
        arguments: the verb's arguments, as `Verb` lists them.

    Returns:
        The handle of a domain that was defined.

    Raises:
        HostError: it is not done, or it is unknown (`ConnectionLost`, `TimedOut`).
    """
    live = arguments.get("scope") in (Scope.LIVE, Scope.BOTH)
    with translating(f"{verb} {address.short}", live=live):
        return ACTUATORS[verb](Target(connection, address), **arguments)
