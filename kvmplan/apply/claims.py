"""Claims while a plan is applied: never less on the host than what the stack owns there.

Everything that will be made is claimed before the first step, with phase ``creating``; what keeps
no mark and will be updated gets phase ``changing``. What is done becomes ``done``, what is gone is
dropped. Each write holds all claims, so they are batched: at most one in two seconds, except where
the next step relies on one (`ClaimBook.before`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from kvmplan.address import Address, Kind, parse_address
from kvmplan.apply.port import Host
from kvmplan.apply.site import Site
from kvmplan.inventory import FORGOTTEN, RESTARTING, Claim, Claims, Record, State
from kvmplan.kinds.mark import applied_fields
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.change import Action, Change, Plan, Reason, Step
from kvmplan.plan.intent import CHANGING, Intent
from kvmplan.plan.origin import found_born, is_seed, sealed, wanted_born
from kvmplan.plan.seeding import EJECTED, RESEEDED, reseeded, seal_of
from kvmplan.plan.torn import BEGUN, CREATING, UNFINISHED
from kvmplan.spec.desired import Resource

DONE = "done"
SECONDS_BETWEEN_WRITES = 2.0
SHARE_OF_TIME = 40
"""Of a long run no more than one part in so many goes into writes that can wait."""

OPENING = frozenset({Verb.START, Verb.ATTACH, Verb.UPDATE_DEVICE})
"""Verbs after which a guest may write into a volume that it could not write into before."""

_VOLUME = f"{Kind.VOLUME}."

UNMARKED = (Kind.POOL, Kind.VOLUME)
"""Kinds that keep no mark: the claim remembers what was applied."""


class ClaimBook:
    """One host's claims of one stack during an apply. Any thread may call any method.

    Attributes:
        before_writing: called before each write; nothing is written if it raises. A run that has
            lost its lock must not write what it knew then over the claims of another.
    """

    def __init__(self, site: Site, head: Claims) -> None:
        """`head`: the claims as they are to be written, but for their entries."""
        self._site = site
        self._host: Host = site.host
        found = site.inventory.claims
        self._head = head
        self._before: Mapping[str, Claim] = found.entries if found else {}
        self._entries: dict[str, Claim] = dict(self._before)
        self._active = site.inventory.facts.has_secrets
        self.before_writing: Callable[[], None] = _nothing
        self._moment, self._pending = "", dict[Address, frozenset[str]]()
        self._drift = dict[Address, frozenset[str]]()
        # What is noted: how often it changed, how often until its volumes did, until the host knew.
        self._version = self._volumes = self._written = 0
        if found is not None and head != replace(found, entries={}):
            self._version = 1
        self._guard = threading.Lock()
        self._writing = threading.Lock()
        self._next = float("-inf")

    @property
    def is_due(self) -> bool:
        """Whether there is something to write, although nothing has been done."""
        return self._version > self._written

    # ------------------------------------------------------------------ the life of a plan

    def open(self, changes: Iterable[Change], intents: Mapping[Address, Intent]) -> None:
        """Claim what the changes will make, adopt or update, before the first step.

        Raises:
            HostError: the host did not take it; nothing may be done there.
        """
        for change in changes:
            intent = intents.get(change.address)
            if intent is None:
                continue
            if change.action is Action.CREATE:
                self._put(self._beginning(intent))
            elif change.reason is Reason.ADOPT and intent.record is not None:
                self._put(self._owned(intent, intent.record, None))
            self._begin_update(change)
            if change.previous is not None:
                self._keep_both(change)
        self.flush()

    def learn(self, plan: Plan) -> None:
        """What the plan knows: of restarts, and of what is to be noted although nothing is done.

        It is written with the next claims, or at the end.
        """
        self._learn_of(plan.changes)
        self._came_back()
        self._before = dict(self._entries)
        self._moment = plan.created
        for item in plan.pending:
            if not item.waiting:
                self._pending[item.address] = frozenset(field.name for field in item.fields)
                drift = frozenset(field.name for field in item.fields if field.drift)
                self._drift[item.address] = drift

    def forget(self, claims: Iterable[Claim]) -> None:
        """Drop claims on what is not there; they are written with the next ones, or at the end."""
        for claim in claims:
            self._drop(parse_address(claim.address, self._site.inventory.host))

    def close(self) -> None:
        """Write what is not written yet. Raises HostError."""
        self.flush()

    def done(
        self, change: Change, intent: Intent, record: Record, waiting: Iterable[str] = ()
    ) -> None:
        """A created or updated object is as wanted; `waiting` fields wait for a restart."""
        born = None if change.action in (Action.CREATE, Action.REPLACE) else self._born(intent)
        owned = self._owned(intent, record, born)
        if "seed" in intent.tree and any(step.verb is Verb.UPLOAD for step in change.steps):
            seal = sealed(intent.tree["seed"], self._host.claims_key(self._site.stack))
            owned = replace(owned, born={**owned.born, "seed": seal})
            self._reseeded(change)
        self._put(replace(owned, waiting=self._since(intent.address, waiting)))
        if change.previous is not None:
            self._drop(change.previous)
        self._settle()

    def _reseeded(self, change: Change) -> None:
        """A seed was edited: its guest reads it at its next boot."""
        site = self._site
        claim = reseeded(
            change.address,
            lambda address: self._entries.get(address.short),
            site.births.desired,
            site.inventory,
        )
        if claim is not None and change.action is Action.UPDATE:
            self._put(claim)

    def ejected(self, resource: Resource) -> None:
        """A domain's seed is about to be unplugged, as its guest is done with it.

        Raises:
            HostError: the host did not take it.
        """
        key = self._host.claims_key(self._site.stack)
        claim = self._entries[resource.address.short]
        rest = {name: value for name, value in claim.born.items() if name != RESEEDED}
        seal = seal_of(resource, self._site.births.desired, key)
        self._put(replace(claim, born={**rest, EJECTED: seal}))
        self.flush()

    def _keep_both(self, change: Change) -> None:
        """A domain that will be renamed is claimed under both names until that is done."""
        claim = self._entries.get(change.address.short)
        if claim is not None and change.previous is not None:
            with self._guard:
                self._entries[change.previous.short] = replace(claim, address=change.previous.short)
                self._version += 1

    def _since(self, address: Address, waiting: Iterable[str]) -> dict[str, str]:
        """Since when fields wait for a restart: as was noted when they were planned, else now.

        Drift that is kept waits for nothing: a plan that does not keep it changes it back.
        """
        claim = self._before.get(address.short)
        noted = claim.waiting if claim is not None else {}
        known = self._pending.get(address, frozenset())
        return {
            name: noted[name] if name in known and name in noted else self._moment
            for name in sorted(set(waiting) - self._drift.get(address, frozenset()))
        }

    def restarting(self, address: Address) -> None:
        """A guest is about to go down, to be started again: a crash must not leave it down.

        Raises:
            HostError: the host did not take it.
        """
        claim = self._entries.get(address.short)
        if claim is not None:
            self._put(replace(claim, phase=RESTARTING))
            self.flush()

    def exists(self, intent: Intent, record: Record) -> None:
        """A new object is there, although the rest of its change failed.

        A volume is whole then. What else is there has still to be built, started or set up: its
        creation is not over, and the next plan finishes it.
        """
        owned = self._owned(intent, record, None)
        whole = intent.address.kind is Kind.VOLUME
        self._put(owned if whole else replace(owned, phase=CREATING))

    def begin_again(self, intent: Intent) -> None:
        """A replaced object is gone and about to be made again: that is on the host before it is.

        Raises:
            HostError: the host did not take it.
        """
        self._put(self._beginning(intent))
        self.flush()

    def beginning(self, address: Address, key: str) -> None:
        """A volume is about to be made by a call that leaves no trace of whose it was, or filled.

        What has its name is this run's from now on, even if the run is cut.

        Args:
            address: the volume's.
            key: libvirt's key for it, once it is there: this run has made it.

        Raises:
            HostError: the host did not take it.
        """
        claim = self._entries.get(address.short)
        if claim is not None:
            self._put(replace(claim, phase=BEGUN, key=key))
            self.flush_volumes()

    def before(self, step: Step) -> None:
        """Have on the host what a step would make unknown or wrong.

        Before a guest gets at a disk: which volumes are done. One that is claimed as being created
        is made again after a crash, so no guest may have written into it. Before a pool stops:
        which of its volumes are gone. Nobody could see that afterwards.

        Raises:
            HostError: the host did not take it.
        """
        opens = step.address.kind is Kind.DOMAIN and step.verb in OPENING
        if opens or (step.address.kind is Kind.POOL and step.verb is Verb.STOP):
            self.flush_volumes()

    def gone(self, change: Change) -> None:
        """A deleted object is gone."""
        self._drop(change.address)
        self._settle()

    def never_begun(self, change: Change) -> None:
        """An update was left out: what was applied is still what is there."""
        before = self._before.get(change.address.short)
        if before is not None and change.reason is not Reason.ADOPT:
            self._put(before)

    def never_made(self, change: Change) -> None:
        """A new object was not made: claims are again as they were, but for what is gone."""
        before = self._before.get(change.address.short)
        gone = change.action is Action.REPLACE or self._is_gone(change.address)
        if gone and before is not None and is_seed(before.born):
            # Whoever makes one of that name is nobody we know; what the last one said is known.
            self._put(replace(before, phase=FORGOTTEN))
        elif before is None or gone:
            self._drop(change.address)
        else:
            self._put(before)

    def _is_gone(self, volume: Address) -> bool:
        """Whether a volume was seen not to be there: what has its path from now on is another."""
        if volume.kind is not Kind.VOLUME:
            return False
        inventory = self._site.inventory
        pool = inventory.record(Address(volume.host, Kind.POOL, volume.pool))
        return pool is not None and pool.active and inventory.record(volume) is None

    def taken(self, change: Change) -> None:
        """Somebody else has made a volume at this moment: nothing that was known is about that one.

        Raises:
            HostError: the host did not take it.
        """
        self._drop(change.address)
        self.flush_volumes()

    # ------------------------------------------------------------------ entries

    def _beginning(self, intent: Intent) -> Claim:
        key, protect = self._site.uuid_for(intent), intent.resource.lifecycle.prevent_destroy
        before = self._before.get(intent.address.short)
        born = wanted_born(intent.address, intent.tree)
        if before is not None and is_seed(before.born):
            # What the guest was made with: until there is another seed, that is to be known.
            born["seed"] = before.born["seed"]
        return Claim(intent.address.short, key, CREATING, born, None, protect)

    def _begin_update(self, change: Change) -> None:
        """If it is cut, the next plan must not take what was done by then for another's work."""
        claim = self._entries.get(change.address.short)
        unmarked = change.address.kind in UNMARKED and change.action is Action.UPDATE
        if unmarked and change.fields and claim is not None and claim.phase == DONE:
            self._put(replace(claim, phase=CHANGING))

    def _owned(self, intent: Intent, record: Record, born: Mapping[str, Any] | None) -> Claim:
        unmarked = intent.address.kind in UNMARKED
        if born is None:
            born = found_born(record, intent.tree)
        return Claim(
            address=intent.address.short,
            key=record.key,
            phase=DONE,
            born=born,
            applied=applied_fields(intent.model, intent.declared) if unmarked else None,
            protect=intent.resource.lifecycle.prevent_destroy,
        )

    def _born(self, intent: Intent) -> Mapping[str, Any] | None:
        """What is known of an older object's birth; None if nothing is."""
        claim = self._entries.get(intent.address.short)
        return claim.born if claim is not None and claim.phase not in UNFINISHED else None

    def _learn_of(self, changes: Iterable[Change]) -> None:
        """Keep `prevent_destroy` and what has left the specs, also of what is not changed."""
        for change in changes:
            claim = self._entries.get(change.address.short)
            if claim is None or change.address.host != self._site.inventory.host:
                continue
            if change.protect is not None:
                claim = replace(claim, protect=change.protect)
            if change.released is not None:
                claim = replace(claim, released=change.released)
            self._put(claim)

    def _came_back(self) -> None:
        """Forget restarts that were cut and whose guests somebody has started since."""
        for claim in tuple(self._entries.values()):
            if claim.phase == RESTARTING and claim.address.startswith(f"{Kind.DOMAIN}."):
                address = parse_address(claim.address, self._site.inventory.host)
                record = self._site.inventory.record(address)
                if record is not None and record.state is State.RUNNING:
                    self._put(replace(claim, phase=DONE))

    # ------------------------------------------------------------------ writing

    def _put(self, claim: Claim) -> None:
        with self._guard:
            if self._entries.get(claim.address) != claim:
                self._entries[claim.address] = claim
                self._noted(claim.address)

    def _drop(self, address: Address) -> None:
        with self._guard:
            if self._entries.pop(address.short, None) is not None:
                self._noted(address.short)

    def _noted(self, address: str) -> None:
        self._version += 1
        if address.startswith(_VOLUME):
            self._volumes = self._version

    def _settle(self) -> None:
        """Write what is noted, unless that was done a moment ago."""
        if self._writing.acquire(blocking=False):
            try:
                if time.monotonic() >= self._next:
                    self._write()
            finally:
                self._writing.release()

    def flush(self) -> None:
        """Have everything noted so far on the host; threads that wait for it share one write.

        Raises:
            HostError: the host did not take it.
        """
        self._have(self._version)

    def flush_volumes(self) -> None:
        """Have everything noted of volumes on the host. Raises HostError."""
        self._have(self._volumes)

    def _have(self, needed: int) -> None:
        with self._writing:
            if self._written < needed:
                self._write()

    def _write(self) -> None:
        with self._guard:
            version, entries = self._version, dict(self._entries)
        if version == self._written:
            return
        begun = time.monotonic()
        if self._active:
            self.before_writing()
            self._host.write_claims(replace(self._head, entries=entries))
        self._written = version
        now = time.monotonic()
        self._next = now + max(SECONDS_BETWEEN_WRITES, SHARE_OF_TIME * (now - begun))


def _nothing() -> None:
    """Writing needs no leave."""
