"""Belongings: what an element says of one thing does not outlive its being put on another.

libvirt writes the chain below a disk's source beside it, and takes it for true of any source that
is written there later: a guest would read through a base that has nothing to do with its disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from lxml.etree import _Element as Element

from kvmplan.mapping.markers import Belongings, Group, Items
from kvmplan.mapping.model import Mapped, bindings
from kvmplan.mapping.paths import drop, find_all, finder, prune, read_text, split

Node = tuple[Element, str | None, str | None]
"""An element, or an attribute of one and its value."""


@dataclass(frozen=True, slots=True)
class Holder:
    """An element with belongings, as it was before something was written."""

    element: Element
    owned: Belongings
    on: tuple[str | None, ...]
    nodes: tuple[Node, ...]

    def let_go(self) -> bool:
        """Take the belongings out if the element is on another thing by now; True if any went.

        What was written there since is the other thing's own, and stays.
        """
        if _on(self.element, self.owned) == self.on:
            return False
        gone = [node for node in self.nodes if _is_still_there(node)]
        for element, attribute, _ in gone:
            if attribute is None:
                drop(element)
            else:
                del element.attrib[attribute]
                prune(element, self.element)
        return bool(gone)


def holders(model: type[Mapped], element: Element) -> list[Holder]:
    """What has belongings in an element of a model, at any depth."""
    return list(_holders(model, element))


def let_go(found: Iterable[Holder]) -> bool:
    """Take out what belonged to things that are left; True if any went."""
    gone = [holder.let_go() for holder in found]
    return any(gone)


def _holders(model: type[Mapped], element: Element) -> Iterator[Holder]:
    for owned in model.belongings:
        nodes = tuple(_nodes(element, owned))
        if nodes:
            yield Holder(element, owned, _on(element, owned), nodes)
    for path, item in _inner(model):
        for node in finder(path)(element):
            yield from _holders(item, node)


@cache
def _inner(model: type[Mapped]) -> tuple[tuple[str, type[Mapped]], ...]:
    """The groups and collections of a model that lead to belongings: element path and model."""
    found = []
    for binding in bindings(model).values():
        item, place = binding.item, binding.place
        if item is None or item is model or not isinstance(place, Group | Items):
            continue
        if item.belongings or _inner(item):
            found.append((split(place.path)[0], item))
    return tuple(found)


def _nodes(element: Element, owned: Belongings) -> Iterator[Node]:
    for path in owned.nodes:
        inner, attribute = split(path)
        for node in find_all(element, inner):
            if attribute is None or attribute in node.attrib:
                yield node, attribute, None if attribute is None else node.get(attribute)


def _is_still_there(node: Node) -> bool:
    element, attribute, value = node
    if attribute is not None:
        return element.get(attribute) == value
    return element.getparent() is not None


def _on(element: Element, owned: Belongings) -> tuple[str | None, ...]:
    return tuple(read_text(element, path) for path in owned.to)
