"""Reading: from an element to a tree of fields. One compiled reader for each binding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping import codecs
from kvmplan.mapping.document import canonical, foreign, fragment, parse, space_of
from kvmplan.mapping.markers import (
    Case,
    Foreign,
    Group,
    Is,
    Items,
    Overlay,
    Pairs,
    Policy,
    Presence,
    Runtime,
    Same,
    Through,
    Xml,
)
from kvmplan.mapping.model import Binding, Mapped, bindings, key_of
from kvmplan.mapping.overlay import satisfied
from kvmplan.mapping.paths import find, find_all, finder, read_text, split, text_at
from kvmplan.mapping.types import SecretText

Path = tuple[str, ...]
Tree = Mapping[str, Any]


@dataclass(frozen=True)
class Context:
    """What reading and writing need beside the document.

    Attributes:
        skeleton: makes an element from a template's name and the values it may use.
        names: for collections with names of the user's own: path -> natural key -> name.
        runtime: the facts that `Runtime` fields read.
        overlaid: the `Overlay` fragment applied last, whose sequences give way to the new one's.
    """

    skeleton: Callable[[str, Mapping[str, Any]], Element]
    names: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)
    overlaid: str | None = None


Reader = Callable[[Element, Context, Any, Path], Any]
"""From element, context, the wanted value (None: none) and the field's path to its value."""
NOWHERE = etree.Element("nowhere")
"""Stands for the missing element of a group: nothing is found in it. Never written to."""


def read(
    model: type[Mapped], element: Element, context: Context, like: Tree | None = None, at: Path = ()
) -> dict[str, Any]:
    """The fields of an element as a tree.

    With `like`, exactly the fields that it has are read (None: there is no such node), values that
    are as good as the wanted ones are given as those, and members of its collections that it does
    not name are read whole. Without, every field that has a value is read, of exclusive ones the
    first.
    """
    if like is None:
        return _read_whole(model, element, context, at)
    found = readers(model)
    return {
        name: found[name](element, context, want, (*at, name))
        if want is not None
        else _read_unwanted(model, name, element, context, (*at, name))
        for name, want in like.items()
    }


def _read_whole(
    model: type[Mapped], element: Element, context: Context, at: Path
) -> dict[str, Any]:
    tree = {}
    for name, reader in readers(model).items():
        value = reader(element, context, None, (*at, name))
        if value is not None and value != {}:
            tree[name] = value
    for group in model.exclusive:
        given = [name for name in group if name in tree]
        kept = next((name for name in given if tree[name] is not False), None)
        for name in given:
            if name != kept:
                del tree[name]
    return tree


def _read_unwanted(
    model: type[Mapped], name: str, element: Element, context: Context, at: Path
) -> Any:
    """A field that shall have no value: what stands for "nothing is written" reads as None."""
    binding = bindings(model)[name]
    value = readers(model)[name](element, context, None, at)
    if isinstance(value, dict) and binding.item is not None and isinstance(binding.place, Group):
        node = find(element, split(binding.place.path)[0])
        nothing = dict.fromkeys(value)
        left = read(binding.item, NOWHERE if node is None else node, context, nothing, at)
        return {name: inner for name, inner in left.items() if inner is not None} or None
    return None if value == blank(binding) else value


def blank(binding: Binding) -> Any:
    """What a field reads as where nothing is written."""
    match binding.place:
        case Presence() | Is():
            return False
        case Xml(omitted=omitted) | Through(omitted=omitted):
            return omitted
        case Items() | Pairs() | Foreign():
            return {}
        case _:
            return None


@cache
def readers(model: type[Mapped]) -> Mapping[str, Reader]:
    """The compiled readers of a model's fields, in declaration order."""
    return {name: _reader(binding) for name, binding in bindings(model).items()}


def _reader(binding: Binding) -> Reader:
    reader = _place_reader(binding)
    if binding.same is not None:
        reader = _lenient(reader, binding.same)
    if binding.case is not None:
        reader = _only_in(reader, binding.case)
    return reader


def _place_reader(binding: Binding) -> Reader:
    match binding.place:
        case Xml() as place:
            return _many(binding, place) if place.many else _single(binding, place)
        case Presence(path=path):
            present = finder(split(path)[0])
            return lambda element, _, __, ___: next(present(element), None) is not None
        case Is(path=path, value=text):
            return lambda element, _, __, ___: read_text(element, path) == text
        case Group() as place:
            return _group(binding, place)
        case Items() as place:
            return _items(binding, place)
        case Pairs() as place:
            return _pairs(place)
        case Foreign(path=path):
            return lambda element, _, want, __: _foreign(path, element, want)
        case Through(read=through):
            return lambda element, context, _, __: through(element, context)
        case Runtime(name=name):
            return lambda _, context, __, ___: context.runtime.get(name)
        case Overlay():
            return lambda element, _, want, __: _overlay(element, want)
        case Policy():
            return lambda _, __, want, ___: want


def _lenient(reader: Reader, same: Same) -> Reader:
    """Give the wanted value for one that is as good."""

    def read_same(element: Element, context: Context, want: Any, at: Path) -> Any:
        value = reader(element, context, want, at)
        if want is None or value is None or value == want:
            return value
        return want if same.test(value, want, context) else value

    return read_same


def _only_in(reader: Reader, case: Case) -> Reader:
    """Read only where the variant is the field's own."""
    inner, attribute = split(case.tag)
    search = finder(inner)

    def read_case(element: Element, context: Context, want: Any, at: Path) -> Any:
        if text_at(next(search(element), None), attribute) not in case.values:
            return None
        return reader(element, context, want, at)

    return read_case


def _single(binding: Binding, place: Xml) -> Reader:
    inner, attribute = split(place.path)
    search = finder(inner)
    absent = split(place.absent) if place.absent is not None else None

    def read_single(element: Element, _: Context, want: Any, __: Path) -> Any:
        node = next(search(element), None)
        raw = text_at(node, attribute)
        if raw is None and absent is not None:
            node = find(element, absent[0])
            raw = text_at(node, absent[1])
        if raw is None or node is None:
            return "" if want == "" else place.omitted
        value = decode(binding, raw)
        if place.unit is None:
            return value
        value = _scaled(value, node.get("unit", place.unit))
        if place.beside is None or not isinstance(value, int):
            return value
        return value - counted_in(element, place.beside)

    return read_single


def _many(binding: Binding, place: Xml) -> Reader:
    inner, attribute = split(place.path)
    search = finder(inner)

    def read_many(element: Element, _: Context, want: Any, __: Path) -> Any:
        raws = (text_at(node, attribute) for node in search(element))
        values = tuple(decode(binding, raw) for raw in raws if raw is not None)
        return values or (() if want == () else None)

    return read_many


def decode(binding: Binding, raw: str) -> Any:
    """The value of a text; the text itself where the codec cannot read it."""
    if binding.secret:
        return SecretText(raw)
    try:
        return binding.codec.decode(raw)
    except ValueError:
        return raw


def counted_in(element: Element, path: str) -> int:
    """The sum of the sizes at a path, in bytes."""
    sizes = (
        _scaled(int(text), node.get("unit", "KiB"))
        for node in finder(split(path)[0])(element)
        if (text := node.text or "").isdigit()
    )
    return sum(size for size in sizes if isinstance(size, int))


def _scaled(value: Any, unit: str) -> Any:
    scale = codecs.factor(unit)
    if not isinstance(value, int):
        return value
    return f"{value}{unit}" if scale is None else value * scale


def _group(binding: Binding, place: Group) -> Reader:
    """A group's own element is a thing where it has a skeleton: missing, it is None as a whole."""
    model, inner = item_of(binding), split(place.path)[0]
    if not inner:
        return lambda element, context, want, at: read(model, element, context, want, at)
    search = finder(inner)

    def read_group(element: Element, context: Context, want: Any, at: Path) -> Any:
        node = next(search(element), None)
        if node is None and (want is None or place.skeleton is not None):
            return None
        return read(model, NOWHERE if node is None else node, context, want, at)

    return read_group


def _items(binding: Binding, place: Items) -> Reader:
    model = item_of(binding)

    def read_items(element: Element, context: Context, want: Any, at: Path) -> Any:
        wanted = want if isinstance(want, Mapping) else {}
        return {
            key: read(model, node, context, wanted.get(key), (*at, key))
            for node, key in keyed(binding, place, element, context, at)
        }

    return read_items


def item_of(binding: Binding) -> type[Mapped]:
    """The model of a group or of a collection's items. Raises TypeError for other fields."""
    if binding.item is None:
        raise TypeError(f"{binding.name} is neither a group nor a collection")
    return binding.item


def keyed(
    binding: Binding, place: Items, element: Element, context: Context, at: Path
) -> Iterable[tuple[Element, str]]:
    """The elements of a collection with their keys (the user's names where it has such).

    libvirt lets two elements have the same key, such as a MAC: the second is ``KEY#2``.
    """
    found = readers(item_of(binding))
    names = context.names.get(at)
    seen: dict[str, int] = {}
    for node in finder(split(place.path)[0])(element):
        key = key_of(place, {name: found[name](node, context, None, at) for name in place.key})
        if key is None:
            continue
        if names is not None:
            key = names.get(key, key)
        count = seen[key] = seen.get(key, 0) + 1
        yield node, key if count == 1 else f"{key}#{count}"


def _pairs(place: Pairs) -> Reader:
    search = finder(split(place.path)[0])
    key, value = place.key[1:], place.value[1:]

    def read_pairs(element: Element, _: Context, __: Any, ___: Path) -> Any:
        found = ((node.get(key), node.get(value)) for node in search(element))
        return {name: text for name, text in found if name is not None and text is not None}

    return read_pairs


def _foreign(path: str, element: Element, want: Any) -> dict[str, str]:
    """One child for each namespace; what is wanted is given for what only spells differently."""
    found: dict[str, str] = {}
    for holder in find_all(element, split(path)[0]):
        for child in holder.iterchildren("{*}*"):
            space = space_of(child)
            if space is None or space in found or (want is not None and space not in want):
                continue
            wanted = None if want is None else want[space]
            if wanted is not None and canonical(child) == canonical(foreign(wanted, space)):
                found[space] = wanted
            else:
                found[space] = fragment(child)
    return found


def _overlay(element: Element, want: Any) -> Any:
    return want if want is not None and satisfied(element, parse(want)) else None
