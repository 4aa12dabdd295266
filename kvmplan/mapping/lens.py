"""The lens: read a document into a tree of fields, and patch a *difference* into a document.

Laws (tests/laws): patching nothing changes no byte; after patching, reading gives what was asked;
what no change names is not touched. Creation is skeleton + patch, update is live document + patch:
this is the one writer of XML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping import codecs
from kvmplan.mapping.document import canonical, parse
from kvmplan.mapping.markers import (
    Foreign,
    Group,
    Is,
    Items,
    Overlay,
    Pairs,
    Policy,
    Presence,
    Runtime,
    Through,
    Xml,
)
from kvmplan.mapping.model import Binding, Mapped, bindings, key_of
from kvmplan.mapping.overlay import merge, satisfied
from kvmplan.mapping.paths import drop, ensure, find, find_all, first_step, insert, remove, split
from kvmplan.mapping.types import SecretText

Path = tuple[str, ...]
Tree = Mapping[str, Any]
Edit = tuple[Path, Any]
"""A path and its new value; None takes it out. A tree as value is taken apart."""


@dataclass(frozen=True)
class Context:
    """What reading and writing need beside the document.

    Attributes:
        skeleton: makes an element from a template's name and the values it may use.
        names: for collections with names of the user's own: path -> natural key -> name.
        runtime: the facts that `Runtime` fields read.
    """

    skeleton: Callable[[str, Mapping[str, Any]], Element]
    names: Mapping[Path, Mapping[str, str]] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)


def read(
    model: type[Mapped], element: Element, context: Context, like: Tree | None = None, at: Path = ()
) -> dict[str, Any]:
    """The fields of an element as a tree.

    With `like`, exactly the fields that it has are read (None: there is no such node), values that
    are as good as the wanted ones are given as those, and members of its collections that it does
    not name are read whole. Without, every field that has a value is read.
    """
    found = bindings(model)
    if like is None:
        tree = {
            name: _read(binding, element, context, None, (*at, name))
            for name, binding in found.items()
            if not isinstance(binding.place, Policy | Overlay)
        }
        return {name: value for name, value in tree.items() if value is not None and value != {}}
    return {name: _read(found[name], element, context, want, (*at, name)) for name, want in like.items()}


def _read(binding: Binding, element: Element, context: Context, want: Any, at: Path) -> Any:
    if binding.case is not None and not _case_holds(binding, element):
        return None
    value = _value(binding, element, context, want, at)
    if (
        binding.same is not None
        and want is not None
        and value is not None
        and value != want
        and binding.same.test(value, want, context)
    ):
        return want
    return value


def _case_holds(binding: Binding, element: Element) -> bool:
    case = binding.case
    return case is None or _text(element, case.tag) in case.values


def _text(element: Element, path: str) -> str | None:
    inner, attribute = split(path)
    node = find(element, inner)
    if node is None:
        return None
    return node.get(attribute) if attribute is not None else node.text


def _value(binding: Binding, element: Element, context: Context, want: Any, at: Path) -> Any:
    match binding.place:
        case Xml() as place:
            return _read_xml(binding, place, element)
        case Presence(path=path):
            return find(element, split(path)[0]) is not None
        case Is(path=path, value=value):
            return _text(element, path) == value
        case Group(path=path):
            return _read_group(binding, path, element, context, want, at)
        case Items() as place:
            return _read_items(binding, place, element, context, want, at)
        case Pairs(path=path, key=key, value=value):
            nodes = find_all(element, split(path)[0])
            return {node.get(key[1:]): node.get(value[1:]) for node in nodes}
        case Foreign(path=path):
            return _read_foreign(path, element, want)
        case Through(read=reader):
            return reader(element, context)
        case Runtime(name=name):
            return context.runtime.get(name)
        case Overlay():
            return want if want is not None and satisfied(element, parse(want)) else None
        case Policy():
            return want


def _read_xml(binding: Binding, place: Xml, element: Element) -> Any:
    inner, attribute = split(place.path)
    if place.many:
        nodes = find_all(element, inner)
        raws = [node.get(attribute) if attribute is not None else node.text for node in nodes]
        return tuple(_decode(binding, raw) for raw in raws if raw is not None) or None
    node = find(element, inner)
    raw = None if node is None else node.get(attribute) if attribute is not None else node.text
    if raw is None and place.absent is not None:
        inner, attribute = split(place.absent)
        node = find(element, inner)
        raw = None if node is None else node.get(attribute) if attribute is not None else node.text
    if raw is None or node is None:
        return place.omitted
    value = _decode(binding, raw.strip())
    if place.unit is not None and isinstance(value, int):
        value *= codecs.factor(node.get("unit", place.unit))
    return value


def _decode(binding: Binding, raw: str) -> Any:
    if binding.secret:
        return SecretText(raw)
    try:
        return binding.codec.decode(raw)
    except ValueError:
        return raw


def _read_group(
    binding: Binding, path: str, element: Element, context: Context, want: Any, at: Path
) -> dict[str, Any] | None:
    assert binding.item is not None
    node = find(element, split(path)[0])
    if node is None:
        node = etree.Element("none") if want is not None else None
    return None if node is None else read(binding.item, node, context, want, at)


def _read_items(
    binding: Binding, place: Items, element: Element, context: Context, want: Any, at: Path
) -> dict[str, Any]:
    assert binding.item is not None
    items: dict[str, Any] = {}
    for node, key in keyed(binding, place, element, context, at):
        like = want.get(key) if isinstance(want, Mapping) else None
        items[key] = read(binding.item, node, context, like, (*at, key))
    return items


def keyed(
    binding: Binding, place: Items, element: Element, context: Context, at: Path
) -> Iterable[tuple[Element, str]]:
    """The elements of a collection with their keys (the user's names where it has such)."""
    assert binding.item is not None
    found = bindings(binding.item)
    names = context.names.get(at, {})
    inner, _ = split(place.path)
    for node in find_all(element, inner):
        keys = {name: _read(found[name], node, context, None, at) for name in place.key}
        key = key_of(place, keys)
        if key is not None:
            yield node, names.get(key, key)


def _read_foreign(path: str, element: Element, want: Any) -> dict[str, str]:
    holder = find(element, split(path)[0])
    found: dict[str, str] = {}
    for child in holder if holder is not None else ():
        space = etree.QName(child).namespace if isinstance(child.tag, str) else None
        if space is not None and (want is None or space in want):
            found[space] = canonical(child)
    return found


# ------------------------------------------------------------------------------------------- patch


def patch(
    model: type[Mapped],
    element: Element,
    edits: Sequence[Edit],
    context: Context,
    desired: Tree | None = None,
    at: Path = (),
) -> None:
    """Write a difference into an element, in place; whatever it does not name is left alone.

    Args:
        model: whose fields the paths name.
        element: the model's element.
        edits: paths below `model` and their new values.
        context: skeletons, names, lookups.
        desired: all that is wanted: what an edit clears away and is wanted still is written again.
        at: where `element` is below the resource, for names.
    """
    grouped: dict[str, list[Edit]] = {}
    for path, value in edits:
        grouped.setdefault(path[0], []).append((path[1:], value))
    _pin(model, element, grouped, context, at)
    cleared = False
    for name, binding in bindings(model).items():
        for_field = grouped.get(name)
        if for_field:
            wanted = (desired or {}).get(name)
            cleared |= _write(model, binding, element, for_field, context, wanted, (*at, name))
    for loser, winner in model.yields:
        if find(element, split(winner)[0]) is not None:
            remove(element, loser)
    if cleared:
        _restore(model, element, grouped, context, desired, at)


def _pin(
    model: type[Mapped], element: Element, grouped: Mapping[str, Any], context: Context, at: Path
) -> None:
    """Write out values that stand at a node about to change (``absent=``), so that they stay."""
    found = bindings(model)
    targets = {b.place.path for n, b in found.items() if n in grouped and isinstance(b.place, Xml)}
    for name, binding in found.items():
        place = binding.place
        if name in grouped or not isinstance(place, Xml) or place.absent not in targets:
            continue
        if _text(element, place.path) is None and (value := _read_xml(binding, place, element)) is not None:
            _write_xml(model, binding, place, element, value, context)


def _restore(
    model: type[Mapped],
    element: Element,
    grouped: Mapping[str, Any],
    context: Context,
    desired: Tree | None,
    at: Path,
) -> None:
    for name, want in (desired or {}).items():
        binding = bindings(model)[name]
        if name in grouped or want is None or isinstance(binding.place, Runtime | Policy | Overlay):
            continue
        if _read(binding, element, context, want, (*at, name)) != want:
            _write(model, binding, element, [((), want)], context, want, (*at, name))


def _write(
    model: type[Mapped],
    binding: Binding,
    element: Element,
    edits: list[Edit],
    context: Context,
    desired: Any,
    at: Path,
) -> bool:
    """Write one field; True if nodes of other fields were cleared on the way."""
    value = edits[-1][1]
    cleared = binding.case is not None and _enter_case(binding, element, value)
    match binding.place:
        case Xml() as place:
            return _write_xml(model, binding, place, element, value, context) or cleared
        case Presence() as place:
            _write_presence(model, binding, place, element, value, context)
        case Is(path=path, value=text):
            _write_is(element, path, text, value)
        case Group() as place:
            _write_group(model, binding, place, element, edits, context, desired, at)
        case Items() as place:
            _write_items(model, binding, place, element, edits, context, desired, at)
        case Pairs() as place:
            _write_pairs(model, binding, place, element, edits)
        case Foreign(path=path):
            _write_foreign(path, element, edits)
        case Through(write=writer):
            writer(element, value, context)
        case Overlay():
            if value is not None:
                merge(element, parse(value))
        case Runtime() | Policy():
            pass
    return cleared


def _enter_case(binding: Binding, element: Element, value: Any) -> bool:
    case = binding.case
    if case is None or value is None or value is False or _text(element, case.tag) in case.values:
        return False
    for path in case.clears:
        remove(element, path)
    inner, attribute = split(case.tag)
    node = ensure(element, inner)
    if attribute is not None:
        node.set(attribute, case.values[0])
    else:
        node.text = case.values[0]
    return bool(case.clears)


def _later(model: type[Mapped], name: str) -> frozenset[str]:
    """Tags of the fields declared after this one: declaration order is document order."""
    names = list(bindings(model))
    tags = set()
    for later in names[names.index(name) + 1 :]:
        place = bindings(model)[later].place
        if not isinstance(place, Runtime | Policy | Overlay):
            tags.add(first_step(place.path))
    return frozenset(tags)


def _make(
    model: type[Mapped],
    binding: Binding,
    element: Element,
    inner: str,
    skeleton: str | None,
    context: Context,
) -> Element:
    """The element at `inner`, made from the skeleton, or bare, where it is missing."""
    node = find(element, inner)
    if node is not None:
        return node
    if skeleton is not None:
        made = context.skeleton(skeleton, {})
        parent = ensure(element, _holder(inner, str(made.tag)), _later(model, binding.name))
        insert(parent, made)
        node = find(element, inner)
        if node is not None:
            return node
    return ensure(element, inner, _later(model, binding.name))


def _holder(inner: str, tag: str) -> str:
    """The path above the step that a skeleton makes."""
    steps = inner.split("/")
    plain = [step.partition("[")[0] for step in steps]
    return "/".join(steps[: plain.index(tag)]) if tag in plain else "/".join(steps[:-1])


def _write_xml(
    model: type[Mapped], binding: Binding, place: Xml, element: Element, value: Any, context: Context
) -> bool:
    for path in place.clears:
        remove(element, path)
    if value is None or (place.omitted is not None and value == place.omitted):
        remove(element, place.removes or place.path)
        return bool(place.clears)
    inner, attribute = split(place.path)
    if place.many:
        _write_many(model, binding, inner, attribute, element, value)
        return bool(place.clears)
    node = _make(model, binding, element, inner, place.skeleton, context)
    if place.unit is not None:
        node.set("unit", place.unit)
        value = -(-value // codecs.factor(place.unit))
    text = value.reveal() if isinstance(value, SecretText) else binding.codec.encode(value)
    if attribute is not None:
        node.set(attribute, text)
    else:
        node.text = text
    return bool(place.clears)


def _write_many(
    model: type[Mapped], binding: Binding, inner: str, attribute: str | None, element: Element, values: Iterable[Any]
) -> None:
    """Replace all nodes of a list, at the spot of the first."""
    remove(element, f"./{inner}")
    head, _, tag = inner.rpartition("/")
    parent = ensure(element, head, _later(model, binding.name))
    before = _later(model, binding.name) if parent is element else frozenset[str]()
    for value in values:
        node = etree.Element(tag)
        text = binding.codec.encode(value)
        if attribute is not None:
            node.set(attribute, text)
        else:
            node.text = text
        insert(parent, node, before)


def _write_presence(
    model: type[Mapped], binding: Binding, place: Presence, element: Element, value: Any, context: Context
) -> None:
    inner, _ = split(place.path)
    if value:
        _make(model, binding, element, inner, place.skeleton, context)
        return
    for path in (place.path, *place.also):
        for node in find_all(element, split(path)[0]):
            drop(node)


def _write_is(element: Element, path: str, text: str, value: Any) -> None:
    inner, attribute = split(path)
    node = ensure(element, inner) if value else find(element, inner)
    if node is None or attribute is None:
        return
    if value:
        node.set(attribute, text)
    elif node.get(attribute) == text:
        del node.attrib[attribute]


def _write_group(
    model: type[Mapped],
    binding: Binding,
    place: Group,
    element: Element,
    edits: list[Edit],
    context: Context,
    desired: Any,
    at: Path,
) -> None:
    assert binding.item is not None
    inner, _ = split(place.path)
    if inner and any(not path and value is None for path, value in edits):
        remove(element, place.path)
        return
    node = find(element, inner)
    if node is None and all(value is None for _, value in edits):
        return
    if node is None:
        node = _make(model, binding, element, inner, place.skeleton, context)
    patch(binding.item, node, list(_leaves(edits)), context, desired, at)


def _leaves(edits: Iterable[Edit]) -> Iterable[Edit]:
    """Edits of a whole group as edits of its fields."""
    for path, value in edits:
        if path:
            yield path, value
        else:
            yield from (((name,), inner) for name, inner in (value or {}).items())


def _write_items(
    model: type[Mapped],
    binding: Binding,
    place: Items,
    element: Element,
    edits: list[Edit],
    context: Context,
    desired: Any,
    at: Path,
) -> None:
    assert binding.item is not None
    nodes = {key: node for node, key in keyed(binding, place, element, context, at)}
    inside: dict[str, list[Edit]] = {}
    for path, value in edits:
        for key, item in (value or {}).items() if not path else [(path[0], value)]:
            if len(path) > 1:
                inside.setdefault(key, []).append((path[1:], value))
            elif item is None:
                if key in nodes:
                    drop(nodes[key])
            elif key in nodes:
                inside.setdefault(key, []).extend(_leaves([((), item)]))
            else:
                new = make_item(binding, place, item, context, (*at, key))
                _add_item(model, binding, place, element, new)
    for key, own in inside.items():
        wanted = (desired or {}).get(key)
        patch(binding.item, nodes[key], own, context, wanted, (*at, key))


def _add_item(model: type[Mapped], binding: Binding, place: Items, element: Element, new: Element) -> None:
    inner, _ = split(place.path)
    head = inner.rpartition("/")[0]
    later = _later(model, binding.name)
    parent = ensure(element, head, later)
    insert(parent, new, later if parent is element else frozenset())


def make_item(binding: Binding, place: Items, item: Tree, context: Context, at: Path) -> Element:
    """A new element of a collection: its skeleton (or the bare tag), patched with the item's fields."""
    assert binding.item is not None
    inner, _ = split(place.path)
    tag = inner.rpartition("/")[2].partition("[")[0]
    new = context.skeleton(place.skeleton, item) if place.skeleton else etree.Element(tag)
    patch(binding.item, new, list(_leaves([((), item)])), context, item, at)
    return new


def _write_pairs(model: type[Mapped], binding: Binding, place: Pairs, element: Element, edits: list[Edit]) -> None:
    inner, _ = split(place.path)
    for path, value in edits:
        for key, text in (value or {}).items() if not path else [(path[0], value)]:
            node = next((n for n in find_all(element, inner) if n.get(place.key[1:]) == key), None)
            if text is None:
                if node is not None:
                    drop(node)
                continue
            if node is None:
                head, _, tag = inner.rpartition("/")
                node = etree.Element(tag)
                node.set(place.key[1:], key)
                parent = ensure(element, head, _later(model, binding.name))
                insert(parent, node)
            node.set(place.value[1:], text)


def _write_foreign(path: str, element: Element, edits: list[Edit]) -> None:
    for inner, value in edits:
        for space, text in (value or {}).items() if not inner else [(inner[0], value)]:
            holder = ensure(element, split(path)[0])
            old = next((c for c in holder if isinstance(c.tag, str) and etree.QName(c).namespace == space), None)
            if old is not None:
                drop(old)
            if text is not None:
                holder.append(parse(text))
