"""Completion: values that follow from others (`AtLeast`), worked out before comparing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvmplan.mapping.model import Mapped, bindings

Tree = Mapping[str, Any]


def complete(model: type[Mapped], desired: Tree, live: Tree | None) -> dict[str, Any]:
    """The desired tree with its followers: equal at birth, kept later, raised when too low.

    Args:
        model: whose fields the trees hold.
        desired: what is wanted.
        live: the persistent fields, read whole at least where followers are; None at birth.
    """
    tree = dict(desired)
    for name, binding in bindings(model).items():
        here = (live or {}).get(name)
        if binding.item is not None and isinstance(tree.get(name), Mapping) and not _is_collection(tree[name], binding.item):
            tree[name] = complete(binding.item, tree[name], here if live is not None else None)
        if binding.at_least is None or tree.get(name) is not None:
            continue
        wanted = tree.get(binding.at_least.sibling)
        if wanted is not None and (live is None or here is None or here < wanted):
            tree[name] = wanted
    return tree


def _is_collection(value: Mapping[str, Any], item: type[Mapped]) -> bool:
    """Collections hold items under keys of their own; groups hold fields."""
    return any(key not in bindings(item) for key in value)
