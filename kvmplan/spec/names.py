"""Names: what expressions can refer to, and how evaluating one can fail. Free of Jinja2."""

from __future__ import annotations

from typing import Any, TypeAlias

Scope: TypeAlias = dict[str, Any]
"""The names an expression sees: var, each, host."""
ROOTS = ("var", "each", "host")
LIVE_ROOTS = ("domain", "network", "pool", "volume", "hosts")
"""What the expressions of outputs see beside ``var``."""


class Problem(Exception):
    """Why an expression or template cannot be evaluated: a sentence and a remedy."""

    def __init__(self, summary: str, remedy: str | None = None) -> None:
        self.summary, self.remedy = summary, remedy
        super().__init__(summary)


class BrokenName(Exception):
    """A name whose own problem is reported already."""


class Names(dict[str, Any]):
    """The names below ``var`` or ``each``, or those of something live.

    Attributes:
        label: ``var`` or ``each``, or whose names they are.
        absent: why there are none, where that is so.
        broken: names whose own problem is reported already.
        lacking: names that are known and have no value just now, and why.
    """

    def __init__(
        self,
        label: str,
        values: dict[str, Any],
        absent: str | None = None,
        broken: frozenset[str] = frozenset(),
        lacking: dict[str, str] | None = None,
    ) -> None:
        super().__init__(values)
        self.label, self.absent, self.broken = label, absent, broken
        self.lacking = lacking if lacking is not None else {}
