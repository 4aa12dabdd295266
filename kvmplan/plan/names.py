"""Pairing of members with names of the user's own: which live key goes by which name.

A device of the host is known by what it is there. A NIC, by the written MAC, else by the name in
our mark, else (adoption, a renamed key) with the first unpaired NIC on the same source. What is
paired with nothing gets a MAC derived from stack, host, domain and name, so that it is known before
the NIC exists and is the same in every run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.kinds.mark import Mark, Names
from kvmplan.mapping.lens import Context, read
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import Mapped, bindings, key_of

MAC = "mac"
"""The key that can be left out: it is derived then."""

Tree = dict[str, Any]


def pair_names(
    model: type[Mapped],
    tree: Tree,
    root: Element | None,
    mark: Mark | None,
    context: Context,
    new_mac: Callable[[str], str],
) -> tuple[Tree, Names]:
    """The tree with every NIC given its MAC, and the names in each named collection by key.

    Args:
        model: of the object.
        tree: what is wanted.
        root: its live document; None if it does not exist.
        mark: the mark in it, if it is ours.
        context: what reading the document needs.
        new_mac: gives the MAC of a new NIC by the user's name.
    """
    names: dict[tuple[str, ...], Mapping[str, str]] = {}
    for field, place in _named(model).items():
        former = mark.former.get((field,), {}) if mark else {}
        # Last, what is known now: where a name has two keys, that one counts.
        known = {**former, **(mark.keys.get((field,), {}) if mark else {})}
        wanted = tree.get(field)
        if wanted is None:
            names[(field,)] = known
            continue
        live: Mapping[str, Any] = {}
        if root is not None and not _settled(place, wanted, known):
            live = read(model, root, context, {field: {}})[field]
        elif root is not None:
            live = {own: {} for own in known}
        pairs = _pair(place, wanted, live, known)
        by_name = {name: own for own, name in pairs.items()}
        if MAC in place.key:
            wanted = {key: _with_mac(item, by_name, new_mac, key) for key, item in wanted.items()}
            tree = {**tree, field: wanted}
        left = {
            own: name for own, name in known.items() if own not in pairs and name not in by_name
        }
        new = {str(key_of(place, item)): key for key, item in wanted.items()}
        names[(field,)] = {**former, **left, **new, **pairs}
    return tree, names


def former_names(
    model: type[Mapped], names: Names, keys: Names, running: Element, context: Context
) -> Names:
    """The names of members that run under another key than they are defined with, by that key.

    Args:
        model: of the object.
        names: by every key that is known.
        keys: by the keys that members have from now on.
        running: the running document.
        context: what reading it needs.
    """
    found: dict[tuple[str, ...], Mapping[str, str]] = {}
    for field in _named(model):
        new = keys.get((field,), {})
        held = names.get((field,), {})
        old = {own: name for own, name in held.items() if own not in new and name in new.values()}
        if old:
            there = read(model, running, replace(context, names={}), {field: {}})[field]
            found[(field,)] = {own: name for own, name in old.items() if own in there}
    return {path: known for path, known in found.items() if known}


@cache
def _named(model: type[Mapped]) -> Mapping[str, Items]:
    """The collections whose members go by names of the user's own."""
    return {
        field: binding.place
        for field, binding in bindings(model).items()
        if isinstance(binding.place, Items) and binding.place.named
    }


def _settled(place: Items, wanted: Mapping[str, Any], known: Mapping[str, str]) -> bool:
    """Whether the mark knows every wanted member under its wanted key: nothing to search."""
    by_name = {name: own for own, name in known.items()}
    return all(
        key in by_name and (key_of(place, item) or by_name[key]) == by_name[key]
        for key, item in wanted.items()
    )


def _pair(
    place: Items, wanted: Mapping[str, Any], live: Mapping[str, Any], known: Mapping[str, str]
) -> dict[str, str]:
    """Live key -> name, for what can be paired."""
    written = {key: key_of(place, item) for key, item in wanted.items()}
    pairs = {own: key for key, own in written.items() if own is not None and own in live}
    by_name = {name: own for own, name in known.items() if own in live}
    for key in wanted:
        own = by_name.get(key)
        if key not in pairs.values() and own is not None and own not in pairs:
            pairs[own] = key
    for key, item in wanted.items():
        if key in pairs.values() or written[key] is not None:
            continue
        free = [own for own in live if own not in pairs and known.get(own) not in wanted]
        match = next((own for own in free if live[own] and _same_source(live[own], item)), None)
        if match is not None:
            pairs[match] = key
    return pairs


def _same_source(live: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    sources = ("network", "bridge", "direct", "hostdev", "user")
    return any(wanted.get(name) for name in sources) and all(
        _is_plugged(live.get(name), wanted.get(name)) for name in sources
    )


def _is_plugged(live: Any, wanted: Any) -> bool:
    """Whether the live source is what is wanted, in all that is said of it."""
    if isinstance(live, Mapping) and isinstance(wanted, Mapping):
        return all(live.get(name) == value for name, value in wanted.items())
    return (live or None) == (wanted or None)


def _with_mac(
    item: Mapping[str, Any], by_name: Mapping[str, str], new_mac: Callable[[str], str], key: str
) -> dict[str, Any]:
    mac = item.get(MAC) or by_name.get(key) or new_mac(key)
    return {**item, MAC: mac}
