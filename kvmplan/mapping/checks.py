"""Checks of declarations, made when a model's class is made: a mistake is a TypeError at import."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from kvmplan.mapping.codecs import factor
from kvmplan.mapping.markers import (
    AtLeast,
    Case,
    Foreign,
    Free,
    Group,
    Is,
    Items,
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
from kvmplan.mapping.paths import is_makeable, is_path, split

PLACES = (Xml, Presence, Is, Group, Items, Pairs, Foreign, Through, Runtime, Policy, Overlay)
WRITTEN = (Xml, Presence, Is, Group, Items, Pairs, Foreign, Through)
SCALAR = (Xml, Presence, Is, Through, Runtime)


def scalar_type(annotation: Any) -> Any:
    """The type of a field's value without ``None``, ``Annotated`` and ``tuple[…, ...]``."""
    origin = get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        inner = [arg for arg in get_args(annotation) if arg is not type(None)]
        return scalar_type(inner[0]) if len(inner) == 1 else str
    if origin in (typing.Annotated, tuple):
        return scalar_type(get_args(annotation)[0])
    if origin is typing.Literal:
        return type(get_args(annotation)[0])
    return annotation


def container(annotation: Any) -> Any:
    """``dict`` or ``tuple`` where a type (without ``None``) is one, else None."""
    origin = get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        found = {container(arg) for arg in get_args(annotation) if arg is not type(None)}
        return found.pop() if len(found) == 1 else None
    if origin is typing.Annotated:
        return container(get_args(annotation)[0])
    return origin if origin in (dict, tuple) else None


def paths_of(place: Place) -> list[str]:
    """The XML paths that a place reads and writes."""
    if isinstance(place, Xml):
        return [path for path in (place.path, place.absent, place.removes) if path]
    if isinstance(place, Runtime | Policy | Overlay):
        return []
    return [place.path]


def check_field(
    where: str, marks: Iterable[Any], annotation: Any, item: Any, siblings: Mapping[str, Any]
) -> Place:
    """The one place of a field.

    Raises:
        TypeError: its markers are incomplete or contradict each other or the type.
    """
    marks = list(marks)
    places = [mark for mark in marks if isinstance(mark, PLACES)]
    if len(places) != 1:
        raise TypeError(
            f"{where}: one place marker needed, found {len(places)}; "
            "write Annotated[T | None, Xml(...)]"
        )
    place: Place = places[0]
    for problem in (
        *_type_problems(place, annotation, item),
        *_path_problems(place, marks),
        *_modifier_problems(place, marks, siblings),
    ):
        raise TypeError(f"{where}: {problem}")
    return place


def _type_problems(place: Place, annotation: Any, item: Any) -> Iterable[str]:
    name, shape = type(place).__name__, container(annotation)
    if isinstance(place, Group | Items) and item is None:
        yield f"{name} needs a Mapped type"
    if not isinstance(place, Group | Items | Policy) and item is not None:
        yield "a nested model needs Group or Items; or Policy"
    if isinstance(place, Presence | Is) and scalar_type(annotation) is not bool:
        yield f"{name} is for booleans"
    if isinstance(place, Items | Pairs | Foreign) is not (shape is dict):
        yield f"{name} {'is not for' if shape is dict else 'needs'} a dict"
    if isinstance(place, Xml):
        if place.many is not (shape is tuple):
            yield "many=True goes with tuple[T, ...]"
        if place.codec is None and scalar_type(annotation) is bool:
            yield "a boolean needs a codec (YES_NO, ON_OFF), Presence or Is"
        if place.unit is not None and (scalar_type(annotation) is not int or place.many):
            yield "a unit is for one integer"
    if isinstance(place, Items) and item is not None:
        missing = [key for key in place.key if key not in item.model_fields]
        if missing or not place.key:
            yield f"key {missing} is no field of {item.__name__}"


def _path_problems(place: Place, marks: list[Any]) -> Iterable[str]:
    cases = [mark for mark in marks if isinstance(mark, Case)]
    clears = place.clears if isinstance(place, Xml | Is) else ()
    also = place.also if isinstance(place, Presence) else ()
    extra = [path for case in cases for path in (case.tag, *case.clears)]
    for path in (*paths_of(place), *clears, *also, *extra):
        if not is_path(path):
            yield f"'{path}' is not a path; write ./a/b, ./a/@b or ./a[@b='c']"
    skeleton = place.skeleton if isinstance(place, Xml | Presence | Group | Items) else None
    if isinstance(place, WRITTEN) and skeleton is None and not is_makeable(place.path):
        yield f"'{place.path}' does not say what to make; it needs a skeleton"
    if isinstance(place, Presence | Group | Items | Pairs | Foreign) and split(place.path)[1]:
        yield f"{type(place).__name__} stands at an element, not at an attribute"
    if isinstance(place, Pairs) and not (place.key[:1] == place.value[:1] == "@"):
        yield "key and value of Pairs are attributes: @name"
    if isinstance(place, Xml) and place.unit is not None and factor(place.unit) is None:
        yield f"'{place.unit}' is no unit of libvirt's"


def _modifier_problems(
    place: Place, marks: list[Any], siblings: Mapping[str, Any]
) -> Iterable[str]:
    kinds = [type(mark) for mark in marks if type(mark).__module__ == Xml.__module__]
    for kind in sorted({kind.__name__ for kind in kinds if kinds.count(kind) > 1}):
        yield f"two markers {kind}"
    if Secret in kinds and not isinstance(place, Xml | Through | Runtime | Policy):
        yield "Secret is for a text"
    allowed: dict[type, tuple[type, ...]] = {
        Case: WRITTEN,
        Same: (Xml, Through),
        Ref: SCALAR,
        Free: (Xml, Through),
    }
    for marker, places in allowed.items():
        if marker in kinds and not isinstance(place, places):
            yield f"{marker.__name__} does not go with {type(place).__name__}"
    for mark in marks:
        if isinstance(mark, AtLeast) and mark.sibling not in siblings:
            yield f"AtLeast names '{mark.sibling}', which is no field beside it"
        if isinstance(mark, Case) and not mark.values:
            yield "Case needs a value"
