"""What was found in sync before: known by a digest of all that was looked at, so not judged again.

What becomes of an object follows from its declared fields, its documents and state, its claim and a
few facts of its host, and from nothing else. All of that goes into the digest: who forgets what is
kept here loses time, never anything else. What depends on secrets or on the time is not kept.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from kvmplan.address import Address, Kind
from kvmplan.inventory import RESTARTING, Claim, Inventory, Record
from kvmplan.plan.busy import jobs_in
from kvmplan.plan.identity import is_doubtful
from kvmplan.plan.options import PlanOptions

if TYPE_CHECKING:
    from kvmplan.spec.desired import Desired, Resource

SIZE = 16
"""Bytes of a digest."""


class InSync:
    """Digests of what was in sync, of all hosts of a stack.

    Attributes:
        used: the digests of what was in sync in this run: what is worth keeping for the next one.
    """

    def __init__(self, version: str, known: Iterable[bytes] = ()) -> None:
        """Begin a run.

        Args:
            version: of the program that judges: another one may judge otherwise.
            known: the digests of an earlier run.
        """
        self._known = frozenset(known)
        self._version = version
        self._hosts: dict[str, bytes] = {}
        self._wanted: dict[Address, tuple[Resource, bytes | None]] = {}
        self.used: set[bytes] = set()

    @property
    def is_new(self) -> bool:
        """Whether there is something to keep that was not known.

        A plan that looks at some objects only, or at none, does not forget the others.
        """
        return not self.used <= self._known

    def wanted(self, resource: Resource) -> bytes | None:
        """`wanted_digest`, worked out once for each resource."""
        known = self._wanted.get(resource.address)
        if known is None or known[0] is not resource:
            known = resource, wanted_digest(resource)
            self._wanted[resource.address] = known
        return known[1]

    def digest(self, wanted: bytes, record: Record, inventory: Inventory) -> bytes | None:
        """The digest of all that an object's verdict follows from; None where that is not kept.

        Args:
            wanted: of what is declared: `wanted_digest`.
            record: what was found; not with its secrets.
            inventory: of its host.
        """
        claim = inventory.claim(record.address)
        if claim is None or claim.hold is not None or record.secure:
            return None
        if record.active and jobs_in(record):
            return None
        if inventory.other_owner(record.address, record.key) is not None:
            return None
        if record.address.kind is Kind.NETWORK and _has_lost(record, claim, inventory):
            return None
        found = blake2b(self._host(inventory), digest_size=SIZE)
        found.update(wanted)
        found.update(_found(record, claim))
        found.update(record.document.encode())
        return found.digest()

    def knows(self, digest: bytes | None) -> bool:
        """Whether it was in sync in the run before; then it is in this one."""
        if digest is None or digest not in self._known:
            return False
        self.used.add(digest)
        return True

    def _host(self, inventory: Inventory) -> bytes:
        """What objects of a host have in common: its facts, and whose volume each path is."""
        known = self._hosts.get(inventory.host)
        if known is None:
            facts = replace(inventory.facts, cpu_features=frozenset())
            features = sorted(inventory.facts.cpu_features)
            volumes = sorted(inventory.volume_by_path.items())
            common = repr((self._version, facts, features, volumes))
            known = blake2b(common.encode(), digest_size=SIZE).digest()
            self._hosts[inventory.host] = known
        return known


def _has_lost(network: Record, claim: Claim, inventory: Inventory) -> bool:
    """Whether running guests are, or may be, to be plugged in again."""
    return claim.phase == RESTARTING or network.address.name in inventory.lost


def wanted_digest(resource: Resource) -> bytes | None:
    """The digest of what is declared of an object; None where that holds more than it says.

    Secrets leave no trace of theirs anywhere, and ``!default`` takes its meaning from the host.
    What becomes of a domain with policies of its seed depends on that and on what is noted of it.
    """
    from kvmplan.mapping.model import declared, has_secrets
    from kvmplan.plan.seeding import has_policies

    if resource.defaults or has_secrets(resource.model):
        return None
    if has_policies(resource.model):
        return None
    said = repr((resource.address, declared(resource.model), resource.lifecycle))
    return blake2b(said.encode(), digest_size=SIZE).digest()


def _found(record: Record, claim: Claim) -> bytes:
    state = (record.key, record.running, record.state.value, record.reason, record.persistent)
    bases = tuple(sorted(record.bases.items()))
    ports = None if record.ports is None else sorted(record.ports)
    flags = (record.autostart, record.managed_save, record.saved, bases, ports)
    owned = (claim.key, claim.phase, _plain(claim.born), _plain(claim.applied), claim.protect)
    waiting = _plain(claim.waiting)
    return marshal.dumps((state, flags, owned, waiting, claim.released), 2)


def _plain(values: Mapping[str, object] | None) -> dict[str, object] | None:
    return None if values is None else dict(values)


def is_plain(options: PlanOptions) -> bool:
    """Whether a plan's flags leave the verdict on what is in sync to the objects themselves."""
    return options == PlanOptions(
        allow_data_loss=options.allow_data_loss,
        allow_restart=options.allow_restart,
        prune=options.prune,
        max_delete=options.max_delete,
        allow_empty=options.allow_empty,
        partial=options.partial,
        same_stack=options.same_stack,
        origin=options.origin,
    )


@dataclass(frozen=True, slots=True)
class Outline:
    """What specs come to, as far as a plan without changes needs it.

    Attributes:
        hosts: name -> URI, as declared; none: there is the one that ``--connect`` says.
        wanted: every resource, in order -> the digest of what is declared of it.
        leans_on: what they refer to that only exists on the host.
    """

    stack_name: str
    stack_uid: str
    hosts: Mapping[str, str]
    wanted: Mapping[Address, bytes]
    leans_on: frozenset[Address]

    def holds(
        self, inventories: Mapping[str, Inventory], memory: InSync, options: PlanOptions
    ) -> bool:
        """Whether all is as it was when nothing was to be done, nor to be told."""
        if any(is_doubtful(i, self.stack_name, options) for i in inventories.values()):
            return False
        if {address.host for address in self.wanted} - inventories.keys():
            return False
        if any(inventory.unread for inventory in inventories.values()):
            return False
        if len({inventory.facts.uuid for inventory in inventories.values()}) < len(inventories):
            return False
        if not all(inventories[a.host].exists(a) for a in self.leans_on):
            return False
        shorts = {(address.host, address.short) for address in self.wanted}
        for name, inventory in inventories.items():
            claimed = inventory.claims.entries if inventory.claims else {}
            if any((name, short) not in shorts for short in claimed):
                return False
        return all(self._is_in_sync(a, inventories[a.host], memory) for a in self.wanted)

    def _is_in_sync(self, address: Address, inventory: Inventory, memory: InSync) -> bool:
        record = inventory.record(address)
        if record is None:
            return False
        return memory.knows(memory.digest(self.wanted[address], record, inventory))


def outline(
    desired: Desired, digest_of: Callable[[Resource], bytes | None] = wanted_digest
) -> Outline | None:
    """The outline of specs; None where something in them cannot be known by a digest."""
    if not desired.closed or not desired.resources:
        return None
    wanted: dict[Address, bytes] = {}
    leans_on: set[Address] = set()
    for address, resource in sorted(desired.resources.items()):
        digest = digest_of(resource)
        if digest is None:
            return None
        wanted[address] = digest
        for reference in (*resource.references, *resource.depends_on):
            leans_on.add(reference.target)
        if address.kind is Kind.VOLUME:
            leans_on.add(Address(address.host, Kind.POOL, address.pool))
    hosts = {name: host.uri for name, host in desired.stack.hosts.items()}
    external = frozenset(leans_on - wanted.keys())
    return Outline(desired.stack.name, desired.stack.uid, hosts, wanted, external)
