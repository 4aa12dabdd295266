"""The stack's lock, on every host of a session, taken in the order of their names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from kvmplan.diagnostics import ExitCode, fail

if TYPE_CHECKING:
    from kvmplan.apply.port import Lock
    from kvmplan.cli.session import Session


@contextmanager
def locked(session: Session, timeout: float, operation: str) -> Iterator[dict[str, Lock]]:
    """Hold the lock on all hosts.

    Raises:
        Failure: KVP401 and exit 4, somebody else holds it.
    """
    from kvmplan.apply.port import LockHeld

    held: dict[str, Lock] = {}
    with ExitStack() as stack:
        for name in sorted(session.hosts):
            host = session.hosts[name]
            try:
                with _translated_but(LockHeld, session, name):
                    held[name] = stack.enter_context(
                        host.lock(session.desired.stack.uid, operation, timeout)
                    )
            except LockHeld as error:
                raise fail(
                    "KVP401",
                    f"host '{name}' is {error}",
                    remedy="wait, use --lock-timeout 5m, or, if its holder is gone for good, "
                    f"`kvmplan force-unlock {error.holder.id}`",
                    exit_code=ExitCode.LOCKED,
                ) from error
        yield held


@contextmanager
def _translated_but(kept: type[Exception], session: Session, host: str) -> Iterator[None]:
    """Translate what a host answers, but for one kind of error."""
    from kvmplan.cli.session import translated

    caught: Exception | None = None
    with translated(session, host):
        try:
            yield
        except kept as error:
            caught = error
    if caught is not None:
        raise caught
