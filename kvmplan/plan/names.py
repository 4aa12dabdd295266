"""Pairing of NICs: which live MAC goes by which of the user's names.

By the written MAC, else by the name in our mark, else (adoption, a renamed key) with the first
unpaired NIC on the same source. What is paired with nothing gets a MAC derived from stack, host,
domain and name, so that it is known before the NIC exists and is the same in every run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.address import Address
from kvmplan.kinds.macs import derived_mac
from kvmplan.kinds.mark import Mark, Names
from kvmplan.mapping.lens import Context, read
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import Mapped, bindings

Tree = dict[str, Any]


def pair_names(
    model: type[Mapped],
    tree: Tree,
    root: Element | None,
    mark: Mark | None,
    context: Context,
    stack: str,
    address: Address,
) -> tuple[Tree, Names]:
    """The tree with every member of a named collection given its MAC, and the names by MAC."""
    names: dict[tuple[str, ...], Mapping[str, str]] = {}
    for field in _named(model):
        known = dict(mark.keys.get((field,), {})) if mark else {}
        wanted = tree.get(field)
        if wanted is None:
            names[(field,)] = known
            continue
        live: Mapping[str, Any] = {}
        if root is not None and not _settled(wanted, known):
            live = read(model, root, context, {field: {}})[field]
        elif root is not None:
            live = {mac: {} for mac in known}
        pairs = _pair(wanted, live, known)
        by_name = {name: mac for mac, name in pairs.items()}
        tree = {
            **tree,
            field: {
                key: _with_mac(item, by_name, stack, address, key) for key, item in wanted.items()
            },
        }
        left = {
            mac: name for mac, name in known.items() if mac not in pairs and name not in by_name
        }
        new = {item["mac"]: key for key, item in tree[field].items()}
        names[(field,)] = {**left, **new, **pairs}
    return tree, names


@cache
def _named(model: type[Mapped]) -> tuple[str, ...]:
    """The collections whose members go by names of the user's own."""
    return tuple(
        field
        for field, binding in bindings(model).items()
        if isinstance(binding.place, Items) and binding.place.named
    )


def _settled(wanted: Mapping[str, Any], known: Mapping[str, str]) -> bool:
    """Whether the mark knows every wanted member under its wanted MAC: nothing to search."""
    by_name = {name: mac for mac, name in known.items()}
    return all(
        key in by_name and item.get("mac", by_name[key]) == by_name[key]
        for key, item in wanted.items()
    )


def _pair(
    wanted: Mapping[str, Any], live: Mapping[str, Any], known: Mapping[str, str]
) -> dict[str, str]:
    """Live MAC -> name, for what can be paired."""
    pairs = {item["mac"]: key for key, item in wanted.items() if item.get("mac") in live}
    by_name = {name: mac for mac, name in known.items() if mac in live}
    for key in wanted:
        mac = by_name.get(key)
        if key not in pairs.values() and mac is not None and mac not in pairs:
            pairs[mac] = key
    for key, item in wanted.items():
        if key in pairs.values() or item.get("mac") is not None:
            continue
        free = [mac for mac in live if mac not in pairs and known.get(mac) not in wanted]
        match = next((mac for mac in free if live[mac] and _same_source(live[mac], item)), None)
        if match is not None:
            pairs[match] = key
    return pairs


def _same_source(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    sources = ("network", "bridge", "direct", "user")
    return any(wanted.get(name) for name in sources) and all(
        (live.get(name) or None) == (wanted.get(name) or None) for name in sources
    )


def _with_mac(
    item: Mapping[str, Any], by_name: Mapping[str, str], stack: str, address: Address, key: str
) -> dict[str, Any]:
    mac = item.get("mac") or by_name.get(key) or derived_mac(stack, address, key)
    return {**item, "mac": mac}
