"""Outages: which networks go down and up again in this run, and whom that cuts off meanwhile.

A network is restarted for what is changed now and reaches it at its next start only, and for what
is pending from before, where its spec says ``on_change: restart`` or the user names it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from kvmplan.address import Kind
from kvmplan.mapping.impact import Impact
from kvmplan.plan import steps
from kvmplan.plan.change import Action, Pending, Reason
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.restarts import reaching
from kvmplan.plan.steps import Draft
from kvmplan.plan.users import Users, carried
from kvmplan.plan.verdict import Verdict

LEASES = "its guests keep the addresses that they have until they ask for new ones"
"""What a restart does not change: who holds a lease learns of another subnet when it ends."""


def plan_outages(
    verdicts: Iterable[Verdict], pending: Iterable[Pending], options: PlanOptions
) -> None:
    """Turn changes and pending fields of networks that may be restarted into restarts."""
    waiting = {item.address: item.fields for item in pending if not item.waiting}
    for verdict in verdicts:
        if not _may_restart(verdict, options):
            continue
        changes, before = reaching(verdict, waiting.get(verdict.address, ()))
        if not before and not any(change.impact is Impact.RESTART for change in changes):
            continue
        verdict.action, verdict.restart = Action.UPDATE, True
        verdict.compared = replace(verdict.compared, changes=changes)
        verdict.pending = before


def _may_restart(verdict: Verdict, options: PlanOptions) -> bool:
    """Whether it is up and stays up, is ours to act on, and is to be restarted."""
    intent, record = verdict.intent, verdict.record
    if intent is None or record is None or verdict.address.kind is not Kind.NETWORK:
        return False
    wanted = getattr(intent.resource.model, "on_change", None) == "restart"
    return (
        (wanted or options.names_restart(verdict.address))
        and verdict.action in (Action.NOOP, Action.UPDATE)
        and verdict.reason in (Reason.NONE, Reason.ADOPT, Reason.TORN)
        and record.active
        and intent.tree.get("active") is not False
    )


def outage_steps(verdict: Verdict, users: Mapping[str, Users]) -> Iterator[Draft]:
    """The restart of a network; or what is left to do of one that was cut."""
    intent, record = verdict.intent, verdict.record
    if intent is None or record is None or verdict.address.kind is not Kind.NETWORK:
        return
    if verdict.restart:
        names = carried(users[verdict.address.host], record)
        yield from steps.restart_network(intent, names)
    elif intent.lost_guests:
        yield steps.reconnect(intent)


def outage_notes(verdict: Verdict, users: Mapping[str, Users]) -> Iterator[str]:
    """Whom a restart of a network disturbs."""
    record = verdict.record
    if not verdict.restart or record is None or verdict.address.kind is not Kind.NETWORK:
        return
    names = carried(users[verdict.address.host], record)
    if not names:
        yield "no running guest is on it"
        return
    listed = ", ".join(f"{Kind.DOMAIN}.{name}" for name in names)
    yield f"cuts off {listed}, until their NICs are plugged in again by the same run"
    if any(field.path[0] == "ips" for field in (*verdict.compared.changes, *verdict.pending)):
        yield LEASES
