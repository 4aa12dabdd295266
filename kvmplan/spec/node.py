"""Nodes: a YAML document in which every key and value knows its place.

Nodes are immutable by convention and shared freely: what does not depend on an expression is the
same object in every resource that comes from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from kvmplan.diagnostics import Place
from kvmplan.mapping.types import SecretText

Mark: TypeAlias = tuple[str, int, int, int]
"""File, line, column, length: the arguments of a `Place`, which is made only when it is shown."""

DEFAULT = "default"
SECRET = "secret"
RAW = "raw"
BROKEN = "broken"
"""The tag of a value that could not be rendered, which is reported already."""
EXPRESSION_START = "{{"

Value: TypeAlias = "str | int | float | bool | SecretText | dict[str, Entry] | list[Node] | None"


class Entry(NamedTuple):
    """A value of a mapping, with the place of its key."""

    mark: Mark
    node: Node

    @property
    def place(self) -> Place:
        """Where the key is written."""
        return Place(*self.mark)


class Node(NamedTuple):
    """A value with its place.

    Attributes:
        tag: ``default``, ``secret`` or ``raw`` if the value was tagged so; or ``broken``.
        dynamic: whether an expression is (or was) somewhere below: such a node is not shared.
        listed: whether a collection was written as a list, which replaces that of a profile.
    """

    value: Value
    mark: Mark
    tag: str | None = None
    dynamic: bool = False
    listed: bool = False

    @property
    def place(self) -> Place:
        """Where the value is written."""
        return Place(*self.mark)


def entries(node: Node) -> dict[str, Entry]:
    """The entries of a mapping; none of anything else."""
    return node.value if isinstance(node.value, dict) else {}


def child(node: Node, name: str) -> Node | None:
    """The value of a mapping's key; None if there is none, or it is null or broken."""
    entry = entries(node).get(name)
    if entry is None or (entry.node.value is None and entry.node.tag in (None, BROKEN)):
        return None
    return entry.node


def without(node: Node, names: tuple[str, ...]) -> Node:
    """A mapping without some of its keys; anything else unchanged."""
    if not isinstance(node.value, dict):
        return node
    kept = {name: entry for name, entry in node.value.items() if name not in names}
    return node._replace(value=kept)


def plain(node: Node) -> Any:
    """The value without places and broken parts.

    ``!default`` and ``!secret`` nodes stay nodes, as opaque values.
    """
    if node.tag in (DEFAULT, SECRET):
        return node
    value = node.value
    if isinstance(value, dict):
        return {key: plain(e.node) for key, e in value.items() if e.node.tag != BROKEN}
    if isinstance(value, list):
        return [plain(item) for item in value if item.tag != BROKEN]
    return value


def is_tagged(value: Any) -> bool:
    """Whether there is such an opaque node in a plain value."""
    if isinstance(value, Node):
        return True
    if isinstance(value, dict):
        return any(is_tagged(item) for item in value.values())
    return isinstance(value, list) and any(is_tagged(item) for item in value)


def lift(value: Any, mark: Mark, *, dynamic: bool = True) -> Node:
    """Plain values as nodes that are all written at one place."""
    if isinstance(value, Node):
        return value
    if isinstance(value, Mapping):
        below = {
            str(key): Entry(mark, lift(item, mark, dynamic=dynamic)) for key, item in value.items()
        }
        return Node(below, mark, None, dynamic)
    if isinstance(value, list | tuple):
        return Node([lift(item, mark, dynamic=dynamic) for item in value], mark, None, dynamic)
    return Node(value, mark, None, dynamic)
