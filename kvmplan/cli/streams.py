"""The standard streams: closed, full, or without a reader, they end no command.

What a command does follows from what it was asked, never from who listens. What cannot be written
is dropped, and told at the end: an apply that stopped where its reader left would be half done
without a word, and a plan's exit code would depend on how fast its reader was.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

from kvmplan.diagnostics import Diagnostic, ExitCode, Severity

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Sink(io.FileIO):
    """A file descriptor that takes what it is given until the system refuses, and drops the rest.

    Attributes:
        lost: why it was refused; None while all is well.
    """

    lost: OSError | None = None

    def write(self, data: ReadableBuffer, /) -> int:
        """Write, or drop; a descriptor that does not block is waited for."""
        while self.lost is None:
            try:
                # None, which typeshed does not know, says that a pipe has no room just now.
                written: int | None = super().write(data)
                if written is not None:
                    return written
                select.select([], [self], [])
            except OSError as error:
                self.lost = error
        return memoryview(data).nbytes


def guard() -> None:
    """Make stdout and stderr streams that never fail, and have three standard streams at all.

    A descriptor that is closed is the next one that is opened: without this, a connection to
    libvirt would be stdout to whatever prints. It is opened so that writing fails, as it should.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, _opened(name))
        elif name != "stdin" and isinstance(getattr(sys, name), io.TextIOWrapper):
            setattr(sys, name, _lasting(getattr(sys, name)))


def _opened(name: str) -> TextIO:
    descriptor = os.open(os.devnull, os.O_RDONLY)
    if name == "stdin":
        return os.fdopen(descriptor, encoding="utf-8")
    sink = Sink(descriptor, "w")
    return io.TextIOWrapper(io.BufferedWriter(sink), "utf-8", "replace", write_through=True)


def _lasting(stream: io.TextIOWrapper) -> TextIO:
    """The same stream over a sink; the descriptor stays whose it is."""
    return io.TextIOWrapper(
        io.BufferedWriter(Sink(stream.fileno(), "w", closefd=False)),
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def lost(stream: TextIO) -> OSError | None:
    """Why a stream drops what is written to it; None while it does not."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw.lost if isinstance(raw, Sink) else None


def settled(code: int) -> int:
    """The exit code of a command that came to `code`, once it is known what became of stdout.

    A reader that left has seen what it wanted. Of what was to be read and could not be written,
    the exit code says so; an apply keeps its own, and its last line goes to stderr.
    """
    error = lost(sys.stdout)
    if error is None:
        return code
    from kvmplan.cli.output import current

    done = current().done
    left = isinstance(error, ConnectionError)
    if done is None and left:
        return code
    if done is not None:
        why = "whoever read stdout is gone" if left else unwritable(error)
        _tell(Severity.WARNING, f"{why}; the apply went on and ended with: {done}", None)
        return code
    _tell(Severity.ERROR, unwritable(error), "what it was to show is cut off, or missing")
    return ExitCode.ERROR if code in (ExitCode.OK, ExitCode.CHANGES) else code


def unwritable(error: OSError) -> str:
    """That stdout cannot be written, and why."""
    return f"stdout cannot be written: {error.strerror}"


def _tell(severity: Severity, summary: str, remedy: str | None) -> None:
    from kvmplan.cli.output import current
    from kvmplan.views.diagnostics import print_diagnostics

    problem = Diagnostic("KVP910", severity, summary, remedy=remedy)
    print_diagnostics([problem], sys.stderr, current().style_of(sys.stderr))
