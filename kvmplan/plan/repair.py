"""Repair: what could be rebuilt when claims are lost, and what in them speaks of nothing any more.

It proposes; people decide, with the commands that it names. Nothing here is ownership: marks are
copied, uuids can be written by anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from kvmplan.address import Address, Kind, parse_address
from kvmplan.inventory import FORGOTTEN, Inventory, LockInfo
from kvmplan.plan.lineage import Kin, lineage, mark_of
from kvmplan.spec.desired import Desired


class Trouble(StrEnum):
    """What is wrong, or only worth knowing."""

    DAMAGED = "damaged"
    """A part of the claims cannot be read."""
    UNCLAIMED = "unclaimed"
    """By all evidence the stack's own, and not claimed."""
    RENAMED = "renamed"
    """Claimed under a name that it does not have any more."""
    REPLACED = "replaced"
    """Claimed, and another object has the name now."""
    GONE = "gone"
    """Claimed, in no spec, and not on the host."""
    LOCKED = "locked"
    """A lock whose holder may be dead."""
    COPY = "copy"
    """A clone of what is or was the stack's: not its own. Nothing to repair."""

    @property
    def is_to_repair(self) -> bool:
        """Whether somebody has to decide something."""
        return self is not Trouble.COPY


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found on a host.

    Attributes:
        what: an address without its host, a secret's usage name, or a lock's id.
        summary: the evidence, in words.
        adopt, forget: the addresses to decide about.
        unlock: the id of the lock to remove.
        over_damaged: whether adopting must throw claims away that cannot be read.
    """

    trouble: Trouble
    host: str
    what: str
    summary: str
    adopt: tuple[Address, ...] = ()
    forget: tuple[Address, ...] = ()
    unlock: str = ""
    over_damaged: bool = False


def findings(
    desired: Desired, inventory: Inventory, locks: Mapping[LockInfo, str]
) -> tuple[Finding, ...]:
    """What is to be decided on one host.

    Args:
        desired: the specs.
        inventory: the host with everything read, its damaged claims named.
        locks: this stack's locks whose holder is not known to live, and what is known of it.
    """
    return tuple(_Examiner(desired, inventory).all(locks))


class _Examiner:
    """Looks at one host."""

    def __init__(self, desired: Desired, inventory: Inventory) -> None:
        self._desired, self._inventory = desired, inventory
        self._stack, self._host = desired.stack.uid, inventory.host
        self._lineages = {
            address: found
            for address, record in sorted(inventory.records.items())
            if address.kind is not Kind.VOLUME
            and (found := lineage(record, inventory, self._stack)) is not None
            and found.stack == self._stack
        }
        entries = inventory.claims.entries if inventory.claims else {}
        known = {(claim.address.partition(".")[0], claim.key) for claim in entries.values()}
        self._evident = {
            address
            for address, found in self._lineages.items()
            if found.kin is not Kin.COPY
            and (address.kind.value, inventory.records[address].key) not in known
            and not self._is_settled(address)
        }
        self._lost = bool(inventory.damaged) or (bool(self._evident) and not entries)

    def all(self, locks: Mapping[LockInfo, str]) -> Iterator[Finding]:
        for part in self._inventory.damaged:
            what = "a newer kvmplan wrote it" if part.newer else part.why
            summary = f"secret {part.uuid}: {what}; holds and protection in it are lost with it"
            over = not part.newer
            yield Finding(Trouble.DAMAGED, self._host, part.usage, summary, over_damaged=over)
        yield from self._unclaimed()
        yield from self._claimed()
        for lock, state in locks.items():
            summary = f"{lock.operation} by {lock.who} since {lock.since}: {state}"
            yield Finding(Trouble.LOCKED, self._host, lock.id, summary, unlock=lock.id)
        for address, found in self._lineages.items():
            if found.kin is Kin.COPY and not self._is_settled(address):
                summary = f"a copy of {found.source}: not this stack's, and left alone"
                yield Finding(Trouble.COPY, self._host, address.short, summary)

    # ------------------------------------------------------------------ not claimed

    def _unclaimed(self) -> Iterator[Finding]:
        for address in sorted(self._evident):
            found = self._lineages[address]
            words = {
                Kin.MARKED: "it carries this stack's mark",
                Kin.BORN: "it has the uuid that this stack gives it",
                Kin.RENAMED: f"it carries this stack's mark, as {found.source}",
            }
            yield self._to_adopt(address, words[found.kin])
        used = self._used()
        for address in sorted(self._inventory.records):
            if address.kind is not Kind.VOLUME or self._is_settled(address):
                continue
            pool = Address(self._host, Kind.POOL, address.pool)
            ours = pool in self._evident or self._is_ours(pool)
            if address in self._desired.resources and ours:
                yield self._to_adopt(address, "the specs declare it, in a pool of this stack")
            elif address in self._desired.resources and self._lost:
                yield self._to_adopt(address, "the specs declare it, and claims were lost")
            elif address.name in used and ours:
                summary = f"{used[address.name]} of this stack uses it, in a pool of this stack"
                yield self._to_adopt(address, summary)

    def _to_adopt(self, address: Address, summary: str) -> Finding:
        return Finding(Trouble.UNCLAIMED, self._host, address.short, summary, adopt=(address,))

    def _used(self) -> dict[str, str]:
        """Volumes that domains of this stack were given: ``POOL/NAME`` -> the domain."""
        used = {}
        for address, found in self._lineages.items():
            if address.kind is not Kind.DOMAIN or found.kin is Kin.COPY:
                continue
            mark = mark_of(self._inventory.records[address])
            disks = mark.applied.get("disks") if mark is not None else None
            for disk in disks.values() if isinstance(disks, Mapping) else ():
                volume = disk.get("volume") if isinstance(disk, Mapping) else None
                if isinstance(volume, str):
                    used[volume] = address.short
        return used

    def _is_settled(self, address: Address) -> bool:
        """Whether it is known whose it is: ours, given up, or another stack's."""
        record, claim = self._inventory.records[address], self._inventory.claim(address)
        if claim is not None and claim.key in (record.key, ""):
            return True
        return self._inventory.other_owner(address, record.key) is not None

    def _is_ours(self, address: Address) -> bool:
        record, claim = self._inventory.record(address), self._inventory.claim(address)
        if record is None or claim is None:
            return False
        return claim.phase != FORGOTTEN and claim.key == record.key

    # ------------------------------------------------------------------ claimed

    def _claimed(self) -> Iterator[Finding]:
        claims = self._inventory.claims
        names = {record.key: address for address, record in self._inventory.records.items()}
        for short, claim in sorted(claims.entries.items() if claims else ()):
            address = parse_address(short, self._host)
            record = self._inventory.record(address)
            if claim.phase == FORGOTTEN or self._inventory.is_unseen(address):
                continue
            if record is not None and claim.key in (record.key, ""):
                continue
            now = names.get(claim.key) if claim.key else None
            if now is not None and now.kind is address.kind:
                summary = f"it is {now.short} now: rename it back, or adopt that and forget this"
                yield Finding(Trouble.RENAMED, self._host, short, summary, (now,), (address,))
            elif record is not None and address not in self._evident:
                summary = "claimed, and another object has its name now"
                yield self._to_forget(Trouble.REPLACED, address, summary)
            elif record is None and address not in self._desired.resources:
                summary = "claimed, in no spec, and not on the host"
                yield self._to_forget(Trouble.GONE, address, summary)

    def _to_forget(self, trouble: Trouble, address: Address, summary: str) -> Finding:
        return Finding(trouble, self._host, address.short, summary, forget=(address,))
