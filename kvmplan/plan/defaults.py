"""Defaults: what `!default` stands for, read off a fresh object that the specs would make here.

A fresh object is the skeleton with what the specs say beside the default written into it, as in a
birth: a fresh `memory.current` is the maximum that is declared, a fresh `tpm.model` that of a TPM.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.diff import put
from kvmplan.kinds.context import VolumeFacts
from kvmplan.kinds.models import MODELS
from kvmplan.mapping.complete import complete
from kvmplan.mapping.lens import patch, read
from kvmplan.mapping.markers import Group, Items, Pairs, Policy
from kvmplan.mapping.model import Binding, bindings, chain
from kvmplan.plan.born import Births
from kvmplan.plan.names import pair_names
from kvmplan.plan.storage import Storage
from kvmplan.spec.desired import Resource

Tree = Mapping[str, Any]


def with_defaults(resource: Resource, tree: Tree, births: Births) -> dict[str, Any]:
    """The tree with every ``!default`` given the value that a fresh object would have."""
    if not resource.defaults:
        return dict(tree)
    model, fresh = MODELS[resource.address.kind], _fresh(resource, tree, births)
    filled = dict(tree)
    for path in sorted(resource.defaults):
        binding = chain(model, path)[-1]
        filled = put(filled, path, _whole(binding, _at(fresh, path)))
    return filled


def _fresh(resource: Resource, tree: Tree, births: Births) -> Tree:
    """The fields of a new object, as far as defaults are asked for."""
    address = resource.address
    model, inventory = MODELS[address.kind], births.inventories[address.host]
    asked = {path[0] for path in resource.defaults}
    wanted = {name: value for name, value in tree.items() if name in asked}
    storage = Storage(births.desired.resources, births.inventories)
    context = births.context(inventory, volume=partial(_volume, storage, address.host))
    new_mac = partial(births.desired.new_mac, address)
    wanted, names = pair_names(model, wanted, None, None, context, new_mac)
    context = births.context(inventory, names=names, volume=context.volume)
    wanted = complete(model, wanted, None)
    root = births.document(address, tree, inventory, "")
    patch(model, root, [((name,), value) for name, value in wanted.items()], context, wanted)
    return read(model, root, context)


def _volume(storage: Storage, host: str, name: str) -> VolumeFacts:
    """What a disk is written with; where a volume is does not matter to any default."""
    format_ = storage.format_of(Address(host, Kind.VOLUME, name))
    return VolumeFacts("file", f"/{name}", format_ or "raw")


def _at(tree: Tree, path: tuple[str, ...]) -> Any:
    value: Any = tree
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _whole(binding: Binding, fresh: Any) -> Any:
    """The default of a field; of a group that a fresh object has, of each field in it."""
    if binding.birth is not None:
        return binding.birth.value
    if isinstance(binding.place, Items | Pairs):
        return {} if fresh is None else fresh
    if not isinstance(binding.place, Group) or binding.item is None:
        return fresh
    if not isinstance(fresh, Mapping):
        return None
    return {
        name: _whole(inner, fresh.get(name))
        for name, inner in bindings(binding.item).items()
        if not isinstance(inner.place, Policy)
    }
