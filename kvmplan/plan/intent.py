"""Intents: what one resource shall be, beside what it is, in the same shape and ready to compare.

Pairing by address has happened; here a desired object meets its live document: names of NICs are
paired with MACs, `!default` and followers get their values, and both sides become trees.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.inventory import FORGOTTEN, RESTARTING, Claim, Inventory, Record, State
from kvmplan.kinds.context import HostContext
from kvmplan.kinds.mark import Mark, Names, applied_fields, is_ours, read_mark
from kvmplan.kinds.models import MODELS
from kvmplan.mapping.complete import complete
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.lens import read
from kvmplan.mapping.markers import Runtime
from kvmplan.mapping.model import Mapped, bindings, declared
from kvmplan.plan.born import Births, uuid_of
from kvmplan.plan.chains import overlays, strays
from kvmplan.plan.defaults import with_defaults
from kvmplan.plan.members import released
from kvmplan.plan.names import pair_names
from kvmplan.plan.origin import origin_facts
from kvmplan.plan.seeding import is_ejected, unplugged
from kvmplan.plan.torn import CREATING, UNFINISHED, can_be_ours
from kvmplan.spec.desired import Resource

Tree = dict[str, Any]

STATES = {State.CRASHED: "stopped"}
CHANGING = "changing"
"""The phase of a pool's or volume's claim while it is updated: `applied` is what was before."""
ENFORCED = {"active": True}
"""The one standing default, of networks and pools."""


@dataclass(frozen=True)
class Intent:
    """One resource, wanted and found.

    Attributes:
        resource: the spec's resource.
        model: its kind's model.
        tree: all that is wanted, defaults and followers worked out.
        declared: what the spec says, without followers: what the mark remembers.
        live: the same fields as they are in the persistent document; None if it does not exist.
        names: the user's names of NICs, by MAC.
        context: what reading and writing this object's document needs.
        ejected: whether a domain's seed was unplugged as it was done: `tree` is without its disk.
    """

    resource: Resource
    model: type[Mapped]
    tree: Tree
    declared: Tree = field(default_factory=dict)
    record: Record | None = None
    live: Tree | None = None
    mark: Mark | None = None
    claim: Claim | None = None
    ours: bool = False
    names: Names = field(default_factory=dict)
    context: HostContext | None = None
    ejected: bool = False

    @property
    def address(self) -> Address:
        """Whose intent it is."""
        return self.resource.address

    @property
    def unfinished(self) -> bool:
        """Whether its creation was cut: what belongs to its birth is still wanted."""
        return self.ours and self.claim is not None and self.claim.phase in UNFINISHED

    @property
    def cut(self) -> bool:
        """Whether a change of it was cut: what differs now may be its own work, and no drift."""
        if self.mark is not None:
            # It was renamed, and its mark does not say so yet.
            return self.mark.unfinished or self.mark.name != self.address.name
        return self.ours and self.claim is not None and self.claim.phase == CHANGING

    @property
    def down_for_restart(self) -> bool:
        """Whether a restart was cut while the guest was down: it is still to be started."""
        return self.ours and _is_down(self.address, self.record, self.claim)

    @property
    def lost_guests(self) -> bool:
        """Whether a start of a network was cut: running guests may be off it."""
        phase = self.claim.phase if self.claim is not None else ""
        network = self.address.kind is Kind.NETWORK
        return self.ours and network and phase in (CREATING, RESTARTING)

    @property
    def applied(self) -> Mapping[str, Any] | None:
        """The declared fields last applied by this stack; None if unknown."""
        if self.mark is not None:
            return self.mark.applied
        return self.claim.applied if self.claim is not None and self.ours else None

    @cached_property
    def gone(self) -> tuple[tuple[str, ...], ...]:
        """The paths that were applied last, have left the specs, and stay if nothing changes."""
        return self.left_behind(())

    def left_behind(self, changed: Collection[tuple[str, ...]]) -> tuple[tuple[str, ...], ...]:
        """The paths that were applied last, have left the specs, and stay where these change."""
        if self.applied is None or self.applied == self.declared:
            return ()
        known = applied_fields(self.model, self.declared)
        if known == self.applied:
            return ()
        return tuple(released(self.model, known, self.applied, changed))


def _is_down(address: Address, record: Record | None, claim: Claim | None) -> bool:
    """Whether a domain is off, and a restart of it has begun."""
    off = address.kind is Kind.DOMAIN and record is not None and not record.active
    return off and claim is not None and claim.phase == RESTARTING


def runtime_of(
    record: Record, claim: Claim | None, wanted: Mapping[str, Any], key: bytes = b""
) -> dict[str, Any]:
    """The facts of an object that its document does not hold, by the names of `Runtime` fields.

    Without the stack's `key` a seed is taken to be as wanted.
    """
    return {
        "active": record.active,
        "autostart": record.autostart,
        "state": STATES.get(record.state, record.state.value),
        **origin_facts(claim.born if claim is not None else None, wanted, key),
    }


def birth_values(model: type[Mapped]) -> Tree:
    """What a new object is set to once it is defined: started, now and with the host, or not."""
    return {
        name: binding.birth.value
        for name, binding in bindings(model).items()
        if isinstance(binding.place, Runtime) and binding.birth is not None
    }


def _gone_with_definition(model: type[Mapped], mark: Mark | None, *, made_here: bool) -> Tree:
    """What libvirt keeps beside a definition and drops with it, as far as it is known.

    Args:
        model: the kind's.
        mark: what was applied last.
        made_here: whether the object has the uuid that this stack gives at birth.
    """
    born = birth_values(model) if made_here else {}
    known = (mark.applied if mark is not None else {}).get("autostart", born.get("autostart"))
    return {"autostart": True} if known else {}


def is_claimed(
    record: Record,
    claim: Claim | None,
    inventory: Inventory,
    mark: Mark | None,
    stack: str,
    *,
    vouched: bool = False,
) -> bool:
    """Whether the object is ours: claimed, and the same object as then.

    `vouched`: a volume is known to be that of a cut run.

    Without secrets (libvirt's test driver) there are no claims; there a mark has to do, and what
    cannot be marked counts as ours. Nothing is deleted on such a connection.
    """
    if not inventory.facts.has_secrets:
        return mark is not None or record.address.kind in (Kind.POOL, Kind.VOLUME)
    if claim is None or claim.phase == FORGOTTEN:
        return False
    return can_be_ours(record, claim, vouched=vouched) and _is_as_born(record, claim)


def _is_as_born(record: Record, claim: Claim) -> bool:
    """Whether a volume still has the format it was born with; else somebody made it anew.

    What is raw may hold anything, and libvirt takes it for what it finds inside.
    """
    format_ = claim.born.get("format", "raw")
    if record.address.kind is not Kind.VOLUME or format_ == "raw":
        return True
    return f"'{format_}'" in record.document or f'"{format_}"' in record.document


def intend(
    resource: Resource, inventory: Inventory, stack: str, births: Births, *, vouched: bool = False
) -> Intent:
    """Bring a resource and what is live of it into one shape; `vouched`: see `is_claimed`."""
    model = MODELS[resource.address.kind]
    tree = declared(resource.model)
    if resource.address.kind in (Kind.NETWORK, Kind.POOL):
        tree = {**ENFORCED, **tree}
    tree = with_defaults(resource, tree, births)
    record = inventory.record(resource.address)
    if record is None:
        return _new(resource, model, tree, inventory, births)
    root = parse_to_read(record.document)
    claim = inventory.claim(resource.address)
    mark = read_mark(root)
    names_before = births.desired.moved.get(resource.address, ())
    if not is_ours(mark, stack, (resource.address.name, *names_before), record.key):
        mark = None
    context = births.context(inventory, runtime=runtime_of(record, claim, tree, inventory.key))
    new_mac = partial(births.desired.new_mac, resource.address)
    tree, names = pair_names(model, tree, root, mark, context, new_mac)
    if names:
        context = births.context(inventory, runtime=context.runtime, names=names)
    if mark is not None and "xml" in tree:
        context = replace(context, overlaid=mark.applied.get("xml"))
    ours = is_claimed(record, claim, inventory, mark, stack, vouched=vouched)
    wanted = tree
    ejected = ours and is_ejected(resource, claim, births.desired, inventory)
    if ejected:
        wanted = unplugged(tree)
    if ours and claim is not None and claim.phase == CREATING:
        wanted = {**birth_values(model), **wanted}
    elif _is_down(resource.address, record, claim) and ours:
        # A run was cut between its shutdown and its start.
        wanted = {"state": "running", **wanted}
    elif ours and not record.persistent:
        made_here = record.key == uuid_of(stack, inventory.facts.uuid, resource.address)
        wanted = {**_gone_with_definition(model, mark, made_here=made_here), **wanted}
    like = complete(model, wanted, None)
    live = read(model, root, context, like)
    if model is MODELS[Kind.DOMAIN] and strays(live, tree):
        context = replace(context, overlays=overlays(record, tree, context.volume_at))
        live = read(model, root, context, like)
    whole = complete(model, wanted, live)
    return Intent(
        resource=resource,
        model=model,
        tree=whole,
        declared=tree,
        record=record,
        live=without_followers(live, like, whole),
        mark=mark,
        claim=claim,
        ours=ours,
        names=names,
        context=context,
        ejected=ejected,
    )


def without_followers(live: Tree, like: Mapping[str, Any], tree: Mapping[str, Any]) -> Tree:
    """The fields without the followers that were only looked at: those stay as they are.

    Args:
        live: what was read.
        like: what was asked for, followers included.
        tree: what is wanted.
    """
    if like is tree or like == tree:
        return live
    kept: Tree = {}
    for name, value in live.items():
        if name in like and name not in tree:
            continue
        inner = (like.get(name), tree.get(name))
        nested = isinstance(value, Mapping) and all(isinstance(part, Mapping) for part in inner)
        kept[name] = (
            without_followers(dict(value), inner[0] or {}, inner[1] or {}) if nested else value
        )
    return kept


def _new(
    resource: Resource,
    model: type[Mapped],
    tree: Tree,
    inventory: Inventory,
    births: Births,
) -> Intent:
    context = births.context(inventory)
    new_mac = partial(births.desired.new_mac, resource.address)
    tree, names = pair_names(model, tree, None, None, context, new_mac)
    return Intent(
        resource=resource,
        model=model,
        tree=complete(model, tree, None),
        declared=tree,
        claim=inventory.claim(resource.address),
        names=names,
        context=births.context(inventory, names=names),
    )
