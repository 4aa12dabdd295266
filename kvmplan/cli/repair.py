"""``kvmplan doctor --repair``: what could be rebuilt of lost claims. Reads and proposes only."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli.output import current
from kvmplan.diagnostics import ExitCode

if TYPE_CHECKING:
    from kvmplan.cli.session import Session
    from kvmplan.inventory import LockInfo
    from kvmplan.plan.repair import Finding

_HOLDER = re.compile(r".*@(?P<host>\S+) pid (?P<pid>\d+)")
"""How a lock names its holder."""


def repair(path: str | None, given: dict[str, Any]) -> int:
    """Print what is to be decided on the stack's hosts; 0 if that is nothing, else 1."""
    from kvmplan.cli.plan import close, session_of
    from kvmplan.cli.report import show_all
    from kvmplan.views.repair_text import commands, repair_json, repair_text
    from kvmplan.views.style import emit

    session = session_of(path, given)
    try:
        found = _findings(session)
    finally:
        close(session)
    show_all(session.warnings)
    several = session.several_hosts
    proposed = commands(found, _flags(path, given), several)
    if given["as_json"]:
        click.echo(json.dumps(repair_json(found, proposed), indent=2))
    else:
        style = current().style_of(sys.stdout)
        emit(sys.stdout, repair_text(found, proposed, several, style=style))
    to_repair = any(item.trouble.is_to_repair for item in found)
    return ExitCode.ERROR if to_repair else ExitCode.OK


def _findings(session: Session) -> list[Finding]:
    from kvmplan.cli.git import git_origin
    from kvmplan.cli.session import read_everything, translated
    from kvmplan.plan import identity
    from kvmplan.plan.options import PlanOptions
    from kvmplan.plan.repair import findings

    inventories = read_everything(session, lenient=True)
    options = PlanOptions(origin=git_origin(session.path))
    identity.report(session.desired, inventories, options, session.warnings)
    found: list[Finding] = []
    for name, inventory in inventories.items():
        if not inventory.facts.has_secrets:
            continue
        with translated(session, name):
            locks = session.hosts[name].locks()
        ours = [lock for lock in locks if lock.stack_uid == session.desired.stack.uid]
        states = {lock: state for lock in ours if (state := _state(lock))}
        found += findings(session.desired, inventory, states)
    return found


def _state(lock: LockInfo) -> str:
    """What is known of a lock's holder; empty if it lives."""
    holder = _HOLDER.fullmatch(lock.who)
    if holder is None or holder["host"] != socket.gethostname():
        return "whether it still lives cannot be seen from here"
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return "its process is gone"
    except PermissionError:
        return ""
    return ""


def _flags(path: str | None, given: dict[str, Any]) -> list[str]:
    """The flags that lead other commands to the same specs and hosts."""
    flags = ["--specs", path] if path else []
    flags += ["--connect", given["connect"]] if given["connect"] else []
    for pair in given["variables"]:
        flags += ["--var", pair]
    for file in given["var_files"]:
        flags += ["--var-file", file]
    return flags
