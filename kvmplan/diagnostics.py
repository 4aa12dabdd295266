"""Diagnostics: what is wrong, where it is written, and what to do about it.

Layers add to a `Diagnostics` collector and go on, so that a run reports all problems at once;
`Failure` ends a run that cannot go on. Views print; nothing here does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from kvmplan.address import Address


class Severity(StrEnum):
    """How bad it is. Errors stop a run before its first write."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, order=True, slots=True)
class Place:
    """A spot in a file: 1-based line and column, and how many characters it spans."""

    file: str
    line: int
    column: int
    length: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: stable code, one sentence, its place, its remedy."""

    code: str
    severity: Severity
    summary: str
    place: Place | None = None
    remedy: str | None = None
    address: Address | None = None

    @property
    def sort_key(self) -> tuple[str, int, int, str, str]:
        """Errors and warnings in file order; those without a place last."""
        place = self.place or Place("\uffff", 0, 0)
        return (place.file, place.line, place.column, self.code, self.summary)


@dataclass(slots=True)
class Diagnostics:
    """Collects the diagnostics of a run."""

    items: list[Diagnostic] = field(default_factory=list)
    _noted: set[Diagnostic] = field(default_factory=set)
    """All that was ever noted: a broken file may have many thousands."""

    def __post_init__(self) -> None:
        self._noted.update(self.items)

    def add(
        self,
        severity: Severity,
        code: str,
        summary: str,
        place: Place | None = None,
        remedy: str | None = None,
        address: Address | None = None,
    ) -> None:
        """Note one problem; the same one is noted once."""
        self.extend((Diagnostic(code, severity, summary, place, remedy, address),))

    def error(
        self,
        code: str,
        summary: str,
        place: Place | None = None,
        remedy: str | None = None,
        address: Address | None = None,
    ) -> None:
        """Note an error."""
        self.add(Severity.ERROR, code, summary, place, remedy, address)

    def warning(
        self,
        code: str,
        summary: str,
        place: Place | None = None,
        remedy: str | None = None,
        address: Address | None = None,
    ) -> None:
        """Note a warning."""
        self.add(Severity.WARNING, code, summary, place, remedy, address)

    def extend(self, others: Iterable[Diagnostic]) -> None:
        """Take over the diagnostics of another step."""
        for other in others:
            if other not in self._noted:
                self._noted.add(other)
                self.items.append(other)

    @property
    def has_errors(self) -> bool:
        """Whether anything here stops the run."""
        return any(item.severity is Severity.ERROR for item in self.items)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(sorted(self.items, key=lambda item: item.sort_key))

    def __len__(self) -> int:
        return len(self.items)


class ExitCode:
    """Exit codes of every command (contract of the command line)."""

    OK = 0
    ERROR = 1
    CHANGES = 2
    STALE = 3
    LOCKED = 4
    INCOMPLETE = 5
    WAIT_TIMEOUT = 6
    REFUSED = 7
    INTERRUPTED = 130
    TERMINATED = 143


class Failure(Exception):
    """Ends a run: the diagnostics to show and the exit code to leave with."""

    def __init__(self, diagnostics: Iterable[Diagnostic], exit_code: int = ExitCode.ERROR) -> None:
        self.diagnostics = tuple(diagnostics)
        self.exit_code = exit_code
        super().__init__("; ".join(item.summary for item in self.diagnostics))


def fail(
    code: str,
    summary: str,
    place: Place | None = None,
    remedy: str | None = None,
    exit_code: int = ExitCode.ERROR,
    address: Address | None = None,
) -> Failure:
    """A `Failure` of a single error, to be raised by the caller."""
    error = Diagnostic(code, Severity.ERROR, summary, place, remedy, address)
    return Failure([error], exit_code)
