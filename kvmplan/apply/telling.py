"""Telling: what happens in an apply, to whoever wants to know and to the journal."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kvmplan.apply.events import Event, Warned
from kvmplan.apply.journal import Journal, lost


class Telling:
    """Tells events one at a time, from whichever thread they happen in.

    Args:
        receiver: gets the events; one that breaks ends the run, after what is in flight.
        journal: notes what was done, before the receiver is told.
        stop: set when the receiver broke.

    Attributes:
        broken: what the receiver raised; it is told nothing after that.
    """

    def __init__(
        self, receiver: Callable[[Event], None], journal: Journal | None, stop: threading.Event
    ) -> None:
        self._receiver, self._journal, self._stop = receiver, journal, stop
        self._guard = threading.Lock()
        self._warned = False
        self.broken: Exception | None = None

    def __call__(self, *events: Event) -> None:
        """Tell these, in this order."""
        with self._guard:
            warned = [warning for event in events for warning in self._note(event)]
            if self.broken is not None:
                return
            try:
                for told in (*warned, *events):
                    self._receiver(told)
            except Exception as error:
                self.broken = error
                self._stop.set()

    def settle(self) -> None:
        """Have what was noted reach the system; called several times a second."""
        if self._journal is not None:
            self._journal.settle()

    def _note(self, event: Event) -> tuple[Warned, ...]:
        """Tell the journal; what is to be told when it cannot be written any more, once."""
        if self._journal is None:
            return ()
        self._journal(event)
        problem = self._journal.problem
        if problem is None or self._warned:
            return ()
        self._warned = True
        return (Warned(lost(problem)),)
