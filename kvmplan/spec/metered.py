"""Metered Jinja2: every operation of an expression or template pays for what it handles.

Operators, filters, tests and calls are seen by the sandbox anyway. What Jinja2 compiles straight to
Python (loops, macros, ``~``, comparisons, slices) is rewritten to filters that pay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, cast

from jinja2 import nodes, pass_context, pass_eval_context
from jinja2.environment import Environment
from jinja2.filters import do_join, do_round, do_sum, do_tojson
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, markup_join, str_join
from jinja2.utils import pass_environment
from jinja2.visitor import NodeTransformer

from kvmplan.spec.budget import CALL, ROUND, charge, spend
from kvmplan.spec.names import Problem

MAX_DIGITS = 30
MAX_INDENT = 16
JOINED, PAID, TICK = "~", "<paid>", "<tick>"
"""Names of filters that no template can write."""

Filter = Callable[..., Any]


def paying(function: Filter) -> Filter:
    """The filter or test, which pays for what it is given."""

    @wraps(function)
    def run(*arguments: Any, **named: Any) -> Any:
        charge(*arguments, *named.values())
        return function(*arguments, **named)

    return run


def replace(value: Any, old: str, new: str) -> str:
    """The filter ``replace``."""
    text = str(value)
    spend(text.count(old) * len(new))
    return text.replace(old, new)


@pass_eval_context
def join(context: EvalContext, value: Iterable[Any], d: str = "", attribute: Any = None) -> str:
    """The filter ``join``."""
    items = list(value)
    spend(len(items) * (1 + len(str(d))))
    charge(items)
    joined: str = do_join(context, items, d, attribute)  # a Markup stays one
    return joined


@pass_environment
def total(
    environment: Environment, iterable: Iterable[Any], attribute: Any = None, start: Any = 0
) -> Any:
    """The filter ``sum``, of numbers: adding lists one to the other copies each again and again."""
    if not isinstance(start, int | float):
        raise Problem("'sum' is for numbers")
    return do_sum(environment, iterable, attribute, start)


def rounded(value: float, precision: int = 0, method: Any = "common") -> float:
    """The filter ``round``."""
    if abs(precision) > MAX_DIGITS:
        raise Problem(f"'round' takes up to {MAX_DIGITS} digits")
    return do_round(value, precision, method)


@pass_eval_context
def as_json(context: EvalContext, value: Any, indent: int | None = None) -> Any:
    """The filter ``tojson``."""
    if indent is not None and not 0 <= indent <= MAX_INDENT:
        raise Problem(f"'tojson' takes an indent of up to {MAX_INDENT}")
    return do_tojson(context, value, indent)


OWN: dict[str, Filter] = {
    "join": join,
    "replace": replace,
    "round": rounded,
    "sum": total,
    "tojson": as_json,
}
"""Filters whose result can be far larger than what they are given."""


@pass_context
def _joined(context: Context, parts: list[Any]) -> str:
    charge(parts)
    return markup_join(parts) if context.eval_ctx.autoescape else str_join(parts)


@pass_context
def _paid(context: Context, value: Any) -> Any:
    charge(value)
    return value


@pass_context
def _tick(context: Context, amount: int) -> None:
    spend(amount)


REWRITTEN: dict[str, Filter] = {JOINED: _joined, PAID: _paid, TICK: _tick}


def finalize(value: Any) -> Any:
    """What a template puts out, paid for."""
    charge(value)
    return value


class Metering(NodeTransformer):
    """Rewrites a syntax tree so that it pays."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        """Each round pays for the text in it, and so does each test of what is left out."""
        self._tick(node, node.body, ROUND)
        if node.test is not None:
            node.test = _filtered(node.test, PAID)
        return self.generic_visit(node)

    def visit_Macro(self, node: nodes.Macro) -> nodes.Node:
        """Each call pays for the text in it."""
        self._tick(node, node.body, CALL)
        return self.generic_visit(node)

    visit_CallBlock = visit_Macro

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        """``a ~ b``."""
        self.generic_visit(node)
        return _filtered(nodes.List(node.nodes, lineno=node.lineno), JOINED)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        """``a == b``, ``a in b``: both sides."""
        self.generic_visit(node)
        node.expr = _filtered(node.expr, PAID)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, PAID)
        return node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        """``a[1:]`` is a copy."""
        self.generic_visit(node)
        return _filtered(node, PAID) if isinstance(node.arg, nodes.Slice) else node

    def visit_Pair(self, node: nodes.Pair) -> nodes.Node:
        """The keys of ``{a: b}``."""
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _filtered(node.key, PAID)
        return node

    def _tick(self, node: Any, body: list[nodes.Node], cost: int) -> None:
        written = sum(len(part.data) for part in node.find_all(nodes.TemplateData))
        amount = _filtered(nodes.Const(cost + written, lineno=node.lineno), TICK)
        body.insert(0, nodes.ExprStmt(amount, lineno=node.lineno))


def _filtered(node: Any, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def metered(tree: nodes.Template, environment: Environment) -> nodes.Template:
    """The syntax tree, rewritten so that it pays."""
    return cast(nodes.Template, Metering().visit(tree).set_environment(environment))
