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
from kvmplan.diagnostics import Diagnostics, Failure, fail

if TYPE_CHECKING:
    from datetime import datetime

    from kvmplan.address import Address
    from kvmplan.cli.session import Session
    from kvmplan.inventory import Claim, Hold, Inventory
    from kvmplan.spec.desired import Resource

Edit = Callable[["Address", "Inventory", "Resource | None"], "Claim | None"]
"""Address, host, what the specs say of it -> its claim from now on; None drops it."""

Eligible = Callable[["Address", "Inventory"], bool]
"""Whether an address can be edited; problems that end the run are raised or noted."""

ownership_flags = flags.together(
    click.option("--specs", "path", default=None, help="Where the specs are.  [default: specs/]"),
    flags.spec_flags,
    flags.connect_flags,
    flags.color_flags,
)
addresses = flags.together(
    click.argument("patterns", nargs=-1, required=True, metavar="ADDRESS..."), ownership_flags
)


@click.command()
@click.option(
    "--over-damaged",
    is_flag=True,
    help="Throw away claims of this stack that cannot be read; doctor --repair lists them.",
)
@click.argument("patterns", nargs=-1, metavar="[ADDRESS...]")
@ownership_flags
def adopt(patterns: tuple[str, ...], over_damaged: bool, **given: Any) -> None:
    """Take ownership of live objects. Touches nothing else; plan then shows how they differ."""
    from kvmplan.apply.claiming import adopted

    if not patterns and not over_damaged:
        raise click.UsageError("Missing argument 'ADDRESS...'.")

    def take(address: Address, inventory: Inventory, resource: Resource | None) -> Claim:
        record = inventory.records[address]
        return adopted(record, inventory.claim(address), resource)

    _edit("adopted", "live object", patterns, given, take, _is_free, lenient=over_damaged)


@click.command()
@addresses
def forget(patterns: tuple[str, ...], **given: Any) -> None:
    """Drop ownership of objects. They stay as they are; a tombstone keeps them forgotten."""
    from kvmplan.inventory import FORGOTTEN, Claim

    def drop(address: Address, inventory: Inventory, _: Resource | None) -> Claim | None:
        claim, record = inventory.claim(address), inventory.record(address)
        assert claim is not None
        if record is None and not inventory.is_unseen(address):
            return None
        if record is not None and claim.key not in (record.key, ""):
            return None
        return Claim(address.short, record.key if record else claim.key, FORGOTTEN)

    _edit("forgotten", "object of this stack", patterns, given, drop, _is_claimed)


@click.command()
@click.option("--until", metavar="WHEN", help="An ISO date or time, or how long: 2h, 3d.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for everyone who meets it.")
@addresses
def hold(patterns: tuple[str, ...], until: str | None, reason: str, **given: Any) -> None:
    """Make every run of every pipeline leave these objects alone. Kept on the host."""
    from kvmplan.apply.who import who
    from kvmplan.inventory import Hold

    wanted = Hold(who(), reason, _until(until))
    _edit(str(wanted), "object of this stack", patterns, given, _holding(wanted), _is_owned)


@click.command()
@addresses
def release(patterns: tuple[str, ...], **given: Any) -> None:
    """Take a hold back."""
    _edit("released", "object of this stack", patterns, given, _holding(None), _is_owned)


def _holding(wanted: Hold | None) -> Edit:
    def edit(address: Address, inventory: Inventory, _: Resource | None) -> Claim:
        claim = inventory.claim(address)
        assert claim is not None
        return replace(claim, hold=wanted)

    return edit


def _until(text: str | None) -> str:
    """The moment, ISO 8601 in UTC; ``""`` for none. Raises UsageError: none, or a past one."""
    from datetime import UTC, datetime

    if text is None:
        return ""
    now = datetime.now(UTC)
    try:
        moment = _moment(text, now)
    except ValueError as error:
        raise click.UsageError(f"--until: '{text}' is no date, time or duration") from error
    except OverflowError as error:
        raise click.UsageError(f"--until: '{text}' is too far away") from error
    if moment <= now:
        raise click.UsageError(f"--until: '{text}' is over; `kvmplan release` ends a hold")
    return moment.isoformat(timespec="seconds")


def _moment(text: str, now: datetime) -> datetime:
    """A moment in UTC. Raises ValueError; OverflowError: no calendar goes that far."""
    from datetime import UTC, datetime, timedelta

    from kvmplan.mapping.units import parse_duration

    try:
        seconds = parse_duration(text)
    except ValueError:
        return datetime.fromisoformat(text).astimezone(UTC)
    return now + timedelta(seconds=seconds)


def _is_free(address: Address, inventory: Inventory) -> bool:
    """Whether it is there and not another stack's. Raises `Failure`: KVP221."""
    record = inventory.record(address)
    if record is None:
        return False
    owner = inventory.other_owner(address, record.key)
    if owner is not None:
        summary = f"{address.short} belongs to the stack '{owner}'"
        raise fail("KVP221", summary, remedy="forget it there first", address=address)
    return True


def _is_claimed(address: Address, inventory: Inventory) -> bool:
    """Whether the stack's claims speak of it, there or not."""
    claim = inventory.claim(address)
    return claim is not None and claim.phase != "forgotten"


def _is_owned(address: Address, inventory: Inventory) -> bool:
    """Whether it is claimed, there, and the same object."""
    claim, record = inventory.claim(address), inventory.record(address)
    same = claim is not None and record is not None and claim.key == record.key
    return same and _is_claimed(address, inventory)


def _edit(
    done: str,
    what: str,
    patterns: tuple[str, ...],
    given: dict[str, Any],
    edit: Edit,
    eligible: Eligible,
    *,
    lenient: bool = False,
) -> None:
    """Change the claims that the patterns name, under the lock of each host.

    Args:
        done: what is said of each in the end.
        what: what a pattern must name.
        patterns: addresses or globs.
        given: the command's flags.
        edit: gives the new claim.
        eligible: which addresses may be named.
        lenient: lose claims of this stack that cannot be read.
    """
    from kvmplan.cli.locking import locked
    from kvmplan.cli.plan import close, session_of
    from kvmplan.cli.session import read_everything

    choose(color=given["color"], no_color=given["no_color"], json=False, operation=done)
    session = session_of(given["path"], given)
    try:
        with locked(session, 0, "changing claims"):
            inventories = read_everything(session, lenient=lenient)
            _refuse_newer(inventories)
            chosen = _chosen(inventories, patterns, what, eligible)
            for host, inventory in sorted(inventories.items()):
                here = [address for address in chosen if address.host == host]
                if here or inventory.damaged:
                    _write(session, inventory, here, edit)
    finally:
        close(session)
    for address in chosen:
        click.echo(f"{address.short}: {done}")
    for inventory in inventories.values():
        for part in inventory.damaged:
            click.echo(f"{part.usage}: thrown away, it could not be read")


def _refuse_newer(inventories: Mapping[str, Inventory]) -> None:
    """Claims of a newer kvmplan are whole, and are never thrown away. Raises `Failure`: KVP515."""
    for host, inventory in inventories.items():
        for part in inventory.damaged:
            if part.newer:
                summary = f"host '{host}': the claims in '{part.usage}' are a newer kvmplan's"
                raise fail("KVP515", summary, remedy="use that kvmplan")


def _chosen(
    inventories: Mapping[str, Inventory],
    patterns: tuple[str, ...],
    what: str,
    eligible: Eligible,
) -> list[Address]:
    """What the patterns name, of what is live or claimed. Raises `Failure`: KVP250, KVP221."""
    found = Diagnostics()
    chosen: set[Address] = set()
    for pattern in patterns:
        named = [
            address
            for host, inventory in inventories.items()
            for address in _known(host, inventory)
            if address.matches(pattern) and eligible(address, inventory)
        ]
        chosen.update(named)
        if not named:
            remedy = _why_none(pattern, inventories, eligible)
            found.error("KVP250", f"'{pattern}' names no {what}", remedy=remedy)
    if found.has_errors:
        raise Failure(found)
    return sorted(chosen)


def _why_none(pattern: str, inventories: Mapping[str, Inventory], eligible: Eligible) -> str | None:
    """What to do about a pattern that names nothing that can be meant."""
    from kvmplan.spec.suggest import did_you_mean

    there = [(it, inventory) for h, inventory in inventories.items() for it in _known(h, inventory)]
    hit = next(
        (it for it, inventory in there if it.matches(pattern) and it in inventory.records), None
    )
    if hit is not None:
        return f"{hit.short} is there, and not this stack's: `kvmplan adopt {hit.short}` first"
    near = [it.short for it, inventory in there if eligible(it, inventory)]
    return did_you_mean(pattern, near, "there are") or "there is none"


def _known(host: str, inventory: Inventory) -> list[Address]:
    from kvmplan.address import parse_address

    claimed = inventory.claims.entries if inventory.claims else ()
    return sorted({*inventory.records, *(parse_address(short, host) for short in claimed)})


def _write(session: Session, inventory: Inventory, chosen: list[Address], edit: Edit) -> None:
    from kvmplan.cli.git import git_origin
    from kvmplan.cli.session import translated
    from kvmplan.inventory import Claims

    desired = session.desired
    stack = desired.stack
    old = inventory.claims or Claims(stack.uid, stack.name, {}, git_origin(session.path))
    entries = dict(old.entries)
    for address in chosen:
        claim = edit(address, inventory, desired.resources.get(address))
        if claim is None:
            del entries[address.short]
        else:
            entries[address.short] = claim
    over = frozenset(part.uuid for part in inventory.damaged)
    with translated(session, inventory.host):
        host = session.hosts[inventory.host]
        host.write_claims(replace(old, entries=entries), over=over)
