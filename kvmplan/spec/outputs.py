"""Outputs: values that a stack tells, of expressions over what is live.

Read with the specs, evaluated later, when somebody asks and the hosts have been looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kvmplan.diagnostics import Diagnostics
from kvmplan.spec import codes
from kvmplan.spec.desired import Output
from kvmplan.spec.names import Names, Scope
from kvmplan.spec.node import DEFAULT, SECRET, Entry, Node, child, entries, plain
from kvmplan.spec.render import Renderer, Unrendered
from kvmplan.spec.secrets import Secrets
from kvmplan.spec.suggest import did_you_mean
from kvmplan.spec.validate import words

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
FIELDS = ("value", "description")


def read_outputs(
    declared: Mapping[str, Entry], variables: Names, renderer: Renderer, report: Diagnostics
) -> dict[str, Output]:
    """The outputs of a section; what is wrong with how they are written is reported."""
    found = {}
    for name, entry in declared.items():
        if not NAME.fullmatch(name):
            summary = f"'{name}' cannot be the name of an output"
            report.error(codes.NAME, summary, entry.place, "use letters, digits, '_' and '-'")
        node, description = _parts(name, entry, report)
        if node is None:
            continue
        _check(name, node, renderer, report)
        found[name] = Output(name, node, description, variables, entry.place)
    return found


def _parts(name: str, entry: Entry, report: Diagnostics) -> tuple[Node | None, str]:
    """An output's value and description: ``{value, description}``, or the value alone."""
    node = entry.node
    if not isinstance(node.value, dict) or node.tag == SECRET:
        return node, ""
    for key, below in entries(node).items():
        if key not in FIELDS:
            summary = f"unknown field '{key}' in output '{name}'"
            remedy = did_you_mean(key, FIELDS, "fields here")
            report.error(codes.UNKNOWN_FIELD, summary, below.place, remedy)
    value, description = child(node, "value"), child(node, "description")
    if value is None:
        report.error(codes.VALUE, f"output '{name}' needs 'value'", entry.place)
    text = plain(description) if description is not None else ""
    if description is not None and not isinstance(text, str):
        summary = f"description of output '{name}': expected a text, got {words(text)}"
        report.error(codes.VALUE, summary, description.place)
    return value, str(text)


def _check(name: str, node: Node, renderer: Renderer, report: Diagnostics) -> None:
    for below in _all(node):
        if below.tag == SECRET:
            summary = f"output '{name}' is no secret field: its value would be shown"
            report.error(codes.SECRET, summary, below.place, "take it out")
        elif below.tag == DEFAULT:
            summary = f"output '{name}': !default is for fields of resources"
            report.error(codes.VALUE, summary, below.place, "write a value")
        elif below.dynamic and isinstance(below.value, str):
            try:
                renderer.compiled(below.value, below.mark)
            except Unrendered:
                continue


def _all(node: Node) -> Iterator[Node]:
    yield node
    below = [entry.node for entry in entries(node).values()]
    for inner in [*below, *(node.value if isinstance(node.value, list) else ())]:
        yield from _all(inner)


def evaluate(outputs: Mapping[str, Output], live: Scope, report: Diagnostics) -> dict[str, Any]:
    """The values of outputs; those that cannot be told are reported and left out.

    Args:
        outputs: by name.
        live: what expressions see beside ``var``: `kvmplan.plan.livenames`.
        report: gets what cannot be evaluated: KVP103.
    """
    values = {}
    for name, output in outputs.items():
        # A renderer of its own: nothing that an output says is a template or a secret.
        renderer = Renderer(Path(), Secrets(Path(), {}, report), report)
        try:
            values[name] = plain(renderer.render(output.node, {"var": output.variables, **live}))
        except Unrendered:
            continue
    return values
