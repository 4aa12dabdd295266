"""Extract: normalised nodes -> the plain values that models validate.

Here ``!default`` is recorded, ``!secret`` is read where a secret may stand, null is dropped, and
fields that exclude each other are found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import Binding, Mapped, bindings, without_default
from kvmplan.spec import codes
from kvmplan.spec.node import BROKEN, DEFAULT, SECRET, Mark, Node
from kvmplan.spec.secrets import Secrets
from kvmplan.spec.validate import at

Path = tuple[str, ...]


@dataclass(slots=True)
class Extracted:
    """A mapping's plain values, and the paths in it that ``!default`` stands at."""

    raw: dict[str, Any] = field(default_factory=dict)
    defaults: list[Path] = field(default_factory=list)

    def add(self, name: str, below: Extracted) -> None:
        """Take over what a nested mapping holds."""
        self.raw[name] = below.raw
        self.defaults.extend((name, *path) for path in below.defaults)


@dataclass(slots=True)
class Extractor:
    """Extracts the resources of a run.

    Attributes:
        shared: whether static subtrees are remembered, because they will be seen again.
    """

    secrets: Secrets
    report: Diagnostics
    shared: bool = False
    _known: dict[tuple[int, type[Mapped]], tuple[Node, Extracted]] = field(default_factory=dict)

    def resource(self, node: Node, model: type[Mapped], subject: str) -> Extracted:
        """What a normalised resource says. The result is shared: do not change it."""
        return self._model(node, model, subject, ())

    def _model(self, node: Node, model: type[Mapped], subject: str, path: Path) -> Extracted:
        remember = self.shared and not node.dynamic
        if remember:
            known = self._known.get((id(node), model))
            if known is not None:
                return known[1]
        found = Extracted()
        assert isinstance(node.value, dict)
        table = bindings(model)
        for name, (mark, below) in node.value.items():
            if below.tag == BROKEN or (below.value is None and below.tag is None):
                continue
            if below.tag == DEFAULT:
                if self._has_default(below, table.get(name), subject, (*path, name)):
                    found.defaults.append((name,))
                continue
            self._field(found, name, below, table.get(name), subject, (*path, name), mark)
        if model.exclusive:
            self._check_exclusive(found, node, model, subject, path)
        if remember:
            self._known[(id(node), model)] = (node, found)
        return found

    def _has_default(self, node: Node, binding: Binding | None, subject: str, path: Path) -> bool:
        """Whether a fresh object has a value there; else that is an error."""
        lacking = None if binding is None else without_default(binding)
        if lacking is None:
            return True
        below, why = lacking
        of = f" because of {'.'.join((*path, *below))}" if below else ""
        summary = f"{at(subject, path)} has no !default{of}: {why}"
        remedy = "write a value; or take the line out, and it keeps what it has"
        self.report.error(codes.VALUE, summary, node.place, remedy)
        return False

    def _field(
        self,
        found: Extracted,
        name: str,
        node: Node,
        binding: Binding | None,
        subject: str,
        path: Path,
        mark: Mark,
    ) -> None:
        item = binding.item if binding is not None else None
        if (
            binding is None
            or item is None
            or not isinstance(node.value, dict)
            or node.tag == SECRET
        ):
            secret = binding is not None and binding.secret
            found.raw[name] = self._plain(node, secret, subject, path)
        elif isinstance(binding.place, Items):
            found.add(name, self._items(node, item, subject, path))
        else:
            found.add(name, self._model(node, item, subject, path))

    def _items(self, node: Node, item: type[Mapped], subject: str, path: Path) -> Extracted:
        found = Extracted()
        assert isinstance(node.value, dict)
        for key, (_, below) in node.value.items():
            if isinstance(below.value, dict):
                found.add(key, self._model(below, item, subject, (*path, key)))
        return found

    def _plain(self, node: Node, secret: bool, subject: str, path: Path) -> Any:
        value = node.value
        if node.tag == DEFAULT:
            summary = f"{at(subject, path)}: !default is for whole fields"
            remedy = "take the line out"
            self.report.error(codes.VALUE, summary, node.place, remedy)
            return None
        if node.tag == SECRET:
            if secret:
                return self.secrets.value(node)
            summary = f"{at(subject, path)} is no secret field: its value would be shown"
            self.report.error(codes.SECRET, summary, node.place, "write the value itself")
            return None
        if isinstance(value, dict):
            found = {
                key: self._plain(entry.node, secret, subject, (*path, key))
                for key, entry in value.items()
                if entry.node.tag != BROKEN
                and (entry.node.value is not None or entry.node.tag is not None)
            }
            return {key: it for key, it in found.items() if value[key].node.tag != DEFAULT}
        if isinstance(value, list):
            # Models are frozen and strict: their lists are tuples.
            items = [item for item in value if item.tag != BROKEN]
            return tuple(self._plain(item, secret, subject, path) for item in items)
        return value

    def _check_exclusive(
        self, found: Extracted, node: Node, model: type[Mapped], subject: str, path: Path
    ) -> None:
        assert isinstance(node.value, dict)
        for fields in model.exclusive:
            given = [name for name in found.raw if name in fields]
            if len(given) > 1:
                marks = sorted((node.value[name].mark, name) for name in given)
                names = " and ".join(f"'{name}'" for _, name in marks)
                summary = f"{names} exclude each other in {at(subject, path)}"
                remedy = f"keep one of: {', '.join(fields)}"
                self.report.error(codes.EXCLUSIVE, summary, Place(*marks[1][0]), remedy)
