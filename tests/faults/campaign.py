"""A campaign: many faults on one host, counted; one that does not converge does not end it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.course import Course, NotConverged
from tests.faults.injector import Fault

ALL = os.environ.get("KVMPLAN_FAULTS") == "all"
"""Whether every point is tried, rather than as many as fit into `make test`."""


@dataclass
class Campaign:
    """Faults tried, and what came of them.

    Attributes:
        make: a new course, at its beginning.
        name: what it is called in the summary.
    """

    make: Callable[[], Course]
    name: str
    converged: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    points: int = 0

    def run(
        self, faults: Callable[[int], list[Fault]], *, reads: bool = False, every: int = 1
    ) -> None:
        """Try faults in all legs.

        Args:
            faults: how many calls a leg makes -> what is to happen in it.
            reads: whether calls that only read count.
            every: of all faults, one in so many is tried, unless all are asked for.
        """
        course = self.make()
        counts = course.survey(reads=reads)
        self.points += sum(len(faults(count)) for count in counts.values())
        step = 1 if ALL else every
        left = {
            name: faults(count)[place % step :: step]
            for place, (name, count) in enumerate(counts.items())
        }
        while any(left.values()):
            try:
                course.rounds(left)
            except NotConverged as error:
                self.failed.append(str(error))
                print("not converged:", error, flush=True)
                self.converged += course.tried
                course = self.make()
                course.survey()
        self.converged += course.tried

    def end(self, directory: Path) -> None:
        """Leave a line for the end of the test session; every fault must have converged."""
        tried = len(self.converged) + len(self.failed)
        text = f"{self.name}: {tried} of {self.points} fault points tried"
        line = {"title": "faults", "text": f"{text}, {len(self.converged)} converged"}
        file = directory / f"{self.name.replace(' ', '-')}-{os.getpid()}.summary.json"
        file.write_text(json.dumps(line) + "\n")
        assert not self.failed, "\n\n".join(self.failed)
