"""A host of libvirt's: the port that plan and apply see, implemented."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.apply.port import HostError, Lock
from kvmplan.host import claims as claim_store
from kvmplan.host import lock as lock_store
from kvmplan.host.actuators import perform
from kvmplan.host.connection import Connections
from kvmplan.host.domains import record_domain
from kvmplan.host.errors import translating
from kvmplan.host.facts import read_facts
from kvmplan.host.inspect import complete_inventory, take_inventory
from kvmplan.host.stores import record_object, record_volume
from kvmplan.inventory import Claims, HostFacts, Inventory, LockInfo, Record, Wanted
from kvmplan.kinds.verbs import Verb


class LibvirtHost:
    """One host of a stack. Any thread may call any method; they raise `HostError` only."""

    def __init__(self, name: str, connections: Connections) -> None:
        self._name, self._connections = name, connections

    @property
    def name(self) -> str:
        """The host's name in the stack."""
        return self._name

    @property
    def uri(self) -> str:
        """Where it was found."""
        return self._connections.uri

    @property
    def connection(self) -> Any:
        """A connection, for what the port does not offer; its errors are libvirt's own."""
        return self._connections.main

    @cached_property
    def facts(self) -> HostFacts:
        """What the host is, as it was when first asked."""
        return read_facts(self._connections)

    def inventory(self, wanted: Wanted) -> Inventory:
        """List everything, read what is wanted or claimed."""
        with translating("reading the inventory"):
            return take_inventory(self._name, self._connections, lambda: self.facts, wanted)

    def complete(self, inventory: Inventory) -> Inventory:
        """The inventory with all domains of the host read, for who uses what."""
        with translating("reading all domains"):
            return complete_inventory(inventory, self._connections)

    def record(self, address: Address, *, secure: bool = False) -> Record | None:
        """Read one object now; None if it does not exist.

        `secure` is ignored on a read-only connection: the record says what it is.
        """
        connection = self._connections.next()
        with translating(f"reading {address.short}"):
            match address.kind:
                case Kind.DOMAIN:
                    secure = secure and not self._connections.read_only
                    return record_domain(connection, address, secure=secure)
                case Kind.VOLUME:
                    return record_volume(connection, address)
                case _:
                    return record_object(connection, address)

    def perform(self, verb: Verb, address: Address, arguments: Mapping[str, Any]) -> None:
        """Do one thing, and wait until it is so."""
        perform(self._connections.next(), verb, address, arguments)

    def lock(self, stack_uid: str, operation: str, timeout: float) -> AbstractContextManager[Lock]:
        """Hold the stack's lock on this host. Entering raises `LockHeld` if another run has it."""
        self._need_secrets("taking the lock")
        return lock_store.HeldLock(self._connections.next, stack_uid, operation, timeout)

    def force_unlock(self, lock_id: str) -> bool:
        """Remove the lock with this id; False if there is none."""
        with translating("removing the lock"):
            return self.facts.has_secrets and lock_store.force(self._connections.main, lock_id)

    def locks(self) -> tuple[LockInfo, ...]:
        """The locks held on this host, of any stack."""
        with translating("reading the locks"):
            return lock_store.held(self._connections.main) if self.facts.has_secrets else ()

    def write_claims(self, claims: Claims) -> None:
        """Replace this stack's claims on this host; empty ones are removed."""
        self._need_secrets("writing claims")
        with translating("writing claims"):
            claim_store.write(self._connections.main, self.facts.uuid, claims)

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()

    def _need_secrets(self, doing: str) -> None:
        if not self.facts.has_secrets:
            what = "this host's libvirt offers no secrets, which hold the lock and the claims"
            raise HostError(what, doing=doing)
