"""Normalise: what may be written in several ways, in its one full form.

Shorthands are expanded, lists of items become mappings keyed by the items' natural key, fields that
nobody knows are reported. Works on nodes, so that places follow; a subtree that several resources
share is normalised once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import Binding, Mapped, bindings, joined_key
from kvmplan.spec import codes
from kvmplan.spec.node import BROKEN, EXPRESSION_START, Entry, Mark, Node, entries, lift, plain
from kvmplan.spec.validate import at, unknown_field, words


@dataclass(slots=True)
class Normaliser:
    """Normalises the resources of a run.

    Attributes:
        report: gets what is wrong.
        shared: whether static subtrees are remembered, because they will be seen again.
    """

    report: Diagnostics
    shared: bool = False
    _known: dict[tuple[int, type[Mapped]], tuple[Node, Node]] = field(default_factory=dict)

    def resource(
        self, node: Node, model: type[Mapped], subject: str, meta: tuple[str, ...]
    ) -> Node:
        """A whole resource (or profile); `meta` are its fields that no model has."""
        return self._mapping(node, model, subject, (), meta)

    def _error(self, code: str, summary: str, mark: Mark, remedy: str | None = None) -> None:
        self.report.error(code, summary, Place(*mark), remedy)

    def _mapping(
        self,
        node: Node,
        model: type[Mapped],
        subject: str,
        path: tuple[str, ...],
        meta: tuple[str, ...] = (),
    ) -> Node:
        remember = self.shared and not node.dynamic
        if remember:
            known = self._known.get((id(node), model))
            if known is not None:
                return known[1]
        full = self._expanded(node, model, subject, path)
        if isinstance(full.value, dict):
            table = bindings(model)
            made: dict[str, Entry] = {}
            for name, entry in full.value.items():
                binding = table.get(name)
                if binding is not None:
                    below = self._field(entry.node, binding, subject, path)
                    made[name] = entry if below is entry.node else Entry(entry.mark, below)
                elif name in meta:
                    made[name] = entry
                else:
                    known_fields = (*table, *meta)
                    unknown_field(self.report, name, known_fields, subject, path, entry.mark)
            full = Node(made, full.mark, full.tag, full.dynamic)
        if remember:
            self._known[(id(node), model)] = (node, full)
        return full

    def _expanded(
        self, node: Node, model: type[Mapped], subject: str, path: tuple[str, ...]
    ) -> Node:
        """The mapping that a shorthand stands for."""
        value = node.value
        if not _has_own_shorthand(model):
            if model.scalar is None or isinstance(value, dict | list):
                return node
            entry = Entry(node.mark, node)
            return Node({model.scalar: entry}, node.mark, None, node.dynamic)
        raw = plain(node)
        try:
            full = model.expand(raw)
        except ValueError as error:
            self._error(codes.VALUE, f"{at(subject, path)}: {error}", node.mark)
            return node
        return node if full is raw else _lift_over(full, node, raw)

    def _field(self, node: Node, binding: Binding, subject: str, path: tuple[str, ...]) -> Node:
        if binding.item is None or (node.value is None) or node.tag in ("default", "secret"):
            return _secret_of(node, binding.item) if node.tag == "secret" else node
        if _is_unrendered(node):
            return node
        below = (*path, binding.name)
        if isinstance(binding.place, Items):
            return self._items(node, binding.place, binding.item, subject, below)
        return self._mapping(node, binding.item, subject, below)

    def _items(
        self, node: Node, place: Items, item: type[Mapped], subject: str, path: tuple[str, ...]
    ) -> Node:
        """A collection as a mapping key -> item."""
        remember = self.shared and not node.dynamic
        if remember:
            known = self._known.get((id(node), item))
            if known is not None:
                return known[1]
        made: dict[str, Entry] = {}
        value = node.value
        if isinstance(value, dict):
            for name, entry in value.items():
                self._add(made, name, entry, place, item, subject, path)
        else:
            for index, below in enumerate(value if isinstance(value, list) else [node]):
                entry = Entry(below.mark, below)
                self._add(made, None, entry, place, item, subject, (*path, str(index)))
        full = Node(made, node.mark, node.tag, node.dynamic, isinstance(value, list))
        if remember:
            self._known[(id(node), item)] = (node, full)
        return full

    def _add(
        self,
        made: dict[str, Entry],
        name: str | None,
        entry: Entry,
        place: Items,
        item: type[Mapped],
        subject: str,
        path: tuple[str, ...],
    ) -> None:
        """Put one item into its collection; `name` is its key in a mapping, None in a list."""
        if entry.node.tag == BROKEN:
            return
        if entry.node.tag in ("default", "secret"):
            summary = f"{at(subject, path)}: !{entry.node.tag} is for fields, not for whole items"
            self._error(codes.VALUE, summary, entry.node.mark)
            return
        if name is not None and entry.node.value is None:
            made[_canonical(item, place.key[0])(name) if not place.named else name] = entry
            return
        full = self._mapping(entry.node, item, subject, (*path, name) if name is not None else path)
        if not isinstance(full.value, dict):
            summary = f"{at(subject, path)}: expected a mapping, got {words(plain(full))}"
            self._error(codes.VALUE, summary, full.mark)
            return
        key = _natural_key(place, item, full)
        is_broken = any(below.node.tag == BROKEN for below in entries(full).values())
        if name is not None and place.named:
            key = name
        elif name is not None and (said := _said_by_name(place, item, full, name)) is not None:
            key = _canonical(item, said)(name)
            injected = Entry(entry.mark, Node(name, entry.mark, None, full.dynamic))
            full = full._replace(value={said: injected, **full.value})
            key = _natural_key(place, item, full)
        if key is None and is_broken:
            return
        if key is None:
            wanted = place.key[:1] if place.joined else place.key
            fields = " or ".join(f"'{field_name}'" for field_name in wanted)
            remedy = f"give it {fields}" + (", or write NAME: {…}" if place.named else "")
            self._error(codes.VALUE, f"{at(subject, path)} has no key", full.mark, remedy)
        elif key in made:
            first = f"the first is at {made[key].place}"
            collection = path if name is not None else path[:-1]
            summary = f"'{key}' is there twice in {at(subject, collection)}"
            self._error(codes.DUPLICATE, summary, entry.mark, first)
        else:
            made[key] = Entry(entry.mark, full)


def _secret_of(node: Node, item: type[Mapped] | None) -> Node:
    """A secret that stands for a mapping, as its one field that may be one."""
    field = item.scalar if item is not None else None
    if item is None or field is None or not bindings(item)[field].secret:
        return node
    return Node({field: Entry(node.mark, node)}, node.mark, None, True)


def _is_unrendered(node: Node) -> bool:
    """Whether an expression stands here, in a profile that no domain uses."""
    return node.dynamic and isinstance(node.value, str) and EXPRESSION_START in node.value


@cache
def _has_own_shorthand(model: type[Mapped]) -> bool:
    return model.expand.__func__ is not Mapped.expand.__func__  # type: ignore[attr-defined]


def _natural_key(place: Items, item: type[Mapped], node: Node) -> str | None:
    """The first key field that an item gives, or all of them, in their compared form."""
    given = [_key_text(item, node, name) for name in place.key]
    if place.joined:
        return joined_key(given) if given[0] is not None else None
    return next((value for value in given if value is not None), None)


def _key_text(item: type[Mapped], node: Node, name: str) -> str | None:
    """A key field in its compared form; None where the item does not give it."""
    entry = entries(node).get(name)
    if entry is None or entry.node.value is None or entry.node.tag is not None:
        return None
    return _canonical(item, name)(plain(entry.node))


def _said_by_name(place: Items, item: type[Mapped], node: Node, name: str) -> str | None:
    """The key field that an item's name in a mapping stands for: one that the item does not give.

    An address or a MAC is told by its form; another name stands for the text that comes before the
    first key field given: ``{corp.example: {address: 10.0.0.53}}``. Else it is a label: None.
    """
    given = {key: text for key in place.key if (text := _key_text(item, node, key)) is not None}
    if place.joined or len(place.key) == 1:
        return None if place.key[0] in given else place.key[0]
    first = next(iter(given), None)
    if first is not None and _canonical(item, first)(name) == given[first]:
        return None
    before = place.key[: place.key.index(first)] if first is not None else place.key
    formed = [key for key in place.key if not _accepts(item, key, "?")]
    told = next((key for key in formed if key not in given and _accepts(item, key, name)), None)
    return told or next((key for key in before if key not in formed), None)


@cache
def _adapter(model: type[BaseModel], name: str) -> TypeAdapter[Any]:
    """What a field's type accepts, whatever its model's validators say."""
    info = model.model_fields[name]
    marked: Any = info.annotation
    for mark in info.metadata:
        marked = Annotated[marked, mark]
    return TypeAdapter(marked, config=ConfigDict(strict=True))


def _accepts(model: type[BaseModel], name: str, value: str) -> bool:
    try:
        _adapter(model, name).validate_python(value)
    except ValidationError:
        return False
    return True


@cache
def _canonical(model: type[BaseModel], name: str) -> Callable[[Any], str]:
    """A key field's value -> the text of its compared form; as it is where it is not valid."""
    adapter = _adapter(model, name)

    def canonical(value: Any) -> str:
        try:
            return str(adapter.validate_python(value))
        except ValidationError:
            return str(value)

    return canonical


def _lift_over(value: Any, source: Node, whole: Any) -> Node:
    """What a shorthand, as `whole`, expanded to; what is still as written keeps its own place."""
    if not isinstance(value, dict):
        return lift(value, source.mark, dynamic=source.dynamic)
    written = source.value if isinstance(source.value, dict) else {}
    made: dict[str, Entry] = {}
    for name, item in value.items():
        entry = written.get(name)
        if item is whole:
            made[name] = Entry(source.mark, source)
        elif entry is not None and (item is entry.node or plain(entry.node) == item):
            made[name] = entry
        else:
            mark = entry.mark if entry is not None else source.mark
            made[name] = Entry(mark, lift(item, source.mark, dynamic=source.dynamic))
    return Node(made, source.mark, source.tag, source.dynamic)
