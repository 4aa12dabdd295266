"""The planner: from specs and inventories to a plan.

Pure but for one question back: when something will change, the reader is asked to complete the
inventory with all domains, so that users and conflicts are known. A plan that changes nothing
never needs that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import Inventory
from kvmplan.mapping.impact import Impact, worst
from kvmplan.plan import identity, unclaimed
from kvmplan.plan.arrange import Ties, arrange
from kvmplan.plan.bases import guests_per_base
from kvmplan.plan.born import Births
from kvmplan.plan.busy import busy
from kvmplan.plan.change import Action, Change, Guarded, Plan, Reason, Tree
from kvmplan.plan.checks import Conflicts, check_references
from kvmplan.plan.graph import Node
from kvmplan.plan.guards import Scene, refusals
from kvmplan.plan.handover import Handovers, separated
from kvmplan.plan.idle import check_idle
from kvmplan.plan.insync import InSync, is_plain
from kvmplan.plan.intent import Intent
from kvmplan.plan.judge import Judge
from kvmplan.plan.keeping import keep_volumes, refuse_swaps
from kvmplan.plan.leases import follow_macs
from kvmplan.plan.making import Changes
from kvmplan.plan.moves import follow, report_both
from kvmplan.plan.newborn import check_newborn
from kvmplan.plan.offers import check_offers
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.outages import plan_outages
from kvmplan.plan.overlaid import check_overlaid, puts_on_something
from kvmplan.plan.prune import implausible, wants_prune
from kvmplan.plan.references import found as live_references
from kvmplan.plan.references import wanted
from kvmplan.plan.replacing import check_replacements
from kvmplan.plan.restarts import plan_restarts
from kvmplan.plan.room import growth, needs_of, refuse_what_cannot_fit, warn_of_promises
from kvmplan.plan.sources import Sources
from kvmplan.plan.storage import Storage, check_storage
from kvmplan.plan.users import Users, users_of
from kvmplan.plan.verdict import Verdict
from kvmplan.spec.desired import Desired

Complete = Callable[[str, Inventory, frozenset[str]], Inventory]
"""Host name, inventory, pools -> the inventory with all domains and these pools' volumes read."""


@dataclass(frozen=True)
class Planned:
    """A plan and what its steps are carried out from.

    Attributes:
        intents: every wanted resource beside its live object.
        births: makes documents of new objects; its `desired` is the specs with what they leave to
            the host.
        inventories: what the plan was made from.
        options: what the user asked of it.
    """

    plan: Plan
    intents: Mapping[Address, Intent]
    births: Births
    inventories: Mapping[str, Inventory]
    options: PlanOptions


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
        in_sync: InSync | None = None,
    ) -> None:
        self._read = dict(inventories)
        if not options.destroy:
            self._read = {name: awaiting(it, desired) for name, it in inventories.items()}
        self._moved = {} if options.destroy else desired.moved
        self._inventories = {name: follow(it, self._moved) for name, it in self._read.items()}
        self._skeleton, self._options, self._complete = skeleton, options, complete
        self._created = created
        desired = keep_volumes(desired, self._inventories, skeleton)
        desired = follow_macs(Births(skeleton, desired, self._inventories))
        self._desired = desired
        self._births = Births(skeleton, desired, self._inventories)
        self._found = Diagnostics()
        self._judge = Judge(
            desired,
            self._inventories,
            self._births,
            options,
            created,
            self._found,
            in_sync if is_plain(options) else None,
        )

    def plan(self) -> Planned:
        """Pair, compare, check, guard, order."""
        drafts = self._judge.deletions() if self._options.destroy else self._judge.wanted()
        if self._moved:
            report_both(self._desired, self._read, self._found)
        if wants_prune(self._desired, self._options):
            drafts += self._judge.pruned()
        check_replacements(drafts, self._options, self._found)
        plan_restarts(drafts, self._judge.pending, self._options)
        plan_outages(drafts, self._judge.pending, self._options, self._inventories, self._created)
        acting = [draft for draft in drafts if draft.action is not Action.NOOP]
        users: dict[str, Users] = {}
        if acting:
            users = self._look_around(acting)
            self._judge.look_closer()
        prospects = self._prospects(drafts) if acting else {}
        sources = {
            host: Sources(host, self._desired.resources, self._inventories[host]) for host in users
        }
        self._check(acting, prospects, users, sources)
        check_idle(drafts, acting, self._found)
        given = prospects, users, sources
        takes = Handovers(acting, *given, self._found, self._judge.pending).settle()
        making = Changes(
            self._desired,
            self._inventories,
            self._skeleton,
            self._options,
            users,
            self._created,
        )
        changes = {draft.address: making.change(draft) for draft in drafts}
        ties = {it.address: self._ties(it, takes.get(it.address, frozenset())) for it in acting}
        changes = arrange(changes, ties, self._desired, self._found)
        identity.report(self._desired, self._inventories, self._options, self._found)
        self._report_unclaimed(changes)
        plan = self._finish(changes, users)
        return Planned(plan, self._judge.intents, self._births, self._inventories, self._options)

    # ------------------------------------------------------------- the neighbourhood

    def _look_around(self, acting: list[Verdict]) -> dict[str, Users]:
        """Read the rest of the hosts that something changes on, and see who uses what there."""
        users = {}
        for host in sorted({draft.address.host for draft in acting}):
            here = [draft for draft in acting if draft.address.host == host]
            looking = looked_at(here, self._inventories[host])
            self._read[host] = self._complete(host, self._read[host], looking)
            self._inventories[host] = follow(self._read[host], self._moved)
            users[host] = users_of(self._inventories[host])
        return users

    def _report_unclaimed(self, changes: Mapping[Address, Change]) -> None:
        """Say what claims were lost of; who wants things to go is told of all that stays.

        A stack that always prunes has nothing more read for that, unless all claims are gone.
        """
        asked = self._options.destroy or self._options.prune
        for host, inventory in self._inventories.items():
            gone = inventory.claims is None and wants_prune(self._desired, self._options)
            if (asked or gone) and not inventory.complete:
                self._read[host] = self._complete(host, self._read[host], frozenset())
                self._inventories[host] = follow(self._read[host], self._moved)
        taken = {address for address, it in changes.items() if it.reason is Reason.ADOPT}
        unclaimed.report(self._desired, self._inventories, taken, self._found)

    def _prospects(self, drafts: Iterable[Verdict]) -> dict[Address, Tree]:
        """What becomes of everything that the specs speak of."""
        known = {address: intent.tree for address, intent in self._judge.intents.items()}
        return known | {draft.address: draft.prospect for draft in drafts if draft.intent}

    def _check(
        self,
        acting: list[Verdict],
        prospects: Mapping[Address, Tree],
        users: Mapping[str, Users],
        sources: Mapping[str, Sources],
    ) -> None:
        if self._options.destroy:
            return
        actions = {draft.address: draft.action for draft in acting}
        self._check_references(actions)
        self._check_storage(acting)
        if getattr(self._skeleton, "are_ours", True):
            # Templates of the user's own may say what the specs leave out.
            check_newborn(acting, self._found)
        conflicts = Conflicts(self._judge.intents, prospects, actions, self._found)
        for host in users:
            conflicts.check(host, self._inventories[host], users[host], sources[host])
            here = [draft for draft in acting if draft.address.host == host]
            inventory = self._inventories[host]
            check_overlaid(here, inventory, users[host], sources[host], self._found)
            check_offers(here, self._births, inventory, self._found)

    def _check_references(self, actions: Mapping[Address, Action]) -> None:
        resources = self._desired.resources
        left_out = {a for a in resources if not self._judge.is_chosen(a)}
        half_made = self._judge.owned.half_made(resources) - actions.keys()
        check_references(resources, self._inventories, actions, left_out, half_made, self._found)

    def _check_storage(self, acting: Iterable[Verdict]) -> None:
        """What storage cannot do is said before it is tried."""
        if not acting:
            return
        made, resized = set[Address](), set[Address]()
        resources = []
        for draft in acting:
            if draft.intent is None or draft.action is Action.DELETE:
                continue
            resources.append(draft.intent.resource)
            if draft.action in (Action.CREATE, Action.REPLACE):
                made.add(draft.address)
            elif any(change.path == ("capacity",) for change in draft.compared.changes):
                resized.add(draft.address)
        storage = Storage(self._desired.resources, self._inventories)
        check_storage(storage, resources, made, resized, self._found)
        changed = {draft.address for draft in acting if draft.action is Action.UPDATE}
        volumes = {draft.address for draft in acting if draft.action is Action.CREATE} - changed
        refuse_swaps(self._desired, self._inventories, volumes, changed, self._found)

    def _ties(self, draft: Verdict, takes: frozenset[Node]) -> Ties:
        """What a changing object needs by its spec, and what it holds on to now.

        What it was to begin after (`depends_on`) it also ends before.
        """
        removed = draft.action in (Action.DELETE, Action.REPLACE)
        needs, holds = set[Address](), set[Address]()
        if draft.intent is not None:
            resource = draft.intent.resource
            if draft.action is not Action.DELETE:
                needs |= set(wanted(resource))
            if removed:
                holds |= {reference.target for reference in resource.depends_on}
        if draft.record is not None and (removed or self._shrinks(draft)):
            inventory = self._inventories[draft.address.host]
            holds |= set(live_references(draft.record, inventory, self._skeleton))
        return Ties(frozenset(needs), frozenset(holds), takes)

    def _shrinks(self, draft: Verdict) -> bool:
        return any(change.after is None for change in draft.compared.changes)

    # ----------------------------------------------------------------- the whole

    def _finish(self, changes: Mapping[Address, Change], users: Mapping[str, Users]) -> Plan:
        scene = Scene(
            changes,
            self._desired.resources,
            self._inventories,
            users,
            self._options,
            *separated(changes.values()),
            self._created,
        )
        storage = Storage(self._desired.resources, self._inventories)
        needs = needs_of(changes.values(), storage) if users else {}
        warn_of_promises(needs, storage, self._desired.resources, self._found)
        diagnostics = tuple(self._found)
        return Plan(
            stack_name=self._desired.stack.name,
            stack_uid=self._desired.stack.uid,
            hosts={name: inventory.facts for name, inventory in sorted(self._inventories.items())},
            hosts_left_out=tuple(
                sorted(self._desired.stack.hosts.keys() - self._inventories.keys())
            ),
            changes=tuple(changes[address] for address in sorted(changes)),
            drift=tuple(
                _only_drift(changes[a])
                for a in sorted(changes)
                if any(f.drift for f in changes[a].fields)
            ),
            pending=tuple(self._judge.pending),
            busy=tuple(busy(self._inventories, changes)),
            unlisted=tuple(self._judge.unlisted),
            released=tuple(self._judge.released),
            orphans=tuple(a for a in self._judge.orphans() if a not in changes),
            bases=guests_per_base(self._desired.resources),
            growth=growth(needs),
            refusals=(
                *(refusals(scene) if users else ()),
                *refuse_what_cannot_fit(needs, storage),
                *self._implausible(changes),
            ),
            diagnostics=diagnostics,
            errored=self._found.has_errors,
            destroy=self._options.destroy,
            created=self._created,
        )

    def _implausible(self, changes: Mapping[Address, Change]) -> Iterable[Guarded]:
        """Refusals to delete what looks like a mistake."""
        asked = (Reason.NOT_IN_SPEC, Reason.DESTROY)
        deleted = [a for a, c in changes.items() if c.action is Action.DELETE and c.reason in asked]
        yield from identity.refused(self._desired, self._inventories, self._options, deleted)
        pruned = [a for a, change in changes.items() if change.reason is Reason.NOT_IN_SPEC]
        owned = sum(
            len(inventory.claims.entries) if inventory.claims else 0
            for inventory in self._inventories.values()
        )
        errors = self._found.has_errors
        yield from implausible(self._desired, self._options, pruned, owned, errors)


def awaiting(inventory: Inventory, desired: Desired) -> Inventory:
    """The inventory, told which pools that are not there the specs make again, and where.

    Somebody may have undefined a pool and left its files: they are seen once it is back. That
    domains have disks there says so; a destroy that was cut has taken those out first.
    """
    gone = {
        address.name: path.rstrip("/")
        for address, resource in desired.resources.items()
        if address.kind is Kind.POOL
        and address.host == inventory.host
        and not inventory.exists(address)
        and (path := getattr(resource.model, "path", None))
    }
    texts = [it.document for it in inventory.records.values() if it.address.kind is Kind.DOMAIN]
    returning = {
        name: path for name, path in gone.items() if any(f"{path}/" in text for text in texts)
    }
    return replace(inventory, returning=returning) if returning else inventory


def looked_at(acting: Iterable[Verdict], inventory: Inventory) -> frozenset[str]:
    """Which volumes of a host matter to what happens there: ``POOL/NAME``, or whole pools.

    An overlay may be in any pool; what a new volume is a copy of need not be declared.
    """
    found: set[str] = set()
    for draft in acting:
        if puts_on_something(draft, inventory):
            found |= set(inventory.names.get(Kind.POOL, ()))
        if draft.address.kind is not Kind.VOLUME:
            continue
        goes = draft.action in (Action.DELETE, Action.REPLACE)
        loses = any(change.impact is Impact.DATA_LOSS for change in draft.compared.changes)
        if goes or loses:
            found |= set(inventory.names.get(Kind.POOL, ()))
        if draft.intent is not None and draft.action is not Action.UPDATE:
            tree = draft.intent.tree
            below = (tree.get("clone"), (tree.get("backing") or {}).get("volume"))
            found |= {name for name in below if name is not None}
    return frozenset(found)


def _only_drift(change: Change) -> Change:
    fields = tuple(field for field in change.fields if field.drift)
    return replace(
        change, fields=fields, impact=worst([field.impact for field in fields]), steps=()
    )
