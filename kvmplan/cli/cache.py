"""``kvmplan cache``: the images that were fetched to this machine."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from kvmplan.cli.pointless import refuse

if TYPE_CHECKING:
    from kvmplan.images.store import Store

UNUSED = "30d"


@click.group()
def cache() -> None:
    """Fetched images: each is kept once, for all volumes and runs."""


@cache.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def list_images(as_json: bool) -> None:
    """List what is kept, what was used last first."""
    blobs = _store().blobs()
    if as_json:
        click.echo(json.dumps([asdict(blob) for blob in blobs]))
        return
    for blob in blobs:
        click.echo(f"{blob.name[:19]}  {_size(blob.allocated):>9}  used {_ago(blob.used)}")
        for source in blob.sources:
            click.echo(f"    {source}")
    if not blobs:
        click.echo("No images.")


@cache.command()
@click.option(
    "--unused-for", default=UNUSED, show_default=True, metavar="D", help="Only what was not used."
)
@click.option("--all", "everything", is_flag=True, help="All of it.")
def prune(unused_for: str, everything: bool) -> None:
    """Remove images that were not used for some time; they are fetched again when needed."""
    from kvmplan.diagnostics import fail
    from kvmplan.images.errors import NO_ROOM
    from kvmplan.mapping.units import parse_duration

    if everything:
        refuse("beside --all", "unused_for")
    try:
        seconds = 0 if everything else parse_duration(unused_for)
    except ValueError as error:
        raise click.UsageError(f"--unused-for: {error}") from error
    try:
        gone = _store().prune(float(seconds))
    except OSError as error:
        summary = f"the cache of images cannot be pruned: {error.strerror or error}"
        raise fail(NO_ROOM, summary, remedy="see who owns its files") from error
    freed = _size(sum(blob.allocated for blob in gone))
    click.echo(f"Removed {len(gone)} image{'' if len(gone) == 1 else 's'}, {freed}.")


def _store() -> Store:
    from kvmplan.cli.places import images_folder
    from kvmplan.diagnostics import fail
    from kvmplan.images.errors import NO_ROOM
    from kvmplan.images.store import Store

    try:
        return Store(images_folder())
    except OSError as error:
        raise fail(NO_ROOM, f"there is no cache: {error}", remedy="set XDG_CACHE_HOME") from error


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"


def _ago(moment: float) -> str:
    hours = max(0.0, time.time() - moment) / 3600
    return f"{hours / 24:.0f} days ago" if hours >= 48 else f"{hours:.0f} h ago"
