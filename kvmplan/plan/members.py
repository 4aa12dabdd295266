"""Membership: which members of a collection are ours, gone from the spec, or nobody's we know.

Three ways: what is wanted, what is live, what was applied last. In the spec and not live: added.
Live, applied by this stack earlier, gone from the spec: removed. Live and never ours: unlisted,
kept and reported. A field that was applied and has left the spec is released: it keeps its value.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kvmplan.mapping.document import parse
from kvmplan.mapping.markers import Foreign, Items, Overlay, Pairs
from kvmplan.mapping.model import Mapped, bindings, chain
from kvmplan.mapping.overlay import left_out

Path = tuple[str, ...]
Tree = Mapping[str, Any]


def scope(
    model: type[Mapped],
    live: Tree,
    desired: Tree,
    applied: Tree | None,
    *,
    remove_unlisted: bool,
    at: Path = (),
) -> tuple[dict[str, Any], list[Path]]:
    """The live tree without members that were never ours, and the paths of those."""
    kept: dict[str, Any] = dict(live)
    unlisted: list[Path] = []
    for name, wanted in desired.items():
        binding, here = bindings(model)[name], live.get(name)
        if not isinstance(here, Mapping) or not isinstance(wanted, Mapping):
            continue
        past = (applied or {}).get(name)
        past = past if isinstance(past, Mapping) else {}
        path = (*at, name)
        if isinstance(binding.place, Items | Pairs | Foreign):
            furnished = isinstance(binding.place, Items) and binding.place.furnished
            removes = remove_unlisted and not furnished
            kept[name], strangers = _members(here, wanted, past, removes)
            unlisted += [] if furnished else [(*path, key) for key in strangers]
        if binding.item is None:
            continue
        if isinstance(binding.place, Items):
            for key in wanted.keys() & kept[name].keys():
                kept[name][key], inner = scope(
                    binding.item,
                    kept[name][key],
                    wanted[key],
                    past.get(key),
                    remove_unlisted=remove_unlisted,
                    at=(*path, key),
                )
                unlisted += inner
        else:
            kept[name], inner = scope(
                binding.item, here, wanted, past, remove_unlisted=remove_unlisted, at=path
            )
            unlisted += inner
    return kept, sorted(unlisted)


def enclosing(model: type[Mapped], path: Path) -> Iterator[Path]:
    """The members of collections that a path is in, from the outermost; not the one it ends at."""
    length = 0
    for binding in chain(model, path):
        length += 2 if isinstance(binding.place, Items) else 1
        if isinstance(binding.place, Items) and length < len(path):
            yield path[:length]


def is_member(model: type[Mapped], path: Path) -> bool:
    """Whether a path ends at a member of a collection, and leads to nothing of it."""
    links = chain(model, path)
    length = sum(2 if isinstance(binding.place, Items) else 1 for binding in links)
    return isinstance(links[-1].place, Items) and length == len(path)


def _members(
    live: Tree, wanted: Tree, applied: Any, remove_unlisted: bool
) -> tuple[dict[str, Any], list[str]]:
    ours = set(applied) if isinstance(applied, Mapping) else set()
    strangers = [
        key for key in live if key not in wanted and key not in ours and not remove_unlisted
    ]
    return {key: value for key, value in live.items() if key not in strangers}, strangers


def released(
    model: type[Mapped],
    desired: Tree,
    applied: Tree,
    changed: Collection[Path] = (),
    at: Path = (),
) -> Iterator[Path]:
    """The paths that were applied earlier and have left the spec.

    A member that has left a collection is not released but removed, while the collection is there;
    nor is what another field now stands for, as a bridge does for an interface's network.
    Of a fragment of XML, what has left it: `changed` says whether it is merged anew.
    """
    for name, past in applied.items():
        binding = bindings(model).get(name)
        if binding is None:
            continue
        path = (*at, name)
        if name not in desired:
            if not _has_given_way(model, name, desired):
                yield path
            continue
        wanted = desired[name]
        if isinstance(binding.place, Foreign) and isinstance(wanted, Mapping):
            yield from ((*path, space) for space in sorted(past.keys() - wanted.keys()))
        if isinstance(binding.place, Overlay) and wanted != past:
            if wanted is None:
                yield path
                continue
            left = left_out(parse(wanted), parse(past), merged=path in changed)
            yield from ((*path, what) for what in left)
        if binding.item is None or not isinstance(past, Mapping) or not isinstance(wanted, Mapping):
            continue
        if isinstance(binding.place, Items):
            for key in past.keys() & wanted.keys():
                inner = (wanted[key], past[key], changed, (*path, key))
                yield from released(binding.item, *inner)
        else:
            yield from released(binding.item, wanted, past, changed, path)


def _has_given_way(model: type[Mapped], name: str, desired: Tree) -> bool:
    return any(desired.get(other) for group in model.exclusive if name in group for other in group)
