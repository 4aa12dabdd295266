"""Completion: values that follow from others (`AtLeast`), worked out before comparing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import Binding, Mapped, leading

Tree = Mapping[str, Any]


def complete(model: type[Mapped], desired: Tree, live: Tree | None) -> dict[str, Any]:
    """The desired tree with its followers: equal at birth, kept later, moved when in the way.

    Args:
        model: whose fields the trees hold.
        desired: what is wanted.
        live: the persistent fields, read whole at least where followers are; None at birth.
    """
    tree = dict(desired)
    if not _followers(model):
        return tree
    for name, binding in _followers(model).items():
        wanted, here = desired.get(name), (live or {}).get(name)
        if binding.item is None or not isinstance(wanted, Mapping):
            continue
        if isinstance(binding.place, Items):
            tree[name] = {
                key: item if item is None else complete(binding.item, item, (here or {}).get(key))
                for key, item in wanted.items()
            }
        else:
            tree[name] = complete(binding.item, wanted, here if live is not None else None)
    for name, binding in _followers(model).items():
        if binding.at_least is not None:
            _follow(tree, live, name, binding.at_least.sibling)
    return tree


@cache
def _followers(model: type[Mapped]) -> Mapping[str, Binding]:
    """The fields that follow others, and those that hold such fields further down."""
    return leading(model, lambda binding: binding.at_least is not None)


def _follow(tree: dict[str, Any], live: Tree | None, upper: str, lower: str) -> None:
    """Keep `upper` no less than `lower`: whichever is not declared gives way."""
    high, low = tree.get(upper), tree.get(lower)
    if high is None and low is not None:
        here = None if live is None else live.get(upper)
        if not isinstance(here, int) or here < low:
            tree[upper] = low
    elif low is None and high is not None:
        here = None if live is None else live.get(lower)
        if live is None or (isinstance(here, int) and here > high):
            tree[lower] = high
