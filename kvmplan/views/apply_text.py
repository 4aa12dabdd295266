"""An apply as text: a line for each resource as it ends, a heartbeat, and the summary.

Results go to stdout, progress to stderr. Workers may report at the same time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO, assert_never

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
    Outcome,
    Progress,
    StepFinished,
    StepStarted,
    Warned,
)
from kvmplan.apply.transfers import Transfer
from kvmplan.diagnostics import Diagnostic
from kvmplan.mapping.impact import Impact
from kvmplan.mapping.secrecy import Scrubber
from kvmplan.mapping.units import format_duration
from kvmplan.plan.change import Action, Change, Reason, Step
from kvmplan.plan.readiness import words
from kvmplan.views.diagnostics import diagnostic_text
from kvmplan.views.layout import Layout, plural
from kvmplan.views.redact import scrubber
from kvmplan.views.style import PLAIN, Meaning, Style, emit, printable

_ADDRESS_COLUMN = 36
_WHAT_COLUMN = 24

_DONE_WORDS = {
    Action.CREATE: "created",
    Action.REPLACE: "replaced",
    Action.DELETE: "deleted",
    Action.NOOP: "unchanged",
}
_UPDATED_WORDS = {
    Impact.START: "started",
    Impact.LIVE: "updated live",
    Impact.NEXT_BOOT: "updated for the next boot",
    Impact.STOP: "updated, stopped",
    Impact.RESTART: "updated, restarted",
}
_OUTCOME_MEANING = {
    Outcome.DONE: Meaning.GOOD,
    Outcome.FAILED: Meaning.DANGER,
    Outcome.SKIPPED: Meaning.WARNING,
}


def utc_now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)


def apply_last_line(event: ApplyFinished) -> str:
    """The last line of an apply, byte for byte what scripts look for."""
    counts = f"{event.added} added, {event.changed} changed, {event.destroyed} destroyed"
    if not event.failed and not event.skipped:
        return f"Apply complete! Resources: {counts}."
    rest = f"{event.failed} failed, {event.skipped} skipped"
    return f"Apply incomplete! Resources: {counts}; {rest}."


class ApplyText:
    """Subscribes to an apply's events and prints them.

    Args:
        out: where results go (stdout).
        err: where progress goes (stderr).
        style: paints results; progress is never painted.
        clock: the time that heartbeats carry.
    """

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        style: Style = PLAIN,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._out, self._err, self._style, self._clock = out, err, style, clock
        self._layout = Layout(style, several_hosts=True)
        self._secrets = Scrubber()
        self._fell_back: dict[Address, Impact] = {}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Print what an event says; safe to call from several threads."""
        with self._lock:
            self._show(event)

    def _show(self, event: Event) -> None:
        match event:
            case ApplyStarted(plan):
                self._layout = Layout(self._style, several_hosts=plan.several_hosts)
                self._secrets = scrubber(plan)
            case ChangeStarted(change):
                self._started(change)
            case StepStarted(step):
                if step.waits:  # of others a resource's own line says it all
                    self._waiting(step)
            case StepFinished(step, seconds, fell_back):
                if step.waits:
                    what = f"{self._layout.address(step.address):<{_ADDRESS_COLUMN}}"
                    done = f"{what} {words(step.arguments):<{_WHAT_COLUMN}} {seconds:>6.1f} s"
                    self._result("ready", Meaning.GOOD, done)
                if fell_back is not None:
                    self._fell_back[step.address] = fell_back
            case ChangeFinished():
                self._finished(event)
            case ChangeFailed():
                self._told_of("FAILED", event.change, event.diagnostic)
            case ChangeSkipped(change, because):
                address = self._layout.address(change.address)
                self._result("skipped", Meaning.WARNING, f"{address} ({self._because(because)})")
            case Progress():
                self._heartbeat(event)
            case GuestNotReady():
                self._not_ready(event)
            case Warned(problem):
                emit(self._err, self._secrets.text(diagnostic_text(problem)))
            case ApplyFinished():
                self._summary(event)
                self._way_back(event)
            case _:
                assert_never(event)

    def _result(self, word: str, meaning: Meaning, text: str) -> None:
        line = f"{self._style.paint(f'{word:<7}', meaning)} {self._secrets.text(text)}"
        emit(self._out, f"{line.rstrip()}\n")

    def _started(self, change: Change) -> None:
        if self._err.isatty():
            emit(self._err, f"...     {self._layout.address(change.address)}\n")

    def _finished(self, event: ChangeFinished) -> None:
        change = event.change
        address = self._layout.address(change.address)
        what = done_words(change, self._fell_back.get(change.address))
        seconds = f"{event.seconds:.1f} s"
        text = f"{address:<{_ADDRESS_COLUMN}} {what:<{_WHAT_COLUMN}} {seconds:>8}"
        self._result("ok", Meaning.GOOD, text)
        self._indented(event.notes)

    def _told_of(self, word: str, change: Change, problem: Diagnostic) -> None:
        address = self._layout.address(change.address)
        said = f"{_without(change.address, problem.summary)} [{problem.code}]"
        self._result(word, Meaning.DANGER, f"{address}: {said}")
        if problem.remedy:
            self._indented((f"= {problem.remedy}",))

    def _waiting(self, step: Step) -> None:
        limit = format_duration(step.arguments["timeout"])
        address = self._layout.address(step.address)
        emit(self._err, f"waiting {address}: {words(step.arguments)}, up to {limit}\n")

    def _not_ready(self, event: GuestNotReady) -> None:
        """What is lacking, and the end of what the guest said: its words, made harmless."""
        self._told_of("UNREADY", event.change, event.diagnostic)
        tail = event.console
        if tail.remark:
            self._indented((f"({tail.remark})",))
        for line in tail.lines:
            emit(self._out, f"        | {printable(self._secrets.text(line))}\n")

    def _indented(self, texts: tuple[str, ...]) -> None:
        for text in texts:
            for line in self._layout.wrap(self._secrets.text(text), 8, 10):
                emit(self._out, f"{line}\n")

    def _because(self, because: Address | str) -> str:
        return f"after {self._layout.address(because)}" if isinstance(because, Address) else because

    def _heartbeat(self, event: Progress) -> None:
        time = self._clock().strftime("%H:%M:%SZ")
        address = self._layout.address(event.address)
        waiting = f"waiting={self._secrets.text(event.waiting)} " if event.waiting else ""
        waiting += transfer_words(event.transfer) if event.transfer is not None else ""
        rest = f"{event.seconds:.0f}s {waiting}done={event.done}/{event.total}"
        emit(self._err, f"{time} still {address} {rest}\n")

    def _summary(self, event: ApplyFinished) -> None:
        """A table of every address where not all is done: the bad ones last, next to the count."""
        if event.failed or event.skipped:
            emit(self._out, f"\n{plural(len(event.outcomes), 'resource')}:\n")
            ordered = sorted(event.outcomes, key=lambda row: (list(Outcome).index(row[2]), row[0]))
            for address, action, outcome, why in ordered:
                name = self._layout.address(address)
                said = _without(address, why)
                text = f"{name:<{_ADDRESS_COLUMN}} {action.value:<8} {said}".rstrip()
                self._result(f"  {outcome:<7}", _OUTCOME_MEANING[outcome], text)
            self._indented(("Nothing was undone. Plan again to see what is left to do.",))
        emit(self._out, f"\n{self._style.paint(apply_last_line(event), Meaning.BOLD)}\n")

    def _way_back(self, event: ApplyFinished) -> None:
        """Where to find what was there before, for people; never on stdout."""
        if event.run:
            emit(self._err, f"As it was before this run: kvmplan show --before {event.run}\n")


def _without(address: Address, text: str) -> str:
    """A sentence without the address that it begins with, for lines that have named it already."""
    return text.removeprefix(f"{address.short}: ")


def done_words(change: Change, fell_back: Impact | None = None) -> str:
    """What was done to a resource, in two or three words."""
    if change.action is not Action.UPDATE:
        return _DONE_WORDS[change.action]
    if change.reason is Reason.ADOPT and not change.fields:
        return "adopted"
    return _UPDATED_WORDS.get(fell_back or change.impact, "updated")


def transfer_words(transfer: Transfer) -> str:
    """How far it is, how fast, and how long it will take: ``120/400MiB 30MiB/s 9s-left ``."""
    done, total = (None if n is None else n >> 20 for n in (transfer.done, transfer.total))
    parts = [f"{done}MiB" if total is None else f"{done}/{total}MiB"]
    parts.append(f"{transfer.rate / 2**20:.0f}MiB/s")
    left = transfer.seconds_left
    parts += [] if left is None else [f"{left:.0f}s-left"]
    return " ".join(parts) + " "
