"""``start``, ``stop``, ``restart``: by hand, under the lock, for what is the stack's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli import flags
from kvmplan.cli.apply import seconds_of
from kvmplan.cli.output import choose
from kvmplan.cli.ownership import addresses
from kvmplan.diagnostics import Diagnostic, Diagnostics, ExitCode, Failure, Severity

if TYPE_CHECKING:
    from kvmplan.apply.port import Host
    from kvmplan.apply.power import Patience
    from kvmplan.cli.session import Session
    from kvmplan.inventory import Inventory, Record

    Deed = Callable[[Host, Record, Patience, Callable[[str], None]], str]

waiting = flags.together(
    addresses,
    flags.job_timeout,
    click.option(
        "--lock-timeout", default="0s", metavar="D", help="How long to wait for the lock."
    ),
)
going_down = flags.together(
    waiting,
    click.option("--timeout", metavar="D", help="How long the guest may take.  [its spec]"),
    click.option("--force", is_flag=True, help="Power it off at the end of that."),
)


@click.command()
@waiting
def start(patterns: tuple[str, ...], **given: Any) -> int:
    """Start domains of the stack. One whose spec says stopped is refused."""
    from kvmplan.apply import power

    return _each("start", patterns, given, power.start, contradicts="stopped")


@click.command()
@going_down
def stop(patterns: tuple[str, ...], **given: Any) -> int:
    """Shut domains of the stack down. One whose spec says running is refused unless it is held."""
    from kvmplan.apply import power

    return _each("stop", patterns, given, power.stop, contradicts="running")


@click.command()
@going_down
def restart(patterns: tuple[str, ...], **given: Any) -> int:
    """Shut domains of the stack down and start them again, one after another."""
    from kvmplan.apply import power

    return _each("restart", patterns, given, power.restart, contradicts="")


def _each(
    name: str, patterns: tuple[str, ...], given: dict[str, Any], deed: Deed, *, contradicts: str
) -> int:
    """Do it to each domain that is named; stop at the first that fails. The exit code."""
    from kvmplan.cli.locking import locked
    from kvmplan.cli.plan import close, session_of

    choose(color=given["color"], no_color=given["no_color"], json=False, operation=name)
    lock_timeout = seconds_of("--lock-timeout", given["lock_timeout"])
    jobs = seconds_of("--job-timeout", given["job_timeout"])
    session = session_of(given["path"], given)
    try:
        with locked(session, lock_timeout, name):
            chosen = _chosen(session, patterns, contradicts)
            for number, (host, record) in enumerate(chosen, 1):
                patience = _patience(session, record, given, jobs)
                if not _done(session, host, record, deed, patience):
                    for _, left in chosen[number:]:
                        click.echo(f"{left.address.short}: not tried", err=True)
                    return ExitCode.INCOMPLETE
    finally:
        close(session)
    return ExitCode.OK


def _done(session: Session, host: str, record: Record, deed: Deed, patience: Patience) -> bool:
    """Do it to one domain; whether it succeeded."""
    from kvmplan.apply.power import Unable
    from kvmplan.apply.problems import Busy, NotRestarted
    from kvmplan.cli.report import show_all
    from kvmplan.cli.session import translated

    short = record.address.short
    code, remedy = "KVP630", "see what state it is in: kvmplan show " + short
    try:
        with translated(session, host):
            said = deed(session.hosts[host], record, patience, partial(click.echo, err=True))
    except Busy as error:
        code, summary, remedy = "KVP608", str(error), "again when that is over: --job-timeout"
    except NotRestarted as error:
        code, summary, remedy = "KVP609", f"{short}: {error}", error.remedy
    except Unable as error:
        summary = str(error)
    else:
        click.echo(f"{short}: {said}")
        return True
    show_all([Diagnostic(code, Severity.ERROR, summary, remedy=remedy, address=record.address)])
    return False


def _patience(session: Session, record: Record, given: Mapping[str, Any], jobs: float) -> Patience:
    """As the domain's spec says, unless the command line says otherwise."""
    from kvmplan.apply.power import Patience
    from kvmplan.plan.steps import SHUTDOWN_TIMEOUT

    resource = session.desired.resources.get(record.address)
    model = resource.model if resource is not None else None
    timeout = getattr(model, "shutdown_timeout", None) or SHUTDOWN_TIMEOUT
    if given.get("timeout"):
        timeout = seconds_of("--timeout", given["timeout"])
    force = bool(given.get("force")) or bool(getattr(model, "force", None))
    return Patience(float(timeout), force, jobs)


def _chosen(
    session: Session, patterns: tuple[str, ...], contradicts: str
) -> list[tuple[str, Record]]:
    """The stack's own domains that the patterns name, in order.

    Raises:
        Failure: KVP250 nothing named, KVP254 not a domain or not the stack's; KVP218 and exit 7,
            the next apply would undo it.
    """
    from kvmplan.cli.session import read_hosts

    inventories = read_hosts(session)
    found = Diagnostics()
    chosen: dict[tuple[str, str], Record] = {}
    for pattern in patterns:
        named = [
            (name, record)
            for name, inventory in sorted(inventories.items())
            for record in _own(inventory)
            if record.address.matches(pattern)
        ]
        chosen |= {(name, record.address.name): record for name, record in named}
        if not named:
            _refuse_pattern(pattern, inventories, found)
    if found.has_errors:
        raise Failure(found)
    for (name, _), record in chosen.items():
        _check_spec(session, inventories[name], record, contradicts, found)
    if found.has_errors:
        raise Failure(found, ExitCode.REFUSED)
    return [(name, record) for (name, _), record in sorted(chosen.items())]


def _own(inventory: Inventory) -> list[Record]:
    """The domains that this stack owns."""
    from kvmplan.address import Kind
    from kvmplan.plan.intent import is_claimed

    return [
        record
        for address, record in sorted(inventory.records.items())
        if address.kind is Kind.DOMAIN
        and is_claimed(record, inventory.claim(address), inventory, None, "")
    ]


def _refuse_pattern(pattern: str, inventories: Mapping[str, Inventory], found: Diagnostics) -> None:
    """Say why a pattern names none of the stack's domains."""
    from kvmplan.address import Address
    from kvmplan.spec.suggest import did_you_mean

    there = [
        Address(host, kind, name)
        for host, inventory in inventories.items()
        for kind, names in inventory.names.items()
        for name in names
    ]
    hit = next((address for address in sorted(there) if address.matches(pattern)), None)
    if hit is None:
        own = [it.address.short for inventory in inventories.values() for it in _own(inventory)]
        remedy = did_you_mean(pattern, own, "its domains") or "it has none here"
        found.error("KVP250", f"'{pattern}' names no domain of this stack", remedy=remedy)
        return
    what, remedy = "not this stack's", f"`kvmplan adopt {hit.short}` first, or use virsh"
    if hit.kind != "domain":
        what, remedy = "no domain", "`active:` in the specs starts and stops networks and pools"
    found.error("KVP254", f"{hit.short} is {what}", remedy=remedy, address=hit)


def _check_spec(
    session: Session, inventory: Inventory, record: Record, contradicts: str, found: Diagnostics
) -> None:
    """Refuse what the next apply would undo, unless a hold keeps that away."""
    from datetime import UTC, datetime

    address = record.address
    claim = inventory.claim(address)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    held = claim is not None and claim.hold is not None and claim.hold.lasts(now)
    resource = session.desired.resources.get(address)
    wanted = getattr(resource.model, "state", None) if resource is not None else None
    if held or not contradicts or wanted != contradicts or resource is None:
        return
    other = "stopped" if contradicts == "running" else "running"
    summary = f"the spec of {address.short} says `state: {wanted}`: the next apply would undo it"
    remedy = f"write `state: {other}`, or `kvmplan hold {address.short}` first"
    found.error("KVP218", summary, resource.place, remedy, address)
