"""Elements of documents, where a test relies on there being one."""

from __future__ import annotations

from lxml.etree import _Element as Element


def the(parent: Element | None, path: str) -> Element:
    """The first element there is at a path."""
    assert parent is not None
    found = parent.find(path)
    assert found is not None, f"there is no {path} in <{parent.tag}>"
    return found


def attributes(node: Element) -> dict[str, str]:
    """An element's attributes, to be compared."""
    return {str(name): str(value) for name, value in node.attrib.items()}
