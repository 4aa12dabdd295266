"""Runs: journals read again, found by a part of their id, and removed when they are many."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from kvmplan.apply.journal import FORMAT, SUFFIX, Head

KEPT_RUNS = 100
KEPT_BYTES = 256 * 2**20


class BadJournal(Exception):
    """A journal that cannot be read; the message says why."""


@dataclass(slots=True)
class Touched:
    """One object in a run.

    Attributes:
        address: with its host.
        planned: the steps that were to be done, each a verb and its fields.
        before: the object as it was; None if it was not there.
        done: the verbs of the steps that were done.
        fell_back: verbs -> what was done instead of a live change.
        outcome: ``done``, ``failed``, or ``cut``: the run ended before it was over.
    """

    address: str
    action: str
    planned: list[Mapping[str, Any]]
    before: Mapping[str, Any] | None
    done: list[str] = field(default_factory=list)
    fell_back: dict[str, str] = field(default_factory=dict)
    outcome: str = "cut"
    why: str = ""

    @property
    def short(self) -> str:
        """The address without its host."""
        return self.address.partition(":")[2]


@dataclass(slots=True)
class Run:
    """One run, as its journal tells it. `touched` is in the order of beginning, by address."""

    head: Head
    touched: dict[str, Touched] = field(default_factory=dict)
    ended: str = ""
    """When, ISO 8601; ``""`` for a run that was killed."""


def find(root: Path, uid: str | None = None) -> list[Path]:
    """The journals below a directory, of all stacks or of one, the newest first."""
    found = root.glob(f"{uid or '*'}/*{SUFFIX}")
    return sorted(found, key=lambda path: path.stem, reverse=True)


def read(path: Path) -> Run:
    """Read a journal. The last line of a run that was killed may be torn: it is left out.

    Raises:
        BadJournal: it is none, or of a version that this one does not know.
        OSError: it cannot be read.
    """
    lines = path.read_bytes().splitlines()
    try:
        first = json.loads(lines[0])
        known, format_ = first["type"] == "run", first["format"]
        head = Head(**{part.name: first[part.name] for part in fields(Head)})
    except (ValueError, KeyError, TypeError, IndexError):
        raise BadJournal(f"{path} is no journal, or damaged") from None
    if not known or format_ != FORMAT:
        raise BadJournal(f"{path} has format {format_}; this kvmplan reads {FORMAT}")
    run = Run(head)
    for line in lines[1:]:
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            _note(run, json.loads(line))
    return run


def _note(run: Run, line: Mapping[str, Any]) -> None:
    kind = line["type"]
    if kind == "end":
        run.ended = line["at"]
        return
    address = line["address"]
    if kind == "before":
        touched = Touched(address, line["action"], line["steps"], line["object"])
        run.touched[address] = touched
    elif kind == "step":
        run.touched[address].done.append(line["verb"])
        if "fell_back" in line:
            run.touched[address].fell_back[line["verb"]] = line["fell_back"]
    elif kind == "outcome":
        run.touched[address].outcome, run.touched[address].why = line["outcome"], line["why"]


def prune(folder: Path, runs: int = KEPT_RUNS, size: int = KEPT_BYTES) -> None:
    """Remove a stack's oldest journals beyond a number and a size; the newest always stays."""
    for path in _beyond(sorted(folder.glob(f"*{SUFFIX}"), reverse=True), runs, size):
        with suppress(OSError):
            path.unlink()


def _beyond(newest_first: Iterable[Path], runs: int, size: int) -> list[Path]:
    total, gone = 0, []
    for place, path in enumerate(newest_first):
        with suppress(OSError):
            total += path.stat().st_size
        if place and (place >= runs or total > size):
            gone.append(path)
    return gone
