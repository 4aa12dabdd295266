"""``kvmplan doctor``: look at the three layers below, or at the claims, and say what to do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose
from kvmplan.diagnostics import ExitCode


@click.command()
@flags.path_argument
@click.option(
    "--repair",
    is_flag=True,
    help="Propose what could be rebuilt of the stack's claims, with the commands to decide with.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@flags.spec_flags
@flags.connect_flags
@flags.color_flags
def doctor(path: str | None, repair: bool, **given: Any) -> int:
    """Look at KVM, QEMU and libvirt, and say what to do. Exits 1 if something stands in the way.

    With --repair look at the stack's claims on its hosts instead: lost or damaged ones, ones that
    speak of nothing, leftover locks. Nothing is written; exits 1 if there is something to decide.
    """
    output = choose(
        color=given["color"], no_color=given["no_color"], json=False, operation="doctor"
    )
    if repair:
        from kvmplan.cli.repair import repair as look_at_claims

        return look_at_claims(path, given)
    if path is not None:
        raise click.UsageError("PATH goes with --repair")
    from kvmplan.host import examine
    from kvmplan.views.doctor_text import doctor_text
    from kvmplan.views.style import emit

    findings = examine(given["connect"])
    if given["as_json"]:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        emit(sys.stdout, doctor_text(findings, output.style_of(sys.stdout)))
    return ExitCode.ERROR if any(finding.ok is False for finding in findings) else ExitCode.OK
