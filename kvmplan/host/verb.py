"""How an actuator is written: one function a verb, registered by its decorator, no decisions.

An actuator gets a `Target` and the verb's arguments (`kvmplan.kinds.verbs` lists them) by name. It
looks its object up by name, does one thing, and returns when that is so; doing what is done
already succeeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import libvirt

from kvmplan.address import Address, Kind
from kvmplan.host.errors import MISSING
from kvmplan.kinds.verbs import Scope, Verb

Actuator = Callable[..., Any]

ACTUATORS: dict[Verb, Actuator] = {}
"""Verb -> what carries it out."""


def verb(name: Verb) -> Callable[[Actuator], Actuator]:
    """Register an actuator."""

    def register(actuator: Actuator) -> Actuator:
        ACTUATORS[name] = actuator
        return actuator

    return register


@dataclass(frozen=True, slots=True)
class Target:
    """What a verb is done to."""

    connection: Any
    address: Address

    def find(self) -> Any:
        """Look it up by name, now; libvirtError if there is none."""
        connection, address = self.connection, self.address
        match address.kind:
            case Kind.NETWORK:
                return connection.networkLookupByName(address.name)
            case Kind.POOL:
                return connection.storagePoolLookupByName(address.name)
            case Kind.VOLUME:
                return volume(connection, address.name)
            case Kind.DOMAIN:
                return connection.lookupByName(address.name)

    def pool(self) -> Any:
        """The pool of a volume."""
        return self.connection.storagePoolLookupByName(self.address.pool)


def volume(connection: Any, name: str) -> Any:
    """A volume's handle, by ``POOL/NAME``; libvirtError if there is none."""
    pool, _, leaf = name.partition("/")
    return connection.storagePoolLookupByName(pool).storageVolLookupByName(leaf)


def code_of(error: libvirt.libvirtError) -> int:
    """The error's code."""
    code: int = error.get_error_code()
    return code


def is_missing(error: libvirt.libvirtError) -> bool:
    """Whether the error says that the object is not there."""
    return code_of(error) in MISSING


def flags(handle: Any, scope: str) -> int:
    """The flags for a scope: 1 running, 2 persistent; of a stopped object the latter only.

    The numbers are the same for domains and networks.
    """
    live: int = libvirt.VIR_DOMAIN_AFFECT_LIVE
    config: int = libvirt.VIR_DOMAIN_AFFECT_CONFIG
    match Scope(scope):
        case Scope.LIVE:
            return live
        case Scope.CONFIG:
            return config
        case Scope.BOTH:
            if not handle.isActive():
                return config
            return live | config if handle.isPersistent() else live
