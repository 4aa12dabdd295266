"""The mark: what kvmplan leaves in a domain's or network's ``<metadata>``.

It says which stack applied the object, under which names its devices go, and what was applied last;
so that drift can be told from change, and ours in a collection from what others attached. It is
evidence, not ownership: that is the claim's. Secrets are left out.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping.foreign import as_fields, as_texts, read_json
from kvmplan.mapping.markers import Items, Policy
from kvmplan.mapping.model import Mapped, bindings
from kvmplan.mapping.types import SecretText

NAMESPACE = "https://kvmplan.org/ns/mark/1"
PREFIX = "kvmplan"
Names = Mapping[tuple[str, ...], Mapping[str, str]]
TAG = f"{{{NAMESPACE}}}object"


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark's content.

    Attributes:
        stack: the stack's uid.
        name, uuid: of the object that was marked; a clone's own do not match.
        keys: collection path -> natural key -> the user's name (``interfaces``: MAC -> ``eth0``).
        applied: the declared fields last applied.
        unfinished: whether a change of the object is under way, or was cut: `applied` speaks of
            members that were there before as well as of those that are to come.
        former: the natural keys that members had until they were given others, as long as what
            runs still has them: a MAC waits for the next boot.
    """

    stack: str
    name: str
    uuid: str
    keys: Names = field(default_factory=dict)
    applied: Mapping[str, Any] = field(default_factory=dict)
    unfinished: bool = False
    former: Names = field(default_factory=dict)


def read_mark(document: Element) -> Mark | None:
    """The mark in a document; None if there is none, or none that can be read."""
    node = document.find(f"metadata/{TAG}")
    if node is None:
        return None
    try:
        content = read_json(node.text or "{}")
        return Mark(
            node.get("stack", ""),
            node.get("name", ""),
            node.get("uuid", ""),
            _read_names(content["keys"]),
            as_fields(content["applied"]),
            bool(content.get("unfinished", False)),
            _read_names(content.get("former", {})),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def is_ours(mark: Mark | None, stack: str, names: Collection[str], uuid: str) -> bool:
    """Whether a mark speaks of this very object and stack; a copied one does not.

    Args:
        mark: the mark, if there is one.
        stack: the stack's uid.
        names: the object's, and those that it had before.
        uuid: the object's.
    """
    return mark is not None and mark.name in names and (mark.stack, mark.uuid) == (stack, uuid)


def mark_element(mark: Mark) -> Element:
    """The element to be kept below ``<metadata>``."""
    node = etree.Element(TAG, nsmap={PREFIX: NAMESPACE})
    node.set("stack", mark.stack)
    node.set("name", mark.name)
    node.set("uuid", mark.uuid)
    content: dict[str, Any] = {"applied": mark.applied, "keys": _plain_names(mark.keys)}
    if mark.unfinished:
        content["unfinished"] = True
    if mark.former:
        content["former"] = _plain_names(mark.former)
    node.text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return node


def _read_names(content: Any) -> Names:
    return {tuple(path.split("/")): as_texts(names) for path, names in content.items()}


def _plain_names(names: Names) -> dict[str, dict[str, str]]:
    return {"/".join(path): dict(known) for path, known in names.items()}


def write_mark(document: Element, mark: Mark) -> None:
    """Put the mark into a document, in place of an older one."""
    metadata = document.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(document, "metadata")
    for old in metadata.findall(TAG):
        metadata.remove(old)
    metadata.append(mark_element(mark))


def applied_fields(model: type[Mapped], tree: Mapping[str, Any]) -> dict[str, Any]:
    """A tree as it is remembered: JSON values, without secrets and policies."""
    kept: dict[str, Any] = {}
    known = bindings(model)
    for name, value in tree.items():
        binding = known.get(name)
        if binding is None or binding.secret or isinstance(binding.place, Policy):
            continue
        item = binding.item
        if item is None or not isinstance(value, dict | Mapping):
            kept[name] = _plain(value)
        elif isinstance(binding.place, Items):
            kept[name] = {key: applied_fields(item, inner) for key, inner in value.items()}
        else:
            kept[name] = applied_fields(item, value)
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, SecretText):
        return None
    return list(value) if isinstance(value, tuple) else value
