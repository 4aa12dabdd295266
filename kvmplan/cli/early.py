"""A session begun early: hosts are opened and read while the rest of the specs is still loaded.

What the stack has claimed is nearly always what its specs declare, so that can be read before they
are known. Only for what does not take the lock: what was read before that may be outdated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvmplan.cli.session import Session
    from kvmplan.inventory import Inventory, Wanted
    from kvmplan.spec import Stack

SWITCH_SECONDS = 0.0002
"""How long a busy thread keeps the interpreter from those that read documents."""


class Early:
    """What goes on in another thread while the specs are loaded.

    Args:
        open_: opens a stack's hosts and begins to read them; may raise `Failure`.
    """

    def __init__(self, open_: Callable[[Stack], Session]) -> None:
        self._open = open_
        self._job: Any = None

    def begin(self, stack: Stack) -> None:
        """The stack is known now."""
        from kvmplan.host import start

        self._job = start(lambda: self._open(stack))

    def session(self) -> Session:
        """What was opened, once it was begun; waits for it. Raises `Failure`."""
        session: Session = self._job.result()
        return session

    def abandon(self) -> None:
        """Nobody wants it any more: nothing is waited for, and nothing stays open."""
        if self._job is not None:
            from kvmplan.host import start

            start(lambda: self._job.result().close())


def suffices(inventory: Inventory, wanted: Wanted) -> bool:
    """Whether what was read for the claims alone is all that is wanted."""
    claimed = inventory.claims.entries if inventory.claims else {}
    return not (
        inventory.unread
        or any(inventory.exists(address) for address in wanted.secure)
        or any(a.short not in claimed and inventory.exists(a) for a in wanted.addresses)
    )


@contextmanager
def reading_goes_on() -> Iterator[None]:
    """Let threads that have an answer of libvirt take it soon, while this one is busy.

    By default a busy thread keeps the interpreter for 5 ms, as long as libvirt takes for 50
    documents.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
