"""Documents that steps send: born from a skeleton, or the live one with a difference written in."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.address import Kind
from kvmplan.apply.likeness import Filling
from kvmplan.apply.mould import Cast, Stage, Unfit, cast_of
from kvmplan.apply.site import Site
from kvmplan.kinds.bootnote import drop_note
from kvmplan.kinds.context import HostContext
from kvmplan.kinds.mark import (
    NAMESPACE,
    PREFIX,
    Mark,
    Names,
    applied_fields,
    mark_element,
    read_mark,
    write_mark,
)
from kvmplan.kinds.skeletons import Skeletons
from kvmplan.mapping.document import digest, parse, parse_to_read, serialise
from kvmplan.mapping.lens import Edit, patch
from kvmplan.mapping.markers import Foreign, Items, Pairs
from kvmplan.mapping.model import Mapped, bindings, key_of
from kvmplan.plan.intent import Intent
from kvmplan.plan.names import former_names

MARKED = (Kind.DOMAIN, Kind.NETWORK)
"""Kinds whose documents keep ``<metadata>``."""


def new_document(site: Site, intent: Intent, born: Mapping[str, Any] | None = None) -> Element:
    """The document of a new object: its skeleton, the declared fields, its mark.

    Args:
        site: where it will be.
        intent: what is wanted.
        born: the fields that it is made with, where steps to come make them what is wanted.
    """
    tree = intent.tree if born is None else born
    root = _born(site, intent, tree, site.uuid_for(intent), site.context(intent))
    site.schemas.check(intent.address.kind, root)
    return root


def _born(
    site: Site, intent: Intent, tree: Mapping[str, Any], uuid: str, context: HostContext
) -> Element:
    """The document of a new object, not validated."""
    address = intent.address
    root = site.births.document(address, tree, site.inventory, uuid)
    if address.kind is Kind.VOLUME:
        _take_base_capacity(site, root, tree)
    edits: list[Edit] = [((name,), value) for name, value in tree.items()]
    patch(intent.model, root, edits, context, tree)
    if address.kind in MARKED:
        write_mark(root, mark_of(site, intent, uuid))
    return root


def new_text(site: Site, intent: Intent) -> tuple[str, Filling | None]:
    """The document of a new object as text; from a mould, and what is in it, where there is one.

    Raises what `new_document` raises.
    """
    trees = (intent.tree,) if intent.declared == intent.tree else (intent.tree, intent.declared)
    cast = _cast(site, intent, trees)
    if cast is None:
        return serialise(new_document(site, intent)), None
    filled = site.moulds.filled(cast, site.planned_volume)
    if filled is not None:
        return filled
    text = serialise(new_document(site, intent))
    make = partial(_of_stand_ins, site, intent)
    site.moulds.learn(cast, text, intent.model, trees, make, site.planned_volume)
    return text, None


def _cast(site: Site, intent: Intent, trees: tuple[Mapping[str, Any], ...]) -> Cast | None:
    """What a mould for a new object depends on; None if there is none.

    What is made anew depends on what was there, and own templates may depend on anything.
    """
    if intent.address.kind is not Kind.DOMAIN or intent.record is not None:
        return None
    skeletons = site.births.skeleton
    known = isinstance(skeletons, Skeletons) and skeletons.are_ours
    if not known or any(
        names and path[0] not in intent.tree for path, names in intent.names.items()
    ):
        return None
    try:
        return cast_of(intent.model, trees, intent.address.name, site.uuid_for(intent))
    except Unfit:
        return None


def _of_stand_ins(site: Site, intent: Intent, stage: Stage) -> str:
    """The document of a new domain with stand-ins for its free texts."""
    address = replace(intent.address, name=stage.name)
    tree, declared = stage.trees[0], stage.trees[-1]
    resource = replace(intent.resource, address=address)
    staged = replace(intent, resource=resource, tree=tree, declared=declared, names={})
    context = replace(site.context(staged), volume=stage.volume, names={})
    return serialise(_born(site, staged, tree, stage.uuid, context))


def _take_base_capacity(site: Site, root: Element, tree: Mapping[str, Any]) -> None:
    """An overlay that is given no capacity is as big as its base."""
    backing = tree.get("backing")
    capacity = root.find("capacity")
    if not backing or tree.get("capacity") is not None or capacity is None:
        return
    name = backing.get("volume") or site.volume_at(backing.get("path") or "")
    size = site.base_capacity(name) if name else None
    if size is None:
        # Libvirt takes the base's by itself when an overlay names none.
        root.remove(capacity)
    else:
        capacity.text = size


def patched(
    site: Site, intent: Intent, document: str, edits: Iterable[Edit], mark: Mark | None
) -> tuple[Element, bool]:
    """A live document with a difference and a new mark.

    Args:
        site: where.
        intent: what is wanted of it.
        document: the persistent one, with its secrets.
        edits: the difference.
        mark: the mark to leave; None keeps what is there.

    Returns:
        The document, and whether it was validated: one whose live version is invalid is not.
    """
    root = parse(document)
    live = copy.deepcopy(root)
    patch(intent.model, root, list(edits), site.context(intent), intent.tree)
    drop_note(root)
    if mark is not None and intent.address.kind in MARKED:
        write_mark(root, mark)
    return root, site.schemas.check(intent.address.kind, root, live)


def mark_of(site: Site, intent: Intent, uuid: str) -> Mark:
    """The mark of an object that is as its intent says."""
    applied = applied_fields(intent.model, intent.declared)
    keys = _declared_names(intent)
    former = _former_names(intent, keys)
    return Mark(site.stack, intent.address.name, uuid, keys, applied, former=former)


def interim_mark(site: Site, intent: Intent, uuid: str, document: str) -> Mark | None:
    """The mark to leave while steps of a change are still to come; None keeps the one there is.

    What was applied before stays, and members that are to come are there already: otherwise one
    whose removal or addition is cut would be nobody's from then on.
    """
    wanted = mark_of(site, intent, uuid)
    found = read_mark(parse(document))
    if found is None:
        return replace(wanted, unfinished=True)
    keys = {
        path: {**wanted.keys.get(path, {}), **found.keys.get(path, {})}
        for path in {**wanted.keys, **found.keys}
    }
    applied = _with_members(intent.model, found.applied, wanted.applied)
    mark = replace(wanted, keys=keys, applied=applied, unfinished=True)
    return None if mark == found else mark


def _with_members(
    model: type[Mapped], before: Mapping[str, Any], wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """What was applied before, and the members of collections that are wanted."""
    merged = dict(before)
    for name, value in wanted.items():
        binding, past = bindings(model)[name], before.get(name)
        if not isinstance(value, Mapping):
            continue
        item, known = binding.item, past if isinstance(past, Mapping) else {}
        if isinstance(binding.place, Items | Pairs | Foreign):
            merged[name] = {**value, **known}
            if isinstance(binding.place, Items) and item is not None:
                for key in value.keys() & known.keys():
                    merged[name][key] = _with_members(item, known[key], value[key])
        elif item is not None:
            inner = _with_members(item, known, value)
            if inner:
                merged[name] = inner
    return merged


def _declared_names(intent: Intent) -> Names:
    """The user's names of members by natural key; of an undeclared collection, as known before."""
    names: dict[tuple[str, ...], Mapping[str, str]] = {}
    for field, binding in bindings(intent.model).items():
        place = binding.place
        if not (isinstance(place, Items) and place.named):
            continue
        wanted = intent.tree.get(field)
        if wanted is None:
            former = intent.mark.former.get((field,), {}) if intent.mark is not None else {}
            known = intent.names.get((field,), {})
            names[(field,)] = {own: name for own, name in known.items() if own not in former}
        else:
            names[(field,)] = {str(key_of(place, item)): name for name, item in wanted.items()}
    return {path: known for path, known in names.items() if known}


def _former_names(intent: Intent, keys: Names) -> Names:
    """The user's names of members by the keys that they have in what runs alone."""
    running = intent.record.running if intent.record is not None else None
    if running is None or intent.context is None:
        return {}
    return former_names(intent.model, intent.names, keys, parse_to_read(running), intent.context)


def mark_arguments(mark: Mark) -> dict[str, Any]:
    """What `Verb.SET_METADATA` needs to leave a mark."""
    return {"namespace": NAMESPACE, "prefix": PREFIX, "xml": _bare(mark_element(mark), NAMESPACE)}


def metadata_arguments(namespace: str, text: str | None) -> dict[str, Any]:
    """What `Verb.SET_METADATA` needs to set or remove (None) a namespace's element."""
    if text is None:
        return {"namespace": namespace, "prefix": "ns", "xml": None}
    node = parse(text)
    prefix = node.prefix or f"ns-{digest(namespace)[:8]}"
    return {"namespace": namespace, "prefix": prefix, "xml": _bare(node, namespace)}


def _bare(element: Element, namespace: str) -> str:
    """The element without its namespace: libvirt declares that itself and refuses a second time."""
    node = copy.deepcopy(element)
    for child in node.iter():
        if isinstance(child.tag, str) and etree.QName(child).namespace == namespace:
            child.tag = etree.QName(child).localname
    etree.cleanup_namespaces(node)
    return serialise(node)
