"""Origin: what a volume is born from. No document says it; the claim remembers it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

Tree = Mapping[str, Any]


def origin_of(tree: Tree) -> dict[str, Any]:
    """What a volume with these fields is born from, as JSON values; nothing of a secret."""
    backing = tree.get("backing") or {}
    content = tree.get("content")
    born = {
        "format": tree.get("format"),
        "backing": backing.get("volume") or backing.get("path"),
        "clone": tree.get("clone"),
        "source": dict(tree["source"]) if tree.get("source") else None,
        "content": _digest(content) if isinstance(content, str) else None,
    }
    return {name: value for name, value in born.items() if value is not None}


def origin_facts(born: Tree | None, wanted: Tree) -> dict[str, Any]:
    """What a volume was born from, by the names of the fields that ask for it.

    Args:
        born: what its claim remembers; None: it is not claimed, and taken to be as wanted.
        wanted: the fields that it shall have.
    """
    content, source = wanted.get("content"), (wanted if born is None else born).get("source")
    found = {f"source.{name}": value for name, value in (source or {}).items()}
    if born is None:
        return {**found, "clone": wanted.get("clone"), "content": content}
    same = not isinstance(content, str) or born.get("content") == _digest(content)
    found["content"] = content if same else born.get("content")
    return {**found, "clone": born.get("clone")}


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
