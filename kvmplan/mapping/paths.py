"""Paths in a document: find, make and remove nodes without touching anything beside them."""

from __future__ import annotations

import re
from functools import lru_cache

from lxml import etree
from lxml.etree import _Element as Element

SPLIT = re.compile(r"/(?![^\[]*\])")
PREDICATE = re.compile(r"\[@([\w:-]+)='([^']*)'\]")


@lru_cache(maxsize=None)
def split(path: str) -> tuple[str, str | None]:
    """The element path (``""``: the element itself) and the attribute of ``./a/b/@c``."""
    steps = SPLIT.split(path.removeprefix("./"))
    attribute = steps.pop()[1:] if steps[-1].startswith("@") else None
    inner = "/".join(step for step in steps if step not in (".", ""))
    return inner, attribute


@lru_cache(maxsize=None)
def _xpath(inner: str) -> etree.XPath | None:
    """A compiled XPath where lxml's faster element paths do not reach (predicates on grandchildren)."""
    return etree.XPath(inner) if "/@" in inner else None


def find_all(element: Element, inner: str) -> list[Element]:
    """All elements at an element path, in document order."""
    if not inner:
        return [element]
    compiled = _xpath(inner)
    if compiled is not None:
        found = compiled(element)
        return [node for node in found if isinstance(node, etree._Element)] if isinstance(found, list) else []
    return element.findall(inner)


def find(element: Element, inner: str) -> Element | None:
    """The first element at an element path."""
    if not inner:
        return element
    if "/@" in inner:
        return next(iter(find_all(element, inner)), None)
    return element.find(inner)


def first_step(path: str) -> str:
    """The tag of the first step, without predicates: where a field's node hangs below its model."""
    inner, _ = split(path)
    return SPLIT.split(inner)[0].partition("[")[0] if inner else ""


def insert(parent: Element, child: Element, before: frozenset[str] = frozenset()) -> None:
    """Put a child after its last sibling of the same tag, else before the first of `before`, else last."""
    same = parent.findall(str(child.tag))
    if same:
        same[-1].addnext(child)
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


def remove(element: Element, path: str) -> None:
    """Remove the nodes at a path, and the elements above them that are empty for it."""
    inner, attribute = split(path)
    for node in find_all(element, inner):
        if attribute is not None:
            if attribute not in node.attrib:
                continue
            del node.attrib[attribute]
            if node is not element:
                _prune(node, element)
        elif node is not element:
            parent = node.getparent()
            drop(node)
            if parent is not None and parent is not element:
                _prune(parent, element)


def _prune(node: Element, top: Element) -> None:
    while node is not top and not node.attrib and not len(node) and not (node.text or "").strip():
        parent = node.getparent()
        if parent is None:
            return
        drop(node)
        node = parent
