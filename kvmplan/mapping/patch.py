"""Patching: a difference written into an element, in place. The one writer of XML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.mapping.belongings import holders, let_go
from kvmplan.mapping.document import parse
from kvmplan.mapping.markers import (
    Foreign,
    Group,
    Is,
    Items,
    Overlay,
    Pairs,
    Policy,
    Presence,
    Runtime,
    Through,
    Xml,
)
from kvmplan.mapping.model import Binding, Mapped, bindings, leading
from kvmplan.mapping.overlay import merge
from kvmplan.mapping.paths import SPLIT, discard, find, read_text, remove, split
from kvmplan.mapping.read import Context, Path, Tree, item_of, keyed
from kvmplan.mapping.write import (
    Edit,
    Spot,
    add,
    add_beside,
    enter_case,
    in_case,
    later,
    leaves,
    make,
    removals,
    takes_all,
    write_foreign,
    write_is,
    write_pairs,
    write_presence,
    write_xml,
)


def patch(
    model: type[Mapped],
    element: Element,
    edits: Sequence[Edit],
    context: Context,
    desired: Tree | None = None,
    at: Path = (),
) -> None:
    """Write a difference into an element, in place; whatever it does not name is left alone.

    Args:
        model: whose fields the paths name.
        element: the model's element.
        edits: paths below `model` and their new values.
        context: skeletons, names, lookups.
        desired: all that is wanted: what an edit clears away and is wanted still is written again.
        at: where `element` is below the resource, for names.
    """
    held = holders(model, element) if edits else ()
    _patch(model, element, edits, context, desired or {}, at, frozenset())
    let_go(held)


def _patch(
    model: type[Mapped],
    element: Element,
    edits: Sequence[Edit],
    context: Context,
    desired: Tree,
    at: Path,
    behind: frozenset[str],
) -> None:
    grouped: dict[str, list[Edit]] = {}
    for path, value in edits:
        grouped.setdefault(path[0], []).append((path[1:], value))
    if not grouped:
        return
    spots = {
        name: Spot(model, binding, element, context, (*at, name), behind | later(model, name))
        for name, binding in bindings(model).items()
        if name in grouped or name in desired or name in _standing_in(model)
    }
    before = {
        name: spots[name].read(want)
        for name, want in desired.items()
        if (name not in grouped or name in _counting(model))
        and not isinstance(spots[name].binding.place, Overlay)
    }
    _pin(spots, grouped)
    standing = {winner for _, winner in model.yields if find(element, split(winner)[0]) is not None}
    cleared = False
    for name in _in_order(model, spots, grouped):
        cleared |= _write(spots[name], grouped[name], desired.get(name))
    for loser, winner in model.yields:
        if winner not in standing and find(element, split(winner)[0]) is not None:
            remove(element, loser)
    if cleared:
        _restore(spots, before, desired)


@cache
def _standing_in(model: type[Mapped]) -> frozenset[str]:
    """The fields whose value may stand at another's node (``absent=``)."""
    return frozenset(
        name
        for name, binding in bindings(model).items()
        if isinstance(binding.place, Xml) and binding.place.absent is not None
    )


@cache
def _counting(model: type[Mapped]) -> Mapping[str, Binding]:
    """The fields that count others in (``beside=``), and those that hold such."""
    return leading(
        model, lambda binding: isinstance(binding.place, Xml) and binding.place.beside is not None
    )


def _in_order(
    model: type[Mapped], spots: Mapping[str, Spot], grouped: Mapping[str, list[Edit]]
) -> list[str]:
    """Removals first, then what clears: later they would take what was just written.

    What counts others in comes last.
    """
    counting = _counting(model)

    def rank(name: str) -> int:
        binding = spots[name].binding
        if all(value is None for _, value in grouped[name]):
            return 0
        clears = binding.place.clears if isinstance(binding.place, Xml | Is) else ()
        if name in counting:
            return 3
        return 1 if clears or binding.case is not None else 2

    return sorted((name for name in spots if name in grouped), key=rank)


def _pin(spots: Mapping[str, Spot], grouped: Mapping[str, list[Edit]]) -> None:
    """Write out values that stand at a node about to change (``absent=``), so that they stay.

    A value above the new one is not: the node's own is its ceiling.
    """
    changing: dict[str, Any] = {}
    for name, edits in grouped.items():
        place = spots[name].binding.place
        if isinstance(place, Xml):
            changing[place.path] = edits[-1][1]
    for name, spot in spots.items():
        place = spot.binding.place
        if name in grouped or not isinstance(place, Xml) or place.absent not in changing:
            continue
        value, ceiling = spot.read(), changing[place.absent]
        written = read_text(spot.element, place.path) is not None
        if not written and value is not None and ceiling is not None and value <= ceiling:
            write_xml(spot, place, value)


def _restore(spots: Mapping[str, Spot], before: Tree, desired: Tree) -> None:
    """Write again what was cleared away and is wanted still.

    Only that: what is wanted and was not there before either is another step's to write.
    """
    for name, was in before.items():
        want = desired[name]
        lost = list(_lost(was, spots[name].read(want), want))
        if lost:
            _write(spots[name], lost, want)


def _lost(was: Any, now: Any, want: Any, path: Path = ()) -> Iterator[Edit]:
    """What was as wanted, and is not any more."""
    if isinstance(was, Mapping) and isinstance(want, Mapping):
        left = now if isinstance(now, Mapping) else {}
        for name in (name for name in want if name in was):
            yield from _lost(was[name], left.get(name), want[name], (*path, name))
    elif want is not None and was == want and now != want:
        yield path, want


def _write(spot: Spot, edits: list[Edit], desired: Any) -> bool:
    """Write one field; True if nodes of other fields were cleared on the way."""
    value = edits[-1][1]
    cleared = False
    if spot.binding.case is not None:
        if value is None and not in_case(spot):
            return False
        cleared = value is not None and enter_case(spot)
    match spot.binding.place:
        case Xml() as place:
            cleared |= write_xml(spot, place, value)
        case Presence() as place:
            write_presence(spot, place, value)
        case Is() as place:
            cleared |= write_is(spot, place, value)
        case Group() as place:
            _write_group(spot, place, edits, desired)
        case Items() as place:
            cleared |= _write_items(spot, place, edits, desired)
        case Pairs() as place:
            write_pairs(spot, place, edits)
        case Foreign(path=path):
            write_foreign(spot, path, edits)
        case Through(write=writer):
            writer(spot.element, value, spot.context)
        case Overlay():
            if value is not None:
                _write_overlay(spot, value)
                cleared = True
        case Runtime() | Policy():
            pass
    return cleared


def _write_overlay(spot: Spot, value: str) -> None:
    past = spot.context.overlaid
    fragment, before = parse(value), None if past is None else parse(past)
    held = holders(spot.model, spot.element)
    merge(spot.element, fragment, before)
    if let_go(held):
        # What the fragment itself says of the new thing may have met what was said of the old.
        merge(spot.element, fragment, before)


def _write_group(spot: Spot, place: Group, edits: list[Edit], desired: Any) -> None:
    model, (inner, _) = item_of(spot.binding), split(place.path)
    if any(not path and value is None for path, value in edits):
        if inner:
            remove(spot.element, place.path)
            return
        edits = [((name,), None) for name in bindings(model)]
    node = find(spot.element, inner)
    if node is None:
        if all(value is None for _, value in edits):
            return
        node = make(spot, inner, place.skeleton, desired)
    behind = spot.behind if node is spot.element else frozenset[str]()
    _patch(model, node, list(leaves(edits)), spot.context, desired or {}, spot.at, behind)


def _write_items(spot: Spot, place: Items, edits: list[Edit], desired: Any) -> bool:
    """Write a collection; True if a member moved, which others may count in (``beside=``)."""
    moved = False
    nodes = {key: node for node, key in _keyed(spot, place)}
    wanted = desired or {}
    inside: dict[str, list[Edit]] = {}
    for path, value in leaves(edits) if not takes_all(edits) else removals(nodes):
        key = path[0]
        if len(path) > 1:
            inside.setdefault(key, []).append((path[1:], value))
        elif value is not None:
            inside.setdefault(key, []).extend(leaves([((), value)]))
        elif key in nodes:
            discard(nodes.pop(key), spot.element)
            moved = True
    for key, own in inside.items():
        if key not in nodes:
            item = {
                **wanted.get(key, {}),
                **{path[0]: value for path, value in own if len(path) == 1},
            }
            new = make_item(spot.binding, place, item, spot.context, (*spot.at, key))
            add(spot, split(place.path)[0], new)
            moved = True
            _accompany(spot, place, new)
        elif own:
            at = (*spot.at, key)
            had = _needs(place, nodes[key])
            patch(item_of(spot.binding), nodes[key], own, spot.context, wanted.get(key), at)
            moved = True
            if not had:
                _accompany(spot, place, nodes[key])
    return moved


def _needs(place: Items, item: Element) -> bool:
    """Whether an item cannot do without its companion."""
    needed = place.companion
    return needed is not None and read_text(item, needed.when[0]) == needed.when[1]


def _accompany(spot: Spot, place: Items, item: Element) -> None:
    """Make what an item needs beside it, where there is none."""
    beside = lacking(place, item, spot.element, spot.context)
    if beside is not None:
        add_beside(spot, *beside)


def lacking(
    place: Items, new: Element, holder: Element, context: Context
) -> tuple[str, Element] | None:
    """What a new item needs and nothing has yet: its path and a new element; None if nothing."""
    needed = place.companion
    if needed is None or not _needs(place, new):
        return None
    if find(holder, split(needed.path)[0]) is not None:
        return None
    return needed.path, context.skeleton(needed.skeleton, {})


def _keyed(spot: Spot, place: Items) -> Iterable[tuple[Element, str]]:
    return keyed(spot.binding, place, spot.element, spot.context, spot.at)


def make_item(
    binding: Binding, place: Items | Group, item: Tree, context: Context, at: Path
) -> Element:
    """A new member or device: its skeleton, or the bare tag, patched with its fields."""
    tag = SPLIT.split(split(place.path)[0])[-1].partition("[")[0]
    new = context.skeleton(place.skeleton, item) if place.skeleton else etree.Element(tag)
    patch(item_of(binding), new, list(leaves([((), item)])), context, item, at)
    return new
