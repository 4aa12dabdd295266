"""Render: nodes with expressions -> nodes without, for one scope of names.

Only what holds expressions is made anew; everything else is shared between resources.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.mapping.types import SecretText
from kvmplan.spec import codes
from kvmplan.spec.expressions import ExpressionError, Text, compile_text, is_fixed
from kvmplan.spec.loader import LONG_TEXTS
from kvmplan.spec.names import BrokenName, Problem, Scope
from kvmplan.spec.node import (
    BROKEN,
    DEFAULT,
    EXPRESSION_START,
    RAW,
    SECRET,
    Entry,
    Mark,
    Node,
    child,
    entries,
    lift,
)
from kvmplan.spec.secrets import Secrets

if TYPE_CHECKING:
    from kvmplan.spec.templates import Templates

GIVE_NAMES = "names beside var, each and host come from 'vars' beside 'template'"


class Unrendered(Exception):
    """Something could not be rendered; why is reported already.

    `node` is what could be, with `BROKEN` values where that failed; None if nothing could.
    """

    def __init__(self, node: Node | None = None) -> None:
        self.node = node
        super().__init__()


class Renderer:
    """Renders nodes and the templates they name."""

    def __init__(self, root: Path, secrets: Secrets, report: Diagnostics) -> None:
        self._root, self._secrets, self._report = root, secrets, report
        self._templates: Templates | None = None
        self._failed = False
        self._fixed_only = False

    @property
    def used_templates(self) -> bool:
        """Whether a template's file was asked for."""
        return self._templates is not None

    def render(self, node: Node, scope: Scope) -> Node:
        """The node with its expressions evaluated.

        Raises:
            Unrendered: one or more could not be; every one of them is reported.
        """
        if not node.dynamic:
            return node
        self._failed = False
        rendered = self._node(node, scope)
        if self._failed:
            raise Unrendered(rendered)
        return rendered

    def settle(self, node: Node, scope: Scope) -> Node:
        """The node with those expressions evaluated that know neither ``each`` nor ``host``.

        What they were in is static afterwards, and shared by all that is made from the node.
        Raises as `render` does.
        """
        self._fixed_only = True
        try:
            return self.render(node, scope)
        finally:
            self._fixed_only = False

    def key(self, key: str, mark: Mark, scope: Scope) -> str:
        """A key with its expressions evaluated. Raises as `render` does."""
        if EXPRESSION_START not in key:
            return key
        self._failed = False
        rendered = self._evaluate(key, mark, scope, as_key=True)
        if self._failed:
            raise Unrendered
        return str(rendered)

    def compiled(self, text: str, mark: Mark) -> Text:
        """A text with its expressions compiled. Raises as `render` does."""
        try:
            return compile_text(text)
        except ExpressionError as error:
            place = _inside(text, mark, error)
            self._report.error(codes.EXPRESSION, error.summary, place, error.remedy)
            raise Unrendered from error

    def _node(self, node: Node, scope: Scope) -> Node:
        if not node.dynamic:
            return node
        value = node.value
        if isinstance(value, str):
            return self._text(node, value, scope)
        if isinstance(value, dict):
            made = self._mapping(node, scope)
            dynamic = not self._fixed_only or any(
                entry.node.dynamic or EXPRESSION_START in name for name, entry in made.items()
            )
            return Node(made, node.mark, node.tag, dynamic)
        if isinstance(value, list):
            items = [self._node(item, scope) for item in value]
            dynamic = not self._fixed_only or any(item.dynamic for item in items)
            return Node(items, node.mark, node.tag, dynamic)
        return node

    def _text(self, node: Node, text: str, scope: Scope) -> Node:
        if self._fixed_only and not is_fixed(text):
            return node
        failed, self._failed = self._failed, False
        value = self._evaluate(text, node.mark, scope)
        if self._failed:
            return Node(None, node.mark, BROKEN, True)
        self._failed = failed
        return lift(value, node.mark, dynamic=not self._fixed_only)

    def _mapping(self, node: Node, scope: Scope) -> dict[str, Entry]:
        made: dict[str, Entry] = {}
        for name, (mark, below) in entries(node).items():
            key = name
            if EXPRESSION_START in name and node.tag != RAW and not self._fixed_only:
                key = str(self._evaluate(name, mark, scope, as_key=True))
            if key in made:
                first = f"the first is at {made[key].place}"
                self._fail(codes.DUPLICATE, f"two keys of a mapping give '{key}'", mark, first)
            if key in LONG_TEXTS and isinstance(below.value, dict) and "template" in below.value:
                text = below if self._fixed_only else self._template(below, scope)
                made[key] = Entry(mark, text)
            else:
                made[key] = Entry(mark, self._node(below, scope) if below.dynamic else below)
        return made

    def _evaluate(self, text: str, mark: Mark, scope: Scope, *, as_key: bool = False) -> Any:
        try:
            compiled = compile_text(text)
            return compiled.text(scope) if as_key else compiled.value(scope)
        except ExpressionError as error:
            self._failed = True
            place = _inside(text, mark, error)
            self._report.error(codes.EXPRESSION, error.summary, place, error.remedy)
        except BrokenName:
            self._failed = True
        return None

    def _fail(self, code: str, summary: str, mark: Mark, remedy: str | None = None) -> None:
        self._failed = True
        self._report.error(code, summary, Place(*mark), remedy)

    def _template(self, node: Node, scope: Scope) -> Node:
        """A long text from ``{template: FILE, vars: {…}}``; a secret if a variable is one."""
        given = self._node(node, scope)
        nothing = Node(None, node.mark, BROKEN, True)
        for name, entry in entries(given).items():
            if name not in ("template", "vars"):
                summary = f"unknown field '{name}' beside template"
                self._fail(codes.UNKNOWN_FIELD, summary, entry.mark, "known here: template, vars")
        file, values = child(given, "template"), child(given, "vars")
        if file is None or not isinstance(file.value, str):
            self._fail(codes.VALUE, "template takes the name of a file", node.mark)
            return nothing
        names, secret = self._names(values)
        if self._failed:
            return nothing
        text = self._template_text(file, {**scope, **names}, secret)
        if text is None:
            return nothing
        if secret:
            return Node(SecretText(text), node.mark, SECRET, True)
        return Node(text, node.mark, None, True)

    def _template_text(self, file: Node, names: Scope, secret: bool) -> str | None:
        if self._templates is None:
            from kvmplan.spec.templates import Templates

            self._templates = Templates(self._root, self._report)
        try:
            text = self._templates.text(str(file.value), names, secret=secret)
        except Problem as error:
            remedy = error.remedy or GIVE_NAMES
            self._fail(codes.EXPRESSION, error.summary, file.mark, remedy)
            return None
        except BrokenName:
            text = None
        self._failed = self._failed or text is None
        return text

    def _names(self, values: Node | None) -> tuple[dict[str, Any], bool]:
        names: dict[str, Any] = {}
        secret = False
        if values is not None and not isinstance(values.value, dict):
            self._fail(codes.VALUE, "vars takes a mapping", values.mark)
        for name, entry in entries(values).items() if values is not None else ():
            names[name], holds = self._revealed(entry.node)
            secret = secret or holds
        return names, secret

    def _revealed(self, node: Node) -> tuple[Any, bool]:
        """What a template's variable is, secrets in clear, and whether there are any in it."""
        value = node.value
        if node.tag == SECRET:
            found = self._secrets.value(node)
            self._failed = self._failed or found is None
            return found.reveal() if found is not None else "", True
        if node.tag == DEFAULT:
            self._fail(codes.VALUE, "!default is for fields; a variable needs a value", node.mark)
            return None, False
        if isinstance(value, dict):
            made = {name: self._revealed(entry.node) for name, entry in value.items()}
            return {name: one for name, (one, _) in made.items()}, any(s for _, s in made.values())
        if isinstance(value, list):
            items = [self._revealed(item) for item in value]
            return [one for one, _ in items], any(secret for _, secret in items)
        return value, False


def _inside(text: str, mark: Mark, error: ExpressionError) -> Place:
    """The place of an expression inside its text, where the text is written as it reads."""
    file, line, column, length = mark
    quotes = length - len(text)
    if quotes in (0, 2) and "\n" not in text:
        return Place(file, line, column + error.offset + quotes // 2, error.length)
    return Place(*mark)
