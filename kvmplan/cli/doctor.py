"""``kvmplan doctor``: look at the three layers below, and say what to do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose
from kvmplan.diagnostics import ExitCode


@click.command()
@click.option("--connect", metavar="URI", help="libvirt URI to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@flags.color_flags
def doctor(connect: str | None, as_json: bool, color: str, no_color: bool) -> int:
    """Look at KVM, QEMU and libvirt, and say what to do. Exits 1 if something stands in the way."""
    from kvmplan.host import examine
    from kvmplan.views.doctor_text import doctor_text
    from kvmplan.views.style import emit

    output = choose(color=color, no_color=no_color, json=False, operation="doctor")
    findings = examine(connect)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        emit(sys.stdout, doctor_text(findings, output.style_of(sys.stdout)))
    return ExitCode.ERROR if any(finding.ok is False for finding in findings) else ExitCode.OK
