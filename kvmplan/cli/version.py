"""``kvmplan version``."""

from __future__ import annotations

import json
import platform

import click

from kvmplan import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def version(as_json: bool) -> None:
    """Print kvmplan's version and Python's."""
    if as_json:
        click.echo(
            json.dumps(
                {"kvmplan_version": __version__, "python_version": platform.python_version()}
            )
        )
        return
    click.echo(f"kvmplan {__version__}\nPython {platform.python_version()}")
