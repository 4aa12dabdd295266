"""What a plan says, as events of the ``--json`` stream: all that its text says, one on each line.

Drift and planned changes have Terraform's names and shape. Each of the others carries its payload
under the name of its type, as Terraform's do, and names values by their paths alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kvmplan.address import Address
from kvmplan.plan.change import Action, Change, Pending, Plan, Reason
from kvmplan.views.plan_text import by_danger


@dataclass(frozen=True, slots=True)
class PlanEvent:
    """One line of the stream: its level, its sentence, its type and what it carries."""

    level: str
    message: str
    kind: str
    payload: dict[str, Any]


def resource_json(address: Address) -> dict[str, str]:
    """How the stream names a resource; ``addr`` always carries the host."""
    return {
        "addr": str(address),
        "host": address.host,
        "resource": address.short,
        "resource_type": address.kind.value,
        "resource_name": address.name,
    }


def plan_events(plan: Plan) -> Iterator[PlanEvent]:
    """What was changed by hand, what is planned (the dangerous first), and what is left alone."""
    for change in by_danger(plan.drift):
        yield _drift(change)
    for change in by_danger(plan.acting):
        yield _planned(change)
    for refusal in sorted(plan.refusals, key=lambda item: (item.address, item.code, item.summary)):
        told = {"code": refusal.code, "summary": refusal.summary, "remedy": refusal.remedy}
        said = f"apply stops before its first write: {refusal.summary}"
        yield _about(refusal.address, "refusal", said, level="warn", **told)
    for pending in sorted(plan.pending, key=lambda item: (item.address, item.waiting)):
        yield _pending(pending)
    for busy in sorted(plan.busy, key=lambda item: item.address):
        said = f"busy: {', '.join(busy.jobs)}"
        yield _about(busy.address, "busy", said, jobs=list(busy.jobs))
    yield from _left_alone(plan)


def _left_alone(plan: Plan) -> Iterator[PlanEvent]:
    """What stays as it is, and has something to be said of it."""
    for change in sorted(plan.changes, key=lambda change: change.address):
        if change.action is not Action.NOOP:
            continue
        if change.reason is Reason.UNOWNED:
            yield _about(change.address, "unowned", "in sync, not this stack's")
        notes = list(change.notes)
        if change.reason is Reason.HELD:
            yield _about(change.address, "held", f"left alone: {'; '.join(notes)}", notes=notes)
        elif notes:
            yield _about(change.address, "note", "; ".join(notes), notes=notes)
    for item in sorted(plan.unlisted, key=lambda item: (item.address, item.path)):
        path = ".".join(item.path)
        told = {"path": path, "summary": item.summary}
        yield _about(item.address, "unlisted", f"{path} is not this stack's, kept", **told)
    for released in sorted(plan.released, key=lambda item: (item.address, item.path)):
        path = ".".join(released.path)
        yield _about(released.address, "released", f"{path} left the specs, kept", path=path)
    for address in sorted(plan.orphans):
        yield _about(address, "orphan", "no longer in the specs, kept")


def _about(
    address: Address, kind: str, said: str, *, level: str = "info", **payload: Any
) -> PlanEvent:
    told = {kind: {"resource": resource_json(address), **payload}}
    return PlanEvent(level, f"{address}: {said}", kind, told)


def _drift(change: Change) -> PlanEvent:
    described = {
        "resource": resource_json(change.address),
        "action": Action.UPDATE.value,
        "fields": sorted(field.name for field in change.fields),
    }
    said = f"{change.address}: Drift detected ({Action.UPDATE})"
    return PlanEvent("info", said, "resource_drift", {"change": described})


def _planned(change: Change) -> PlanEvent:
    described = {
        "resource": resource_json(change.address),
        "action": change.action.value,
        "impact": change.impact.value,
        "reason": change.reason.value or None,
        "notes": list(change.notes),
    }
    said = f"{change.address}: Plan to {change.action} ({change.impact})"
    return PlanEvent("info", said, "planned_change", {"change": described})


def _pending(item: Pending) -> PlanEvent:
    names = sorted(field.name for field in item.fields)
    told: dict[str, Any] = {
        "waiting": item.waiting,
        "since": item.since or None,
        "saved": item.saved,
        "fields": [
            {"path": field.name, "reason": field.reason or None}
            for field in sorted(item.fields, key=lambda field: field.path)
        ],
    }
    words = "waiting for the guest" if item.waiting else "pending restart"
    return _about(item.address, "pending_restart", f"{words}: {', '.join(names)}", **told)
