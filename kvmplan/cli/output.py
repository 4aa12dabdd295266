"""How a command prints: text or JSON events, colour or none. Decided once, from its flags."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from kvmplan.views.events_json import EventStream
    from kvmplan.views.style import Style


@dataclass(slots=True)
class Output:
    """The output of the running command.

    Attributes:
        stream: JSON events, with ``--json``; None for text.
        done: what an apply came to, in its last line, once it has been carried out.
    """

    color: str = "auto"
    no_color: bool = False
    stream: EventStream | None = None
    done: str | None = None

    def style_of(self, target: TextIO) -> Style:
        """How to paint on a stream."""
        from kvmplan.views.style import ColorMode, style_for

        return style_for(target, ColorMode(self.color), no_color=self.no_color)


_current = Output()


def current() -> Output:
    """The running command's output."""
    return _current


def begin() -> None:
    """Forget the output of the command before: not every command chooses one, nor every error."""
    global _current
    _current = Output()


def choose(*, color: str, no_color: bool, json: bool, operation: str) -> Output:
    """Set up the output of a command."""
    global _current
    _current = Output(color, no_color)
    if json:
        from kvmplan.views.events_json import EventStream

        _current.stream = EventStream(sys.stdout, operation)
        _current.stream.version()
    return _current
