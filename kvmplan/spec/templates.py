"""Templates: files that give a long text, ``{template: FILE, vars: {…}}``.

Whole Jinja2 in the sandbox, with the names of the resource (var, each, host) and those of `vars`.
Templates named ``*.xml`` or ``*.xml.j2`` escape what is put into them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Template, TemplateSyntaxError

from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.spec import codes
from kvmplan.spec.files import read_text, shown
from kvmplan.spec.names import Problem, opaque
from kvmplan.spec.sandbox import MAX_LENGTH, evaluate, sandbox

ESCAPED = (".xml", ".xml.j2")


class Templates:
    """The templates of a repository, each read and compiled once."""

    def __init__(self, root: Path, report: Diagnostics) -> None:
        self._root, self._report = root, report
        self._known: dict[Path, Template | None] = {}

    def text(self, name: str, names: dict[str, Any], *, secret: bool) -> str | None:
        """The text a template gives; None if its file is broken, which is reported there.

        Args:
            name: its path below the root of the repository.
            names: what it may refer to.
            secret: whether a secret is among the names: then errors quote nothing.

        Raises:
            Problem: there is none, or it cannot be rendered.
            BrokenName: it uses a name whose problem is reported already.
        """
        path = (self._root / name).resolve()
        if not path.is_relative_to(self._root):
            summary = f"the template '{name}' is outside the repository"
            raise Problem(summary, f"move it below {shown(self._root)}")
        if not path.is_file():
            raise Problem(f"there is no template '{name}'", f"paths start at {shown(self._root)}")
        if path not in self._known:
            self._known[path] = self._load(path, name)
        template = self._known[path]
        if template is None:
            return None
        try:
            text: str = evaluate(lambda: _rendered(template, opaque(names)))
        except Problem as error:
            if secret:  # the summary may quote a value, the remedy a name made of one
                raise Problem(f"{name} cannot be rendered") from None
            raise Problem(f"{name}: {error.summary}", error.remedy) from error
        return text

    def _load(self, path: Path, name: str) -> Template | None:
        text = read_text(path, self._report)
        if text is None:
            return None
        if len(text) > MAX_LENGTH:
            summary = f"the template is longer than {MAX_LENGTH} characters"
            self._report.error(codes.EXPRESSION, summary, Place(shown(path), 1, 1))
            return None
        environment = sandbox(expressions=False, autoescape=name.endswith(ESCAPED))
        try:
            return environment.from_string(text)
        except TemplateSyntaxError as error:
            place, summary = Place(shown(path), error.lineno, 1), str(error.message)
        except Exception as error:  # Python's own limits on deep nesting
            place, summary = Place(shown(path), 1, 1), str(error)
        self._report.error(codes.EXPRESSION, f"not a template: {summary}", place)
        return None


def _rendered(template: Template, names: dict[str, Any]) -> str:
    """The text a template gives, which is never longer in memory than it may be."""
    parts: list[str] = []
    length = 0
    for part in template.generate(names):
        length += len(part)
        if length > MAX_LENGTH:
            raise Problem(f"it gives more than {MAX_LENGTH} characters")
        parts.append(part)
    return "".join(parts)
