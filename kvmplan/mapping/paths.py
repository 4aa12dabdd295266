"""Paths in a document: find, make and remove nodes without touching anything beside them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain

from lxml import etree
from lxml.etree import _Element as Element

SPLIT = re.compile(r"/(?![^\[]*\])")
PREDICATE = re.compile(r"\[@([\w-]+)='([^']*)'\]")
STEP = re.compile(r"(\*|[\w-]+)(\[@?[\w/@-]+='[^']*'\])*")
ATTRIBUTE = re.compile(r"@[\w-]+")

Finder = Callable[[Element], Iterator[Element]]


@cache
def split(path: str) -> tuple[str, str | None]:
    """The element path (``""``: the element itself) and the attribute of ``./a/b/@c``."""
    steps = SPLIT.split(path.removeprefix("./"))
    attribute = steps.pop()[1:] if steps[-1].startswith("@") else None
    inner = "/".join(step for step in steps if step not in (".", ""))
    return inner, attribute


def is_path(path: str) -> bool:
    """Whether a text is a path as bindings use them: ``.``, ``./a/b``, ``./a[@b='c']/@d``."""
    if path == ".":
        return True
    *steps, last = SPLIT.split(path.removeprefix("./"))
    named = all(STEP.fullmatch(step) for step in steps)
    return (
        path.startswith("./") and named and bool(STEP.fullmatch(last) or ATTRIBUTE.fullmatch(last))
    )


def is_makeable(path: str) -> bool:
    """Whether an element path says all that is needed to make its elements."""
    inner, _ = split(path)
    return "*" not in inner and "[" not in PREDICATE.sub("", inner)


@cache
def finder(inner: str) -> Finder:
    """A compiled search: all elements at an element path, in document order.

    Plain steps walk the children: twice as fast as lxml's own paths. Predicates need XPath.
    """
    if not inner:
        return lambda element: iter((element,))
    if "[" in inner:
        search = etree.XPath(inner)
        return lambda element: iter(search(element))  # type: ignore[arg-type]
    head, _, rest = inner.partition("/")
    if not rest:
        return lambda element: element.iterchildren(head)
    below = finder(rest)
    return lambda element: chain.from_iterable(map(below, element.iterchildren(head)))


def find_all(element: Element, inner: str) -> list[Element]:
    """All elements at an element path, in document order."""
    return list(finder(inner)(element))


def find(element: Element, inner: str) -> Element | None:
    """The first element at an element path."""
    return next(finder(inner)(element), None)


def text_at(node: Element | None, attribute: str | None) -> str | None:
    """An element's attribute, or its text; None where there is none."""
    if node is None:
        return None
    return node.text if attribute is None else node.get(attribute)


def read_text(element: Element, path: str) -> str | None:
    """The text or attribute at a path; None where there is none."""
    inner, attribute = split(path)
    return text_at(find(element, inner), attribute)


def first_step(path: str) -> str:
    """The tag of the first step, without predicates; ``""`` for the element itself."""
    inner, _ = split(path)
    return SPLIT.split(inner)[0].partition("[")[0] if inner else ""


def insert(parent: Element, child: Element, before: frozenset[str] = frozenset()) -> None:
    """Put a child after its last sibling of the same tag, else before the first of `before`."""
    last = next(parent.iterchildren(child.tag, reversed=True), None)
    if last is not None:
        last.addnext(child)
        return
    for sibling in parent:
        if sibling.tag in before:
            sibling.addprevious(child)
            return
    parent.append(child)


def ensure(element: Element, inner: str, before: frozenset[str] = frozenset()) -> Element:
    """The element at an element path, made with its predicates where it is missing.

    Args:
        element: where the path starts.
        inner: the element path.
        before: tags below `element` that must stay behind a new first step.
    """
    node = element
    for step in SPLIT.split(inner) if inner else ():
        child = find(node, step)
        if child is None:
            child = etree.Element(step.partition("[")[0])
            for name, value in PREDICATE.findall(step):
                child.set(name, value)
            insert(node, child, before if node is element else frozenset())
        node = child
    return node


def drop(node: Element) -> None:
    """Take an element out; text behind it stays where it was."""
    parent = node.getparent()
    if parent is None:
        return
    if node.tail and node.tail.strip():
        previous = node.getprevious()
        if previous is not None:
            previous.tail = (previous.tail or "") + node.tail
        else:
            parent.text = (parent.text or "") + node.tail
    parent.remove(node)


def discard(node: Element, top: Element) -> None:
    """Take an element out, and the elements above it, up to `top`, that are empty for it."""
    parent = node.getparent()
    drop(node)
    if parent is not None:
        prune(parent, top)


def prune(node: Element, top: Element) -> None:
    """Take out elements that hold nothing, upwards from `node` to below `top`."""
    while node is not top and not node.attrib and not len(node) and not (node.text or "").strip():
        parent = node.getparent()
        if parent is None:
            return
        drop(node)
        node = parent


def remove(element: Element, path: str) -> None:
    """Remove the nodes at a path, and the elements above them that are empty for it."""
    inner, attribute = split(path)
    for node in find_all(element, inner):
        if attribute is None and node is element:
            node.text = None
        elif attribute is None:
            discard(node, element)
        elif attribute in node.attrib:
            del node.attrib[attribute]
            prune(node, element)


def unset(node: Element, name: str) -> None:
    """Take an attribute off an element, if it is there."""
    if name in node.attrib:
        del node.attrib[name]
