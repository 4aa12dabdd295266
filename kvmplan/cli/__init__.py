"""The command line: thin commands over the layers below, and the one place that puts them together.

Nothing but click is imported before a command runs.
"""

from __future__ import annotations

import gc
import re
import sys

SINGLE_DASH = re.compile(r"-[a-z][a-z-]+(=.*)?", re.DOTALL)
"""Terraform's spelling of long flags: ``-out=x``."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command and leave with its exit code."""
    from kvmplan.cli.streams import guard, settled

    guard()
    code = settled(run(sys.argv[1:] if arguments is None else arguments))
    # The interpreter searches everything for cycles once more on its way out, unless told not to.
    gc.freeze()
    sys.exit(code)


def run(arguments: list[str]) -> int:
    """Run a command; its exit code. Usage errors are 1: nothing but changes ever exits 2."""
    from kvmplan.cli.group import kvmplan
    from kvmplan.cli.output import begin

    begin()
    collecting = gc.isenabled()
    # A command makes a great many objects that live to its end, and next to no cycles: collections
    # would take a fifth of a plan of 2,000 objects, and find nothing. They would lose errors, too:
    # a handle of libvirt's that is freed between a call that failed and the question why resets
    # the answer for its thread, and `libvirtError` has no code then (10 of 20,000, forced).
    gc.disable()
    try:
        code = kvmplan.main(two_dashes(arguments), "kvmplan", standalone_mode=False)
    except BaseException as error:
        from kvmplan.cli.report import ended_by

        return ended_by(error)
    finally:
        if collecting:
            gc.enable()
    return code if isinstance(code, int) else 0


def two_dashes(arguments: list[str]) -> list[str]:
    """Long flags written with one dash get their second; what follows ``--`` stays."""
    out: list[str] = []
    for position, argument in enumerate(arguments):
        if argument == "--":
            return [*out, *arguments[position:]]
        out.append(f"-{argument}" if SINGLE_DASH.fullmatch(argument) else argument)
    return out
