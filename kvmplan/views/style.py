"""Colour and output: who gets ANSI codes, what each meaning looks like, how text reaches a stream.

Words carry the meaning and colour repeats it: a text without its colours says the same.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO


class ColorMode(StrEnum):
    """The values of ``--color``."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Meaning(StrEnum):
    """What a piece of text says; a style gives it a look."""

    DANGER = "danger"
    ERROR = "error"
    WARNING = "warning"
    ADD = "add"
    CHANGE = "change"
    DELETE = "delete"
    GOOD = "good"
    DIM = "dim"
    BOLD = "bold"


_CODES = {
    Meaning.DANGER: "1;31",
    Meaning.ERROR: "1;31",
    Meaning.WARNING: "1;33",
    Meaning.ADD: "32",
    Meaning.CHANGE: "33",
    Meaning.DELETE: "31",
    Meaning.GOOD: "32",
    Meaning.DIM: "2",
    Meaning.BOLD: "1",
}


@dataclass(frozen=True, slots=True)
class Style:
    """Paints text by meaning, or leaves it alone."""

    color: bool = False

    def paint(self, text: str, meaning: Meaning | None) -> str:
        """`text` in the look of `meaning`. Pad first: codes have a length but no width."""
        if not (self.color and meaning and text):
            return text
        return f"\x1b[{_CODES[meaning]}m{text}\x1b[0m"


PLAIN = Style()


def wants_color(
    mode: ColorMode = ColorMode.AUTO,
    *,
    no_color: bool = False,
    terminal: bool = False,
    environment: Mapping[str, str] | None = None,
) -> bool:
    """Whether to paint.

    The flags decide, then ``NO_COLOR``, then ``FORCE_COLOR``, then whether it is a terminal. An
    empty variable counts as unset; ``FORCE_COLOR=0`` switches colour off, as Node's tools read it.

    Args:
        mode: the value of ``--color``.
        no_color: whether ``--no-color`` was given; it wins over every other word.
        terminal: whether the stream is a terminal.
        environment: the variables to look at; the process's own if None.
    """
    env = os.environ if environment is None else environment
    if no_color or mode is ColorMode.NEVER:
        return False
    if mode is ColorMode.ALWAYS:
        return True
    if env.get("NO_COLOR"):
        return False
    if forced := env.get("FORCE_COLOR"):
        return forced not in ("0", "false")
    return terminal and env.get("TERM") != "dumb"


def style_for(stream: TextIO, mode: ColorMode = ColorMode.AUTO, *, no_color: bool = False) -> Style:
    """The style of one stream: stdout and stderr may differ."""
    return Style(wants_color(mode, no_color=no_color, terminal=stream.isatty()))


def emit(stream: TextIO, text: str) -> None:
    """Write `text` and flush; characters that the stream's encoding lacks become ``?``.

    A C locale must not turn the ``·`` of a header into a traceback.
    """
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def printable(text: str) -> str:
    """`text` with control characters spelled out: names and titles come from hosts, not from us."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
