"""Readiness: what started guests are waited for, as steps that come after their start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kvmplan.address import Address
from kvmplan.inventory import State
from kvmplan.kinds.cloud_init import TARGET
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.verbs import Verb
from kvmplan.kinds.waiting import READY_TIMEOUT, TcpWait, WaitFor
from kvmplan.mapping.impact import Impact
from kvmplan.mapping.units import format_duration, parse_duration
from kvmplan.plan.change import Action, Change, Plan, Reason, Step
from kvmplan.plan.intent import Intent
from kvmplan.plan.seeding import ejects, seed_of
from kvmplan.plan.steps import Draft, mark_step

if TYPE_CHECKING:
    from kvmplan.plan.planner import Planned

WHAT = {"address": "address", "agent": "agent", "tcp": "tcp", "cloud_init": "cloud-init"}
"""The fields of `WaitFor`, in the order in which a guest gets there, and what verbs call them."""


def waits_after(made: Iterable[Draft], intent: Intent | None) -> Iterator[Draft]:
    """The steps that wait for a guest, if steps that were made start it."""
    if intent is not None and any(step.verb is Verb.START for step in made):
        yield from waits(intent)


def waits(intent: Intent) -> Iterator[Draft]:
    """The steps that wait for a guest that has been started."""
    for arguments in _arguments(getattr(intent.resource.model, "wait_for", None)):
        yield Draft(Verb.WAIT_FOR, intent.address, (), arguments, Impact.NONE)


def _arguments(wanted: WaitFor | None) -> Iterator[dict[str, Any]]:
    for field, what in WHAT.items():
        value = getattr(wanted, field, None)
        if isinstance(value, TcpWait):
            timeout = value.timeout or parse_duration(READY_TIMEOUT)
            yield {"what": what, "port": value.port, "timeout": timeout}
        elif value is not None:
            yield {"what": what, "timeout": value}


def words(arguments: Mapping[str, Any]) -> str:
    """What is waited for: ``an address``, ``port 22``."""
    if "target" in arguments:
        return "cloud-init, for its seed"
    match arguments["what"]:
        case "address":
            return "an address"
        case "agent":
            return "its agent"
        case "tcp":
            return f"port {arguments['port']}"
    return "cloud-init"


def with_ejection(made: list[Draft], intent: Intent | None, *, due: bool) -> list[Draft]:
    """The steps of a domain's change, and the one behind them that unplugs its seed, if any."""
    if intent is None or not ejects(intent.resource) or intent.ejected:
        return made
    starts = any(step.verb is Verb.START for step in made)
    if not starts and not due:
        return made
    # The change itself is what is applied; the rest waits for the guest.
    own = made or [mark_step(intent)]
    wait = getattr(intent.resource.model, "wait_for", None)
    timeout = getattr(wait, "cloud_init", None) or parse_duration(READY_TIMEOUT)
    arguments = {
        "what": "cloud-init",
        "timeout": timeout,
        "target": TARGET,
        "volume": seed_of(intent.resource).name,
    }
    return [*own, Draft(Verb.EJECT, intent.address, (), arguments, Impact.NONE)]


def ejection_notes(drafts: Iterable[Draft]) -> Iterator[str]:
    """What a reviewer should know of a seed that is unplugged."""
    for draft in drafts:
        if draft.verb is Verb.EJECT:
            limit = format_duration(draft.arguments["timeout"])
            yield f"its seed, {TARGET}, is unplugged once cloud-init has finished (up to {limit})"


def wait_notes(drafts: Iterable[Draft]) -> Iterator[str]:
    """What a reviewer should know of the waits among a change's steps."""
    told = [
        f"{words(draft.arguments)} (up to {format_duration(draft.arguments['timeout'])})"
        for draft in drafts
        if draft.verb is Verb.WAIT_FOR
    ]
    if told:
        yield f"once started, waits for {', '.join(told)}"


def wait_for_all(planned: Planned) -> Planned:
    """The plan with waits for every guest that runs, whether or not this run starts it.

    What depends on one of them begins afterwards.
    """
    plan = planned.plan
    number = max((step.id for step in plan.steps), default=0)
    added: dict[Address, Change] = {}
    for change in plan.changes:
        intent = planned.intents.get(change.address)
        if intent is None or not _is_waited_for(change, intent):
            continue
        made = list(change.steps)
        for draft in waits(intent):
            number += 1
            after = (made[-1].id,) if made else ()
            made.append(
                Step(number, draft.address, draft.verb, (), draft.arguments, after, draft.impact)
            )
        added[change.address] = replace(change, steps=tuple(made))
    return replace(planned, plan=_tied(plan, added)) if added else planned


def _is_waited_for(change: Change, intent: Intent) -> bool:
    """Whether its guest goes on running, and has not been given its waits with its start."""
    record = intent.record
    wanted = isinstance(intent.resource.model, Domain) and intent.resource.model.wait_for
    return (
        bool(wanted)
        and record is not None
        and record.state is State.RUNNING
        and change.action in (Action.NOOP, Action.UPDATE)
        and change.reason not in (Reason.HELD_BACK, Reason.BLOCKED)
        and not any(step.verb in (Verb.WAIT_FOR, Verb.SHUTDOWN) for step in change.steps)
    )


def _tied(plan: Plan, added: Mapping[Address, Change]) -> Plan:
    """The plan with the changes that were added to, and what depends on them behind their waits."""
    last = {address: change.steps[-1].id for address, change in added.items() if change.steps}
    changes = []
    for change in plan.changes:
        made = added.get(change.address, change)
        before = {last[other] for other in change.depends_on if other in last}
        if before and made.steps and made.action is not Action.DELETE:
            first = made.steps[0]
            first = replace(first, after=tuple(sorted({*first.after, *before})))
            made = replace(made, steps=(first, *made.steps[1:]))
        changes.append(made)
    return replace(plan, changes=tuple(changes))
