"""``kvmplan apply`` and ``kvmplan destroy``: lock, read, plan, ask, do."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kvmplan.cli import flags
from kvmplan.cli.locking import locked
from kvmplan.cli.output import choose, current
from kvmplan.cli.plan import close, options_of, session_of, show_plan
from kvmplan.cli.pointless import check_plan
from kvmplan.cli.report import ended_by
from kvmplan.diagnostics import ExitCode, fail

if TYPE_CHECKING:
    from kvmplan.apply.events import ApplyFinished
    from kvmplan.apply.journal import Journal
    from kvmplan.apply.port import Lock
    from kvmplan.cli.planfile import SavedPlan
    from kvmplan.cli.session import Session
    from kvmplan.images.fetch import Images
    from kvmplan.plan.planner import Planned

SECONDS_FOR_THE_LAST_WORD = 1.0

apply_flags = flags.together(
    flags.path_argument,
    click.option("--auto-approve", is_flag=True, help="Do not ask."),
    click.option("--fail-fast", is_flag=True, help="After a failure start nothing new."),
    click.option("--expect-digest", metavar="SHA", help="Refuse any plan but this one."),
    click.option(
        "--stale",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="What to do with the parts of a plan file that the host has overtaken.",
    ),
    click.option(
        "--lock-timeout",
        default="0s",
        metavar="D",
        help="How long to wait for the lock, such as 5m.",
    ),
    click.option("--wait", is_flag=True, help="Wait for every guest that runs, as its spec says."),
    flags.job_timeout,
    click.option("--json", "as_json", is_flag=True, help="Stream events as JSON lines."),
    flags.plan_flags,
    flags.spec_flags,
    flags.connect_flags,
    flags.color_flags,
)


@click.command()
@click.option("--destroy", is_flag=True, help="Remove what the stack owns.")
@apply_flags
def apply(path: str | None, destroy: bool, **given: Any) -> int:
    """Make the host what the specs say: lock, read, plan, ask, apply."""
    return carry_out(path, destroy, given)


@click.command()
@apply_flags
def destroy(path: str | None, **given: Any) -> int:
    """Remove what the stack owns, nothing else. The same as apply --destroy."""
    return carry_out(path, True, given)


def carry_out(path: str | None, destroy: bool, given: dict[str, Any]) -> int:
    """Apply or destroy; the exit code. However it ends, the last event is the summary."""
    output = choose(
        color=given["color"],
        no_color=given["no_color"],
        json=given["as_json"],
        operation="destroy" if destroy else "apply",
    )
    if output.stream is None:
        return _carry_out(path, destroy, given)
    try:
        return _carry_out(path, destroy, given)
    except BaseException as error:
        return ended_by(error)
    finally:
        output.stream.finish()


def _carry_out(path: str | None, destroy: bool, given: dict[str, Any]) -> int:
    check_plan(destroy=destroy, events=given["as_json"])
    saved = _saved(path, given["expect_digest"])
    unattended = given["as_json"] or not sys.stdin.isatty()
    if saved is None and not given["auto_approve"] and unattended:
        raise fail(
            "KVP640",
            "nobody is there to approve: stdin is no terminal",
            remedy="look at `kvmplan plan`, then apply with --auto-approve",
        )
    timeout = seconds_of("--lock-timeout", given["lock_timeout"])
    given["job_seconds"] = seconds_of("--job-timeout", given["job_timeout"])
    session = _session(path, saved, destroy, given)
    try:
        with locked(session, timeout, "destroy" if destroy else "apply") as locks:
            code = _locked(session, locks, destroy, given, saved)
    finally:
        close(session)
    if (stream := current().stream) is not None:
        stream.finish()
    return code


def _saved(path: str | None, expected: str | None) -> SavedPlan | None:
    """The plan file that the command was given, if it was; its existence is the approval."""
    from kvmplan.cli.planfile import load
    from kvmplan.plan.saved import is_plan_file

    if path is None or not is_plan_file(Path(path)):
        return None
    return load(Path(path), expected=expected)


def _session(
    path: str | None, saved: SavedPlan | None, destroy: bool, given: dict[str, Any]
) -> Session:
    from kvmplan.cli import planfile

    if saved is None:
        return session_of(path, given)
    planfile.check_refusals(saved)
    return planfile.session_of(saved, given, destroy=destroy)


def _plan(
    session: Session, destroy: bool, given: dict[str, Any], saved: SavedPlan | None
) -> Planned:
    """The plan to carry out."""
    from kvmplan.cli.planfile import check_digest, replan
    from kvmplan.cli.session import make_plan

    if saved is not None:
        return replan(session, saved, skip_stale=given["stale"] == "skip")
    planned = make_plan(session, options_of(given, destroy=destroy))
    if given["expect_digest"] is not None:
        from kvmplan.cli.inputs import inputs_json
        from kvmplan.views.plan_json import plan_json

        inputs = inputs_json(session, planned.options)
        check_digest(plan_json(planned.plan, inputs=inputs), given["expect_digest"])
    return planned


def seconds_of(flag: str, text: str) -> float:
    """The seconds of a duration on the command line. Raises UsageError."""
    from kvmplan.mapping.units import parse_duration

    try:
        return float(parse_duration("0s" if text == "0" else text))
    except (ValueError, OverflowError) as error:
        raise click.UsageError(f"{flag}: {error}") from error


def _locked(
    session: Session,
    locks: dict[str, Lock],
    destroy: bool,
    given: dict[str, Any],
    saved: SavedPlan | None,
) -> int:
    from kvmplan.cli.journaling import journaled
    from kvmplan.cli.refresh import refresh_pools

    refresh_pools(session)
    planned = _plan(session, destroy, given, saved)
    if given["wait"]:
        from kvmplan.plan.readiness import wait_for_all

        planned = wait_for_all(planned)
    plan = planned.plan
    show_plan(session.path, plan, summary=given["summary"])
    if plan.errored:
        return ExitCode.ERROR
    if plan.refusals:
        _refuse(plan.refusals)
        return ExitCode.REFUSED
    with journaled(session, planned, "destroy" if destroy else "apply") as journal:
        if plan.acting and saved is None and not given["auto_approve"] and not _approved(plan):
            return ExitCode.ERROR
        return _execute(session, planned, locks, given, journal)


def _refuse(refusals: Any) -> None:
    """Say on stderr why nothing was done."""
    from kvmplan.cli.report import show_all
    from kvmplan.diagnostics import Diagnostic, Severity

    show_all(
        [
            Diagnostic(r.code, Severity.ERROR, r.summary, remedy=r.remedy, address=r.address)
            for r in refusals
        ]
    )
    if current().stream is None:
        click.echo("Nothing was done.", err=True)


def _approved(plan: Any) -> bool:
    """Ask. Raises `Failure`: KVP910, whoever answers cannot have seen the plan or the question."""
    from kvmplan.cli.streams import lost, unwritable
    from kvmplan.views.prompt import confirm

    approved = lost(sys.stdout) is None and confirm(
        plan, sys.stdin, sys.stdout, current().style_of(sys.stdout)
    )
    if (error := lost(sys.stdout)) is not None:
        remedy = "nothing was done; let stdout be read to its end, or look at `kvmplan plan` first"
        raise fail("KVP910", f"{unwritable(error)}, so nobody sees what to approve", remedy=remedy)
    return approved


def _execute(
    session: Session,
    planned: Planned,
    locks: dict[str, Lock],
    given: dict[str, Any],
    journal: Journal | None,
) -> int:
    from kvmplan.apply.applier import apply as run_plan
    from kvmplan.views.apply_text import ApplyText, apply_last_line

    output = current()
    view: Any = output.stream
    if view is None:
        view = ApplyText(sys.stdout, sys.stderr, output.style_of(sys.stdout))
    with _signals() as interrupted:
        finished = run_plan(
            planned,
            session.hosts,
            locks,
            view,
            parallelism=given["parallelism"],
            fail_fast=given["fail_fast"],
            stop=interrupted.event,
            journal=journal,
            images=_images(session),
            job_timeout=given["job_seconds"],
        )
    output.done = apply_last_line(finished)
    return interrupted.code or _code(finished)


def _images(session: Session) -> Images:
    """What fetches images: to the user's cache; relative files are the repository's."""
    from kvmplan.cli.places import images_folder
    from kvmplan.images.fetch import Images
    from kvmplan.spec.files import repository

    return Images(images_folder, repository(session.path))


def _code(finished: ApplyFinished) -> int:
    if finished.failed or finished.skipped:
        return ExitCode.INCOMPLETE
    return ExitCode.WAIT_TIMEOUT if finished.unready else ExitCode.OK


class _Interrupted:
    """What signals asked for: the first lets the steps in flight end, the second ends at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.code = 0

    def __call__(self, number: int, _frame: Any) -> None:
        self.code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
        if self.event.is_set():
            _last_word()
            os._exit(self.code)  # sys.exit would wait for the steps in flight
        self.event.set()
        click.echo(
            "interrupted: the steps in flight end, nothing new starts; once more ends at once",
            err=True,
        )


def _last_word() -> None:
    """Write the summary, unless whoever is writing an event was itself interrupted in that."""
    if (stream := current().stream) is not None:
        writer = threading.Thread(target=stream.finish, daemon=True)
        writer.start()
        writer.join(SECONDS_FOR_THE_LAST_WORD)


_ENDING = (signal.SIGINT, signal.SIGTERM)
"""What ends an apply in good order; pipelines send them to what a shell started with ``&``, too."""


@contextmanager
def _signals() -> Iterator[_Interrupted]:
    handler = _Interrupted()
    # A terminal, or ssh, that is gone ends it likewise; nohup says that it shall not.
    gone = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    before = {number: signal.signal(number, handler) for number in (*_ENDING, *gone)}
    try:
        yield handler
    finally:
        for number, old in before.items():
            signal.signal(number, old)
