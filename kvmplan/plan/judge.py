"""The judge: what happens to each resource, before anything is known of its neighbours.

Every wanted object is compared with the live one of its name, and its ownership, holds and state
decide what may become of it. What is ours and in no spec is found here, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any

from kvmplan.address import Address, Kind, parse_address
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import Hold, Inventory, Record, State
from kvmplan.mapping.complete import complete
from kvmplan.plan.born import Births
from kvmplan.plan.busy import PAUSING_JOBS
from kvmplan.plan.change import Action, Pending, Reason, Released, Unlisted
from kvmplan.plan.fields import NOTHING, Compared, compare, pending, running_tree, waits_for_guest
from kvmplan.plan.handmade import tell_apart, without_drift
from kvmplan.plan.idle import LEFT_OFF, is_only_off
from kvmplan.plan.insync import InSync
from kvmplan.plan.intent import Intent, intend
from kvmplan.plan.lineage import words as lineage_words
from kvmplan.plan.moves import can_be_renamed, is_renamed_by_hand
from kvmplan.plan.options import PlanOptions, named
from kvmplan.plan.owned import Owned
from kvmplan.plan.references import wanted
from kvmplan.plan.seeding import is_due, renewed
from kvmplan.plan.torn import CREATING, DOUBTFUL, FILLING, UNFINISHED, is_begun
from kvmplan.plan.verdict import Verdict
from kvmplan.spec.desired import Desired

UNSEEN = Compared((), ("its pool is not active: it is taken to be as it was",), ())
RETURNING = Compared(
    (), ("its pool is made again: whether it is still there is seen by the next plan",), ()
)
"""What is known of a volume in an inactive pool."""

IN_SNAPSHOT = "a declared volume is in a snapshot: its guest writes to an overlay over it"
"""Why a disk that is elsewhere is in sync."""

TRANSIENT = "its definition was removed while it runs; it is written again"
"""Why an object without a difference is changed."""

NO_AUTOSTART = "autostart went with it and stays off, unless the spec says `autostart: true`"
"""What is told where nothing says whether it was on."""

CUT = "an apply was cut here before: what was applied is noted"
"""Why an object without a difference is changed, too."""

PAUSED_BY = {"ioerror": "an I/O error", "watchdog": "its watchdog", "crashed": "a crash inside"}
"""libvirt's reasons for a pause, in words."""


class Judge:
    """Judges the resources of one plan.

    Attributes:
        intents: what was compared, by address; without what is known to be in sync.
        owned: what the stack owns.
        pending, unlisted, released: what else there is to report of objects that are ours.
    """

    def __init__(
        self,
        desired: Desired,
        inventories: Mapping[str, Inventory],
        births: Births,
        options: PlanOptions,
        created: str,
        found: Diagnostics,
        in_sync: InSync | None = None,
    ) -> None:
        self._desired, self._inventories, self._births = desired, inventories, births
        self._options, self._created, self._found = options, created, found
        self._in_sync = in_sync
        self._known: list[Address] = []
        self.owned = Owned(inventories, births.skeleton, desired.stack.uid)
        self.intents: dict[Address, Intent] = {}
        self.pending: list[Pending] = []
        self.unlisted: list[Unlisted] = []
        self.released: list[Released] = []

    def wanted(self) -> list[Verdict]:
        """What happens to every resource of the specs."""
        drafts = []
        for address in sorted(self._desired.resources):
            inventory = self._inventories.get(address.host)
            if inventory is not None:
                drafts.append(self._judge(address, inventory))
        return drafts

    def look_closer(self) -> None:
        """Compare what is known to be in sync, too: others may be in conflict with it."""
        for address in self._known:
            self.intents[address] = self._intend(address, self._inventories[address.host])

    def _intend(self, address: Address, inventory: Inventory) -> Intent:
        resource, stack = self._desired.resources[address], self._desired.stack.uid
        vouched = self.owned.is_vouched(address, inventory)
        return intend(resource, inventory, stack, self._births, vouched=vouched)

    def _judge(self, address: Address, inventory: Inventory) -> Verdict:
        """What happens to one; what was in sync in an earlier run and is as it was, still is."""
        memory, record = self._in_sync, inventory.record(address)
        if memory is None or record is None or address in self._renewed:
            return self._weigh(address, inventory)
        wanted = memory.wanted(self._desired.resources[address])
        digest = memory.digest(wanted, record, inventory) if wanted is not None else None
        if digest is None:
            return self._weigh(address, inventory)
        if memory.knows(digest):
            self._known.append(address)
            return Verdict(address, Action.NOOP, record=record)
        told = self._told
        verdict = self._weigh(address, inventory)
        if self._told == told and verdict.is_in_sync:
            memory.used.add(digest)
        return verdict

    @property
    def _told(self) -> int:
        """How much there is to report so far."""
        reported = len(self.pending) + len(self.unlisted) + len(self.released)
        return len(self._found) + reported

    def _weigh(self, address: Address, inventory: Inventory) -> Verdict:
        intent = self._intend(address, inventory)
        self.intents[address] = intent
        record = intent.record
        if not self.is_chosen(address):
            return Verdict(address, Action.NOOP, Reason.HELD_BACK, intent, record)
        hold = self._hold(address, inventory)
        if hold is not None:
            held = replace(NOTHING, notes=(str(hold),))
            return Verdict(address, Action.NOOP, Reason.HELD, intent, record, held)
        begun = intent.claim is not None and intent.claim.phase in UNFINISHED
        if record is None and inventory.is_unseen(address) and not begun:
            pool = Address(address.host, Kind.POOL, address.pool)
            compared = UNSEEN if inventory.exists(pool) else RETURNING
            return Verdict(address, Action.NOOP, intent=intent, compared=compared)
        if record is None and is_renamed_by_hand(intent, inventory, self._found):
            return Verdict(address, Action.NOOP, Reason.BLOCKED, intent)
        if record is None:
            return Verdict(address, Action.CREATE, intent=intent)
        running = running_tree(intent)
        compared = compare(intent, inventory.facts, running)
        if self._options.drift == "keep":
            compared = without_drift(compared)
        if intent.context is not None and intent.context.overlays:
            compared = replace(compared, notes=(*compared.notes, IN_SNAPSHOT))
        changes = bool(compared.changes)
        previous = inventory.former.get(address)
        owner = inventory.other_owner(previous or address, record.key)
        if owner is not None:
            self._of_another_stack(intent, owner)
            return Verdict(address, Action.NOOP, Reason.BLOCKED, intent, record)
        if not can_be_renamed(intent, record, previous, self._options, self._found):
            return Verdict(address, Action.NOOP, Reason.BLOCKED, intent, record)
        if not intent.ours:
            return self._not_ours(intent, record, compared)
        if self._options.replaces(address):
            return self._begins_anew(intent, Reason.REQUESTED)
        if address in self._renewed:
            return self._begins_anew(intent, Reason.RESEEDED)
        if intent.unfinished and address.kind is Kind.VOLUME:
            return self._torn(intent, record, compared)
        compared = self._note(intent, compared, running, inventory)
        changes = bool(compared.changes)
        if changes and not self._state_is_safe(intent, record, compared):
            unchanged = replace(compared, changes=())
            return Verdict(address, Action.NOOP, Reason.BLOCKED, intent, record, unchanged)
        if intent.unfinished:
            return Verdict(address, Action.UPDATE, Reason.TORN, intent, record, compared)
        if not record.persistent and address.kind in (Kind.DOMAIN, Kind.NETWORK):
            unknown = () if "autostart" in intent.tree else (NO_AUTOSTART,)
            compared = replace(compared, notes=(*compared.notes, TRANSIENT, *unknown))
            changes = True
        if intent.cut and not changes and previous is None:
            compared = replace(compared, notes=(*compared.notes, CUT))
            changes = True
        due = is_due(intent, running, self._desired, inventory)
        action = Action.UPDATE if changes or due or previous is not None else Action.NOOP
        return Verdict(address, action, Reason.NONE, intent, record, compared, ejects=due)

    def _torn(self, intent: Intent, record: Record, compared: Compared) -> Verdict:
        """What is whole, or was to be empty, stays; a part of something is made again.

        So is what nobody has written into, if it is not as wanted.
        """
        address, inventory = intent.address, self._inventories[intent.address.host]
        whole = self.owned.is_whole(address, inventory)
        blank = intent.claim is not None and intent.claim.phase == CREATING
        anew = blank and bool(compared.changes or compared.notes)
        anew |= any(intent.tree.get(name) is not None for name in FILLING)
        if anew and not whole:
            return Verdict(address, Action.REPLACE, Reason.TORN, intent, record)
        return Verdict(address, Action.UPDATE, Reason.TORN, intent, record, compared)

    def _begins_anew(self, intent: Intent, reason: Reason) -> Verdict:
        """A new object takes its place, as one that nothing is live of; its seed is plugged in."""
        whole = complete(intent.model, intent.declared, None)
        intent = replace(intent, tree=whole, ejected=False)
        self.intents[intent.address] = intent
        return Verdict(intent.address, Action.REPLACE, reason, intent, intent.record)

    @cached_property
    def _renewed(self) -> frozenset[Address]:
        """What is replaced because a seed was edited."""
        return renewed(self._desired, self._inventories)

    def _not_ours(self, intent: Intent, record: Record, compared: Compared) -> Verdict:
        address = intent.address
        if self._options.adopt:
            return Verdict(address, Action.UPDATE, Reason.ADOPT, intent, record, compared)
        inventory = self._inventories[address.host]
        about = lineage_words(record, inventory, self._desired.stack.uid)
        if is_begun(inventory, address):
            about = DOUBTFUL
        if is_only_off(intent, compared):
            compared = replace(compared, changes=(), notes=(*compared.notes, LEFT_OFF))
        if not compared.changes:
            if about:
                note = about if about == DOUBTFUL else f"it is {about}"
                compared = replace(compared, notes=(*compared.notes, note))
            return Verdict(address, Action.NOOP, Reason.UNOWNED, intent, record, compared)
        names = ", ".join(change.name for change in compared.changes[:5])
        known = f" ({about})" if about else ""
        summary = (
            f"{address.short} exists, is not owned by this stack{known}, and differs in {names}"
        )
        remedy = "--adopt takes it over and applies the spec; or write what it is"
        self._found.error("KVP220", summary, intent.resource.place, remedy, address)
        return Verdict(address, Action.NOOP, Reason.BLOCKED, intent, record)

    def _of_another_stack(self, intent: Intent, owner: str) -> None:
        summary = f"{intent.address.short} belongs to the stack '{owner}'"
        remedy = "take it out of these specs, or `kvmplan forget` it from that stack first"
        self._found.error("KVP221", summary, intent.resource.place, remedy, intent.address)

    def _stays_with(self, address: Address, owner: str) -> None:
        """What both claim, neither deletes."""
        summary = f"{address.short} belongs to the stack '{owner}', too, and stays"
        remedy = "`kvmplan forget` it from one of them"
        self._found.warning("KVP221", summary, None, remedy, address)

    def _state_is_safe(self, intent: Intent, record: Record, compared: Compared) -> bool:
        """Whether a guest can be brought to its state: one stopped by an error is not resumed."""
        wants = next((change for change in compared.changes if change.path == ("state",)), None)
        if (
            wants is None
            or wants.after != "running"
            or record.state not in (State.PAUSED, State.SUSPENDED)
        ):
            return True
        if record.state is State.PAUSED and record.reason in ("", "user", "unknown", *PAUSING_JOBS):
            return True
        why = (
            "it suspended itself"
            if record.state is State.SUSPENDED
            else f"it was paused by {PAUSED_BY.get(record.reason, record.reason)}"
        )
        summary = f"{intent.address.short} is not running: {why}, which kvmplan never resumes"
        remedy = "find the cause, then resume it: virsh resume, or virsh dompmwakeup"
        self._found.error("KVP230", summary, intent.resource.place, remedy, intent.address)
        return False

    def _note(
        self, intent: Intent, compared: Compared, running: Any, inventory: Inventory
    ) -> Compared:
        """Note what there is to report; with what is to be changed of what runs alone."""
        address = intent.address
        changed = {change.path for change in compared.changes}
        left = intent.left_behind(changed) if changed else intent.gone
        known = intent.claim.released if intent.claim is not None else ()
        self.released += [Released(address, path) for path in left if path not in known]
        fields = pending(intent, running)
        handmade = tell_apart(intent, fields, compared, inventory.facts, running)
        if self._options.drift == "keep":
            told = without_drift(handmade.beside(compared), " while it runs")
            compared = replace(compared, notes=told.notes)
            handmade = handmade.kept(fields)
        compared = handmade.beside(compared)
        self.unlisted += [Unlisted(address, path) for path in compared.unlisted]
        touched = {change.path for change in compared.changes if change.verb is not None}
        fields = tuple(field for field in handmade.waiting if field.path not in touched)
        saved = intent.record is not None and not intent.record.active
        since = intent.claim.waiting if intent.claim is not None else {}
        for waiting in (False, True):
            part = tuple(f for f in fields if (waits_for_guest(f) and not saved) is waiting)
            if part:
                first = min((since[f.name] for f in part if f.name in since), default="")
                self.pending.append(Pending(address, part, waiting, first, saved))
        return compared

    def deletions(self) -> list[Verdict]:
        """Everything that is claimed and still the same object."""
        drafts = []
        for host, inventory in sorted(self._inventories.items()):
            claims = inventory.claims.entries if inventory.claims else {}
            for short in sorted(claims):
                address = parse_address(short, host)
                record = inventory.record(address)
                if record is None and inventory.is_unseen(address):
                    if self.is_chosen(address):
                        drafts.append(Verdict(address, Action.DELETE, Reason.DESTROY))
                    continue
                if record is None or not self.owned.claims(record, inventory):
                    continue
                owner = inventory.other_owner(address, record.key)
                if owner is not None:
                    self._stays_with(address, owner)
                    continue
                intent = None
                if address in self._desired.resources:
                    intent = self.intents[address] = self._intend(address, inventory)
                hold = self._hold(address, inventory)
                if hold is not None:
                    held = replace(NOTHING, notes=(str(hold),))
                    drafts.append(Verdict(address, Action.NOOP, Reason.HELD, intent, record, held))
                elif self.is_chosen(address):
                    drafts.append(Verdict(address, Action.DELETE, Reason.DESTROY, intent, record))
                else:
                    drafts.append(Verdict(address, Action.NOOP, Reason.HELD_BACK, intent, record))
        return drafts

    def pruned(self) -> list[Verdict]:
        """What the stack owns and no spec names; what is held or not targeted stays."""
        drafts = []
        for address in self.orphans():
            inventory = self._inventories[address.host]
            if self.is_chosen(address) and self._hold(address, inventory) is None:
                record = inventory.record(address)
                drafts.append(Verdict(address, Action.DELETE, Reason.NOT_IN_SPEC, None, record))
        return drafts

    def _hold(self, address: Address, inventory: Inventory) -> Hold | None:
        """The hold on an object, if there is one and it lasts."""
        claim = inventory.claim(address)
        hold = claim.hold if claim is not None else None
        return hold if hold is not None and hold.lasts(self._created) else None

    def is_chosen(self, address: Address) -> bool:
        """Whether --target and --exclude leave it in: what a target refers to comes along."""
        if self._options.only is not None and address not in self._options.only:
            return False
        if self._options.targets and address not in self._needed:
            return False
        return not named(address, self._options.excludes)

    @cached_property
    def _needed(self) -> set[Address]:
        """What --target names, and what that needs."""
        resources = self._desired.resources
        todo = [a for a in self._all_addresses() if named(a, self._options.targets)]
        needed: set[Address] = set()
        while todo:
            address = todo.pop()
            if address in needed:
                continue
            needed.add(address)
            if address in resources and not self._options.destroy:
                todo += [target for target in wanted(resources[address]) if target in resources]
        return needed

    def _all_addresses(self) -> set[Address]:
        claimed = {
            parse_address(short, host)
            for host, inventory in self._inventories.items()
            for short in (inventory.claims.entries if inventory.claims else {})
        }
        return claimed | set(self._desired.resources)

    def orphans(self) -> tuple[Address, ...]:
        """What the stack owns and no spec names."""
        return self.owned.orphans(self._desired.resources)
