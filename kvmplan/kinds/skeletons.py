"""Skeletons: what a document or a device is born from. Templates that a user overrides by name.

A template is looked up in the user's own ``templates/``, then in the ones that ship with kvmplan.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lxml.etree import _Element as Element

from kvmplan.kinds.disk import bus_of_target
from kvmplan.mapping.document import parse

if TYPE_CHECKING:
    from jinja2 import Environment, Template

PACKAGED = Path(__file__).parent.parent / "_templates"
"""Inside a wheel (hatch copies the top-level folder there)."""
SOURCE_TREE = Path(__file__).parent.parent.parent / "templates"
"""In a source tree or an editable install."""


class TemplateError(Exception):
    """A template is missing, wrong, or makes no XML. The message names it."""


def environment(own: Path | None) -> Environment:
    """The templates' environment: undefined names are errors, values are escaped for XML.

    Sandboxed: who may write templates into a repository may not run Python by it.

    Args:
        own: the user's ``templates/`` folder, if there is one.
    """
    from jinja2 import ChoiceLoader, FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    folders = [
        folder for folder in (own, PACKAGED, SOURCE_TREE) if folder is not None and folder.is_dir()
    ]
    loader = ChoiceLoader([FileSystemLoader(folder) for folder in folders])
    made = ImmutableSandboxedEnvironment(loader=loader, undefined=StrictUndefined, autoescape=True)
    made.globals["bus_of_target"] = bus_of_target
    return made


class Values(dict[str, Any]):
    """An item's declared fields for a template: what it does not give reads as None."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


class Skeletons:
    """Makes elements from templates, each compiled once.

    Attributes:
        are_ours: whether all of them ship with kvmplan: what they depend on is known then.
    """

    def __init__(self, own: Path | None) -> None:
        self._own = own
        self.are_ours = own is None or not own.is_dir()
        self._guard = threading.Lock()
        """Several threads that want one template at a time have it compiled once."""
        self._environment: Environment | None = None
        self._made: dict[str, Template] = {}

    def __call__(self, name: str, values: Mapping[str, Any]) -> Element:
        """A new element, from a template's name (without ``.xml.j2``) and the values it may use.

        Raises:
            TemplateError: the template is missing, fails or makes no XML.
        """
        from jinja2 import TemplateError as JinjaError

        try:
            text = self._template(name).render({**values, "item": Values(values)})
            return parse(text.strip())
        except JinjaError as error:
            raise TemplateError(f"template {name}.xml.j2: {error}") from error
        except ValueError as error:
            raise TemplateError(f"template {name}.xml.j2 makes no XML: {error}") from error

    def _template(self, name: str) -> Template:
        if name not in self._made:
            with self._guard:
                if self._environment is None:
                    self._environment = environment(self._own)
                self._made[name] = self._environment.get_template(f"{name}.xml.j2")
        return self._made[name]


def skeletons(own: Path | None = None) -> Skeletons:
    """Makes skeletons, with the user's ``templates/`` before ours."""
    return Skeletons(own)
