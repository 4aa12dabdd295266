"""Flags that mean nothing beside each other are errors of usage: whoever wrote one meant it.

A flag that says what is so by default says nothing, and is let through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from kvmplan.cli.flags import CONNECT, SPECS

if TYPE_CHECKING:
    from kvmplan.spec.desired import Desired

OFFLINE = (*SPECS, *CONNECT)
"""Parameters that mean nothing where neither specs nor hosts are looked at."""

_NOT_OF_DESTROY = (
    "replace",
    "adopt",
    "prune",
    "max_delete",
    "allow_empty",
    "drift",
    "allow_restart",
    "max_restarts",
)
_OF_TEXT = ("summary", "xml")


def refuse(beside: str, *parameters: str) -> None:
    """See that none of the running command's parameters was given. Raises UsageError.

    Args:
        beside: what they mean nothing beside, or without, in words.
        parameters: their names.
    """
    if flags := _given(parameters):
        several = len(flags) > 1
        raise click.UsageError(
            f"{', '.join(flags)} {'mean' if several else 'means'} nothing {beside}"
        )


def check_plan(*, destroy: bool, events: bool, form: str = "text") -> None:
    """Of the flags of `plan`, `apply` and `destroy`, those that need no specs to be looked at.

    Args:
        destroy: whether all goes that the stack owns.
        events: whether ``--json`` was given.
        form: what ``--format`` says.
    """
    if destroy:
        refuse("beside destroy, which removes what the stack owns", *_NOT_OF_DESTROY)
    if events:
        refuse("beside --json, whose events say all", *_OF_TEXT)
        if form != "text":
            refuse("beside --json", "form")
    elif form != "text":
        refuse(f"beside --format {form}", *_OF_TEXT)


def check_prune(desired: Desired) -> None:
    """Limits of what is pruned, where nothing is. Raises UsageError."""
    if not desired.stack.prune and not _given(("prune", "destroy")):
        where = "without --prune, or `prune: true` in the stack"
        refuse(where, "max_delete", "allow_empty")


def _given(parameters: tuple[str, ...]) -> list[str]:
    """Those flags of the running command that say something else than what is so by default."""
    context = click.get_current_context()
    return [
        it.opts[0]
        for it in context.command.params
        if it.name in parameters
        and context.params.get(it.name, it.default) != it.get_default(context)
        and context.params.get(it.name) not in ((), None)
    ]
