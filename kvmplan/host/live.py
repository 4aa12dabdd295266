"""A host of libvirt's: the port that plan and apply see, implemented."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from typing import Any, TypeVar

from kvmplan.address import Address, Kind
from kvmplan.apply.port import ConsoleTail, HostError, Lock, LockHeld
from kvmplan.host import claims as claim_store
from kvmplan.host import guests
from kvmplan.host import lock as lock_store
from kvmplan.host.actuators import perform
from kvmplan.host.arriving import Waiting
from kvmplan.host.connection import Connections
from kvmplan.host.domains import all_names, look_up, record_domain
from kvmplan.host.errors import translating
from kvmplan.host.facts import read_facts
from kvmplan.host.inspect import complete_inventory, take_inventory
from kvmplan.host.jobs import Jobs
from kvmplan.host.stores import record_object, record_volume
from kvmplan.host.threads import attended
from kvmplan.inventory import Claims, GuestAddress, HostFacts, Inventory, LockInfo, Record, Wanted
from kvmplan.kinds.verbs import Verb

T = TypeVar("T")


class LibvirtHost:
    """One host of a stack. Any thread may call any method; they raise `HostError` only."""

    def __init__(self, name: str, connections: Connections) -> None:
        self._name, self._connections = name, connections
        self._jobs = Jobs()
        self._encoder = claim_store.Encoder()
        self._defined: dict[Address, Any] = {}
        """Handles of domains that were defined and not read since."""

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
        return self._reading("reading facts", lambda: read_facts(self._connections))

    def inventory(self, wanted: Wanted, *, waiting: Waiting | None = None) -> Inventory:
        """List everything, read what is wanted or claimed.

        With `waiting`, documents are still being read when this returns: whoever asks for one waits
        for it, in what `waiting` makes, and gets the errors of reading there.
        """
        doing = "reading the inventory"

        @contextmanager
        def translated(outer: Waiting) -> Iterator[None]:
            with outer(), translating(doing):
                yield

        return self._reading(
            doing,
            lambda: take_inventory(
                self._name,
                self._connections,
                lambda: self.facts,
                wanted,
                None if waiting is None else partial(translated, waiting),
            ),
        )

    def complete(self, inventory: Inventory, pools: frozenset[str] = frozenset()) -> Inventory:
        """The inventory with all domains, and the volumes of `pools` or so named: who uses what."""
        return self._reading(
            "reading all domains", lambda: complete_inventory(inventory, self._connections, pools)
        )

    def record(
        self, address: Address, *, secure: bool = False, brief: bool = False
    ) -> Record | None:
        """Read one object now; None if it does not exist.

        `secure` is ignored on a read-only connection: the record says what it is. `brief` spares
        a domain's questions beyond its key and persistent document.
        """
        return self._reading(
            f"reading {address.short}", lambda: self._record(address, secure, brief)
        )

    def _record(self, address: Address, secure: bool, brief: bool) -> Record | None:
        connection = self._connections.next()
        match address.kind:
            case Kind.DOMAIN:
                secure = secure and not self._connections.read_only
                handle = self._defined.pop(address, None)
                return record_domain(connection, address, handle, secure=secure, brief=brief)
            case Kind.VOLUME:
                return record_volume(connection, address)
            case _:
                return record_object(connection, address)

    def domains(self) -> frozenset[str] | None:
        """The names of all domains, in one call; None if there are too many to be listed."""
        return self._reading("listing all domains", lambda: all_names(self._connections.next()))

    def jobs(self, address: Address) -> tuple[str, ...]:
        """What is at work on a domain right now, or writes to a volume."""
        doing = f"looking for jobs of {address.short}"
        return self._reading(doing, lambda: self._jobs.of(self._connections.next(), address))

    def addresses(self, address: Address) -> tuple[GuestAddress, ...]:
        """By which a running guest can be reached, IPv4 first; none of one that is not running."""

        def read() -> tuple[GuestAddress, ...]:
            connection = self._connections.next()
            domain = look_up(connection, address.name)
            running = domain is not None and domain.isActive()
            return guests.addresses(connection, domain) if running else ()

        return self._reading(f"asking for addresses of {address.short}", read)

    def leases(self, address: Address) -> tuple[GuestAddress, ...]:
        """What libvirt's networks have leased to a domain's interfaces, also while it is off."""

        def read() -> tuple[GuestAddress, ...]:
            connection = self._connections.next()
            domain = look_up(connection, address.name)
            return guests.leases(connection, domain) if domain is not None else ()

        return self._reading(f"asking for leases of {address.short}", read)

    def console_tail(self, address: Address, lines: int) -> ConsoleTail:
        """The last lines of a running guest's console. Raises `Vanished`."""

        def read() -> ConsoleTail:
            domain = self._connections.next().lookupByName(address.name)
            return guests.console_tail(domain, self.uri, lines)

        return self._reading(f"reading the console of {address.short}", read)

    def perform(self, verb: Verb, address: Address, arguments: Mapping[str, Any]) -> None:
        """Do one thing, and wait until it is so."""
        handle = self._attended(
            f"{verb} {address.short}",
            lambda: perform(self._connections.next(), verb, address, arguments),
        )
        if handle is not None:
            self._defined[address] = handle

    def attend(self, work: Callable[[], T], doing: str) -> T:
        """Do several things in one go, and do not wait for them longer than the host lives."""
        return attended(self._connections.alive, work, doing)

    def lock(
        self,
        stack_uid: str,
        operation: str,
        timeout: float,
        waiting: Callable[[LockHeld], None] = lambda _: None,
    ) -> AbstractContextManager[Lock]:
        """Hold the stack's lock on this host. Entering raises `LockHeld` if another run has it.

        `waiting` is told whose it is while it is waited for, at each look.
        """
        self._need_secrets("taking the lock")
        self._attended("taking the lock", self._connections.keep)
        return lock_store.HeldLock(self._connections, stack_uid, operation, timeout, waiting)

    def force_unlock(self, lock_id: str) -> bool:
        """Remove the lock with this id; False if there is none."""
        has_secrets, main = self.facts.has_secrets, self._connections.main
        return self._attended(
            "removing the lock", lambda: has_secrets and lock_store.force(main, lock_id)
        )

    def locks(self) -> tuple[LockInfo, ...]:
        """The locks held on this host, of any stack."""
        if not self.facts.has_secrets:
            return ()
        return self._reading("reading the locks", lambda: lock_store.held(self._connections.main))

    def write_claims(self, claims: Claims, *, over: Set[str] = frozenset()) -> None:
        """Replace this stack's claims on this host; empty ones are removed.

        `over`: uuids of secrets with damaged claims of this stack, which may be lost.
        """
        self._need_secrets("writing claims")
        main, uuid, encoder = self._connections.main, self.facts.uuid, self._encoder
        self._attended(
            "writing claims", lambda: claim_store.write(main, uuid, claims, encoder, over=over)
        )

    def claims_key(self, stack_uid: str) -> bytes:
        """The stack's key on this host; empty where there are no claims yet."""
        return self._reading(
            "reading the claims' key", lambda: claim_store.key(self._connections.main, stack_uid)
        )

    def close(self) -> None:
        """Give the connections back."""
        self._connections.close()

    def _reading(self, doing: str, work: Callable[[], T]) -> T:
        """What only reads: it is done again when the host could be reached again."""
        return self._connections.again(lambda: self._attended(doing, work))

    def _attended(self, doing: str, work: Callable[[], T]) -> T:
        """What may write: it is begun on living connections, and never done again."""

        def told() -> T:
            with translating(doing):
                return attended(self._connections.alive, work, doing)

        return self._connections.on_living(told)

    def _need_secrets(self, doing: str) -> None:
        if not self.facts.has_secrets:
            what = "this host's libvirt offers no secrets, which hold the lock and the claims"
            raise HostError(what, doing=doing)
