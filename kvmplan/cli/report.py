"""What ends a command: failures become diagnostics and exit codes; a traceback is a bug."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from kvmplan.diagnostics import Diagnostic, ExitCode, Failure, Severity


def ended_by(error: BaseException) -> int:
    """Say why a command ended early; its exit code. What is a wish to leave is raised again."""
    from kvmplan.cli.output import current

    code = _said(error)
    if (stream := current().stream) is not None:
        stream.finish()
    return code


def _said(error: BaseException) -> int:
    match error:
        case Failure():
            show_all(error.diagnostics)
            return error.exit_code
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message())
            return ExitCode.OK
        case click.ClickException():
            error.show()
            return ExitCode.ERROR
        case click.Abort() | KeyboardInterrupt():
            click.echo("interrupted", err=True)
            return ExitCode.INTERRUPTED
        case FileNotFoundError() if _is_nowhere():
            show_all([_NOWHERE])
            return ExitCode.ERROR
        case Exception() if not os.environ.get("KVMPLAN_TRACEBACK"):
            show_all([internal(error)])
            return ExitCode.ERROR
        case _:
            raise error


_NOWHERE = Diagnostic(
    "KVP100",
    Severity.ERROR,
    "the working directory is not there any more: it was removed",
    remedy='if it was made anew: cd "$PWD"; else go to another one',
)


def _is_nowhere() -> bool:
    """Whether the working directory was removed: nothing relative can be found then."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def show_all(diagnostics: Any) -> None:
    """Print diagnostics: to stderr, or as events; to stderr, too, if nobody gets the events."""
    from kvmplan.cli.output import current
    from kvmplan.cli.streams import lost

    output = current()
    if output.stream is not None:
        for item in diagnostics:
            output.stream.diagnostic(item)
        if lost(sys.stdout) is None:
            return
    from kvmplan.views.diagnostics import print_diagnostics

    print_diagnostics(diagnostics, sys.stderr, output.style_of(sys.stderr))


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
