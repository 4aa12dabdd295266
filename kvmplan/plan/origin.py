"""Origin: what a volume is born from. No document says it; the claim remembers it."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.inventory import Record
from kvmplan.kinds.cloud_init import INSTANCE
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.types import SecretText

Tree = Mapping[str, Any]

_ID = re.compile(rf'^{{"{INSTANCE}":"[^"]*",')
"""Where the id stands in a seed: first of its keys, which are sorted."""


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


def wanted_born(address: Address, tree: Tree) -> dict[str, Any]:
    """What a volume will be born from, as far as its spec says."""
    return origin_of(tree) if address.kind is Kind.VOLUME else {}


def found_born(record: Record, tree: Tree) -> dict[str, Any]:
    """What a volume was born from: its format as it is found, the rest as the spec says."""
    born = wanted_born(record.address, tree)
    if record.address.kind is Kind.VOLUME:
        node = parse_to_read(record.document).find("target/format")
        if node is not None:
            born["format"] = node.get("type")
    return born


def origin_facts(born: Tree | None, wanted: Tree, key: bytes = b"") -> dict[str, Any]:
    """What a volume was born from, by the names of the fields that ask for it.

    Args:
        born: what its claim remembers; None: it is not claimed, and taken to be as wanted.
        wanted: the fields that it shall have.
        key: the stack's on its host; without it, a seed is taken to be as wanted.
    """
    content, source = wanted.get("content"), (wanted if born is None else born).get("source")
    found = {f"source.{name}": value for name, value in (source or {}).items()}
    if "seed" in wanted:
        seed = wanted["seed"]
        same = born is None or not key or born.get("seed") == sealed(seed, key)
        found["seed"] = seed if same else born and born.get("seed")
    if born is None:
        return {**found, "clone": wanted.get("clone"), "content": content}
    same = not isinstance(content, str) or born.get("content") == _digest(content)
    found["content"] = content if same else born.get("content")
    return {**found, "clone": born.get("clone")}


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def is_seed(born: Tree) -> bool:
    """Whether a volume holds a seed, by what its claim remembers."""
    return "seed" in born


def sealed(seed: Any, key: bytes) -> str:
    """A seed's digest under a key: it tells nobody without the key what the seed says.

    The id of the instance does not count: it is another one as soon as `on_change` is.
    """
    text = seed.reveal() if isinstance(seed, SecretText) else str(seed)
    text = _ID.sub("{", text, count=1)
    return f"hmac-sha256:{hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}"
