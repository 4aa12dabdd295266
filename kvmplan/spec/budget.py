"""The budget of expressions: how much work they may do, counted in elements and characters.

Counted, not timed: the same spec gives the same answer on every machine. What an operation is given
is weighed before it runs, so that neither time nor memory can grow beyond the budget; values that
share their parts (a list of a million times the same list) weigh what they would print as.
"""

from __future__ import annotations

import threading
from typing import Any

from kvmplan.spec.names import Problem

WORK = 5_000_000
"""Elements and characters that one evaluation may handle: about a second."""
RUN = 500_000_000
"""The same, of all evaluations of one run."""
MAX_BITS = 16_384
"""Of an integer."""
NOTHING: dict[str, Any] = {}
VIEWS = (type(NOTHING.items()), type(NOTHING.keys()), type(NOTHING.values()))
REMEDY = "make the loop or the text smaller, or write the values out in a variables file"


class _Left(threading.local):
    """What is left, for the thread that loads specs."""

    def __init__(self) -> None:
        self.evaluation, self.run = WORK, RUN


_left = _Left()


def begin_run() -> None:
    """A run begins: everything may be spent again."""
    _left.evaluation, _left.run = WORK, RUN


def begin() -> None:
    """An evaluation begins."""
    _left.evaluation = WORK


def spend(amount: int) -> None:
    """Take from the budget.

    Raises:
        Problem: it is used up.
    """
    _left.evaluation -= amount
    _left.run -= amount
    if _left.evaluation < 0:
        raise Problem(f"it takes more than {WORK} steps", REMEDY)
    if _left.run < 0:
        raise Problem(f"the expressions of these specs take more than {RUN} steps", REMEDY)


def charge(*values: Any) -> None:
    """Take what the values weigh from the budget. Raises `Problem` as `spend`."""
    spend(weight(values, min(_left.evaluation, _left.run)))


def weight(value: Any, limit: int) -> int:
    """Elements and characters of a value, shared parts counted each time.

    Counting ends once it is over the limit, so that it is itself cheap.
    """
    total = 0
    rest: list[Any] = [value]
    while rest and total <= limit:
        item = rest.pop()
        if isinstance(item, str | bytes | range):
            total += len(item)
        elif isinstance(item, dict):
            total += len(item)
            if total <= limit:
                rest.extend(item)
                rest.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset, *VIEWS)):
            total += len(item)
            if total <= limit:
                rest.extend(item)
        elif isinstance(item, int) and item.bit_length() > MAX_BITS:
            raise Problem(f"a number of more than {MAX_BITS} bits is too large")
        total += 1
    return total
