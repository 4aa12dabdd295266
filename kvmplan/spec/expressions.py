"""Expressions: ``{{ … }}`` in the texts of a spec.

Compiled once for each text, evaluated once for each resource. The common ``var.x`` and ``each.key``
do without Jinja2, which is imported for whatever needs more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from kvmplan.spec.names import TAGGED, Names, Problem, Scope
from kvmplan.spec.node import EXPRESSION_START, Node, is_tagged

DOTTED = re.compile(r"\{\{\s*((?:var|each|host)(?:\.[A-Za-z_]\w*)*)\s*\}\}")
EACH_KEY = re.compile(r"\beach\s*(\.\s*key\b|\[\s*['\"]key['\"]\s*\])")
VARYING = re.compile(r"\b(each|host)\b")
RAW_REMEDY = "if '{{' is meant as text, write !raw before it"
MAX_SOURCE = 10_000
MAX_TEXT = 1_048_576


class ExpressionError(Problem):
    """What is wrong with an expression in a text: with its offset and length there."""

    def __init__(self, summary: str, remedy: str | None, offset: int, length: int) -> None:
        self.offset, self.length = offset, length
        super().__init__(summary, remedy)


@dataclass(frozen=True, slots=True)
class Expression:
    """One compiled ``{{ … }}`` with its offset and length in the text."""

    source: str
    offset: int
    length: int
    run: Callable[[Scope], Any]

    def value(self, scope: Scope) -> Any:
        """Evaluate to plain data.

        Raises:
            ExpressionError: it cannot be evaluated.
            BrokenName: it uses a name whose problem is reported already.
        """
        try:
            return self.run(scope)
        except Problem as error:
            where = (self.offset, self.length)
            raise ExpressionError(error.summary, error.remedy, *where) from error

    def text(self, scope: Scope) -> str:
        """Evaluate to a part of a text. Raises as `value` does."""
        value = self.value(scope)
        if is_tagged(value):
            raise ExpressionError(TAGGED, None, self.offset, self.length)
        return as_text(value)


@dataclass(frozen=True, slots=True)
class Text:
    """A text with its expressions."""

    parts: tuple[str | Expression, ...]

    @property
    def uses_each_key(self) -> bool:
        """Whether ``each.key`` stands in one of the expressions."""
        found = [part.source for part in self.parts if isinstance(part, Expression)]
        return any(EACH_KEY.search(source) for source in found)

    def value(self, scope: Scope) -> Any:
        """The text with its expressions replaced; the value itself of a single whole expression."""
        if len(self.parts) == 1 and isinstance(self.parts[0], Expression):
            return self.parts[0].value(scope)
        return self.text(scope)

    def text(self, scope: Scope) -> str:
        """The value as text, always (keys)."""
        written: list[str] = []
        length = 0
        for part in self.parts:
            text = part if isinstance(part, str) else part.text(scope)
            length += len(text)
            if length > MAX_TEXT:
                raise ExpressionError(f"the text is longer than {MAX_TEXT} characters", None, 0, 1)
            written.append(text)
        return "".join(written)


def is_fixed(text: str) -> bool:
    """Whether a text is the same in every resource made from it: it knows neither each nor host."""
    return VARYING.search(text) is None


def as_text(value: Any) -> str:
    """How a value reads inside a text: ``true``, ``1.5``, lists and maps as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


@lru_cache(maxsize=16_384)
def compile_text(text: str) -> Text:
    """Compile a text that may hold expressions.

    Raises:
        ExpressionError: an expression is not closed or not one.
    """
    names = list(DOTTED.finditer(text))
    if len(names) == text.count(EXPRESSION_START):
        return _of_names(text, names)
    from kvmplan.spec.sandbox import tokens

    parts: list[str | Expression] = []
    inside: list[str] | None = None
    offset = start = 0
    try:
        found = tokens(text)
    except Problem as error:
        first = text.find(EXPRESSION_START)
        raise ExpressionError(error.summary, RAW_REMEDY, first, len(EXPRESSION_START)) from error
    for kind, value in found:
        if kind == "variable_begin":
            inside, start = [], offset
        elif kind == "variable_end" and inside is not None:
            parts.append(_compiled("".join(inside), start, offset + len(value) - start))
            inside = None
        elif inside is not None:
            inside.append(value)
        else:
            parts.append(value)
        offset += len(value)
    if inside is not None:
        raise ExpressionError("the expression is not closed with }}", RAW_REMEDY, start, 2)
    return Text(tuple(parts))


def _of_names(text: str, names: list[re.Match[str]]) -> Text:
    """A text whose expressions are all plain dotted names."""
    parts: list[str | Expression] = []
    end = 0
    for found in names:
        if found.start() > end:
            parts.append(text[end : found.start()])
        end = found.end()
        length = end - found.start()
        parts.append(Expression(found[1], found.start(), length, _walk(found[1])))
    if end < len(text):
        parts.append(text[end:])
    return Text(tuple(parts))


def _compiled(source: str, offset: int, length: int) -> Expression:
    from kvmplan.spec.sandbox import evaluator

    if len(source) > MAX_SOURCE:
        raise ExpressionError("the expression is too long", None, offset, length)
    try:
        return Expression(source, offset, length, evaluator(source))
    except Problem as error:
        raise ExpressionError(error.summary, RAW_REMEDY, offset, length) from error


def _walk(source: str) -> Callable[[Scope], Any]:
    """Looks a dotted name up; what is not simply there is left to Jinja2's rules."""
    names = source.split(".")

    def run(scope: Scope) -> Any:
        value: Any = scope
        for name in names:
            if not isinstance(value, dict) or name not in value:
                return _evaluated(source, scope)
            value = value[name]
        return _evaluated(source, scope) if isinstance(value, Names | Node) else value

    return run


def _evaluated(source: str, scope: Scope) -> Any:
    from kvmplan.spec.sandbox import evaluator

    return evaluator(source)(scope)
