"""Validation: pydantic models over nodes, its errors as sentences at their places."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.mapping.types import SecretText
from kvmplan.spec import codes
from kvmplan.spec.node import Entry, Mark, Node
from kvmplan.spec.suggest import closest, did_you_mean

Model = TypeVar("Model", bound=BaseModel)
EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
BOOLEAN_WORDS = {"yes": "true", "on": "true", "no": "false", "off": "false"}


def at(subject: str, path: tuple[str, ...]) -> str:
    """How a spot inside a resource is named: ``disks.vda of domain.web``."""
    return f"{'.'.join(path)} of {subject}" if path else subject


def unknown_field(
    report: Diagnostics,
    name: str,
    known: Iterable[str],
    subject: str,
    path: tuple[str, ...],
    mark: Mark,
    address: Address | None = None,
) -> None:
    """Note a field that nobody knows (KVP104)."""
    summary = f"unknown field '{name}' in {at(subject, path)}"
    remedy = did_you_mean(name, known, "fields here")
    report.error(codes.UNKNOWN_FIELD, summary, Place(*mark), remedy, address)


def validate(
    model: type[Model],
    raw: Any,
    node: Node,
    subject: str,
    report: Diagnostics,
    address: Address | None = None,
    *,
    partial: bool = False,
) -> Model | None:
    """The validated model; None, and what is wrong at its place.

    Args:
        model: what to validate with.
        raw: the plain value.
        node: the same value with places.
        subject: how messages name the whole: ``domain.web``.
        report: gets the errors.
        address: the resource they belong to.
        partial: whether some of the value is known to be lacking: what is missing is no error.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        found = _Errors(model, node, subject, report, address)
        for details in error.errors(include_url=False):
            if not (partial and details["type"] == "missing"):
                found.add(details)
    return None


class _Errors:
    """Turns the errors of one validation into diagnostics."""

    def __init__(
        self,
        model: type[BaseModel],
        node: Node,
        subject: str,
        report: Diagnostics,
        address: Address | None,
    ) -> None:
        self._model, self._node, self._subject = model, node, subject
        self._report, self._address = report, address

    def add(self, details: ErrorDetails) -> None:
        path, key, node = _follow(self._node, details["loc"])
        kind = details["type"]
        last = str(details["loc"][-1]) if details["loc"] else ""
        if kind == "extra_forbidden":
            known = _fields_at(self._model, path[:-1])
            mark = key.mark if key else node.mark
            arguments = (self._subject, path[:-1], mark, self._address)
            unknown_field(self._report, last, known, *arguments)
            return
        if kind == "missing":
            mark = key.mark if key else node.mark
            summary = f"{at(self._subject, path)} needs '{last}'"
            self._report.error(codes.VALUE, summary, Place(*mark), None, self._address)
            return
        secret = isinstance(details["input"], SecretText)
        sentence, remedy = _sentence(details, secret)
        summary = f"{at(self._subject, path)}: {sentence}"
        self._report.error(codes.VALUE, summary, Place(*node.mark), remedy, self._address)


def _follow(node: Node, loc: tuple[int | str, ...]) -> tuple[tuple[str, ...], Entry | None, Node]:
    """The path of a pydantic location as far as it exists, its last key, and the value there."""
    path: list[str] = []
    key: Entry | None = None
    for part in loc:
        value = node.value
        if isinstance(value, dict) and str(part) in value:
            key = value[str(part)]
            node = key.node
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            node = value[part]
        else:
            continue  # pydantic names branches of unions too
        path.append(str(part))
    return tuple(path), key, node


def _fields_at(model: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The field names of the model that is nested at a path; keys of collections are skipped."""
    current: type[BaseModel] | None = model
    for part in path:
        if current is not None and part in current.model_fields:
            current = _nested(current.model_fields[part].annotation) or None
    return list(current.model_fields) if current is not None else []


def _nested(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return annotation if issubclass(annotation, BaseModel) else None
    found = (_nested(argument) for argument in get_args(annotation))
    return next((model for model in found if model is not None), None)


def _sentence(details: ErrorDetails, secret: bool) -> tuple[str, str | None]:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    shown = "a secret" if secret else words(value)
    if kind in ("value_error", "assertion_error"):
        return details["msg"].partition(", ")[2] or details["msg"], None
    if kind in ("literal_error", "enum"):
        choices = [choice.strip("'") for choice in _choices(str(context.get("expected", "")))]
        near = closest(value, choices) if isinstance(value, str) else None
        remedy = f"did you mean '{near}'?" if near else None
        return f"{shown} is none of {', '.join(choices)}", remedy
    if kind in EXPECTED:
        return f"expected {EXPECTED[kind]}, got {shown}", _type_remedy(kind, value)
    if kind == "string_pattern_mismatch":
        return f"{shown} does not match {context.get('pattern')}", None
    message = details["msg"].removeprefix("Input ").removeprefix("Value ")
    message = message[:1].lower() + message[1:]
    return f"{shown} {message}" if message.startswith("should") else f"{shown}: {message}", None


def _choices(expected: str) -> list[str]:
    return expected.replace(" or ", ", ").split(", ")


def _type_remedy(kind: str, value: Any) -> str | None:
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "put it in quotes"
    if kind == "bool_type" and isinstance(value, str):
        word = BOOLEAN_WORDS.get(value.lower())
        return f"write {word}" if word else None
    if kind.startswith("int") and isinstance(value, str) and value.isdigit():
        return "write it without quotes and leading zeros"
    return None


def words(value: Any) -> str:
    """What a plain value is, in YAML words: ``the text 'abc'``, ``a list``."""
    if isinstance(value, Node):
        return f"!{value.tag}"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 and "\n" not in value else "a long text"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else "a secret"
