"""Writing one field: what each kind of place does to the document. `patch` says which and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping import codecs
from kvmplan.mapping.document import foreign
from kvmplan.mapping.markers import (
    Group,
    Is,
    Overlay,
    Pairs,
    Policy,
    Presence,
    Runtime,
    Xml,
)
from kvmplan.mapping.model import Binding, Mapped, bindings
from kvmplan.mapping.paths import (
    SPLIT,
    discard,
    drop,
    ensure,
    find,
    find_all,
    first_step,
    insert,
    read_text,
    remove,
    split,
    text_at,
)
from kvmplan.mapping.read import Context, Path, counted_in, decode, item_of, readers
from kvmplan.mapping.types import SecretText

Edit = tuple[Path, Any]
"""A path and its new value; None takes it out. A tree as value is taken apart."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one field is written, and the tags that must stay behind nodes made for it."""

    model: type[Mapped]
    binding: Binding
    element: Element
    context: Context
    at: Path
    behind: frozenset[str]

    def read(self, want: Any = None) -> Any:
        """The field as it is now."""
        reader = readers(self.model)[self.binding.name]
        return reader(self.element, self.context, want, self.at)


def in_case(spot: Spot) -> bool:
    """Whether the variant at hand is the field's own."""
    case = spot.binding.case
    return case is None or read_text(spot.element, case.tag) in case.values


def enter_case(spot: Spot) -> bool:
    """Make the variant the field's own; True if nodes of another were cleared away."""
    case = spot.binding.case
    if case is None or in_case(spot):
        return False
    for path in case.clears:
        remove(spot.element, path)
    inner, attribute = split(case.tag)
    _set(ensure(spot.element, inner, spot.behind), attribute, case.values[0])
    return bool(case.clears)


@cache
def later(model: type[Mapped], name: str) -> frozenset[str]:
    """Tags of the fields declared after this one: declaration order is document order."""
    names = list(bindings(model))
    others = names[names.index(name) + 1 :]
    return frozenset(tag for other in others for tag in _tags(bindings(model)[other]))


def _tags(binding: Binding) -> set[str]:
    place = binding.place
    if isinstance(place, Runtime | Policy | Overlay):
        return set()
    tag = first_step(place.path)
    if tag or not isinstance(place, Group):
        return {tag}
    return {tag for inner in bindings(item_of(binding)).values() for tag in _tags(inner)}


def make(
    spot: Spot, inner: str, skeleton: str | None, item: Mapping[str, Any] | None = None
) -> Element:
    """The element at `inner`, made from the skeleton, or bare, where it is missing.

    `item`: the fields of a group, which its skeleton may look at.
    """
    node = find(spot.element, inner)
    if node is None and skeleton is not None:
        made = spot.context.skeleton(skeleton, item or {})
        above, own = _holder(inner, str(made.tag))
        if find(spot.element, own) is None:
            insert(ensure(spot.element, above, spot.behind), made)
    return ensure(spot.element, inner, spot.behind)


def _holder(inner: str, tag: str) -> tuple[str, str]:
    """The path above the step that a skeleton makes, and the path of that step."""
    steps = SPLIT.split(inner)
    plain = [step.partition("[")[0] for step in steps]
    index = plain.index(tag) if tag in plain else len(steps) - 1
    return "/".join(steps[:index]), "/".join(steps[: index + 1])


def add_beside(spot: Spot, path: str, node: Element) -> None:
    """Put a new node where the field that it belongs to would have it.

    What is there of it stays, and gets what it lacks.
    """
    inner, tag = split(path)[0], first_step(path)
    if node.tag == tag:
        there, inner = spot.element.find(tag), tag
        if there is not None:
            for child in [it for it in node if there.find(str(it.tag)) is None]:
                there.append(child)
            return
    owner = next((name for name, own in bindings(spot.model).items() if tag in _tags(own)), None)
    behind = spot.behind if owner is None else later(spot.model, owner)
    add(replace(spot, behind=behind), inner, node)


def add(spot: Spot, inner: str, node: Element) -> None:
    """Put a new node at the end of those at its path."""
    head = inner.rpartition("/")[0]
    parent = ensure(spot.element, head, spot.behind)
    insert(parent, node, spot.behind if parent is spot.element else frozenset())


def write_xml(spot: Spot, place: Xml, value: Any) -> bool:
    """Write a text or an attribute; True if nodes of other fields were cleared on the way."""
    cleared = bool(place.clears) and (place.many or spot.read() != value)
    for path in place.clears if cleared else ():
        remove(spot.element, path)
    if place.many:
        _write_many(spot, place, value or ())
    elif value is None or value in ("", place.omitted):
        remove(spot.element, place.removes or place.path)
    else:
        inner, attribute = split(place.path)
        node = make(spot, inner, place.skeleton)
        if place.unit is not None:
            value += 0 if place.beside is None else counted_in(spot.element, place.beside)
            node.set("unit", place.unit)
            value = -(-value // (codecs.factor(place.unit) or 1))
        _set(node, attribute, _encode(spot.binding, value))
    return cleared


def _write_many(spot: Spot, place: Xml, values: Iterable[Any]) -> None:
    """Make the nodes of a list say `values`, in order; nodes that do already are kept whole."""
    inner, attribute = split(place.path)
    spare: list[tuple[Any, Element]] = []
    for node in find_all(spot.element, inner):
        raw = text_at(node, attribute)
        if raw is not None:
            spare.append((decode(spot.binding, raw), node))
    previous: Element | None = None
    for value in values:
        found = next((pair for pair in spare if pair[0] == value), None)
        if found is not None:
            spare.remove(found)
            node = found[1]
        else:
            node = etree.Element(inner.rpartition("/")[2])
            _set(node, attribute, _encode(spot.binding, value))
        if previous is not None:
            if previous.getnext() is not node:
                previous.addnext(node)
        elif spare:
            spare[0][1].addprevious(node)
        elif found is None:
            add(spot, inner, node)
        previous = node
    for _, node in spare:
        discard(node, spot.element)


def _encode(binding: Binding, value: Any) -> str:
    return value.reveal() if isinstance(value, SecretText) else binding.codec.encode(value)


def _set(node: Element, attribute: str | None, text: str) -> None:
    if attribute is not None:
        node.set(attribute, text)
    else:
        node.text = text


def write_presence(spot: Spot, place: Presence, value: Any) -> None:
    """Make an element, or take all of them out with what goes with them."""
    inner, _ = split(place.path)
    if value:
        make(spot, inner, place.skeleton)
        return
    for path in (place.path, *place.also):
        for node in find_all(spot.element, split(path)[0]):
            drop(node)


def write_is(spot: Spot, place: Is, value: Any) -> bool:
    """Give an attribute its value, or take that away; True if other nodes were cleared."""
    there = read_text(spot.element, place.path) == place.value
    if bool(value) is there:
        return False
    if not value:
        remove(spot.element, place.path)
        return False
    for path in place.clears:
        remove(spot.element, path)
    inner, attribute = split(place.path)
    _set(ensure(spot.element, inner, spot.behind), attribute, place.value)
    return bool(place.clears)


def write_pairs(spot: Spot, place: Pairs, edits: list[Edit]) -> None:
    """Write some pairs of a mapping, each in its own element."""
    inner, _ = split(place.path)
    key_name, value_name = place.key[1:], place.value[1:]
    nodes = {node.get(key_name): node for node in find_all(spot.element, inner)}
    names = [name for name in nodes if name is not None]
    for path, text in leaves(edits) if not takes_all(edits) else removals(names):
        node = nodes.get(path[0])
        if text is None:
            if node is not None:
                discard(node, spot.element)
            continue
        if node is None:
            node = etree.Element(SPLIT.split(inner)[-1], {key_name: path[0]})
            add(spot, inner, node)
        node.set(value_name, text)


def write_foreign(spot: Spot, path: str, edits: list[Edit]) -> None:
    """Write the elements of some namespaces; those of others are not touched."""
    inner, _ = split(path)
    names = spot.read()
    for (space, *_rest), text in leaves(edits) if not takes_all(edits) else removals(names):
        holder = find(spot.element, inner)
        old = None if holder is None else next(holder.iterchildren(f"{{{space}}}*"), None)
        if text is None:
            if old is not None:
                drop(old)
            continue
        new = foreign(text, space)
        if old is not None:
            old.addprevious(new)
            drop(old)
        else:
            ensure(spot.element, inner, spot.behind).append(new)


def leaves(edits: Iterable[Edit]) -> Iterator[Edit]:
    """Edits of a whole group as edits of its fields."""
    for path, value in edits:
        if path:
            yield path, value
        else:
            yield from (((name,), inner) for name, inner in (value or {}).items())


def takes_all(edits: list[Edit]) -> bool:
    """Whether a whole collection goes."""
    return any(not path and value is None for path, value in edits)


def removals(names: Iterable[str]) -> list[Edit]:
    """The edits that take out each member."""
    return [((name,), None) for name in list(names)]
