"""Variables: what they are declared as, and the value each one gets.

Later wins: the default, ``KVMPLAN_VAR_name``, ``kvmplan.vars.yaml``, ``*.auto.vars.yaml`` (sorted),
``--var-file``, ``--var name=value``. Sizes and durations are checked and keep their text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.mapping.units import parse_duration, parse_size
from kvmplan.spec import codes
from kvmplan.spec.desired import PREFIX, LoadOptions
from kvmplan.spec.files import Layout, read_mapping, shown, variable_files
from kvmplan.spec.loader import parse
from kvmplan.spec.names import Names
from kvmplan.spec.node import DEFAULT, EXPRESSION_START, SECRET, Entry, Node, entries, lift, plain
from kvmplan.spec.scalars import resolve
from kvmplan.spec.suggest import did_you_mean
from kvmplan.spec.validate import validate, words

IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

TypeName = Literal["string", "integer", "number", "boolean", "size", "duration", "list", "map"]


class Declaration(BaseModel):
    """One entry of ``variables:``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    type: TypeName = "string"
    default: Any = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """A value from outside the declaration.

    Attributes:
        origin: how messages name the source: ``--var``, ``KVMPLAN_VAR_memory``.
        is_text: whether the value is text from a command line, still to be read as its type.
    """

    name: str
    node: Node
    origin: str
    is_text: bool

    @property
    def place(self) -> Place | None:
        """Where it is written; None outside files."""
        return None if self.is_text else self.node.place


class Variables:
    """Collects the values of a run's variables."""

    def __init__(self, report: Diagnostics) -> None:
        self._report = report
        self.sources: list[str] = []
        """The variable files read."""

    def values(self, declared: Mapping[str, Entry], layout: Layout, options: LoadOptions) -> Names:
        """Every declared variable's value; broken ones are reported and marked so."""
        given: dict[str, Given] = {}
        for value in self._given(layout, options):
            if value.name in declared:
                given[value.name] = value
            else:
                self._undeclared(value, declared)
        found: dict[str, Any] = {}
        broken: set[str] = set()
        for name, entry in declared.items():
            try:
                found[name] = self._value(name, entry, given.get(name))
            except ValueError:
                broken.add(name)
        return Names("var", found, broken=frozenset(broken))

    def _error(self, summary: str, place: Place | None, remedy: str | None = None) -> ValueError:
        self._report.error(codes.VARIABLE, summary, place, remedy)
        return ValueError(summary)

    def _undeclared(self, value: Given, declared: Mapping[str, Entry]) -> None:
        summary = f"{value.origin} sets '{value.name}', which is no variable of this stack"
        remedy = did_you_mean(value.name, declared, "variables")
        if value.origin.startswith(PREFIX):
            # One environment often serves several stacks.
            self._report.warning(codes.VARIABLE, summary, value.place, remedy)
        else:
            self._error(summary, value.place, remedy)

    def _given(self, layout: Layout, options: LoadOptions) -> Iterator[Given]:
        """Values in order of precedence, the last one of a name wins."""
        for name in sorted(options.environ):
            if name.startswith(PREFIX) and name != PREFIX:
                node = lift(options.environ[name], (name, 1, 1, 1))
                yield Given(name.removeprefix(PREFIX), node, name, True)
        for path in variable_files(layout):
            yield from self._file(path)
        for path in options.var_files:
            yield from self._file(path)
        for text in options.vars:
            name, equals, value = text.partition("=")
            if equals and name.strip():
                yield Given(name.strip(), lift(value, ("--var", 1, 1, 1)), "--var", True)
            else:
                self._error(f"--var {text}: no value", None, "write --var NAME=VALUE")

    def _file(self, path: Path) -> Iterator[Given]:
        self.sources.append(shown(path))
        node = read_mapping(path, self._report)
        for name, entry in entries(node).items() if node is not None else ():
            yield Given(name, entry.node, shown(path), False)

    def _value(self, name: str, entry: Entry, given: Given | None) -> Any:
        """The variable's value. ValueError: it has none, which is reported already."""
        if not IDENTIFIER.fullmatch(name):
            remedy = "use letters, digits and _, no digit first"
            raise self._error(f"'{name}' cannot be the name of a variable", entry.place, remedy)
        subject = f"variable '{name}'"
        declaration = self._declaration(entry, subject)
        default = entries(entry.node).get("default")
        if given is not None:
            return self._typed(subject, declaration.type, given.node, given)
        if default is None:
            remedy = f"give it a default, or --var {name}=VALUE, or {PREFIX}{name}"
            raise self._error(f"{subject} has no value", entry.place, remedy)
        if default.node.dynamic or EXPRESSION_START in str(default.node.value):
            remedy = "write the value; expressions are for resources"
            raise self._error(
                f"{subject}: a default cannot be an expression", default.place, remedy
            )
        return self._typed(subject, declaration.type, default.node, None)

    def _declaration(self, entry: Entry, subject: str) -> Declaration:
        node = entry.node
        if not isinstance(node.value, dict):
            remedy = "write {type: string, default: …}"
            raise self._error(f"{subject} needs a mapping", entry.place, remedy)
        raw = {key: value for key, value in plain(node).items() if value is not None}
        if raw.get("default") is not None and isinstance(raw["default"], list):
            raw["default"] = tuple(raw["default"])
        declaration = validate(Declaration, raw, node, subject, self._report)
        if declaration is None:
            raise ValueError(subject)
        if "type" not in raw and "default" in raw:
            return declaration.model_copy(update={"type": _type_of(raw["default"])})
        return declaration

    def _typed(self, subject: str, type_name: str, node: Node, given: Given | None) -> Any:
        place = given.place if given else node.place
        origin = f" ({given.origin})" if given and given.is_text else ""
        if _is_tagged(node):
            raise self._error(f"{subject} cannot hold !default or !secret", place)
        value = plain(node)
        if given is not None and given.is_text:
            value = _read(type_name, value)
        try:
            return CHECKS[type_name](value)
        except ValueError as error:
            sentence = f"{subject} is of type {type_name}: {error}{origin}"
            raise self._error(sentence, place) from error


def _is_tagged(node: Node) -> bool:
    if node.tag in (DEFAULT, SECRET):
        return True
    if isinstance(node.value, dict):
        return any(_is_tagged(entry.node) for entry in node.value.values())
    return isinstance(node.value, list) and any(_is_tagged(item) for item in node.value)


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names: dict[type, str] = {int: "integer", float: "number", tuple: "list", dict: "map"}
    return names.get(type(value), "string")


def _read(type_name: str, text: str) -> Any:
    """A text of the command line or the environment, read as its type is written in YAML."""
    if type_name in ("integer", "number", "boolean"):
        return resolve(text.strip())
    if type_name in ("list", "map"):
        node = parse(text, type_name, Diagnostics())
        return plain(node) if node is not None and not _is_tagged(node) else text
    return text


def _is(types: tuple[type, ...], expected: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            quoted = expected == "a text" and isinstance(value, bool | int | float)
            remedy = "; put it in quotes" if quoted else ""
            raise ValueError(f"expected {expected}, got {words(value)}{remedy}")
        return value

    return check


def _size(value: Any) -> str:
    parse_size(value)
    return str(value).strip()


def _duration(value: Any) -> str:
    parse_duration(value)
    return str(value).strip()


CHECKS: dict[str, Callable[[Any], Any]] = {
    "string": _is((str,), "a text"),
    "integer": _is((int,), "a whole number"),
    "number": _is((int, float), "a number"),
    "boolean": _is((bool,), "true or false"),
    "size": _size,
    "duration": _duration,
    "list": _is((list,), "a list"),
    "map": _is((dict,), "a map"),
}
"""Type -> check: gives the value, or raises ValueError with a sentence."""
