"""``drift``, ``status``, ``orphans``: where the hosts stand against the specs; read-only."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose, current
from kvmplan.diagnostics import ExitCode

if TYPE_CHECKING:
    from kvmplan.address import Address
    from kvmplan.cli.session import Session
    from kvmplan.inventory import LockInfo
    from kvmplan.plan.change import Change, Plan
    from kvmplan.plan.planner import Planned
    from kvmplan.plan.strangers import Stranger

reading = flags.together(
    flags.path_argument,
    click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
    flags.spec_flags,
    flags.connect_flags,
    flags.color_flags,
)


@click.command()
@reading
def drift(path: str | None, as_json: bool, **given: Any) -> int:
    """Show what was changed by hand on the hosts. Exits 2 if there is any, else 0."""
    plan, *_ = _look(path, given, "drift")
    if as_json:
        from kvmplan.views.plan_json import plan_json

        document = plan_json(plan)
        kept = ("format_version", "stack", "hosts", "hosts_left_out", "resource_drift", "unlisted")
        click.echo(json.dumps({name: document[name] for name in (*kept, "diagnostics")}))
    else:
        from kvmplan.views.drift_text import drift_text
        from kvmplan.views.style import emit

        style = current().style_of(sys.stdout)
        emit(sys.stdout, drift_text(plan, style=style))
    if plan.errored:
        return ExitCode.ERROR
    return ExitCode.CHANGES if plan.drift else ExitCode.OK


@click.command()
@reading
def status(path: str | None, as_json: bool, **given: Any) -> int:
    """Show where every object of the stack stands: a line each, and the locks."""
    plan, locks, others = _look(path, given, "status", beside=True)
    rows = list(_rows(plan))
    if as_json:
        found = [
            {"address": str(address), "status": words, **_details(plan, address)}
            for address, words in rows
        ]
        unmanaged = [{"address": str(item.address), "about": item.about} for item in others]
        held = [asdict(lock) for lock in locks]
        click.echo(json.dumps({"resources": found, "unmanaged": unmanaged, "locks": held}))
    else:
        rows += [(o.address, ["unmanaged", *([o.about] if o.about else [])]) for o in others]
        for address, words in rows:
            click.echo(f"{_named(plan, address):<40}  {', '.join(words)}")
            for line in _explained(_details(plan, address)):
                click.echo(f"  {line}")
        for lock in locks:
            click.echo(f"locked: {lock.operation} by {lock.who} since {lock.since} ({lock.id})")
    return ExitCode.ERROR if plan.errored else ExitCode.OK


@click.command()
@reading
def orphans(path: str | None, as_json: bool, **given: Any) -> None:
    """List what the stack owns and no spec names: what --prune would delete."""
    plan, *_ = _look(path, given, "orphans")
    if as_json:
        click.echo(json.dumps([str(address) for address in plan.orphans]))
        return
    for address in plan.orphans:
        click.echo(_named(plan, address))
    if not plan.orphans:
        click.echo(
            "No orphans." if not plan.hosts_left_out else "No orphans on the hosts that were read."
        )


def _named(plan: Plan, address: Address) -> str:
    return str(address) if plan.several_hosts else address.short


def _look(
    path: str | None, given: dict[str, Any], operation: str, *, beside: bool = False
) -> tuple[Plan, list[LockInfo], list[Stranger]]:
    """The plan without any wish beyond the specs, and the locks.

    And what else is on the hosts, if `beside` asks for it.
    """
    from kvmplan.cli.plan import close, session_of
    from kvmplan.cli.report import show_all
    from kvmplan.cli.session import make_plan
    from kvmplan.plan.options import PlanOptions

    choose(color=given["color"], no_color=given["no_color"], json=False, operation=operation)
    session = session_of(path, given)
    try:
        planned = make_plan(session, PlanOptions(), brief=True)
        locks = _locks(session)
        others = _strangers(session, planned) if beside else []
    finally:
        close(session)
    show_all(planned.plan.diagnostics)
    return planned.plan, locks, others


def _strangers(session: Session, planned: Planned) -> list[Stranger]:
    from kvmplan.cli.session import translated
    from kvmplan.plan.strangers import strangers

    found: list[Stranger] = []
    for name, inventory in planned.inventories.items():
        with translated(session, name):
            whole = session.hosts[name].complete(inventory)
        found += strangers(session.desired, whole)
    return found


def _locks(session: Session) -> list[LockInfo]:
    from kvmplan.cli.session import translated

    found: list[LockInfo] = []
    for name, host in session.hosts.items():
        with translated(session, name):
            found += host.locks()
    return found


def _rows(plan: Plan) -> Iterator[tuple[Address, list[str]]]:
    """Each address and what is to be said of it."""
    drifted = {change.address for change in plan.drift}
    pending = {item.address for item in plan.pending if not item.waiting}
    busy = {item.address for item in plan.busy}
    waiting = {item.address for item in plan.pending if item.waiting}
    unlisted = {item.address for item in plan.unlisted}
    for change in plan.changes:
        words = [_word(change, change.address in drifted)]
        words += ["busy"] if change.address in busy else []
        words += ["pending restart"] if change.address in pending else []
        words += ["waiting for the guest"] if change.address in waiting else []
        words += ["unlisted members"] if change.address in unlisted else []
        guests = plan.bases.get(change.address)
        words += [] if guests is None else [f"base of {guests} guest{'' if guests == 1 else 's'}"]
        yield change.address, words
    for address in plan.orphans:
        yield address, ["orphan"]


def _details(plan: Plan, address: Address) -> dict[str, Any]:
    """What an object waits for: the fields that wait for a restart since when, and jobs."""
    details: dict[str, Any] = {}
    for item in plan.pending:
        if item.address == address and not item.waiting:
            fields = [{"path": field.name, "reason": field.reason or None} for field in item.fields]
            details["pending_restart"] = {"since": item.since or None, "fields": fields}
    for found in plan.busy:
        if found.address == address:
            details["busy"] = list(found.jobs)
    return details


def _explained(details: dict[str, Any]) -> Iterator[str]:
    """The same as lines of text."""
    if pending := details.get("pending_restart"):
        since = f" since {pending['since']}" if pending["since"] else ""
        names = (
            f"{field['path']} ({field['reason']})" if field["reason"] else field["path"]
            for field in pending["fields"]
        )
        yield f"pending restart{since}: {', '.join(names)}"
    if jobs := details.get("busy"):
        yield f"busy: {', '.join(jobs)}"


def _word(change: Change, drifted: bool) -> str:
    from kvmplan.plan.change import Action, Reason

    words = {
        Reason.HELD: "held",
        Reason.UNOWNED: "in sync, unowned",
        Reason.BLOCKED: "differs, not ours to change",
    }
    if change.reason in words:
        return words[change.reason]
    if change.action is Action.NOOP:
        return "in sync"
    return "drifted" if drifted else f"to {change.action.value}"
