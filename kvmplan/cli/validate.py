"""``kvmplan validate``: check spec files offline, without libvirt."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from kvmplan.cli import flags
from kvmplan.cli.output import choose
from kvmplan.diagnostics import Diagnostics, ExitCode


@click.command()
@flags.path_argument
@click.option("--json", "as_json", is_flag=True, help="Print the problems as one JSON object.")
@flags.spec_flags
@flags.color_flags
def validate(path: str | None, as_json: bool, **given: Any) -> int:
    """Check spec files: syntax, fields, references. Reads no host and no secret."""
    from kvmplan.cli.session import spec_path
    from kvmplan.plan.offline import check_offline
    from kvmplan.spec import LoadOptions, load
    from kvmplan.views.diagnostics import print_diagnostics, validation_json

    output = choose(
        color=given["color"], no_color=given["no_color"], json=False, operation="validate"
    )
    files = tuple(Path(name) for name in given["var_files"])
    options = LoadOptions(
        given["variables"], files, os.environ, read_secrets=False, keep_going=True
    )
    desired, found = load(spec_path(path), options)
    problems = Diagnostics(list(found))
    if desired is not None:
        check_offline(desired, problems)
    if as_json:
        click.echo(json.dumps(validation_json(problems), indent=2))
    else:
        print_diagnostics(problems, sys.stderr, output.style_of(sys.stderr), Path.cwd())
        if not problems.has_errors and desired is not None:
            from kvmplan.views.layout import plural

            resources, sources = len(desired.resources), len(desired.sources)
            click.echo(f"Valid: {plural(resources, 'resource')} in {plural(sources, 'file')}.")
    return ExitCode.ERROR if problems.has_errors else ExitCode.OK
