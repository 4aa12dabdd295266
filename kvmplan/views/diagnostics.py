"""Diagnostics as people and as programs read them: what, where (the line itself), what to do."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from kvmplan.diagnostics import Diagnostic, Place, Severity
from kvmplan.views.style import PLAIN, Meaning, Style, emit, printable

_BESIDE = 40
"""The longest remedy that stands beside the carets rather than on a line of its own."""

_WIDTH = 100
"""The widest source line that is shown whole."""

# A password that was written in clear by mistake must not travel on into a pipeline's log.
_CLEAR_SECRET = re.compile(
    r"(?i)(\w*(?:password|passwd|passphrase|secret|token)[\"']?\s*:\s+)(?!!secret\b)([^\s#{\[][^,}]*)"
)


@dataclass(slots=True)
class Sources:
    """The files that diagnostics point into, each read once.

    Attributes:
        root: what relative file names are relative to.
    """

    root: Path = field(default_factory=Path)
    _files: dict[str, list[str]] = field(default_factory=dict)

    def line(self, place: Place) -> str | None:
        """The line of a place; None where the file cannot be read (any more) or is shorter."""
        if place.file not in self._files:
            self._files[place.file] = self._read(place.file)
        lines = self._files[place.file]
        return lines[place.line - 1] if 0 < place.line <= len(lines) else None

    def _read(self, file: str) -> list[str]:
        try:
            text = (self.root / file).read_text(encoding="utf-8-sig", errors="replace")
        except (OSError, ValueError):
            return []
        return [line.rstrip("\r") for line in text.split("\n")]


def sort_diagnostics(items: Iterable[Diagnostic]) -> list[Diagnostic]:
    """By file, line and column; those without a place last."""
    return sorted(items, key=lambda item: item.sort_key)


def count_line(items: Iterable[Diagnostic]) -> str:
    """``2 errors, 1 warning``; empty if there is nothing."""
    listed = list(items)
    parts = []
    for severity in Severity:
        if number := sum(1 for item in listed if item.severity is severity):
            parts.append(f"{number} {severity}{'' if number == 1 else 's'}")
    return ", ".join(parts)


def diagnostic_text(item: Diagnostic, style: Style = PLAIN, sources: Sources | None = None) -> str:
    """One diagnostic with its source line, ending in a line break.

    Args:
        item: what to show.
        style: paints the severity and the carets.
        sources: where to find its file; below the working directory if None.
    """
    meaning = Meaning.ERROR if item.severity is Severity.ERROR else Meaning.WARNING
    head = style.paint(f"{item.severity}[{item.code}]", meaning)
    lines = [f"{head}: {style.paint(printable(item.summary), Meaning.BOLD)}"]
    beside, below = _split_remedy(item)
    gutter = 2
    if item.place:
        gutter = max(gutter, len(str(item.place.line)))
        lines.append(f"{'':{gutter}}--> {printable(str(item.place))}")
        source = (sources or Sources()).line(item.place)
        if source is None:
            beside, below = "", item.remedy or ""
        else:
            lines += _excerpt(item.place, source, gutter, beside, style, meaning)
    lines += [f"{'':{gutter}} = {printable(line)}" for line in below.splitlines()]
    return "\n".join(lines) + "\n"


def _split_remedy(item: Diagnostic) -> tuple[str, str]:
    """The remedy beside the carets, or below; one of the two is empty."""
    remedy = item.remedy or ""
    short = item.place is not None and len(remedy) <= _BESIDE and "\n" not in remedy
    return (remedy, "") if short else ("", remedy)


def _excerpt(
    place: Place, source: str, gutter: int, beside: str, style: Style, meaning: Meaning
) -> list[str]:
    start = max(place.column - 1, 0)
    length = max(1, min(place.length, len(source) - start))
    shown, start = _window(_mask(source), start)
    length = max(1, min(length, len(shown) - start))
    carets = style.paint("^" * _columns(shown[start : start + length], length), meaning)
    hint = f" {printable(beside)}" if beside else ""
    bar = f"{'':{gutter}} |"
    return [
        bar,
        f"{place.line:>{gutter}} | {shown}".rstrip(),
        f"{bar} {' ' * _columns(shown[:start], start)}{carets}{hint}",
    ]


def _window(source: str, start: int) -> tuple[str, int]:
    """At most `_WIDTH` characters of a line around `start`, and where `start` is in them."""
    if len(source) <= _WIDTH:
        return source, start
    begin = max(0, min(start - _WIDTH // 2, len(source) - _WIDTH))
    shown = source[begin : begin + _WIDTH]
    if begin:
        shown = "…" + shown[1:]
    if begin + _WIDTH < len(source):
        shown = shown[:-1] + "…"
    return shown, start - begin


def _mask(source: str) -> str:
    """Every character one column or as wide as it was; passwords in clear hidden, length kept."""
    line = "".join(char if char.isprintable() else " " for char in source)
    return _CLEAR_SECRET.sub(lambda found: found[1] + "*" * len(found[2]), line)


def _columns(text: str, at_least: int) -> int:
    wide = sum(1 for char in text if unicodedata.east_asian_width(char) in "WF")
    return max(len(text), at_least) + wide


def diagnostics_text(
    items: Iterable[Diagnostic], style: Style = PLAIN, root: Path | None = None
) -> str:
    """All diagnostics in their order, a blank line between them, and the count; empty for none."""
    ordered = sort_diagnostics(items)
    if not ordered:
        return ""
    sources = Sources(root or Path())
    blocks = [diagnostic_text(item, style, sources) for item in ordered]
    return "\n".join([*blocks, f"{count_line(ordered)}\n"])


def print_diagnostics(
    items: Iterable[Diagnostic], stream: TextIO, style: Style = PLAIN, root: Path | None = None
) -> None:
    """Write `diagnostics_text` to `stream` (stderr)."""
    if text := diagnostics_text(items, style, root):
        emit(stream, text)


def compact_lines(item: Diagnostic, width: int = 80) -> list[str]:
    """A diagnostic inside another text: no excerpt, wrapped at `width`."""
    head = f"{item.severity}[{item.code}]: {printable(item.summary)}"
    lines = _wrap(head, "  ", "    ", width)
    if item.place:
        lines.append(f"    --> {printable(str(item.place))}")
    if item.remedy:
        lines += _wrap(f"= {printable(item.remedy)}", "    ", "      ", width)
    return lines


def _wrap(text: str, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def diagnostic_json(item: Diagnostic) -> dict[str, Any]:
    """One diagnostic as JSON types; every key is always there, null where there is nothing.

    ``range`` ends behind the last character; lines and columns count from 1.
    """
    place = item.place
    return {
        "severity": item.severity.value,
        "code": item.code,
        "summary": item.summary,
        "remedy": item.remedy,
        "address": str(item.address) if item.address else None,
        "range": place
        and {
            "filename": place.file,
            "start": {"line": place.line, "column": place.column},
            "end": {"line": place.line, "column": place.column + place.length},
        },
    }


def validation_json(items: Iterable[Diagnostic]) -> dict[str, Any]:
    """The answer of ``validate --json``, with Terraform's names."""
    ordered = sort_diagnostics(items)
    errors = sum(1 for item in ordered if item.severity is Severity.ERROR)
    return {
        "format_version": "1.0",
        "valid": errors == 0,
        "error_count": errors,
        "warning_count": len(ordered) - errors,
        "diagnostics": [diagnostic_json(item) for item in ordered],
    }
