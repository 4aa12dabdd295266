"""The ``--json`` stream: one event on each line, in Terraform's shape, for pipelines.

The last line of an apply is always a ``change_summary``: it is kept until all else is written.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO, assert_never

from kvmplan import __version__
from kvmplan.address import Address
from kvmplan.apply.events import (
    ApplyFinished,
    ApplyStarted,
    ChangeFailed,
    ChangeFinished,
    ChangeSkipped,
    ChangeStarted,
    Event,
    GuestNotReady,
    Progress,
    StepFinished,
    StepStarted,
    Warned,
)
from kvmplan.diagnostics import Diagnostic, Severity
from kvmplan.mapping.secrecy import Scrubber
from kvmplan.mapping.units import format_duration
from kvmplan.plan.change import Action, Change, LeftOut, Plan, Step
from kvmplan.plan.readiness import words
from kvmplan.views.apply_text import apply_last_line, done_words, utc_now
from kvmplan.views.diagnostics import diagnostic_json
from kvmplan.views.plan_events import plan_events, resource_json
from kvmplan.views.plan_text import last_line
from kvmplan.views.redact import scrubber
from kvmplan.views.style import emit

MODULE = "kvmplan.ui"
UI_VERSION = "1.0"
PLAN = "plan"
"""The operation that does nothing."""


class EventStream:
    """Writes events as JSON lines; safe to use from several threads.

    Args:
        out: where the lines go (stdout).
        operation: ``plan``, ``apply`` or ``destroy``, as summaries name it.
        clock: the time that each line carries, UTC.
    """

    def __init__(
        self, out: TextIO, operation: str = "apply", clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._out, self._operation, self._clock = out, operation, clock
        self._secrets = Scrubber()
        self._actions: dict[Address, Action] = {}
        self._done: list[Action] = []
        self._failed = self._left_out = 0
        self._summary: dict[str, Any] | None = None
        self._is_over = False
        self._lock = threading.RLock()

    def version(self) -> None:
        """The first line: who writes this, in which version of the format."""
        self._write("info", f"kvmplan {__version__}", "version", kvmplan=__version__, ui=UI_VERSION)

    def diagnostic(self, item: Diagnostic, **more: Any) -> None:
        """An error or a warning."""
        level = "error" if item.severity is Severity.ERROR else "warn"
        said = f"{item.severity.value.title()}: {item.summary}"
        self._write(level, said, "diagnostic", diagnostic=diagnostic_json(item), **more)

    def plan(self, plan: Plan) -> None:
        """All that the plan says, and how much is planned."""
        self._secrets = scrubber(plan)
        for event in plan_events(plan):
            self._write(event.level, event.message, event.kind, **event.payload)
        add, updated, destroy = plan.count()
        counts = _counts(add, updated, destroy, 0, 0, PLAN)
        self._write("info", last_line(plan), "change_summary", changes=counts)

    def __call__(self, event: Event) -> None:
        """Write what an event says."""
        with self._lock:
            self._event(event)

    def finish(self) -> None:
        """Write the last line, the summary, also where an apply ended early; nothing follows it."""
        with self._lock:
            if self._operation != PLAN:
                self._write(**(self._summary or self._early_summary()))
            self._is_over = True

    def _event(self, event: Event) -> None:
        match event:
            case ApplyStarted(plan):
                self._secrets = scrubber(plan)
                self._actions = {change.address: change.action for change in plan.carried_out}
                self._left_out = len(plan.left_out)
            case ChangeStarted(change):
                self._hook("info", f"{change.address}: started", "apply_start", change)
            case StepStarted(step):
                if step.waits:
                    limit = format_duration(step.arguments["timeout"])
                    said = f"{step.address}: waiting for {words(step.arguments)}, up to {limit}"
                    self._waiting(step, 0.0, said)
            case StepFinished(step, seconds, _):
                if step.waits:
                    said = f"{step.address}: ready after {seconds:.1f} s: {words(step.arguments)}"
                    self._waiting(step, seconds, said, ready=True)
            case ChangeFinished():
                self._finished(event)
            case ChangeFailed():
                self._change_failed(event)
            case ChangeSkipped(change, because):
                why = f"after {because}" if isinstance(because, Address) else because
                said = f"{change.address}: skipped ({why})"
                self._hook("warn", said, "apply_skipped", change, because=str(because))
            case Progress():
                self._progress(event)
            case GuestNotReady():
                self.diagnostic(event.diagnostic, console=list(event.console.lines))
            case Warned(problem):
                self.diagnostic(problem)
            case ApplyFinished():
                self._summary = self._whole_summary(event)
            case _:
                assert_never(event)

    def _finished(self, event: ChangeFinished) -> None:
        change = event.change
        self._done.append(change.action)
        said = f"{change.address}: {done_words(change)} after {event.seconds:.1f} s"
        self._hook(
            "info",
            said,
            "apply_complete",
            change,
            elapsed_seconds=round(event.seconds, 3),
            notes=list(event.notes),
        )

    def _change_failed(self, event: ChangeFailed) -> None:
        self._failed += 1
        change = event.change
        said = f"{change.address}: failed after {event.seconds:.1f} s: {event.diagnostic.summary}"
        elapsed = round(event.seconds, 3)
        self._hook("error", said, "apply_errored", change, elapsed_seconds=elapsed)
        self.diagnostic(event.diagnostic)

    def _progress(self, event: Progress) -> None:
        said = f"{event.address}: still at it after {event.seconds:.0f} s"
        more: dict[str, Any] = {"done": event.done, "total": event.total}
        if event.transfer is not None:
            left = event.transfer.seconds_left
            more["transfer"] = {
                "bytes": event.transfer.done,
                "total_bytes": event.transfer.total,
                "bytes_per_second": round(event.transfer.rate),
                "seconds_left": None if left is None else round(left, 1),
            }
        self._goes_on(event.address, event.seconds, event.waiting, said, **more)

    def _waiting(self, step: Step, seconds: float, said: str, **more: Any) -> None:
        self._goes_on(step.address, seconds, words(step.arguments), said, **more)

    def _goes_on(
        self, address: Address, seconds: float, waiting: str, said: str, **more: Any
    ) -> None:
        hook = {
            "resource": resource_json(address),
            "action": self._actions.get(address, Action.UPDATE).value,
            "elapsed_seconds": round(seconds, 3),
            "waiting": waiting,
            **more,
        }
        self._write("info", said, "apply_progress", hook=hook)

    def _hook(
        self, level: str, message: str, kind: str, change: Change | LeftOut, **more: Any
    ) -> None:
        hook = {
            "resource": resource_json(change.address),
            "action": change.action.value,
            **more,
        }
        self._write(level, message, kind, hook=hook)

    def _whole_summary(self, event: ApplyFinished) -> dict[str, Any]:
        done = (event.added, event.changed, event.destroyed)
        more: dict[str, Any] = {"run": event.run} if event.run else {}
        if event.unready:
            more["unready"] = [str(address) for address in event.unready]
        return {
            "level": "error" if event.failed else "info",
            "message": apply_last_line(event),
            "kind": "change_summary",
            "changes": _counts(*done, event.failed, event.skipped, self._operation),
            **more,
        }

    def _early_summary(self) -> dict[str, Any]:
        """Counts what was seen: whatever had not ended when the run did counts as skipped."""
        done = self._done
        replaced = done.count(Action.REPLACE)
        left = max(0, len(self._actions) - len(done) - self._failed) + self._left_out
        counts = _counts(
            done.count(Action.CREATE) + replaced,
            done.count(Action.UPDATE),
            done.count(Action.DELETE) + replaced,
            self._failed,
            left,
            self._operation,
        )
        said = f"The {self._operation} ended early: {self._failed} failed, {left} skipped."
        return {"level": "error", "message": said, "kind": "change_summary", "changes": counts}

    def _write(self, level: str, message: str, kind: str, **more: Any) -> None:
        stamp = self._clock().astimezone(UTC).isoformat(timespec="milliseconds")
        line = {
            "@level": level,
            "@message": self._secrets.text(message),
            "@module": MODULE,
            "@timestamp": stamp.replace("+00:00", "Z"),
            "type": kind,
            **self._secrets.tree(more),
        }
        with self._lock:
            if not self._is_over:
                emit(self._out, json.dumps(line) + "\n")


def _counts(
    add: int, change: int, remove: int, failed: int, skipped: int, operation: str
) -> dict[str, Any]:
    return {
        "add": add,
        "change": change,
        "remove": remove,
        "failed": failed,
        "skipped": skipped,
        "operation": operation,
    }
