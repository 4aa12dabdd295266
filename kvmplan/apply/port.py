"""The port: what plan and apply may ask of a host. `kvmplan.host` implements it with libvirt.

`Reader` has no verbs: what plans cannot write. `Host` adds them. Methods raise `HostError` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from kvmplan.address import Address
from kvmplan.inventory import Claims, GuestAddress, Inventory, LockInfo, Record, Wanted
from kvmplan.kinds.verbs import Verb

T = TypeVar("T")


class HostError(Exception):
    """What a host answered when it could not do what was asked. libvirt's codes, translated once.

    Attributes:
        code: libvirt's error number (``VIR_ERR_*``), 0 when it is our own finding.
        name: the code's name, such as ``VIR_ERR_OPERATION_INVALID``.
        doing: what was tried, in words.
    """

    def __init__(self, message: str, *, code: int = 0, name: str = "", doing: str = "") -> None:
        self.message, self.code, self.name, self.doing = message, code, name, doing
        super().__init__(message)


class ConnectionLost(HostError):
    """The daemon is gone or does not answer: whatever was under way is unknown."""


class NotLive(HostError):
    """The running object cannot take this change; the persistent definition can."""


class Held(NotLive):
    """Something else has what the running object would need to itself, and may have it later."""


class Vanished(HostError):
    """The object is not there (any more)."""


class TimedOut(HostError):
    """It was asked for and has not happened in time (unplug, shutdown, job lock)."""


class NotReady(HostError):
    """A guest is not as it is waited for, yet. The message says what is lacking."""


class LockHeld(HostError):
    """Another run holds the stack's lock."""

    def __init__(self, holder: LockInfo) -> None:
        self.holder = holder
        super().__init__(f"locked by {holder.who} since {holder.since} ({holder.operation})")


class ClaimsUnreadable(HostError):
    """A stack's claims cannot be read; they are never overwritten unasked.

    Attributes:
        why: what is wrong with them.
        newer: whether they are whole, and a newer kvmplan's.
    """

    def __init__(self, usage: str, why: str, *, newer: bool = False) -> None:
        self.why, self.newer = why, newer
        summary = f"the claims in libvirt's secret '{usage}' cannot be read: {why}"
        super().__init__(f"{summary}; nothing was overwritten", doing="reading claims")


@dataclass(frozen=True, slots=True)
class ConsoleTail:
    """The end of what a guest said on its console.

    Attributes:
        file: the console's log on the host; ``""``: it has none.
        lines: its last ones, as they were written: by the guest, so for nobody's trust.
        remark: why there are none.
    """

    file: str
    lines: tuple[str, ...]
    remark: str = ""


class Reader(Protocol):
    """A host that can be looked at."""

    @property
    def name(self) -> str:
        """The host's name in the stack."""
        ...

    def inventory(self, wanted: Wanted) -> Inventory:
        """List everything, read what is wanted, in bulk."""
        ...

    def complete(self, inventory: Inventory, pools: frozenset[str] = frozenset()) -> Inventory:
        """The inventory with all domains of the host and all volumes of `pools` read as well.

        For who uses what. `pools` may name single volumes too, ``POOL/NAME``; where whole pools
        are read, for overlays among their volumes, the snapshots of all domains are as well.
        """
        ...

    def record(
        self, address: Address, *, secure: bool = False, brief: bool = False
    ) -> Record | None:
        """Read one object now; None if it does not exist.

        `brief`: key and persistent document are enough; the rest may be left at its defaults.
        """
        ...

    def jobs(self, address: Address) -> tuple[str, ...]:
        """What is at work on a domain right now, or writes to a volume, in words.

        Block jobs, backups, migrations, snapshots, saves. Empty: nothing, or there is no such
        object, or it is of another kind.
        """
        ...

    def addresses(self, address: Address) -> tuple[GuestAddress, ...]:
        """By which a running guest can be reached, IPv4 first; none of one that is not running."""
        ...

    def leases(self, address: Address) -> tuple[GuestAddress, ...]:
        """What libvirt's networks have leased to a domain's interfaces, also while it is off."""
        ...

    def console_tail(self, address: Address, lines: int) -> ConsoleTail:
        """The last lines of a running guest's console."""
        ...

    def locks(self) -> tuple[LockInfo, ...]:
        """The locks held on this host, of any stack."""
        ...

    def close(self) -> None:
        """Give the connections back."""
        ...


class Lock(Protocol):
    """A lock that is held."""

    @property
    def info(self) -> LockInfo:
        """Who holds it."""
        ...

    def check(self) -> None:
        """Raise `HostError` if it was lost: nothing more may be written then."""
        ...


class Host(Reader, Protocol):
    """A host that can be changed."""

    def domains(self) -> frozenset[str] | None:
        """The names of all domains, in one call; None if there are too many to be listed."""
        ...

    def perform(self, verb: Verb, address: Address, arguments: Mapping[str, Any]) -> None:
        """Do one thing, and wait until it is so."""
        ...

    def attend(self, work: Callable[[], T], doing: str) -> T:
        """Do several things in one go, and do not wait for them longer than the host lives."""
        ...

    def lock(self, stack_uid: str, operation: str, timeout: float) -> AbstractContextManager[Lock]:
        """Hold the stack's lock on this host. Raises `LockHeld`."""
        ...

    def force_unlock(self, lock_id: str) -> bool:
        """Remove the lock with this id; False if there is none."""
        ...

    def claims_key(self, stack_uid: str) -> bytes:
        """The stack's key on this host; empty where there are no claims yet."""
        ...

    def write_claims(self, claims: Claims, *, over: Set[str] = frozenset()) -> None:
        """Replace this stack's claims on this host; empty ones are removed.

        `over`: uuids of secrets with damaged claims of this stack, which may be lost.
        """
        ...
