"""Diff: what differs between two trees of fields. Pure, and the one user of deepdiff.

Equal trees are settled before deepdiff is imported: that is hundreds of times cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

Path = tuple[str, ...]
Difference = tuple[Path, Any, Any]
"""Path, value before (None: not there), value after (None: goes)."""


def diff(live: Mapping[str, Any], desired: Mapping[str, Any]) -> list[Difference]:
    """The differences that lead from `live` to `desired`, sorted by path.

    A member that only one side has is one difference with its whole subtree; what is no mapping is
    a value, lists included. A value that is None is not there. True is not 1.
    """
    if live == desired and _equal(live, desired):
        return []
    from deepdiff import DeepDiff

    tree = DeepDiff(
        dict(live),
        dict(desired),
        view="tree",
        threshold_to_diff_deeper=0,
        ignore_private_variables=False,
        custom_operators=[_values_are_leaves()],
    )
    found: dict[Path, Difference] = {}
    for levels in tree.values():
        for level in levels:
            path = tuple(level.path(output_format="list"))
            before, after = at(live, path), at(desired, path)
            if not _equal(before, after):
                found[path] = (path, before, after)
    return sorted(found.values(), key=lambda difference: difference[0])


def at(tree: Mapping[str, Any], path: Path) -> Any:
    """The value at a path; None where there is none."""
    node: Any = tree
    for name in path:
        if not isinstance(node, Mapping):
            return None
        node = node.get(name)
    return node


def put(tree: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """The tree with another value at a path; what is on the way and no mapping becomes one."""
    name, *rest = path
    below = tree.get(name)
    inner = put(below if isinstance(below, Mapping) else {}, tuple(rest), value) if rest else value
    return {**tree, name: inner}


def _equal(one: Any, other: Any) -> bool:
    """Equality that knows a boolean from a number; lists and tuples are equal item by item."""
    kind = one.__class__
    if kind is other.__class__ and kind is not dict and kind is not list and kind is not tuple:
        return bool(one == other)
    if isinstance(one, dict | Mapping):
        if not isinstance(other, dict | Mapping) or len(one) != len(other):
            return False
        return all(name in other and _equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list | tuple):
        if not isinstance(other, list | tuple) or len(one) != len(other):
            return False
        return all(map(_equal, one, other))
    return bool(one == other) and not isinstance(one, bool) and not isinstance(other, bool)


@lru_cache(maxsize=1)
def _values_are_leaves() -> Any:
    """An operator for deepdiff that settles everything but two mappings by `_equal`.

    deepdiff alone would walk into lists and into secrets, and take a secret's content for a path.
    """
    from deepdiff.operator import BaseOperator

    class Leaves(BaseOperator):  # type: ignore[misc, unused-ignore]
        def match(self, level: Any) -> bool:
            return not (isinstance(level.t1, Mapping) and isinstance(level.t2, Mapping))

        def give_up_diffing(self, level: Any, diff_instance: Any) -> bool:
            if not _equal(level.t1, level.t2):
                diff_instance.custom_report_result("values_changed", level)
            return True

    return Leaves()
