"""The overlay: an XML fragment merged over a document, for what has no field yet.

An element of the fragment meets the sibling of the same tag that is the same thing (same target,
address, name, …), else, where only one can be, the one that is there; else it is added. Its
attributes and text are set; whatever it does not mention stays.
"""

from __future__ import annotations

import copy

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping.paths import insert

IDENTITIES = ("target/@dev", "mac/@address", "alias/@name", "target/@name", "target/@dir", "@name", "@id", "@index", "@type")
"""What tells elements of one tag apart, the most telling first."""

REPEATED = frozenset(
    "disk interface controller hostdev serial channel console graphics video sound input rng filesystem "
    "redirdev shmem memory smartcard feature vcpupin iothread hugepages cell arg env dev boot host range ip route".split()
)
"""Tags that may stand several times below one parent: without an identity in common they are added."""


def merge(element: Element, fragment: Element) -> None:
    """Merge a fragment over an element, in place. Merging twice is merging once."""
    for name, value in fragment.attrib.items():
        element.set(name, value)
    if (fragment.text or "").strip():
        element.text = fragment.text
    for child in fragment:
        if not isinstance(child.tag, str):
            continue
        counterpart = _counterpart(element, child)
        if counterpart is None:
            added = copy.deepcopy(child)
            added.tail = None
            insert(element, added)
        else:
            merge(counterpart, child)


def satisfied(element: Element, fragment: Element) -> bool:
    """Whether merging the fragment would change nothing."""
    if any(element.get(name) != value for name, value in fragment.attrib.items()):
        return False
    text = (fragment.text or "").strip()
    if text and text != (element.text or "").strip():
        return False
    for child in fragment:
        if isinstance(child.tag, str):
            counterpart = _counterpart(element, child)
            if counterpart is None or not satisfied(counterpart, child):
                return False
    return True


def _counterpart(parent: Element, child: Element) -> Element | None:
    siblings = [node for node in parent if node.tag == child.tag]
    for sibling in siblings:
        if satisfied(sibling, child):
            return sibling
    for path in IDENTITIES:
        wanted = _value(child, path)
        if wanted is not None:
            found = next((node for node in siblings if _value(node, path) == wanted), None)
            if found is not None or path != "@type":
                return found if found is not None or etree.QName(child).localname in REPEATED else _only(siblings)
    if etree.QName(child).localname in REPEATED:
        return None
    return _only(siblings)


def _only(siblings: list[Element]) -> Element | None:
    return siblings[0] if siblings else None


def _value(node: Element, path: str) -> str | None:
    inner, _, attribute = path.rpartition("@")
    inner = inner.rstrip("/")
    target = node.find(inner) if inner else node
    return None if target is None else target.get(attribute)
