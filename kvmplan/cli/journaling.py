"""The journal of a run: where it goes, and that a run goes on without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kvmplan.apply.journal import Journal
    from kvmplan.cli.session import Session
    from kvmplan.plan.planner import Planned


@contextmanager
def journaled(session: Session, planned: Planned, operation: str) -> Iterator[Journal | None]:
    """This run's journal; None, and a warning, where it cannot be written."""
    journal = _open(session, planned, operation)
    try:
        yield journal
    finally:
        if journal is not None:
            journal.close()


def _open(session: Session, planned: Planned, operation: str) -> Journal | None:
    if not planned.plan.acting:
        return None
    from kvmplan.apply.journal import Head, Journal, lost, new_run_id, secrets_of
    from kvmplan.apply.runs import prune
    from kvmplan.apply.who import process
    from kvmplan.cli.places import runs_folder
    from kvmplan.cli.report import show_all

    stack, now = session.desired.stack, datetime.now(UTC)
    head = Head(
        run=new_run_id(now),
        operation=operation,
        stack=stack.name,
        uid=stack.uid,
        hosts={name: session.uri(name) for name in session.hosts},
        who=process(),
        began=now.isoformat(timespec="seconds"),
    )
    try:
        folder = runs_folder() / stack.uid
        journal = Journal(folder, head, secrets_of(planned.intents.values()))
    except OSError as error:
        show_all([lost(error)])
        return None
    prune(folder)
    return journal
