"""The planner: from specs and inventories to a plan.

Pure but for one question back: when something will change, the reader is asked to complete the
inventory with all domains, so that users and conflicts are known. A plan that changes nothing
never needs that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import FORGOTTEN, Hold, Inventory, Record, State
from kvmplan.kinds.mark import applied_fields
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.document import digest
from kvmplan.mapping.impact import Impact, worst
from kvmplan.mapping.model import secret_paths
from kvmplan.plan import steps
from kvmplan.plan.arrange import arrange
from kvmplan.plan.born import Births
from kvmplan.plan.change import (
    Action,
    Change,
    FieldChange,
    Guarded,
    Pending,
    Plan,
    Precondition,
    Reason,
    Released,
    Step,
    Unlisted,
)
from kvmplan.plan.checks import Conflicts, check_references
from kvmplan.plan.fields import NOTHING, Compared, compare, pending, running_tree, waits_for_guest
from kvmplan.plan.guards import Scene, refusals
from kvmplan.plan.intent import CREATING, Intent, intend, is_claimed
from kvmplan.plan.members import released
from kvmplan.plan.options import PlanOptions, named
from kvmplan.plan.prune import implausible, wants_prune
from kvmplan.plan.references import found as live_references
from kvmplan.plan.references import wanted
from kvmplan.plan.steps import Draft
from kvmplan.plan.users import Users, running_disk, users_of
from kvmplan.spec.desired import Desired

Complete = Callable[[str, Inventory, frozenset[str]], Inventory]
"""Host name, inventory, pools -> the inventory with all domains and these pools' volumes read."""

UNSEEN = Compared((), ("its pool is not active: it is taken to be as it was",), ())
"""What is known of a volume in an inactive pool."""

IN_SNAPSHOT = "a declared volume is in a snapshot: its guest writes to an overlay over it"
"""Why a disk that is elsewhere is in sync."""

TRANSIENT = "its definition was removed while it runs; it is written again"
"""Why an object without a difference is changed."""

CUT = "an apply was cut here before: what was applied is noted"
"""Why an object without a difference is changed, too."""

PAUSED_BY = {"ioerror": "an I/O error", "watchdog": "its watchdog", "crashed": "a crash inside"}
"""libvirt's reasons for a pause, in words."""


@dataclass(frozen=True)
class Planned:
    """A plan and what its steps are carried out from.

    Attributes:
        intents: every wanted resource beside its live object.
        births: makes documents of new objects.
        inventories: what the plan was made from.
    """

    plan: Plan
    intents: Mapping[Address, Intent]
    births: Births
    inventories: Mapping[str, Inventory]


@dataclass(slots=True)
class _Draft:
    """A change while the plan is being made."""

    address: Address
    action: Action
    reason: Reason = Reason.NONE
    intent: Intent | None = None
    record: Record | None = None
    compared: Compared = NOTHING


class Planner:
    """Makes one plan."""

    def __init__(
        self,
        desired: Desired,
        inventories: Mapping[str, Inventory],
        skeleton: Callable[..., Any],
        options: PlanOptions,
        complete: Complete,
        created: str = "",
    ) -> None:
        self._desired, self._inventories = desired, dict(inventories)
        self._skeleton, self._options, self._complete = skeleton, options, complete
        self._created = created
        self._births = Births(skeleton, desired, self._inventories)
        self._found = Diagnostics()
        self._intents: dict[Address, Intent] = {}
        self._pending: list[Pending] = []
        self._unlisted: list[Unlisted] = []
        self._released: list[Released] = []

    def plan(self) -> Planned:
        """Pair, compare, check, guard, order."""
        drafts = self._deletions() if self._options.destroy else self._wanted()
        if wants_prune(self._desired, self._options):
            drafts += self._pruned()
        acting = [draft for draft in drafts if draft.action is not Action.NOOP]
        users: dict[str, Users] = {}
        if acting:
            users = self._look_around(acting)
        self._check(acting, users)
        changes = {draft.address: self._change(draft, users) for draft in drafts}
        changes = arrange(changes, self._edges(acting), self._desired, self._found)
        return Planned(self._finish(changes, users), self._intents, self._births, self._inventories)

    # ---------------------------------------------------------------- what happens to each resource

    def _wanted(self) -> list[_Draft]:
        drafts = []
        for address in sorted(self._desired.resources):
            inventory = self._inventories.get(address.host)
            if inventory is not None:
                drafts.append(self._judge(address, inventory))
        self._spare(drafts)
        return drafts

    def _spare(self, drafts: Iterable[_Draft]) -> None:
        """Volumes of a cut run that are whole, although that is not noted yet, are not replaced.

        A guest is defined after its volumes are whole: where one of that same run is defined, they
        are. Nobody but it can have written into them, and that is not to be lost.
        """
        torn = [d for d in drafts if d.reason is Reason.TORN and d.action is Action.REPLACE]
        used = set[Address]()
        for host in {draft.address.host for draft in torn}:
            inventory = self._inventories[host]
            for claim in inventory.claims.entries.values() if inventory.claims else ():
                record = inventory.record(_address(host, claim.address))
                begun = claim.phase == CREATING and record is not None and record.key == claim.key
                if record is not None and begun and record.address.kind is Kind.DOMAIN:
                    used.update(live_references(record, inventory, self._skeleton))
        for draft in torn:
            if draft.address in used and draft.intent is not None:
                facts = self._inventories[draft.address.host].facts
                draft.action = Action.UPDATE
                draft.compared = compare(draft.intent, facts, running_tree(draft.intent))

    def _judge(self, address: Address, inventory: Inventory) -> _Draft:
        resource = self._desired.resources[address]
        intent = intend(resource, inventory, self._desired.stack.uid, self._births)
        self._intents[address] = intent
        record = intent.record
        if not self._is_chosen(address):
            return _Draft(address, Action.NOOP, Reason.HELD_BACK, intent, record)
        hold = self._hold(address, inventory)
        if hold is not None:
            held = replace(NOTHING, notes=(str(hold),))
            return _Draft(address, Action.NOOP, Reason.HELD, intent, record, held)
        begun = intent.claim is not None and intent.claim.phase == CREATING
        if record is None and inventory.is_unseen(address) and not begun:
            return _Draft(address, Action.NOOP, intent=intent, compared=UNSEEN)
        if record is None:
            return _Draft(address, Action.CREATE, intent=intent)
        running = running_tree(intent)
        compared = compare(intent, inventory.facts, running)
        if self._options.drift == "keep":
            intended = tuple(change for change in compared.changes if not change.drift)
            compared = replace(compared, changes=intended)
        if intent.context is not None and intent.context.overlays:
            compared = replace(compared, notes=(*compared.notes, IN_SNAPSHOT))
        changes = bool(compared.changes)
        owner = inventory.other_owner(address, record.key)
        if owner is not None:
            self._of_another_stack(intent, owner)
            return _Draft(address, Action.NOOP, Reason.BLOCKED, intent, record)
        if not intent.ours:
            return self._not_ours(intent, record, compared)
        self._note(intent, compared, running)
        if self._options.replaces(address):
            return _Draft(address, Action.REPLACE, Reason.REQUESTED, intent, record)
        if intent.unfinished and address.kind is Kind.VOLUME:
            return _Draft(address, Action.REPLACE, Reason.TORN, intent, record)
        if changes and not self._state_is_safe(intent, record, compared):
            unchanged = replace(compared, changes=())
            return _Draft(address, Action.NOOP, Reason.BLOCKED, intent, record, unchanged)
        if intent.unfinished:
            return _Draft(address, Action.UPDATE, Reason.TORN, intent, record, compared)
        if not record.persistent and address.kind in (Kind.DOMAIN, Kind.NETWORK):
            compared = replace(compared, notes=(*compared.notes, TRANSIENT))
            changes = True
        if intent.mark is not None and intent.mark.unfinished and not changes:
            compared = replace(compared, notes=(*compared.notes, CUT))
            changes = True
        action = Action.UPDATE if changes else Action.NOOP
        return _Draft(address, action, Reason.NONE, intent, record, compared)

    def _not_ours(self, intent: Intent, record: Record, compared: Compared) -> _Draft:
        address = intent.address
        if self._options.adopt:
            return _Draft(address, Action.UPDATE, Reason.ADOPT, intent, record, compared)
        if not compared.changes:
            return _Draft(address, Action.NOOP, Reason.UNOWNED, intent, record, compared)
        names = ", ".join(change.name for change in compared.changes[:5])
        summary = f"{address.short} exists, is not owned by this stack, and differs in {names}"
        remedy = "--adopt takes it over and applies the spec; or write what it is"
        self._found.error("KVP220", summary, intent.resource.place, remedy, address)
        return _Draft(address, Action.NOOP, Reason.BLOCKED, intent, record)

    def _of_another_stack(self, intent: Intent, owner: str) -> None:
        summary = f"{intent.address.short} belongs to the stack '{owner}'"
        remedy = "take it out of these specs, or `kvmplan forget` it from that stack first"
        self._found.error("KVP221", summary, intent.resource.place, remedy, intent.address)

    def _state_is_safe(self, intent: Intent, record: Record, compared: Compared) -> bool:
        """Whether a guest can be brought to its state: one stopped by an error is not resumed."""
        wants = next((change for change in compared.changes if change.path == ("state",)), None)
        if (
            wants is None
            or wants.after != "running"
            or record.state not in (State.PAUSED, State.SUSPENDED)
        ):
            return True
        if record.state is State.PAUSED and record.reason in ("", "user", "unknown"):
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

    def _note(self, intent: Intent, compared: Compared, running: Any) -> None:
        address = intent.address
        self._unlisted += [Unlisted(address, path) for path in compared.unlisted]
        if intent.applied is not None and intent.applied != intent.declared:
            known = applied_fields(intent.model, intent.declared)
            if known != intent.applied:
                self._released += [
                    Released(address, p) for p in released(intent.model, known, intent.applied)
                ]
        if running is None:
            return
        fields = pending(intent, running)
        if compared.changes:
            touched = {change.path for change in compared.changes}
            fields = tuple(field for field in fields if field.path not in touched)
        for waiting in (False, True):
            part = tuple(field for field in fields if waits_for_guest(field) is waiting)
            if part:
                self._pending.append(Pending(address, part, waiting))

    def _deletions(self) -> list[_Draft]:
        """Everything that is claimed and still the same object."""
        drafts = []
        for host, inventory in sorted(self._inventories.items()):
            claims = inventory.claims.entries if inventory.claims else {}
            for short, claim in sorted(claims.items()):
                address = _address(host, short)
                record = inventory.record(address)
                if record is None and inventory.is_unseen(address):
                    if self._is_chosen(address):
                        drafts.append(_Draft(address, Action.DELETE, Reason.DESTROY))
                    continue
                if record is None or not is_claimed(
                    record, claim, inventory, None, self._desired.stack.uid
                ):
                    continue
                resource = self._desired.resources.get(address)
                intent = None
                if resource is not None:
                    intent = intend(resource, inventory, self._desired.stack.uid, self._births)
                    self._intents[address] = intent
                hold = self._hold(address, inventory)
                if hold is not None:
                    held = replace(NOTHING, notes=(str(hold),))
                    drafts.append(_Draft(address, Action.NOOP, Reason.HELD, intent, record, held))
                elif self._is_chosen(address):
                    drafts.append(_Draft(address, Action.DELETE, Reason.DESTROY, intent, record))
                else:
                    drafts.append(_Draft(address, Action.NOOP, Reason.HELD_BACK, intent, record))
        return drafts

    def _pruned(self) -> list[_Draft]:
        """What the stack owns and no spec names; what is held or not targeted stays."""
        drafts = []
        for address in self._orphans():
            inventory = self._inventories[address.host]
            if self._is_chosen(address) and self._hold(address, inventory) is None:
                record = inventory.record(address)
                drafts.append(_Draft(address, Action.DELETE, Reason.NOT_IN_SPEC, None, record))
        return drafts

    def _hold(self, address: Address, inventory: Inventory) -> Hold | None:
        """The hold on an object, if there is one and it lasts."""
        claim = inventory.claim(address)
        hold = claim.hold if claim is not None else None
        return hold if hold is not None and hold.lasts(self._created) else None

    def _is_chosen(self, address: Address) -> bool:
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
            _address(host, short)
            for host, inventory in self._inventories.items()
            for short in (inventory.claims.entries if inventory.claims else {})
        }
        return claimed | set(self._desired.resources)

    # ----------------------------------------------------------------- the neighbourhood

    def _look_around(self, acting: list[_Draft]) -> dict[str, Users]:
        """Read the rest of the hosts that something changes on, and see who uses what there."""
        users = {}
        for host in sorted({draft.address.host for draft in acting}):
            removed = (Action.DELETE, Action.REPLACE)
            pools = frozenset(
                draft.address.pool
                for draft in acting
                if draft.address.host == host
                and draft.address.kind is Kind.VOLUME
                and draft.action in removed
            )
            self._inventories[host] = self._complete(host, self._inventories[host], pools)
            users[host] = users_of(self._inventories[host])
        return users

    def _check(self, acting: list[_Draft], users: Mapping[str, Users]) -> None:
        if self._options.destroy:
            return
        actions = {draft.address: draft.action for draft in acting}
        left_out = {a for a in self._desired.resources if not self._is_chosen(a)}
        check_references(self._desired.resources, self._inventories, actions, left_out, self._found)
        conflicts = Conflicts(self._intents, actions, self._found)
        for host in users:
            conflicts.check(host, self._inventories[host], users[host])

    def _edges(self, acting: list[_Draft]) -> dict[Address, tuple[Address, ...]]:
        """What each changing object depends on, by its spec and by what it uses now."""
        edges: dict[Address, set[Address]] = {}
        for draft in acting:
            targets = edges.setdefault(draft.address, set())
            if draft.intent is not None and draft.action is not Action.DELETE:
                targets |= set(wanted(draft.intent.resource))
            if draft.record is not None and (
                draft.action in (Action.DELETE, Action.REPLACE) or self._shrinks(draft)
            ):
                inventory = self._inventories[draft.address.host]
                targets |= set(live_references(draft.record, inventory, self._skeleton))
        return {address: tuple(sorted(targets)) for address, targets in edges.items()}

    def _shrinks(self, draft: _Draft) -> bool:
        return any(change.after is None for change in draft.compared.changes)

    # ----------------------------------------------------------------- changes

    def _change(self, draft: _Draft, users: Mapping[str, Users]) -> Change:
        intent, address = draft.intent, draft.address
        fields = draft.compared.changes
        drafts = list(self._steps(draft, users))
        resource = self._desired.resources.get(address)
        secrets = secret_paths(intent.model, intent.tree) if intent else ()
        return Change(
            address=address,
            action=draft.action,
            reason=draft.reason,
            fields=fields,
            impact=self._impact(draft, fields),
            before=intent.live if intent else None,
            after=intent.tree if intent and draft.action is not Action.DELETE else None,
            sensitive=secrets,
            depends_on=wanted(resource) if resource and draft.action is not Action.DELETE else (),
            steps=tuple(_unnumbered(step) for step in drafts),
            precondition=self._precondition(draft),
            source=resource.place if resource else None,
            notes=(*draft.compared.notes, *self._notes(draft, users)),
        )

    def _steps(self, draft: _Draft, users: Mapping[str, Users]) -> Iterable[Draft]:
        intent, address, record = draft.intent, draft.address, draft.record
        keep = not self._options.allows_data_loss(address)
        match draft.action:
            case Action.CREATE if intent is not None:
                return steps.creation(intent)
            case Action.DELETE if record is not None:
                return steps.deletion(intent, address, active=record.active, keep_state=keep)
            case Action.REPLACE if intent is not None and record is not None:
                gone = steps.deletion(intent, address, active=record.active, keep_state=keep)
                return [*gone, *steps.creation(intent)]
            case Action.UPDATE if intent is not None:
                disk = (
                    running_disk(users[address.host], address)
                    if address.kind is Kind.VOLUME
                    else None
                )
                made = list(steps.update(intent, draft.compared.changes, disk))
                defines = any(step.verb is Verb.DEFINE for step in made)
                marked = address.kind in (Kind.DOMAIN, Kind.NETWORK)
                if draft.reason is Reason.ADOPT and marked and not defines:
                    made.append(steps.mark_step(intent))
                return made
            case _:
                return []

    def _impact(self, draft: _Draft, fields: Iterable[FieldChange]) -> Impact:
        volume = draft.address.kind is Kind.VOLUME
        match draft.action:
            case Action.CREATE:
                return Impact.CREATE
            case Action.DELETE:
                return Impact.DATA_LOSS if volume else Impact.DELETE
            case Action.REPLACE:
                return (
                    Impact.DATA_LOSS
                    if volume and draft.reason is not Reason.TORN
                    else Impact.REPLACE
                )
            case _:
                return worst([field.impact for field in fields])

    def _notes(self, draft: _Draft, users: Mapping[str, Users]) -> list[str]:
        record, address = draft.record, draft.address
        if record is None or draft.action not in (Action.DELETE, Action.REPLACE):
            return []
        notes = []
        if address.kind is Kind.DOMAIN:
            if record.active:
                notes.append(
                    "the guest is asked to shut down, then powered off after its shutdown_timeout"
                )
            if not self._options.allows_data_loss(address) and (
                "<nvram" in record.document or "<tpm" in record.document
            ):
                notes.append(
                    f"NVRAM and TPM state stay; --allow-data-loss {address.short} removes them"
                )
        if address.kind is Kind.POOL:
            notes.append("its directory and files stay")
        return notes

    def _precondition(self, draft: _Draft) -> Precondition:
        record, intent = draft.record, draft.intent
        if record is None:
            return Precondition(exists=False)
        if draft.action is Action.NOOP:
            return Precondition(True, record.key, record.active)
        values = applied_fields(intent.model, intent.live) if intent and intent.live else {}
        text = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return Precondition(True, record.key, record.active, digest(text))

    # ----------------------------------------------------------------- the whole

    def _finish(self, changes: Mapping[Address, Change], users: Mapping[str, Users]) -> Plan:
        scene = Scene(
            changes,
            self._desired.resources,
            self._inventories,
            users,
            self._options,
            frozenset(self._detached(changes.values())),
        )
        diagnostics = tuple(self._found)
        return Plan(
            stack_name=self._desired.stack.name,
            stack_uid=self._desired.stack.uid,
            hosts={name: inventory.facts for name, inventory in sorted(self._inventories.items())},
            changes=tuple(changes[address] for address in sorted(changes)),
            drift=tuple(
                _only_drift(changes[a])
                for a in sorted(changes)
                if any(f.drift for f in changes[a].fields)
            ),
            pending=tuple(self._pending),
            unlisted=tuple(self._unlisted),
            released=tuple(self._released),
            orphans=tuple(a for a in self._orphans() if a not in changes),
            refusals=(*(refusals(scene) if users else ()), *self._implausible(changes)),
            diagnostics=diagnostics,
            errored=self._found.has_errors,
            destroy=self._options.destroy,
            created=self._created,
        )

    def _detached(self, changes: Iterable[Change]) -> Iterable[tuple[Address, str]]:
        """Which volumes and networks domains let go of in this plan."""
        for change in changes:
            for field in change.fields:
                if (
                    change.address.kind is Kind.DOMAIN
                    and isinstance(field.before, Mapping)
                    and field.after is None
                ):
                    for name in ("volume", "network"):
                        if field.before.get(name):
                            yield change.address, field.before[name]

    def _implausible(self, changes: Mapping[Address, Change]) -> Iterable[Guarded]:
        """Refusals of a pruning that looks like a mistake."""
        pruned = [a for a, change in changes.items() if change.reason is Reason.NOT_IN_SPEC]
        owned = sum(
            len(inventory.claims.entries) if inventory.claims else 0
            for inventory in self._inventories.values()
        )
        errors = self._found.has_errors
        return implausible(self._desired, self._options, pruned, owned, errors)

    def _orphans(self) -> tuple[Address, ...]:
        """What the stack owns and no spec names."""
        found = []
        for host, inventory in sorted(self._inventories.items()):
            for short, claim in sorted(
                (inventory.claims.entries if inventory.claims else {}).items()
            ):
                address = _address(host, short)
                record = inventory.record(address)
                if (
                    address not in self._desired.resources
                    and record is not None
                    and record.key == claim.key
                    and claim.phase != FORGOTTEN
                ):
                    found.append(address)
        return tuple(found)


def _address(host: str, short: str) -> Address:
    kind, _, name = short.partition(".")
    return Address(host, Kind(kind), name)


def _is_marked(address: Address, made: list[Draft]) -> bool:
    """Whether the steps leave a mark already, or the kind carries none."""
    if address.kind not in (Kind.DOMAIN, Kind.NETWORK):
        return True
    return any(step.verb is Verb.DEFINE for step in made)


def _unnumbered(draft: Draft) -> Step:
    return Step(
        id=0,
        address=draft.address,
        verb=draft.verb,
        fields=draft.fields,
        arguments=draft.arguments,
        impact=draft.impact,
        fallback=draft.fallback,
    )


def _only_drift(change: Change) -> Change:
    fields = tuple(field for field in change.fields if field.drift)
    return replace(
        change, fields=fields, impact=worst([field.impact for field in fields]), steps=()
    )
