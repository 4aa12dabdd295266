"""Restarts: which guests go down and up again in this run, and what they get by that.

A guest whose spec says ``on_change: restart`` is restarted for what is changed now and reaches it
at its next boot only, and for what is pending from before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from kvmplan.address import Kind
from kvmplan.inventory import State
from kvmplan.mapping.impact import Impact
from kvmplan.mapping.units import format_duration
from kvmplan.plan.change import Action, FieldChange, Pending, Reason
from kvmplan.plan.lingering import lingering
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.steps import patience
from kvmplan.plan.verdict import Verdict

CUT_RESTART = "a restart was cut while it was down: it is started again"
"""Why a guest is started whose state the spec does not name."""


def plan_restarts(
    verdicts: Iterable[Verdict], pending: Iterable[Pending], options: PlanOptions
) -> None:
    """Turn changes and pending fields of guests that may be restarted into restarts.

    At most `options.max_restarts` guests, by address; the others get what is changed at their next
    boot, as ever.
    """
    waiting = {item.address: item.fields for item in pending if not item.waiting}
    left = options.max_restarts
    for verdict in sorted(filter(_may_restart, verdicts), key=lambda found: found.address):
        changes, before = reaching(verdict, waiting.get(verdict.address, ()))
        if not before and not any(change.impact is Impact.RESTART for change in changes):
            continue
        if left == 0:
            _note(verdict, f"--max-restarts {options.max_restarts}")
            continue
        left = None if left is None else left - 1
        verdict.otherwise, verdict.action, verdict.restart = verdict.action, Action.UPDATE, True
        verdict.compared = replace(verdict.compared, changes=changes)
        verdict.pending = before


def spare(verdict: Verdict, why: str) -> None:
    """Take a planned restart back: what needs it waits for the next boot, as ever."""
    changes = (
        replace(change, impact=Impact.NEXT_BOOT)
        if change.verb is None and change.impact is Impact.RESTART
        else change
        for change in verdict.compared.changes
    )
    verdict.compared = replace(verdict.compared, changes=tuple(changes))
    verdict.action, verdict.restart, verdict.pending = verdict.otherwise, False, ()
    _note(verdict, why)


def _note(verdict: Verdict, why: str) -> None:
    notes = (*verdict.compared.notes, f"it is not restarted in this run: {why}")
    verdict.compared = replace(verdict.compared, notes=notes)


def _may_restart(verdict: Verdict) -> bool:
    """Whether its guest is up, ours to act on, to be restarted, and not on its way down."""
    intent, record = verdict.intent, verdict.record
    if intent is None or record is None or verdict.address.kind is not Kind.DOMAIN:
        return False
    return (
        getattr(intent.resource.model, "on_change", None) == "restart"
        and verdict.action in (Action.NOOP, Action.UPDATE)
        and verdict.reason in (Reason.NONE, Reason.ADOPT, Reason.TORN)
        and record.state is State.RUNNING
        and not any(change.path == ("state",) for change in verdict.compared.changes)
    )


def reaching(
    verdict: Verdict, pending: Iterable[FieldChange]
) -> tuple[tuple[FieldChange, ...], tuple[FieldChange, ...]]:
    """What a restart is made for: the changes, and what is pending and is not changed again.

    A change back to what runs needs none, and for drift that is kept nobody is disturbed.
    """
    runs = {field.path: field for field in pending if not field.drift}
    changes = tuple(
        forcing(change)
        if waits(change) and not (change.path in runs and runs[change.path].before == change.after)
        else change
        for change in verdict.compared.changes
    )
    touched = {change.path for change in changes}
    return changes, tuple(forcing(runs[path]) for path in runs if path not in touched)


def waits(change: FieldChange) -> bool:
    """Whether a change is written now and reaches what runs at its next start."""
    return change.verb is None and change.impact is Impact.NEXT_BOOT


def forcing(change: FieldChange) -> FieldChange:
    """The change, as one that a restart is made for."""
    return replace(change, impact=Impact.RESTART)


def restart_notes(verdict: Verdict) -> Iterator[str]:
    """What a reviewer should know of a restart, or of one that was cut."""
    if verdict.intent is None:
        return
    if verdict.intent.down_for_restart:
        yield CUT_RESTART
    if verdict.restart:
        told = {field.name for field in (*verdict.compared.changes, *verdict.pending)}
        if names := ", ".join(lingering(verdict.intent, told)):
            yield f"what was released while it waited for that takes effect, too: {names}"
    if verdict.restart and verdict.address.kind is Kind.DOMAIN:
        given = patience(verdict.intent)
        end = "it is powered off" if given["force"] else "nothing is done and it runs on"
        yield (
            f"its guest is asked to shut down; if it is still up after "
            f"{format_duration(given['timeout'])}, {end}"
        )
