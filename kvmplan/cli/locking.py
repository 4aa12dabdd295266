"""The stack's lock, on every host of a session, taken in the order of their names.

Runs on one machine meet at a lock of that machine first; the lock on the host is what counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from kvmplan.diagnostics import ExitCode, Failure, fail

if TYPE_CHECKING:
    from kvmplan.apply.port import Lock
    from kvmplan.cli.session import Session
    from kvmplan.host.live import LibvirtHost


@contextmanager
def locked(session: Session, timeout: float, operation: str) -> Iterator[dict[str, Lock]]:
    """Hold the lock on all hosts that can keep one.

    Args:
        session: the specs and the hosts.
        timeout: seconds to wait for another holder, all in all; 0: do not.
        operation: what it is held for, in words.

    Raises:
        Failure: KVP401 and exit 4, somebody else holds it; KVP514, there is nothing to lock for.
    """
    from kvmplan.apply.port import LockHeld
    from kvmplan.cli.flock import HeldHere

    refuse_read_only(session)
    held: dict[str, Lock] = {}
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        for name in sorted(session.hosts):
            host, waiting = session.hosts[name], _Waiting(name, deadline)
            try:
                with _translated_but((LockHeld, HeldHere), session, name):
                    file = _file(session, host.facts.uuid)
                    if file is not None:
                        about = _about(session, operation)
                        _hold_here(stack, host, file, about, deadline, waiting)
                    if not host.facts.has_secrets:
                        continue  # it can keep no lock: KVP224 says so
                    uid = session.desired.stack.uid
                    lock = host.lock(uid, operation, _left(deadline), waiting)
                    held[name] = stack.enter_context(lock)
            except HeldHere as error:
                end = (
                    f"end process {error.pid} if it hangs"
                    if error.pid
                    else "see who runs kvmplan here"
                )
                raise _locked_out(name, error, f", or {end}") from error
            except LockHeld as error:
                unlock = f"`kvmplan force-unlock {error.holder.id}`"
                gone = f", or, if its holder is gone for good, {unlock}"
                raise _locked_out(name, error, gone) from error
        yield held


class _Waiting:
    """Says who is waited for, and how long at most: once for each holder."""

    def __init__(self, host: str, deadline: float) -> None:
        self._host, self._deadline = host, deadline
        self._told = ""

    def __call__(self, error: Exception) -> None:
        from kvmplan.cli.report import show_all
        from kvmplan.diagnostics import Diagnostic, Severity

        if str(error) == self._told:
            return
        self._told = str(error)
        left = max(1, round(_left(self._deadline)))
        summary = f"host '{self._host}' is {error}; waiting for it, {left} s at most"
        show_all([Diagnostic("KVP401", Severity.WARNING, summary)])


def refuse_read_only(session: Session) -> None:
    """Whoever takes the lock will write: KVP514 for hosts that cannot be written to."""
    from kvmplan.cli.session import translated
    from kvmplan.diagnostics import Diagnostic, Severity

    found = []
    for name, host in sorted(session.hosts.items()):
        with translated(session, name):
            if not host.facts.read_only:
                continue
        summary = f"host '{name}' is connected read-only, and this command writes"
        remedy = "leave --read-only out, or connect as somebody who may write"
        found.append(Diagnostic("KVP514", Severity.ERROR, summary, remedy=remedy))
    if found:
        raise Failure(found)


def _hold_here(
    stack: ExitStack,
    host: LibvirtHost,
    file: Path,
    about: Mapping[str, str],
    deadline: float,
    waiting: Callable[[Exception], None],
) -> None:
    """Hold the lock of this machine, unless its holder is frozen or was shut out of the host.

    Raises:
        HeldHere: its holder is at work.
    """
    from kvmplan.cli.flock import HeldHere, held_here
    from kvmplan.host.lock import LEASE_SECONDS

    try:
        patience = min(_left(deadline), LEASE_SECONDS)
        stack.enter_context(held_here(file, about, patience, waiting))
    except HeldHere:
        uid = file.name.partition("@")[0]
        held = any(lock.stack_uid == uid for lock in host.locks())
        if not host.facts.has_secrets or (held and not _left(deadline)):
            raise


def _left(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _locked_out(host: str, error: Exception, rest: str) -> Failure:
    remedy = f"wait, use --lock-timeout 5m{rest}"
    summary = f"host '{host}' is {error}"
    return fail("KVP401", summary, remedy=remedy, exit_code=ExitCode.LOCKED)


def _file(session: Session, host_uuid: str) -> Path | None:
    """The file of this machine's lock; None where the user has no place for it."""
    from kvmplan.cli.places import state_folder

    try:
        return state_folder() / "locks" / f"{session.desired.stack.uid}@{host_uuid}"
    except OSError:
        return None


def _about(session: Session, operation: str) -> dict[str, str]:
    """No flags: values of variables may be nobody's business."""
    from kvmplan.apply.who import process

    since = datetime.now(UTC).isoformat(timespec="seconds")
    specs = str(session.path.resolve())
    return {"who": process(), "operation": operation, "specs": specs, "since": since}


@contextmanager
def _translated_but(
    kept: tuple[type[Exception], ...], session: Session, host: str
) -> Iterator[None]:
    """Translate what a host answers, but for some kinds of errors."""
    from kvmplan.cli.session import translated

    caught: Exception | None = None
    with translated(session, host):
        try:
            yield
        except kept as error:
            caught = error
    if caught is not None:
        raise caught
