"""``kvmplan lock`` and ``kvmplan force-unlock``: who holds which, and how a dead one goes."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose
from kvmplan.diagnostics import fail

host_flags = flags.together(
    click.option("--specs", "path", default=None, help="Where the specs are.  [default: specs/]"),
    flags.spec_flags,
    flags.connect_flags,
    flags.color_flags,
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the locks as JSON.")
@host_flags
def lock(as_json: bool, path: str | None, **given: Any) -> None:
    """Show the locks held on the stack's hosts, of this stack and of others."""
    from kvmplan.cli.plan import close, session_of
    from kvmplan.cli.report import show_all
    from kvmplan.cli.session import translated

    choose(color=given["color"], no_color=given["no_color"], json=False, operation="lock")
    session = session_of(path, given, secrets=False)
    rows = []
    try:
        for name, host in session.hosts.items():
            with translated(session, name):
                rows += [{"host": name, **asdict(info)} for info in host.locks()]
    finally:
        close(session)
    show_all(session.warnings)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not rows:
        left = f" on the hosts that answer; not asked: {', '.join(session.left_out)}"
        click.echo(f"No locks{left if session.left_out else ''}.")
    for row in () if as_json else rows:
        ours = (
            "this stack"
            if row["stack_uid"] == session.desired.stack.uid
            else f"stack {row['stack_uid']}"
        )
        doing = f"{row['operation']} by {row['who']} since {row['since']}"
        click.echo(f"{row['host']}: {row['id']}  {doing}  ({ours})")


@click.command()
@click.argument("lock_id", metavar="ID")
@host_flags
def force_unlock(lock_id: str, path: str | None, **given: Any) -> None:
    """Remove the lock with this id. Only when its holder is gone for good."""
    from kvmplan.cli.locking import refuse_read_only
    from kvmplan.cli.plan import close, session_of
    from kvmplan.cli.report import show_all
    from kvmplan.cli.session import translated

    choose(color=given["color"], no_color=given["no_color"], json=False, operation="force-unlock")
    session = session_of(path, given, secrets=False)
    try:
        refuse_read_only(session)
        for name, host in session.hosts.items():
            with translated(session, name):
                if host.force_unlock(lock_id):
                    click.echo(f"Removed the lock {lock_id} on host '{name}'.")
                    return
    finally:
        close(session)
    show_all(session.warnings)
    raise fail(
        "KVP403", f"no host of the stack has a lock {lock_id}", remedy="`kvmplan lock` lists them"
    )
