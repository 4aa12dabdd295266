"""``adopt``, ``forget``, ``hold``, ``release``: what is ours and what is left alone, nothing else.

Each takes the stack's lock, changes its claims on the host, and touches no object.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose
from kvmplan.diagnostics import Diagnostics, Failure

if TYPE_CHECKING:
    from kvmplan.address import Address
    from kvmplan.cli.session import Session
    from kvmplan.inventory import Claim, Inventory, Record

Edit = Callable[["Claim | None", "Record", "Inventory"], "Claim"]

addresses = flags.together(
    click.argument("patterns", nargs=-1, required=True, metavar="ADDRESS..."),
    click.option("--specs", "path", default=None, help="Where the specs are.  [default: specs/]"),
    flags.spec_flags,
    flags.connect_flags,
    flags.color_flags,
)


@click.command()
@addresses
def adopt(patterns: tuple[str, ...], **given: Any) -> None:
    """Take ownership of live objects. Touches nothing else; plan then shows how they differ."""
    from kvmplan.inventory import Claim

    def take(claim: Claim | None, record: Record, _: Inventory) -> Claim:
        known = claim if claim is not None and claim.key == record.key else None
        return replace(known or Claim(record.address.short, record.key), phase="done")

    _edit("adopted", patterns, given, take, anything=True)


@click.command()
@addresses
def forget(patterns: tuple[str, ...], **given: Any) -> None:
    """Drop ownership of objects. They stay as they are; a tombstone keeps them forgotten."""
    from kvmplan.inventory import FORGOTTEN, Claim

    def drop(claim: Claim | None, record: Record, _: Inventory) -> Claim:
        return Claim(record.address.short, record.key, FORGOTTEN)

    _edit("forgotten", patterns, given, drop)


@click.command()
@click.option("--until", metavar="WHEN", help="An ISO date or time, or how long: 2h, 3d.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for everyone who meets it.")
@addresses
def hold(patterns: tuple[str, ...], until: str | None, reason: str, **given: Any) -> None:
    """Make every run of every pipeline leave these objects alone. Kept on the host."""
    from kvmplan.apply.who import who
    from kvmplan.inventory import Claim, Hold

    wanted = Hold(who(), reason, _until(until))

    def keep(claim: Claim | None, record: Record, _: Inventory) -> Claim:
        return replace(claim or Claim(record.address.short, record.key), hold=wanted)

    _edit(str(wanted), patterns, given, keep)


@click.command()
@addresses
def release(patterns: tuple[str, ...], **given: Any) -> None:
    """Take a hold back."""
    from kvmplan.inventory import Claim

    def free(claim: Claim | None, record: Record, _: Inventory) -> Claim:
        return replace(claim or Claim(record.address.short, record.key), hold=None)

    _edit("released", patterns, given, free)


def _until(text: str | None) -> str:
    """The moment, ISO 8601 in UTC; ``""`` for none. Raises UsageError."""
    from datetime import UTC, datetime, timedelta

    from kvmplan.mapping.types import parse_duration

    if text is None:
        return ""
    try:
        moment = datetime.now(UTC) + timedelta(seconds=parse_duration(text))
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise click.UsageError(f"--until: '{text}' is no date, time or duration") from error
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _edit(
    done: str,
    patterns: tuple[str, ...],
    given: dict[str, Any],
    edit: Edit,
    *,
    anything: bool = False,
) -> None:
    """Change the claims of the objects that the patterns name, under the lock of each host.

    With `anything` they may be live objects that nobody owns; else they must be the stack's.
    """
    from kvmplan.cli.locking import locked
    from kvmplan.cli.plan import close, session_of

    choose(color=given["color"], no_color=given["no_color"], json=False, operation=done)
    session = session_of(given["path"], given)
    try:
        with locked(session, 0, "changing claims"):
            inventories = _inventories(session)
            chosen = _chosen(inventories, patterns, anything)
            for host, records in sorted(chosen.items()):
                _write(session, inventories[host], records, edit)
    finally:
        close(session)
    for records in chosen.values():
        for record in records:
            click.echo(f"{record.address.short}: {done}")


def _inventories(session: Session) -> dict[str, Inventory]:
    from kvmplan.address import Address
    from kvmplan.cli.session import translated
    from kvmplan.inventory import Wanted

    found = {}
    for name, host in session.hosts.items():
        with translated(session, name):
            first = host.inventory(Wanted(frozenset(), stack_uid=session.desired.stack.uid))
            there = (
                Address(name, kind, item) for kind, names in first.names.items() for item in names
            )
            wanted = Wanted(frozenset(there), stack_uid=session.desired.stack.uid)
            found[name] = host.inventory(wanted)
    return found


def _chosen(
    inventories: Mapping[str, Inventory], patterns: tuple[str, ...], anything: bool
) -> dict[str, list[Record]]:
    """The live objects that the patterns name. Raises `Failure`: KVP250, KVP221."""
    found = Diagnostics()
    chosen: dict[str, dict[Address, Record]] = {}
    for pattern in patterns:
        matched = False
        for host, inventory in inventories.items():
            for address, record in sorted(inventory.records.items()):
                if not address.matches(pattern) or not _allowed(inventory, record, anything, found):
                    continue
                matched = True
                chosen.setdefault(host, {})[address] = record
        if not matched:
            what = "live object" if anything else "object of this stack"
            found.error("KVP250", f"'{pattern}' names no {what}")
    if found.has_errors:
        raise Failure(found)
    return {host: list(records.values()) for host, records in chosen.items()}


def _allowed(inventory: Inventory, record: Record, anything: bool, found: Diagnostics) -> bool:
    claim = inventory.claim(record.address)
    if claim is not None and claim.key == record.key and (anything or claim.phase != "forgotten"):
        return True
    owner = inventory.other_owner(record.address, record.key)
    if anything and owner is not None:
        summary = f"{record.address.short} belongs to the stack '{owner}'"
        found.error("KVP221", summary, remedy="forget it there first", address=record.address)
        return False
    return anything


def _write(session: Session, inventory: Inventory, records: list[Record], edit: Edit) -> None:
    from kvmplan.cli.session import translated
    from kvmplan.inventory import Claims

    stack = session.desired.stack
    old = inventory.claims or Claims(stack.uid, stack.name)
    entries = dict(old.entries)
    for record in records:
        short = record.address.short
        entries[short] = edit(entries.get(short), record, inventory)
    with translated(session, inventory.host):
        session.hosts[inventory.host].write_claims(replace(old, entries=entries))
