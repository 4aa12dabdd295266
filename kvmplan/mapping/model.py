"""Models and their bindings: what a declaration says, checked when the class is made.

Desired objects are instances of these models; what is read from a host are trees (nested
dictionaries of the same fields and value types), which `Mapped.model_validate` accepts too.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, field_validator

from kvmplan.mapping import codecs
from kvmplan.mapping.checks import check_field, scalar_type
from kvmplan.mapping.codecs import Codec
from kvmplan.mapping.markers import (
    AtLeast,
    Belongings,
    Birth,
    Case,
    Free,
    Group,
    Items,
    NoDefault,
    NotRunning,
    On,
    Place,
    Policy,
    Ref,
    Same,
    Secret,
    Xml,
)
from kvmplan.mapping.paths import is_path, split
from kvmplan.mapping.strategy import Strategy
from kvmplan.mapping.types import SecretText

NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
"""Characters outside of XML 1.0: https://www.w3.org/TR/xml/#charsets"""

SCALARS = (str, int, float)
"""Values that stand for themselves in a tree; asked first, being nearly all."""

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
    free: bool = False
    no_default: NoDefault | None = None


class Mapped(BaseModel):
    """Base of every model that is bound to XML.

    Class attributes:
        scalar: the field that a bare scalar (or, for items, a bare list element) stands for.
        exclusive: sets of fields of which at most one may be given.
        yields: pairs of paths; while nodes stand at the second, those at the first go when patched.
        belongings: what goes when an element is put on another thing, by whatever writes it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)
    scalar: ClassVar[str | None] = None
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = ()
    yields: ClassVar[tuple[tuple[str, str], ...]] = ()
    belongings: ClassVar[tuple[Belongings, ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        bindings(cls)
        _check_class(cls)

    @field_validator("*", mode="after", check_fields=False)
    @classmethod
    def _is_xml(cls, value: Any) -> Any:
        """Texts that no document can hold are refused here, where their place is known."""
        if value is None or isinstance(value, int | Mapped):
            return value
        for text in (value,) if isinstance(value, str) else _texts(value):
            if found := NOT_XML.search(text):
                raise ValueError(f"the character U+{ord(found[0]):04X} cannot stand in XML")
        return value

    @classmethod
    def expand(cls, value: Any) -> Any:
        """The full form of a shorthand; anything else unchanged."""
        if cls.scalar is not None and not isinstance(value, Mapping | list):
            return {cls.scalar: value}
        return value


def _texts(value: Any) -> typing.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, SecretText):
        yield value.reveal()
    elif isinstance(value, tuple | dict):
        for inner in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _texts(inner)


@cache
def bindings(model: type[Mapped]) -> Mapping[str, Binding]:
    """The bindings of a model's fields, in declaration order, which is document order too.

    Raises:
        TypeError: a field's declaration is incomplete or contradicts itself.
    """
    return {name: _bind(model, name) for name in model.model_fields}


def _bind(model: type[Mapped], name: str) -> Binding:
    info = model.model_fields[name]
    where = f"{model.__name__}.{name}"
    item = _item(info.annotation)
    place = check_field(where, info.metadata, info.annotation, item, model.model_fields)
    marks = {type(mark): mark for mark in info.metadata}
    return Binding(
        name=name,
        place=place,
        item=item,
        codec=_codec(place, info.annotation),
        on=marks.get(On),
        case=marks.get(Case),
        ref=marks.get(Ref),
        same=marks.get(Same),
        at_least=marks.get(AtLeast),
        birth=marks.get(Birth),
        secret=Secret in marks,
        compared_running=NotRunning not in marks,
        free=Free in marks,
        no_default=marks.get(NoDefault),
    )


def _check_class(model: type[Mapped]) -> None:
    """Raise TypeError where a class attribute names what is not there."""
    named = [name for names in model.exclusive for name in names]
    for name in (*named, *((model.scalar,) if model.scalar else ())):
        if name not in model.model_fields:
            raise TypeError(f"{model.__name__}: '{name}' is no field of it")
    for path in (path for pair in model.yields for path in pair):
        if not is_path(path):
            raise TypeError(f"{model.__name__}: '{path}' in yields is not a path")
    for path in (path for owned in model.belongings for path in (*owned.to, *owned.nodes)):
        if not is_path(path):
            raise TypeError(f"{model.__name__}: '{path}' in belongings is not a path")


def _item(annotation: Any) -> type[Mapped] | None:
    """The `Mapped` class somewhere inside a type."""
    stack = [annotation]
    while stack:
        found = stack.pop()
        if isinstance(found, type) and issubclass(found, Mapped):
            return found
        stack.extend(get_args(found))
    return None


def _codec(place: Place, annotation: Any) -> Codec:
    if not isinstance(place, Xml):
        return codecs.TEXT
    if place.codec:
        return place.codec
    kinds = {int: codecs.INTEGER, float: codecs.NUMBER}
    return kinds.get(scalar_type(annotation), codecs.TEXT)


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


def leading(model: type[Mapped], chosen: Callable[[Binding], bool]) -> dict[str, Binding]:
    """The fields that are chosen, and those that hold chosen ones further down."""
    return {
        name: binding
        for name, binding in bindings(model).items()
        if _leads(binding, chosen, frozenset())
    }


def _leads(
    binding: Binding, chosen: Callable[[Binding], bool], above: frozenset[type[Mapped]]
) -> bool:
    if chosen(binding):
        return True
    if binding.item is None or binding.item in above:
        return False
    inner = bindings(binding.item).values()
    return any(_leads(field, chosen, above | {binding.item}) for field in inner)


def without_default(binding: Binding) -> tuple[tuple[str, ...], str] | None:
    """Why a field cannot be given back to what a fresh object has; None if it can.

    Returns:
        The path from the field to the one that is in the way, and a sentence.
    """
    if binding.no_default is not None:
        return (), binding.no_default.why
    if not isinstance(binding.place, Group) or binding.item is None or split(binding.place.path)[0]:
        return None
    for name, inner in bindings(binding.item).items():
        found = without_default(inner)
        own = inner.no_default
        if found is not None and (own is None or own.picked):
            return (name, *found[0]), found[1]
    return None


def strategy_of(
    model: type[Mapped], path: tuple[str, ...], *, added: bool, removed: bool
) -> Strategy | None:
    """The innermost strategy that speaks for a path.

    A path that ends at a collection's member, or at a device of its own, is *added* or *removed* as
    the declaration says.
    """
    links = chain(model, path)
    last = links[-1]
    if last.on and (not isinstance(last.place, Items) or _ends_at_member(links, path)):
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
    values = vars(model)
    for name, keyed in _stated(type(model), frozenset(model.model_fields_set)):
        value = values[name]
        if isinstance(value, SCALARS):
            tree[name] = value
        elif keyed and value is not None:
            tree[name] = {key: declared(item) for key, item in value.items()}
        elif isinstance(value, Mapped):
            tree[name] = declared(value)
        else:
            tree[name] = dict(value) if isinstance(value, Mapping) else value
    return tree


@cache
def _stated(model: type[Mapped], given: frozenset[str]) -> tuple[tuple[str, bool], ...]:
    """The given fields that say something of the object: all but policies.

    Kept for each set of fields, of which a stack has few: a domain has ten times as many fields.

    Returns:
        Their names in declaration order, and whether they are collections.
    """
    return tuple(
        (name, isinstance(binding.place, Items))
        for name, binding in bindings(model).items()
        if name in given and not isinstance(binding.place, Policy)
    )


def walk(
    model: type[Mapped], tree: Tree, prefix: tuple[str, ...] = ()
) -> typing.Iterator[tuple[tuple[str, ...], Binding, Any]]:
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
    return tuple(_secret_paths(model, tree, ()))


def has_secrets(model: Mapped) -> bool:
    """Whether a desired object says any secret; most have not even a field that could hold one."""
    if model.model_fields_set.isdisjoint(_secret_fields(type(model))):
        return False
    return bool(secret_paths(type(model), declared(model)))


@cache
def _secret_fields(model: type[Mapped]) -> Mapping[str, Binding]:
    return leading(model, lambda binding: binding.secret)


def _secret_paths(
    model: type[Mapped], tree: Tree, prefix: tuple[str, ...]
) -> typing.Iterator[tuple[str, ...]]:
    for name, binding in _secret_fields(model).items():
        if name not in tree:
            continue
        value, path = tree[name], (*prefix, name)
        if binding.item is None or not isinstance(value, Mapping):
            if binding.secret:
                yield path
        elif isinstance(binding.place, Items):
            for key, item in value.items():
                yield from _secret_paths(binding.item, item, (*path, key))
        else:
            yield from _secret_paths(binding.item, value, path)


def key_of(place: Items, item: Mapping[str, Any]) -> str | None:
    """An item's natural key: the first of the key fields that it gives, or all of them, joined."""
    if place.joined:
        return joined_key(item.get(name) for name in place.key)
    return next((str(item[name]) for name in place.key if item.get(name) is not None), None)


def joined_key(values: Iterable[Any]) -> str | None:
    """A key of several fields; those that are not given at its end leave no trace."""
    given = list(values)
    while given and given[-1] is None:
        given.pop()
    return "/".join("-" if value is None else str(value) for value in given) or None
