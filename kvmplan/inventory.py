"""The inventory: what was found on a host, frozen. No connection lives here.

`kvmplan.host.inspect` fills it in bulk; the planner reads it; tests write it by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from posixpath import dirname
from types import MappingProxyType
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.kinds.netports import port_ids, ports_of

EMPTY: Mapping[Any, Any] = MappingProxyType({})


class State(StrEnum):
    """What an object is doing. Networks and pools run or are stopped; volumes are stopped."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CRASHED = "crashed"
    SUSPENDED = "suspended"
    """Suspended to RAM by the guest itself (``pmsuspended``)."""


@dataclass(frozen=True, slots=True)
class Record:
    """One live object.

    Attributes:
        key: its libvirt uuid; for a volume libvirt's key (the path, in directory pools).
        document: the persistent XML (``INACTIVE``); a volume's only XML.
        running: the running XML of an active domain or network, else None.
        reason: why it is in this state where that matters (``ioerror``, ``user``, …), else "".
        saved: the running XML inside the managed save image of a domain that has one: its next
            start goes on with that.
        bases: what the storage says of the chains in a domain's persistent document: path of an
            overlay -> path of what it is over, ``""`` for nothing; without what it does not know.
        secure: whether `document` was read with its secrets.
        ports: of an active network, the ids of what is plugged into it; None: not known.
    """

    address: Address
    key: str
    document: str
    running: str | None = None
    state: State = State.STOPPED
    reason: str = ""
    persistent: bool = True
    autostart: bool = False
    managed_save: bool = False
    saved: str | None = None
    bases: Mapping[str, str] = field(default_factory=dict)
    secure: bool = False
    ports: frozenset[str] | None = None

    @property
    def active(self) -> bool:
        """Whether something of it runs: a paused or suspended guest is active too."""
        return self.state in (State.RUNNING, State.PAUSED, State.SUSPENDED)


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """What a host offers for one guest architecture (from libvirt's capabilities)."""

    types: tuple[str, ...]
    """Domain types, ``kvm`` and ``qemu``, as offered."""
    machines: Mapping[str, str]
    """Machine name or alias -> canonical name."""
    emulator: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What a host is. Versions are dotted; `hypervisor` is libvirt's type (``QEMU``, ``TEST``)."""

    uri: str
    uuid: str = ""
    arch: str = "x86_64"
    libvirt_version: str = ""
    hypervisor: str = "QEMU"
    hypervisor_version: str = ""
    read_only: bool = False
    guests: Mapping[str, GuestFacts] = field(default_factory=dict)
    cpu_features: frozenset[str] = frozenset()
    has_secrets: bool = True
    """Whether it offers secrets (the test driver does not): without them no claims, no lock."""


FORGOTTEN = "forgotten"
"""The phase of a claim that was given up: a tombstone, so that a mark does not bring it back."""
RESTARTING = "restarting"
"""The phase of a claim while its guest is down for a restart: a run that is cut there leaves a
guest that the next one starts."""


@dataclass(frozen=True, slots=True)
class Hold:
    """That every run leaves an object alone.

    Attributes:
        who: who asked for it.
        reason: why, in their words.
        until: ISO 8601, UTC; ``""``: until it is released.
    """

    who: str = ""
    reason: str = ""
    until: str = ""

    def lasts(self, now: str) -> bool:
        """Whether it still holds at a moment, ISO 8601, UTC."""
        return not self.until or self.until > now

    def __str__(self) -> str:
        parts = [f"held by {self.who}" if self.who else "held"]
        parts += [f"until {self.until}"] if self.until else []
        return " ".join(parts) + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True, slots=True)
class Claim:
    """That a stack owns one object of this host.

    Attributes:
        address: ``KIND.NAME``, without the host (the record lives on it).
        key: uuid, or a volume's key: ours = claimed and the same key.
        phase: ``creating`` while its creation may be cut, of a volume ``begun`` from some point
            on, ``changing`` while an update of what carries no mark may be, ``restarting`` while
            its guest is down for a restart; else ``done``.
        born: what it was born from (a volume's format, backing, clone), compact JSON values.
        applied: the declared fields last applied, for kinds that carry no mark (pools, volumes).
        protect: `prevent_destroy`, kept so that it outlives its line in the spec.
        hold: that every run leaves it alone, by whom and why.
        waiting: field (``vcpus.maximum``) -> since when it waits for a restart, ISO 8601, UTC.
        released: the paths that have left the specs since they were applied, and were told of.
    """

    address: str
    key: str
    phase: str = "done"
    born: Mapping[str, Any] = field(default_factory=dict)
    applied: Mapping[str, Any] | None = None
    protect: bool = False
    hold: Hold | None = None
    waiting: Mapping[str, str] = field(default_factory=dict)
    released: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Claims:
    """All claims of one stack on one host."""

    stack_uid: str
    stack_name: str
    entries: Mapping[str, Claim] = field(default_factory=dict)
    """``KIND.NAME`` -> claim."""
    origin: str = ""
    """The git origin the stack was applied from last, to recognise copied repositories."""


@dataclass(frozen=True, slots=True)
class DamagedClaims:
    """A part of a stack's claims that cannot be read.

    Attributes:
        usage: usage name of the libvirt secret that holds it.
        uuid: of that secret.
        why: what is wrong with it.
        newer: whether it is whole, and a newer kvmplan's.
    """

    usage: str
    uuid: str
    why: str
    newer: bool


@dataclass(frozen=True, slots=True)
class LockInfo:
    """Who holds a stack's lock on a host. Times are ISO 8601, UTC."""

    id: str
    stack_uid: str
    who: str
    operation: str
    since: str
    beat: int = 0


@dataclass(frozen=True, slots=True)
class HostInterface:
    """A network interface of the host itself: a card, a bridge, a VLAN; no tap of a guest.

    Attributes:
        mac: in lower case; ``""`` if it has none.
        addresses: with prefix, as far as libvirt knows them.
    """

    mac: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestAddress:
    """An address by which others can reach a running guest.

    Attributes:
        mac: of its interface, lower case.
        source: ``lease`` or ``agent``.
        expires: when a lease ends, seconds since the epoch; 0: never, or it is none.
    """

    mac: str
    ip: str
    source: str
    expires: int = 0


@dataclass(frozen=True)
class Inventory:
    """A host at one moment.

    Attributes:
        records: every network and pool, and those domains and volumes that were asked for.
        names: everything there is, by kind: name -> uuid; for volumes ``POOL/NAME`` -> key.
            Volumes of inactive pools are unknown and not listed.
        claims: this stack's claims; others' are in `foreign_claims`.
        unread: sentences on what could not be read (read-only connection, limits).
        damaged: this stack's claims that cannot be read, if that was `Wanted` rather than an error.
        interfaces: of the host itself, by name; None: not asked for, or it does not tell.
        complete: whether `records` holds all domains of the host.
        snapshots: domain -> the metadata of its snapshots, of those that have any; read where
            volumes are to go or to shrink.
        former: address that a domain shall have, and has here -> the one it has on the host.
        key: the stack's key on this host; empty: not asked for, or not to be had.
        other_paths: path -> those by which the same file is known besides; looked for where all
            domains are read, and only on hosts whose files can be seen from here.
        returning: pool that is not there, that the specs make again, and that domains have disks in
            -> its directory.
    """

    host: str
    facts: HostFacts
    records: Mapping[Address, Record] = field(default_factory=dict)
    names: Mapping[Kind, Mapping[str, str]] = field(default_factory=dict)
    claims: Claims | None = None
    foreign_claims: tuple[Claims, ...] = ()
    unread: tuple[str, ...] = ()
    complete: bool = False
    damaged: tuple[DamagedClaims, ...] = ()
    snapshots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    former: Mapping[Address, Address] = field(default_factory=dict)
    interfaces: Mapping[str, HostInterface] | None = None
    key: bytes = field(default=b"", repr=False)
    other_paths: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    returning: Mapping[str, str] = field(default_factory=dict)

    def record(self, address: Address) -> Record | None:
        """The object at `address`, if it exists and was asked for."""
        return self.records.get(address)

    def exists(self, address: Address) -> bool:
        """Whether the host has an object of this kind and name."""
        return address.name in self.names.get(address.kind, EMPTY)

    @cached_property
    def volume_paths(self) -> Mapping[str, str]:
        """``POOL/NAME`` -> path of every volume of an active pool, as far as it is known.

        That is its key, but for LVM's, whose keys are uuids of its own: their documents tell. Of
        those that were not read, their pools do.
        """
        known, pools = dict[str, str](), dict[str, str]()
        for name, key in self.names.get(Kind.VOLUME, EMPTY).items():
            path = key
            if not key.startswith("/"):
                path = self._target(Address(self.host, Kind.VOLUME, name))
            if not path:
                pool, _, leaf = name.partition("/")
                if pool not in pools:
                    pools[pool] = self._target(Address(self.host, Kind.POOL, pool))
                path = f"{pools[pool]}/{leaf}" if pools[pool] else ""
            if path.startswith("/"):
                known[name] = path
        return known

    def _target(self, address: Address) -> str:
        """Where a pool or a volume says that it is; empty if it does not, or was not read."""
        from kvmplan.mapping.document import parse_to_read

        record = self.record(address)
        text = parse_to_read(record.document).findtext("target/path") if record else None
        return (text or "").rstrip("/")

    @cached_property
    def volume_by_path(self) -> Mapping[str, str]:
        """Path -> ``POOL/NAME`` of every volume of an active pool.

        Those that this stack has claimed in inactive pools are here too: nobody can see them, and
        the guests' disks on them are no different for it. So are those in pools that come back.
        """
        pools = (Address(self.host, Kind.POOL, n) for n in self.names.get(Kind.POOL, EMPTY))
        idle = tuple(
            f"{Kind.VOLUME}.{pool.name}/"
            for pool in pools
            if (record := self.record(pool)) is not None and not record.active
        )
        claims = self.claims.entries.values() if self.claims and (idle or self.returning) else ()
        unseen = {
            claim.key: claim.address.partition(".")[2]
            for claim in claims
            if claim.key and (claim.address.startswith(idle) or self._comes_back(claim))
        }
        return unseen | {path: name for name, path in self.volume_paths.items()}

    @cached_property
    def domain_by_uuid(self) -> Mapping[str, str]:
        """Uuid -> name of every domain."""
        return {key: name for name, key in self.names.get(Kind.DOMAIN, EMPTY).items()}

    @cached_property
    def lost(self) -> Mapping[str, frozenset[str]]:
        """Network that runs -> running domains that it has lost, of those that were read.

        A network that is stopped leaves its guests' taps in no bridge, and starting it does not
        bring them back; their documents still name the port that they had, which it does not know.
        """
        known = dict[str, frozenset[str]]()
        for name in self.names.get(Kind.NETWORK, EMPTY):
            network = self.record(Address(self.host, Kind.NETWORK, name))
            if network is not None and network.ports is not None:
                known[name] = network.ports
        plugged = frozenset[str]().union(*known.values())
        found: dict[str, set[str]] = {}
        for record in self.records.values() if known else ():
            text = record.running if record.address.kind is Kind.DOMAIN else None
            # Nearly all of them have lost nothing: only the others are taken apart.
            if text is not None and not plugged.issuperset(port_ids(text)):
                for network_name, port in ports_of(text):
                    if port not in known.get(network_name, (port,)):
                        found.setdefault(network_name, set()).add(record.address.name)
        return {name: frozenset(domains) for name, domains in sorted(found.items())}

    def is_unseen(self, address: Address) -> bool:
        """Whether a claimed volume cannot be seen, as its pool is not active, or comes back."""
        claim = self.claim(address)
        if address.kind is not Kind.VOLUME or claim is None:
            return False
        pool = self.record(Address(self.host, Kind.POOL, address.pool))
        return not pool.active if pool is not None else self._comes_back(claim)

    def _comes_back(self, claim: Claim) -> bool:
        """Whether a volume was where its pool is to be made again."""
        directory = self.returning.get(claim.address.partition(".")[2].partition("/")[0])
        return directory is not None and dirname(claim.key) == directory

    def claim(self, address: Address) -> Claim | None:
        """This stack's claim on an address, whether or not the object is still the same."""
        return self.claims.entries.get(address.short) if self.claims else None

    def other_owner(self, address: Address, key: str) -> str | None:
        """The name of another stack that owns this very object, and has not given it up."""
        for claims in self.foreign_claims:
            claim = claims.entries.get(address.short)
            if claim is not None and claim.key == key and claim.phase != FORGOTTEN:
                return claims.stack_name
        return None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader is asked for beyond the names of everything.

    Attributes:
        addresses: the declared domains and volumes.
        secure: domains whose documents are needed with their secrets.
        stack_uid: whose claims and marks are ours.
        lenient: name this stack's claims that cannot be read, instead of raising an error.
        key: read the stack's key, for what cannot be read back.
        claimed: read what the stack has claimed, too.
        volumes: list volumes; without, none is known.
    """

    addresses: frozenset[Address]
    secure: frozenset[Address] = frozenset()
    stack_uid: str = ""
    lenient: bool = False
    key: bool = False
    claimed: bool = True
    volumes: bool = True
