"""What ends a command: failures become diagnostics and exit codes; a traceback is a bug."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from kvmplan.diagnostics import Diagnostic, ExitCode, Failure, Severity


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; its exit code, or that of the failure it ended with."""
    try:
        code = command()
    except Failure as failure:
        show_all(failure.diagnostics)
        return failure.exit_code
    except (click.ClickException, click.Abort, BrokenPipeError):
        raise
    except Exception as error:
        if os.environ.get("KVMPLAN_TRACEBACK"):
            raise
        show_all([internal(error)])
        return ExitCode.ERROR
    return code if isinstance(code, int) else ExitCode.OK


def show_all(diagnostics: Any) -> None:
    """Print diagnostics to stderr, in the form the command was asked for."""
    from pathlib import Path

    from kvmplan.cli.output import current

    output = current()
    if output.stream is not None:
        for item in diagnostics:
            output.stream.diagnostic(item)
        return
    from kvmplan.views.diagnostics import print_diagnostics

    print_diagnostics(diagnostics, sys.stderr, output.style_of(sys.stderr), Path.cwd())


def from_host_error(error: Any, host: str, uri: str) -> Failure:
    """What a host answered, as a failure."""
    from kvmplan.host import diagnose

    return Failure([diagnose(error, host, uri)])


def internal(error: BaseException) -> Diagnostic:
    """A bug, reported as one."""
    summary = f"internal error: {type(error).__name__}: {error}"
    return Diagnostic(
        "KVP900",
        Severity.ERROR,
        summary,
        remedy="please report it; KVMPLAN_TRACEBACK=1 shows where",
    )
