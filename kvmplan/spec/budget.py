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
COLLECTIONS = (dict, list, tuple, set, frozenset, *VIEWS)
SCALARS = frozenset({int, float, bool, type(None)})
ROUND, CALL = 4, 10
"""What a round of a loop and a call cost beyond what they handle: they take longer."""
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
        total += 1
        if isinstance(item, str | bytes | range):
            total += len(item)
            continue
        parts = (item, item.values()) if isinstance(item, dict) else (item,)
        for part in parts if isinstance(item, COLLECTIONS) else ():
            total += len(part)
            if total <= limit:
                rest += [inner for inner in part if type(inner) not in SCALARS]
    return total
