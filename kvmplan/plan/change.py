"""Changes, steps and plans: data that survives JSON; no callables, no connections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostic, Place
from kvmplan.inventory import HostFacts
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact

Path = tuple[str, ...]
"""Where a field is, below its resource: ``("disks", "vda", "bus")``."""

Tree = Mapping[str, Any]
"""Declared fields as nested mappings of plain values."""


class Action(StrEnum):
    """What happens to a resource."""

    NOOP = "no-op"
    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"

    @property
    def symbol(self) -> str:
        """How text shows it."""
        return {"no-op": " ", "create": "+", "update": "~", "replace": "±", "delete": "-"}[
            self.value
        ]

    @property
    def json(self) -> list[str]:
        """Terraform's spelling: a replacement is two actions."""
        return ["delete", "create"] if self is Action.REPLACE else [self.value]


class Reason(StrEnum):
    """Why it happens, so that views never guess. JSON: ``action_reason``."""

    NONE = ""
    ADOPT = "adopt"
    UNOWNED = "unowned"
    """In sync, but not ours."""
    NOT_IN_SPEC = "not-in-spec"
    REQUESTED = "replace-requested"
    DESTROY = "destroy-requested"
    TORN = "creation-was-cut"
    RESEEDED = "seed-changed"
    """The guest begins from nothing, as its `cloud_init` says of an edit."""
    HELD_BACK = "not-targeted"
    HELD = "held"
    """Left alone by everyone, because somebody asked for that on the host."""
    BLOCKED = "blocked"
    """It differs, and an error says why nothing is done."""


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field's way from what is to what shall be.

    `before` None: it is not there; `after` None: it goes. Sensitive values are real in memory and
    replaced before anything is written.
    """

    path: Path
    before: Any
    after: Any
    impact: Impact = Impact.NEXT_BOOT
    fallback: Impact | None = None
    reason: str = ""
    sensitive: bool = False
    drift: bool = False
    """The live value differs from what was last applied: someone changed it by hand."""
    only_running: bool = False
    """Its definition is as wanted; what runs is not, and `before` is what that says."""
    verb: Verb | None = None
    """The live verb, if there is one."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """What the verb needs beside the field itself (a network's section)."""

    @property
    def name(self) -> str:
        """The path as text: ``disks.vda.bus``."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that apply will do.

    Attributes:
        id: unique within its plan, in execution order of a single worker.
        fields: the paths of the change that this step carries out.
        arguments: what the verb gets beyond what is made from the fields at the time (JSON values).
        after: the steps that must be done before.
        impact, fallback: whom it disturbs; what happens if libvirt says that it cannot be live.
    """

    id: int
    address: Address
    verb: Verb
    fields: tuple[Path, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    after: tuple[int, ...] = ()
    impact: Impact = Impact.LIVE
    fallback: Impact | None = None

    @property
    def waits(self) -> bool:
        """Whether it waits for a guest: its change is done without it."""
        return self.verb in (Verb.WAIT_FOR, Verb.EJECT)


@dataclass(frozen=True, slots=True)
class Precondition:
    """What a change relies on; checked again right before its first step."""

    exists: bool
    key: str = ""
    active: bool = False
    digest: str = ""
    """Of the values of the fields it reads or changes, never of secrets; of a no-op empty."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to one resource. Every managed resource has one, no-ops included.

    A no-op that was known to be in sync from an earlier run has no values, `before` nor `after`.
    """

    address: Address
    action: Action
    reason: Reason = Reason.NONE
    fields: tuple[FieldChange, ...] = ()
    impact: Impact = Impact.NONE
    before: Tree | None = None
    after: Tree | None = None
    sensitive: tuple[Path, ...] = ()
    depends_on: tuple[Address, ...] = ()
    steps: tuple[Step, ...] = ()
    precondition: Precondition = Precondition(exists=False)
    source: Place | None = None
    notes: tuple[str, ...] = ()
    """Sentences for the reviewer: born from …, released fields, users disturbed."""
    pending: tuple[FieldChange, ...] = ()
    """What is defined already and reaches the guest by the restart in `steps`."""
    previous: Address | None = None
    """The address that it has until its first step, which renames it."""
    protect: bool | None = None
    """What an apply notes of `prevent_destroy` in its claim; None: that is noted already."""
    released: tuple[Path, ...] | None = None
    """What an apply notes of fields that have left the specs; None: that is noted already."""

    @property
    def found_at(self) -> Address:
        """Where it is before the first step."""
        return self.previous or self.address

    @property
    def restarts(self) -> bool:
        """Whether a guest goes down and up again."""
        return any(step.impact is Impact.RESTART for step in self.steps)


@dataclass(frozen=True, slots=True)
class Pending:
    """A running guest whose running and persistent definitions differ in declared fields."""

    address: Address
    fields: tuple[FieldChange, ...]
    """`before`: the running value; `after`: the persistent one."""
    waiting: bool = False
    """Waiting for the guest (balloon, CPU) rather than for a restart."""
    since: str = ""
    """Since when, ISO 8601, UTC; ``""`` where nobody noted it: it was defined by hand."""
    saved: bool = False
    """What runs is in a managed save image: the next start goes on with it."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A domain that something works on: a block job, a migration, a save."""

    address: Address
    jobs: tuple[str, ...]
    """What is at work, in words."""


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A live member of a managed collection that this stack never made; kept."""

    address: Address
    path: Path
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Released:
    """A field or member that was applied earlier and has left the spec; it keeps its value."""

    address: Address
    path: Path


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What a saved plan would do and this run does not: the host has overtaken it."""

    address: Address
    action: Action
    why: str


@dataclass(frozen=True, slots=True)
class Growth:
    """How many bytes a pool may grow by, when all that the plan makes is written."""

    address: Address
    bytes: int


@dataclass(frozen=True, slots=True)
class Guarded:
    """A guard's refusal: shown by plan, and apply exits 7 before its first write."""

    code: str
    address: Address
    summary: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What kvmplan would do, all of it."""

    stack_name: str
    stack_uid: str
    hosts: Mapping[str, HostFacts]
    """Those that were read."""
    changes: tuple[Change, ...] = ()
    drift: tuple[Change, ...] = ()
    """The part of `changes` that undoes what was changed by hand: only the drifted fields."""
    pending: tuple[Pending, ...] = ()
    busy: tuple[Busy, ...] = ()
    unlisted: tuple[Unlisted, ...] = ()
    released: tuple[Released, ...] = ()
    orphans: tuple[Address, ...] = ()
    bases: Mapping[Address, int] = field(default_factory=dict)
    """How many guests stand on each volume that overlays and clones are made from."""
    growth: tuple[Growth, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    """Of a saved plan: what is stale, or needs something that is."""
    refusals: tuple[Guarded, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    errored: bool = False
    destroy: bool = False
    created: str = ""
    hosts_left_out: tuple[str, ...] = ()
    """Hosts of the stack that were not read: nothing is known of what is there."""

    @property
    def several_hosts(self) -> bool:
        """Whether the stack has several, read or not: addresses carry their host then."""
        return len(self.hosts) + len(self.hosts_left_out) > 1

    @property
    def steps(self) -> tuple[Step, ...]:
        """All steps in their order."""
        return tuple(sorted((s for c in self.changes for s in c.steps), key=lambda step: step.id))

    @property
    def acting(self) -> tuple[Change, ...]:
        """The changes that do something."""
        return tuple(change for change in self.changes if change.action is not Action.NOOP)

    @property
    def carried_out(self) -> tuple[Change, ...]:
        """The changes that do something, or wait for a guest that is left as it is."""
        return tuple(c for c in self.changes if c.action is not Action.NOOP or c.steps)

    def count(self) -> tuple[int, int, int]:
        """To add, to change, to destroy: a replacement counts in add and destroy."""
        actions = [change.action for change in self.changes]
        replaced = actions.count(Action.REPLACE)
        return (
            actions.count(Action.CREATE) + replaced,
            actions.count(Action.UPDATE),
            actions.count(Action.DELETE) + replaced,
        )

    def impacts(self) -> dict[Impact, int]:
        """How many changes have each impact, the dangerous first; mere adoptions have none."""
        counts: dict[Impact, int] = {}
        for change in self.acting:
            if change.impact is not Impact.NONE:
                counts[change.impact] = counts.get(change.impact, 0) + 1
        return dict(sorted(counts.items(), key=lambda item: -item[0].danger))
