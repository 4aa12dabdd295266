"""Flags that contradict each other are errors of usage: whoever wrote one meant it.

That is what would take, make or limit something and does not, and what asks for another form of
the same output. What merely has nothing to do is let through: pipelines give all their commands the
same flags.
"""

from __future__ import annotations

import click

_NOT_OF_DESTROY = ("replace", "adopt", "max_delete")


def refuse(beside: str, *parameters: str) -> None:
    """See that none of the running command's parameters was given. Raises UsageError.

    Args:
        beside: what they mean nothing beside, in words.
        parameters: their names.
    """
    if flags := _given(parameters):
        several = len(flags) > 1
        raise click.UsageError(
            f"{', '.join(flags)} {'mean' if several else 'means'} nothing {beside}"
        )


def check_plan(*, destroy: bool, events: bool, form: str = "text") -> None:
    """Of the flags of `plan`, `apply` and `destroy`, those that contradict each other.

    Args:
        destroy: whether all goes that the stack owns.
        events: whether ``--json`` was given.
        form: what ``--format`` says.

    Raises:
        UsageError: some do.
    """
    if destroy:
        refuse("beside destroy, which removes what the stack owns", *_NOT_OF_DESTROY)
    if events:
        refuse("beside --json, whose events say all", "xml")
        if form != "text":
            refuse("beside --json", "form")
    elif form != "text":
        refuse(f"beside --format {form}", "xml")


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
