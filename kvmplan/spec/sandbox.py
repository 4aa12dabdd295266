"""The Jinja2 sandbox of specs: what expressions and templates may do.

Guards against accidents (a text multiplied by a million) as much as against malice; it cannot read
files, call Python, or see anything but the names it is given, and everything it does is paid for
from a budget (`kvmplan.spec.budget`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import islice
from typing import Any, cast

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.filters import FILTERS
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

from kvmplan.spec.budget import CALL, MAX_BITS, VIEWS, begin, charge, spend, weight
from kvmplan.spec.metered import OWN, REWRITTEN, Filter, finalize, metered, paying
from kvmplan.spec.names import (
    LIVE_ROOTS,
    ROOTS,
    TAGGED,
    BrokenName,
    Names,
    Opaque,
    Problem,
    Scope,
    opaque,
)
from kvmplan.spec.suggest import did_you_mean

MAX_LENGTH = 1_048_576
"""Characters of a result, elements of a list."""
MAX_EXPONENT = 64
SIZED = (str, list, tuple)
FILTER_NAMES = (
    "abs capitalize count d default dictsort first float int items join last length list lower map"
    " max min reject rejectattr replace reverse round select selectattr sort string sum title"
    " tojson trim unique upper"
)
EXPLOSIVE = frozenset(
    {"center", "expandtabs", "format", "format_map", "ljust", "rjust", "replace", "zfill", "join"}
    | {"translate", "encode", "to_bytes"}
)
"""Methods of texts and numbers whose result, or what can be made of it, can be far larger than what
they are given."""


class UnknownName(UndefinedError):
    """A name nobody knows, with the remedy."""

    def __init__(self, message: str | None = None, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy


class Sandbox(ImmutableSandboxedEnvironment):
    """Jinja2 without loops of unknown length, side effects or the interpreter."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def _generate(self, source: nodes.Template, *arguments: Any, **named: Any) -> str:
        return super()._generate(metered(source, self), *arguments, **named)

    def call(self, context: Context, function: Any, /, *arguments: Any, **named: Any) -> Any:
        """Call what may be called; it pays for what it is given, and a method for its object."""
        spend(CALL)
        charge(getattr(function, "__self__", None), arguments, named)
        return super().call(context, function, *arguments, **named)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Refuse the operators that make much of little."""
        if operator == "%" and isinstance(left, str):
            raise Problem("'%' is for numbers; join texts with '~'")
        if operator == "**" and (not _is_small(left) or not _is_small(right)):
            raise Problem("'**' is for small numbers")
        if operator == "+":
            spend(1 + sum(len(one) for one in (left, right) if isinstance(one, SIZED)))
        if operator == "*":
            _check_product(left, right)
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A mapping's keys come before its methods: ``each.value.items`` is the user's key."""
        if isinstance(obj, dict):
            if attribute in obj:
                return obj[attribute]
            if isinstance(obj, Names):
                return self.unknown(obj, attribute)
        if isinstance(obj, str | int | float) and attribute in EXPLOSIVE:
            return self.unsafe_undefined(obj, attribute)
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """As `getattr`, for ``var['name']``."""
        charge(argument)
        if isinstance(obj, Names) and argument not in obj:
            return self.unknown(obj, str(argument))
        if isinstance(obj, str | int | float) and argument in EXPLOSIVE:
            return self.unsafe_undefined(obj, argument)
        return super().getitem(obj, argument)

    def unknown(self, names: Names, name: str) -> Undefined:
        """What an unknown name stands for: ``default()`` may take it, any other use is an error."""
        if name in names.broken:
            raise BrokenName(name)
        if name in names.lacking:
            return self.undefined(names.lacking[name], exc=UnknownName)
        what = "variable" if names.label == "var" else "name"
        summary = names.absent or f"undefined {what} '{names.label}.{name}'"
        known = [*names, *names.broken]
        remedy = did_you_mean(name, known, f"{what}s")
        if remedy is None and what == "variable":
            remedy = f"declare it: variables: {{{name}: {{type: string}}}}"
        error = cast(type[UnknownName], partial(UnknownName, remedy=remedy))
        return self.undefined(summary, exc=error)


def _is_small(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= MAX_EXPONENT


def _check_product(left: Any, right: Any) -> None:
    for one, other in ((left, right), (right, left)):
        if isinstance(one, SIZED) and isinstance(other, int):
            if len(one) * other > MAX_LENGTH:
                raise Problem(f"a text or list of more than {MAX_LENGTH} elements is too long")
            spend(max(0, len(one) * other))
    if isinstance(left, int) and isinstance(right, int):
        spend(1)
        if left.bit_length() + right.bit_length() > MAX_BITS:
            raise Problem(f"a number of more than {MAX_BITS} bits is too large")


def _range(*bounds: int) -> range:
    try:
        return safe_range(*bounds)
    except OverflowError as error:
        raise Problem("a range of more than 100000 numbers is too long") from error


@lru_cache(maxsize=4)
def sandbox(*, expressions: bool, autoescape: bool = False) -> Sandbox:
    """The environment of expressions in specs, or of templates.

    In expressions ``{%`` and ``{#`` are literal text: their delimiters cannot be written in YAML.
    """
    delimiters: dict[str, str] = {}
    if expressions:
        delimiters = {
            "block_start_string": "\udc01%",
            "block_end_string": "%\udc01",
            "comment_start_string": "\udc01#",
            "comment_end_string": "#\udc01",
        }
    environment = Sandbox(
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=autoescape,
        finalize=finalize,
        # Nothing is evaluated while it is compiled: that would be before anything is paid for.
        optimized=False,
        **cast(dict[str, Any], delimiters),
    )
    filters: dict[str, Filter] = {name: FILTERS[name] for name in FILTER_NAMES.split()}
    filters.update(OWN)
    paid = {name: paying(one) for name, one in filters.items()}
    environment.filters = {**paid, **REWRITTEN}
    environment.tests = {name: paying(cast(Filter, one)) for name, one in environment.tests.items()}
    environment.globals = {"range": _range}
    return environment


def tokens(text: str) -> list[tuple[str, str]]:
    """The parts of a text with expressions: kind of token and its text.

    Raises:
        Problem: an expression in it is not one.
    """
    try:
        return [(kind, value) for _, kind, value in sandbox(expressions=True).lex(text)]
    except TemplateSyntaxError as error:
        raise Problem(f"not an expression: {error.message}") from error


def evaluator(source: str) -> Callable[[Scope], Any]:
    """Compile an expression to a function from scope to plain data.

    The function raises `Problem`, or `BrokenName` for names that are reported already.

    Raises:
        Problem: it is not an expression.
    """
    try:
        run = sandbox(expressions=True).compile_expression(source.strip(), undefined_to_none=False)
    except Exception as error:  # syntax errors, and Python's own limits on deep nesting
        message = error.message if isinstance(error, TemplateSyntaxError) else error
        raise Problem(f"not an expression: {message}") from error
    return lambda scope: evaluate(lambda: _data(run(**opaque(scope))))


def evaluate(run: Callable[[], Any]) -> Any:
    """Run an expression or template; whatever goes wrong is a `Problem`."""
    begin()
    try:
        return run()
    except (BrokenName, Problem):
        raise
    except UnknownName as error:
        raise Problem(str(error.message), error.remedy) from error
    except UndefinedError as error:
        raise Problem(str(error.message), _root_remedy(str(error.message))) from error
    except Exception as error:  # whatever Python says of what the user wrote
        raise Problem(f"the expression cannot be evaluated: {error}") from error


def _root_remedy(message: str) -> str | None:
    name = message.split("'")[1] if message.endswith("is undefined") and "'" in message else ""
    if name in ROOTS:
        return "it is known inside resources only"
    if name in LIVE_ROOTS:
        return "what is live is known in `outputs` only"
    return did_you_mean(name, ROOTS, "expressions know") if name else None


def _data(value: Any) -> Any:
    """Plain data of a result; raises for anything else, and for what is too much."""
    if isinstance(value, Iterator):
        value = list(islice(value, MAX_LENGTH + 1))
    if weight(value, MAX_LENGTH + 1) > MAX_LENGTH + 1:
        raise Problem(
            f"a text or list of more than {MAX_LENGTH} characters or elements is too long"
        )
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Iterator):
        return _data(value)
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, Opaque):
        raise Problem(TAGGED)
    if isinstance(value, Names) and value.broken:
        raise BrokenName(value.label)
    if isinstance(value, Names) and value.absent:
        raise Problem(value.absent)
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else json.dumps(key): _plain(item)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple, range, *VIEWS)):
        return [_plain(item) for item in value]
    raise Problem("the expression gives neither a text, number, boolean, list nor map")
