"""Readiness: looking at started guests until they are what they are waited for, or time is up."""

from __future__ import annotations

import time
from dataclasses import replace

from kvmplan.address import Address
from kvmplan.apply.execution import Execution
from kvmplan.apply.port import ConnectionLost, ConsoleTail, HostError, NotReady
from kvmplan.apply.problems import diagnostic
from kvmplan.apply.schedule import Unit
from kvmplan.apply.waits import Wait, Waits
from kvmplan.diagnostics import Diagnostic, Severity
from kvmplan.mapping.units import format_duration
from kvmplan.plan.change import Change, Step
from kvmplan.plan.readiness import words

TAIL_LINES = 20
NO_TAIL = ConsoleTail("", (), "its console cannot be read")


class Readiness:
    """What is waited for in one apply. Any thread may call any method.

    Attributes:
        lacking: the guests that were not ready in time.
    """

    def __init__(self, waits: Waits) -> None:
        self._waits = waits
        self._since: dict[Address, float] = {}
        self._begun: set[int] = set()
        self.lacking: list[Address] = []

    def begins(self, unit: Unit) -> bool:
        """Whether a wait begins with this look."""
        if unit.id in self._begun:
            return False
        self._begun.add(unit.id)
        self._since.setdefault(unit.track.change.address, time.monotonic())
        return True

    def seconds(self, address: Address) -> float:
        """How long ago a guest was started, as its first wait began then."""
        return time.monotonic() - self._since.get(address, time.monotonic())

    def look(self, unit: Unit, step: Step, execution: Execution) -> Wait | None:
        """Look once; what to wait for before the next look, if there is to be one.

        Raises:
            NotReady: it is not so, and time is up.
            HostError: it will not be so, or the host did not answer.
        """
        try:
            execution.look_for(step)
        except NotReady:
            since = self._since[step.address]
            wait = self._waits.again(unit, since, words(step.arguments), step.arguments["timeout"])
            if wait is None:
                raise
            return wait
        except HostError:
            self._waits.over(unit)
            raise
        self._waits.over(unit)
        return None

    def gave_up(
        self, change: Change, step: Step, error: Exception, execution: Execution
    ) -> tuple[Diagnostic, ConsoleTail]:
        """What is told of a guest that is not ready."""
        self.lacking.append(step.address)
        told = diagnostic(error, change)
        if not isinstance(error, HostError) or isinstance(error, ConnectionLost):
            return told, NO_TAIL
        summary = told.summary
        if isinstance(error, NotReady):
            summary = f"{summary} within {format_duration(step.arguments['timeout'])} of its start"
        problem = replace(
            told,
            code="KVP611",
            severity=Severity.ERROR,
            summary=summary,
            remedy="look at its console; `kvmplan apply --wait` waits once more",
        )
        try:
            return problem, execution.console_tail(step.address, TAIL_LINES)
        except HostError:
            return problem, NO_TAIL
