"""Diff: what differs between two trees of fields. Pure, and the one user of deepdiff.

Equal trees are settled by ``==`` before deepdiff is imported: it is three orders of magnitude cheaper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Path = tuple[str, ...]
Difference = tuple[Path, Any, Any]
"""Path, value before (None: not there), value after (None: goes)."""


def diff(live: Mapping[str, Any], desired: Mapping[str, Any]) -> list[Difference]:
    """The differences that lead from `live` to `desired`, sorted by path.

    A member that only one side has is one difference with its whole subtree; lists are values.
    """
    if live == desired:
        return []
    from deepdiff import DeepDiff

    tree = DeepDiff(live, desired, view="tree", threshold_to_diff_deeper=0)
    found: dict[Path, Difference] = {}
    for levels in tree.values():
        for level in levels:
            path = tuple(level.path(output_format="list"))
            whole = _up_to_list(path)
            before, after = at(live, whole), at(desired, whole)
            found[whole] = (whole, before, after)
    return sorted(found.values(), key=lambda difference: difference[0])


def _up_to_list(path: tuple[Any, ...]) -> Path:
    """The part of a path that names fields: a position inside a list is the list's own business."""
    names: list[str] = []
    for step in path:
        if not isinstance(step, str):
            break
        names.append(step)
    return tuple(names)


def at(tree: Mapping[str, Any], path: Path) -> Any:
    """The value at a path; None where there is none."""
    node: Any = tree
    for name in path:
        if not isinstance(node, Mapping):
            return None
        node = node.get(name)
    return node
