"""Models and their bindings: what a declaration says, checked when the class is made.

Desired objects are instances of these models; what is read from a host are trees (nested
dictionaries of the same fields and value types), which `Mapped.model_validate` accepts too.
"""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict

from kvmplan.mapping import codecs
from kvmplan.mapping.codecs import Codec
from kvmplan.mapping.markers import (
    AtLeast,
    Birth,
    Case,
    Foreign,
    Group,
    Is,
    Items,
    NotRunning,
    On,
    Overlay,
    Pairs,
    Place,
    Policy,
    Presence,
    Ref,
    Runtime,
    Same,
    Secret,
    Through,
    Xml,
)
from kvmplan.mapping.strategy import Strategy

PLACES = (Xml, Presence, Is, Group, Items, Pairs, Foreign, Through, Runtime, Policy, Overlay)
STEP = re.compile(r"(@?[\w:.-]+|\.)((\[@?[\w/@-]+='[^']*'\])*)")

Tree = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Binding:
    """One field's declaration.

    Attributes:
        place: where the value stands.
        item: the model of a group or of a collection's items.
        codec: between text and value.
        on: how changes reach the object; None: as the enclosing field or model says.
    """

    name: str
    place: Place
    doc: str
    item: type[Mapped] | None = None
    codec: Codec = codecs.TEXT
    on: On | None = None
    case: Case | None = None
    ref: Ref | None = None
    same: Same | None = None
    at_least: AtLeast | None = None
    birth: Birth | None = None
    secret: bool = False
    compared_running: bool = True


class Mapped(BaseModel):
    """Base of every model that is bound to XML.

    Class attributes:
        scalar: the field that a bare scalar (or, for items, a bare list element) stands for.
        exclusive: sets of fields of which at most one may be given.
        yields: pairs of paths; while nodes stand at the second, those at the first go when patched.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )
    scalar: ClassVar[str | None] = None
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = ()
    yields: ClassVar[tuple[tuple[str, str], ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        bindings(cls)

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The full form of a shorthand; anything else unchanged."""
        if cls.scalar is not None and not isinstance(value, Mapping | list):
            return {cls.scalar: value}
        return value


@lru_cache(maxsize=None)
def bindings(model: type[Mapped]) -> Mapping[str, Binding]:
    """The bindings of a model's fields, in declaration order, which is document order too.

    Raises:
        TypeError: a field's declaration is incomplete or contradicts itself.
    """
    return {name: _bind(model, name) for name in model.model_fields}


def _bind(model: type[Mapped], name: str) -> Binding:
    info = model.model_fields[name]
    where = f"{model.__name__}.{name}"
    places = [mark for mark in info.metadata if isinstance(mark, PLACES)]
    if len(places) != 1:
        raise TypeError(f"{where}: one place marker needed, found {len(places)}; write Annotated[T | None, Xml(...)]")
    if not info.description:
        raise TypeError(f"{where}: no docstring below the field")
    place = places[0]
    marks = {type(mark): mark for mark in info.metadata}
    item = _item(info.annotation)
    _check(where, place, item, info.annotation)
    return Binding(
        name=name,
        place=place,
        doc=info.description,
        item=item,
        codec=_codec(where, place, info.annotation),
        on=marks.get(On),
        case=marks.get(Case),
        ref=marks.get(Ref),
        same=marks.get(Same),
        at_least=marks.get(AtLeast),
        birth=marks.get(Birth),
        secret=Secret in marks,
        compared_running=NotRunning not in marks,
    )


def _item(annotation: Any) -> type[Mapped] | None:
    """The `Mapped` class somewhere inside a type."""
    stack = [annotation]
    while stack:
        found = stack.pop()
        if isinstance(found, type) and issubclass(found, Mapped):
            return found
        stack.extend(get_args(found))
    return None


def scalar_type(annotation: Any) -> Any:
    """The type of a field's value without ``None``, ``Annotated`` and ``tuple[…, ...]``."""
    origin = get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = [arg for arg in get_args(annotation) if arg is not type(None)]
        return scalar_type(inner[0]) if len(inner) == 1 else str
    if origin is typing.Annotated:
        return scalar_type(get_args(annotation)[0])
    if origin is tuple:
        return scalar_type(get_args(annotation)[0])
    if origin is typing.Literal:
        return type(get_args(annotation)[0])
    return annotation


def _codec(where: str, place: Place, annotation: Any) -> Codec:
    if not isinstance(place, Xml):
        return codecs.TEXT
    if place.codec:
        return place.codec
    kind = scalar_type(annotation)
    if kind is bool:
        raise TypeError(f"{where}: a boolean needs a codec (YES_NO, ON_OFF), Presence or Is")
    return {int: codecs.INTEGER, float: codecs.NUMBER}.get(kind, codecs.TEXT)


def _check(where: str, place: Place, item: type[Mapped] | None, annotation: Any) -> None:
    if isinstance(place, Group | Items) and item is None:
        raise TypeError(f"{where}: {type(place).__name__} needs a Mapped type")
    if not isinstance(place, Group | Items) and item is not None:
        raise TypeError(f"{where}: a nested model needs Group or Items")
    if isinstance(place, Items) and item is not None:
        missing = [key for key in place.key if key not in item.model_fields]
        if missing:
            raise TypeError(f"{where}: key {missing} is no field of {item.__name__}")
    if isinstance(place, Presence | Is) and scalar_type(annotation) is not bool:
        raise TypeError(f"{where}: {type(place).__name__} is for booleans")
    for path in paths_of(place):
        for step in path.removeprefix("./").split("/") if "[" not in path else ():
            if not STEP.fullmatch(step):
                raise TypeError(f"{where}: '{path}' is not a path")


def paths_of(place: Place) -> list[str]:
    """The XML paths a place speaks of."""
    if isinstance(place, Xml):
        return [path for path in (place.path, place.absent, place.removes) if path]
    if isinstance(place, Runtime | Policy | Overlay):
        return []
    return [place.path]


def binding_at(model: type[Mapped], path: tuple[str, ...]) -> Binding:
    """The binding of the last field named by a path; keys of collections are stepped over."""
    return chain(model, path)[-1]


def chain(model: type[Mapped], path: tuple[str, ...]) -> list[Binding]:
    """The bindings from the outermost field to the last one named by a path."""
    found: list[Binding] = []
    current: type[Mapped] | None = model
    rest = path
    while rest and current is not None:
        binding = bindings(current)[rest[0]]
        found.append(binding)
        rest = rest[2:] if isinstance(binding.place, Items) else rest[1:]
        current = binding.item
    return found


def strategy_of(model: type[Mapped], path: tuple[str, ...], *, added: bool, removed: bool) -> Strategy | None:
    """The innermost strategy that speaks for a path.

    A path that ends at a collection's member is *added* or *removed* as the collection says.
    """
    links = chain(model, path)
    last = links[-1]
    if isinstance(last.place, Items) and _ends_at_member(links, path) and last.on:
        special = last.on.added if added else last.on.removed if removed else None
        if special:
            return typing.cast(Strategy, special)
    for binding in reversed(links):
        if binding.on:
            return typing.cast(Strategy, binding.on.change)
    return None


def _ends_at_member(links: list[Binding], path: tuple[str, ...]) -> bool:
    length = sum(2 if isinstance(binding.place, Items) else 1 for binding in links)
    return length == len(path)


def declared(model: Mapped) -> dict[str, Any]:
    """What a desired object says, as a tree: given fields only, policies left out."""
    tree: dict[str, Any] = {}
    for name, binding in bindings(type(model)).items():
        if name not in model.model_fields_set or isinstance(binding.place, Policy):
            continue
        value = getattr(model, name)
        if isinstance(binding.place, Items) and value is not None:
            tree[name] = {key: declared(item) for key, item in value.items()}
        elif isinstance(value, Mapped):
            tree[name] = declared(value)
        else:
            tree[name] = dict(value) if isinstance(value, Mapping) else value
    return tree


def walk(model: type[Mapped], tree: Tree, prefix: tuple[str, ...] = ()) -> typing.Iterator[tuple[tuple[str, ...], Binding, Any]]:
    """Every leaf of a tree with its path and binding; groups and items are entered."""
    for name, value in tree.items():
        binding = bindings(model)[name]
        path = (*prefix, name)
        if binding.item is not None and isinstance(value, Mapping):
            if isinstance(binding.place, Items):
                for key, item in value.items():
                    yield from walk(binding.item, item, (*path, key))
            else:
                yield from walk(binding.item, value, path)
        else:
            yield path, binding, value


def secret_paths(model: type[Mapped], tree: Tree) -> tuple[tuple[str, ...], ...]:
    """The paths of the secrets in a tree."""
    return tuple(path for path, binding, _ in walk(model, tree) if binding.secret)


def key_of(place: Items, item: Mapping[str, Any]) -> str | None:
    """An item's natural key: the first of the key fields that it gives."""
    return next((str(item[name]) for name in place.key if item.get(name) is not None), None)


