"""How a field's value reads in text: as a user would write it in a spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from kvmplan.address import Kind
from kvmplan.mapping.markers import Items, Xml
from kvmplan.mapping.model import Mapped, binding_at
from kvmplan.mapping.types import SecretText
from kvmplan.mapping.units import format_size


def describe(kind: Kind, path: tuple[str, ...], value: object) -> str:
    """A value as text: sizes with their unit, booleans and lists as in YAML."""
    from kvmplan.kinds.models import MODELS

    return _text(MODELS[kind], path, value)


def _text(model: type[Mapped], path: tuple[str, ...], value: Any) -> str:
    if type(value) is str:
        return value
    if value is None:
        return "(none)"
    if isinstance(value, SecretText):
        return "(sensitive)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = (f"{name}: {_text(model, (*path, name), item)}" for name, item in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(str(item) for item in value) + "]"
    if isinstance(value, int) and _is_size(model, path):
        return format_size(value)
    return value if isinstance(value, str) else json.dumps(value)


@lru_cache(4096)
def key_fields(kind: Kind, path: tuple[str, ...]) -> frozenset[str]:
    """The fields of a member that its name in the collection may stand for; none elsewhere."""
    from kvmplan.kinds.models import MODELS

    try:
        place = binding_at(MODELS[kind], path[:-1]).place if path[:-1] else None
    except KeyError:
        return frozenset()
    return frozenset(place.key) if isinstance(place, Items) else frozenset()


@lru_cache(4096)
def _is_size(model: type[Mapped], path: tuple[str, ...]) -> bool:
    try:
        place = binding_at(model, path).place
    except KeyError:
        return False
    return isinstance(place, Xml) and place.unit is not None
