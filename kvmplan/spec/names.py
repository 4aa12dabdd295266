"""Names: what expressions can refer to, and how evaluating one can fail. Free of Jinja2."""

from __future__ import annotations

from typing import Any, TypeAlias

from kvmplan.spec.node import Node

Scope: TypeAlias = dict[str, Any]
"""The names an expression sees: var, each, host."""
ROOTS = ("var", "each", "host")
TAGGED = "!secret and !default cannot pass through an expression"
LIVE_ROOTS = ("domain", "network", "pool", "volume", "hosts")
"""What the expressions of outputs see beside ``var``."""


class Problem(Exception):
    """Why an expression or template cannot be evaluated: a sentence and a remedy."""

    def __init__(self, summary: str, remedy: str | None = None) -> None:
        self.summary, self.remedy = summary, remedy
        super().__init__(summary)


class BrokenName(Exception):
    """A name whose own problem is reported already."""


class Opaque:
    """What ``!secret`` and ``!default`` are to expressions: whatever is made of it is an error."""

    def _refuse(self, *_: Any) -> Any:
        raise Problem(TAGGED)

    __str__ = __repr__ = __format__ = __getattr__ = __getitem__ = _refuse
    __iter__ = __len__ = __bool__ = __hash__ = __eq__ = __ne__ = __contains__ = _refuse


class Names(dict[str, Any]):
    """The names below ``var`` or ``each``, or those of something live.

    Attributes:
        tagged: whether there is a ``!secret`` or ``!default`` in them, as a node.
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
        *,
        tagged: bool = False,
    ) -> None:
        super().__init__(values)
        self.tagged = tagged
        self.label, self.absent, self.broken = label, absent, broken
        self.lacking = lacking if lacking is not None else {}


def opaque(scope: Scope) -> Scope:
    """The names as Jinja2 may see them: it could make texts of nodes."""
    tagged = {n: v for n, v in scope.items() if isinstance(v, Names) and v.tagged}
    return {**scope, **{name: _opaque(names) for name, names in tagged.items()}}


def _opaque(value: Any) -> Any:
    if isinstance(value, Node):
        return Opaque()
    if isinstance(value, Names):
        made = {name: _opaque(item) for name, item in value.items()}
        return Names(value.label, made, value.absent, value.broken, value.lacking)
    if isinstance(value, dict):
        return {name: _opaque(item) for name, item in value.items()}
    return [_opaque(item) for item in value] if isinstance(value, list) else value
