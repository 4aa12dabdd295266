"""Merge: profiles under a domain's own fields."""

from __future__ import annotations

from kvmplan.spec.node import Entry, Node


def merge(base: Node, over: Node) -> Node:
    """Deep merge of two normalised nodes: mappings key by key, everything else replaces.

    So do collections that are written as lists.

    ``key: null`` in `over` takes the key out.
    """
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    if over.tag is not None or base.tag is not None or over.listed:
        return over
    merged = dict(base.value)
    for name, entry in over.value.items():
        below = merged.get(name)
        if entry.node.value is None and entry.node.tag is None:
            merged.pop(name, None)
        elif below is None:
            merged[name] = entry
        else:
            merged[name] = Entry(entry.mark, merge(below.node, entry.node))
    return Node(merged, over.mark, None, True)
