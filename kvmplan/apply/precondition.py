"""Preconditions: what a change relies on, looked at again right before its first step.

That a new domain's name is free is looked at once for all of them: libvirt refuses it later.
"""

from __future__ import annotations

from dataclasses import replace

from kvmplan.apply.problems import EXISTS, Stale
from kvmplan.apply.site import Site
from kvmplan.diff import at
from kvmplan.inventory import Record
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.lens import read
from kvmplan.plan.change import Action, Change, Reason, Tree
from kvmplan.plan.fields import running_tree
from kvmplan.plan.intent import Intent, runtime_of
from kvmplan.plan.torn import can_be_ours


def check(site: Site, change: Change, intent: Intent | None) -> Record | None:
    """Look whether the plan's assumptions about an object hold.

    Returns:
        The object as it is now, read with its secrets; None if the change makes it.

    Raises:
        Stale: they do not.
        HostError: the host did not answer.
    """
    address, relies_on = change.found_at, change.precondition
    if not relies_on.exists:
        if not site.is_free(address):
            raise Stale(EXISTS)
        return None
    record = site.host.record(address, secure=change.action is Action.UPDATE)
    if record is None:
        raise Stale("it is gone since it was planned")
    if relies_on.key and record.key != relies_on.key:
        raise Stale("it is another object now than the one that was planned for")
    if change.action in (Action.DELETE, Action.REPLACE):
        if record.active and not relies_on.active:
            raise Stale("it was started since it was planned")
        if change.reason is Reason.TORN:
            _check_torn(record, intent)
    elif change.previous is not None:
        _check_rename(site, change, record)
    if intent is not None and change.action is Action.UPDATE:
        _check_fields(site, change, intent, record)
    return record


def _check_torn(record: Record, intent: Intent | None) -> None:
    """It is still what a cut run has left: nobody has written into what was empty."""
    claim = intent.claim if intent is not None else None
    if claim is None or not can_be_ours(record, claim, vouched=False):
        raise Stale("it has been written since it was planned")


def _check_rename(site: Site, change: Change, record: Record) -> None:
    """It is off still, and its new name is free."""
    if record.active or record.managed_save:
        raise Stale("it was started or saved since it was planned: only what is off is renamed")
    if site.host.record(change.address, brief=True) is not None:
        raise Stale(f"there is a {change.address.short} now, and was none when it was planned")


def _check_fields(site: Site, change: Change, intent: Intent, record: Record) -> None:
    """Every field that will be changed still has the value that it was planned to change."""
    moved = _moved(site, change, intent, record)
    if moved and record.secure and intent.record is not None and not intent.record.secure:
        # What has no secrets in its spec was planned without those of the host.
        plain = site.host.record(record.address)
        if plain is None:
            raise Stale("it is gone since it was planned")
        moved = _moved(site, change, intent, plain)
    if moved:
        raise Stale(f"changed since it was planned: {', '.join(moved)}")


def _moved(site: Site, change: Change, intent: Intent, record: Record) -> list[str]:
    """The names of fields that have another value in a record than in the plan."""
    context = site.births.context(
        site.inventory,
        runtime=runtime_of(record, intent.claim, intent.tree, site.inventory.key),
        names=intent.names,
    )
    live = read(intent.model, parse_to_read(record.document), context, intent.tree)
    running: Tree = {}
    if any(field.only_running for field in change.fields):
        running = running_tree(replace(intent, record=record, context=context)) or {}
    return [
        field.name
        for field in change.fields
        if at(running if field.only_running else live, field.path) != field.before
    ]
