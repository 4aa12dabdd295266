"""Flags that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def together(*decorators: Decorator) -> Decorator:
    """Several decorators as one."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


job_timeout = click.option(
    "--job-timeout",
    default="5m",
    show_default=True,
    metavar="D",
    help="How long to wait for backups, block jobs and the like of others.",
)

path_argument = click.argument("path", required=False, type=click.Path(exists=False), default=None)

spec_flags = together(
    click.option("--var", "variables", multiple=True, metavar="K=V", help="Set a variable."),
    click.option(
        "--var-file",
        "var_files",
        multiple=True,
        type=click.Path(),
        help="Read variables from a file.",
    ),
)

connect_flags = together(
    click.option("--connect", metavar="URI", help="libvirt URI of the one host `local`."),
    click.option(
        "--read-only",
        is_flag=True,
        help="Use libvirt's read-only socket; what cannot be compared is listed.",
    ),
    click.option(
        "--on-unreachable",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="What to do when a host does not answer.",
    ),
)

color_flags = together(
    click.option(
        "--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True
    ),
    click.option("--no-color", is_flag=True, help="The same as --color never."),
)

plan_flags = together(
    click.option(
        "--target",
        "targets",
        multiple=True,
        metavar="A",
        help="Only these addresses and what they need.",
    ),
    click.option(
        "--exclude", "excludes", multiple=True, metavar="A", help="Leave these addresses alone."
    ),
    click.option("--replace", multiple=True, metavar="A", help="Delete and create these again."),
    click.option("--adopt", is_flag=True, help="Take over what exists, is not owned and differs."),
    click.option("--prune", is_flag=True, help="Delete what the stack owns and no spec names."),
    click.option(
        "--max-delete", type=click.IntRange(0), metavar="N", help="How many may be pruned."
    ),
    click.option("--allow-empty", is_flag=True, help="Prune although the specs are empty."),
    click.option(
        "--same-stack",
        is_flag=True,
        help="It is the stack that the claims speak of, under a new name or in a new repository.",
    ),
    click.option(
        "--drift",
        type=click.Choice(["revert", "keep"]),
        default="revert",
        show_default=True,
        help="What becomes of changes made by hand.",
    ),
    click.option(
        "--allow-data-loss",
        multiple=True,
        metavar="A",
        help="Bytes of these may be lost; the kind written out.",
    ),
    click.option(
        "--allow-restart",
        multiple=True,
        metavar="A|all",
        help="These guests may be restarted; the kind written out.",
    ),
    click.option(
        "--max-restarts", type=click.IntRange(0), metavar="N", help="How many guests at most."
    ),
    click.option(
        "--parallelism",
        type=click.IntRange(1, 64),
        default=4,
        show_default=True,
        help="Steps at once, per host.",
    ),
    click.option("--summary", is_flag=True, help="One line a change."),
)
