"""Stored specs: a `Desired` as JSON and back, for plan files. Secrets keep their source alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from kvmplan.address import Address, Kind, parse_address
from kvmplan.diagnostics import Place
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import Mac, SecretText
from kvmplan.spec.desired import Desired, HostSpec, Lifecycle, Reference, Resource, Stack
from kvmplan.spec.loader import SECRET_SOURCES
from kvmplan.spec.secrets import Secrets

SECRET_KEY = "!secret"
Spot = list[str | int] | None
"""A place: file, line, column, length."""


class _Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Stack(_Shape):
    name: str
    uid: str
    hosts: dict[str, str]
    prune: bool
    max_delete: list[int]


class _Lifecycle(_Shape):
    prevent_destroy: bool
    ignore_changes: list[list[str]]
    unlisted: Literal["keep", "remove"]


class _Row(_Shape):
    address: str
    fields: dict[str, Any]
    defaults: list[list[str]]
    place: Spot
    places: list[tuple[list[str], Spot]]
    lifecycle: _Lifecycle
    depends_on: list[tuple[list[str], str, Spot]]
    references: list[tuple[list[str], str, Spot]]
    stands_for: list[str] = []


class _Stored(_Shape):
    """What `dump` makes, as `restore` relies on it: a plan file may be damaged or forged."""

    stack: _Stack
    resources: list[_Row]
    sources: list[str]
    moved: dict[str, list[str]]
    macs: dict[str, dict[str, Mac]]


class Unsavable(Exception):
    """A secret that could not be read again: it was written in clear, or made from others."""


def dump(desired: Desired) -> dict[str, Any]:
    """All that the specs ask for, as JSON values.

    Raises:
        Unsavable: a secret has no source of its own.
    """
    stack = desired.stack
    return {
        "stack": {
            "name": stack.name,
            "uid": stack.uid,
            "hosts": {name: spec.uri for name, spec in stack.hosts.items()},
            "prune": stack.prune,
            "max_delete": [stack.max_delete_count, stack.max_delete_percent],
        },
        "resources": [_resource(resource) for _, resource in sorted(desired.resources.items())],
        "sources": list(desired.sources),
        "moved": {str(address): list(names) for address, names in sorted(desired.moved.items())},
        "macs": {str(address): dict(macs) for address, macs in sorted(desired.macs.items())},
    }


def _resource(resource: Resource) -> dict[str, Any]:
    lifecycle = resource.lifecycle
    return {
        "address": str(resource.address),
        "fields": _value(resource.model, resource.address),
        "defaults": sorted(list(path) for path in resource.defaults),
        "place": _place(resource.place),
        "places": [[list(path), _place(place)] for path, place in sorted(resource.places.items())],
        "lifecycle": {
            "prevent_destroy": lifecycle.prevent_destroy,
            "ignore_changes": [list(path) for path in lifecycle.ignore_changes],
            "unlisted": lifecycle.unlisted,
        },
        "depends_on": [_reference(reference) for reference in resource.depends_on],
        "references": [_reference(reference) for reference in resource.references],
        "stands_for": list(resource.stands_for),
    }


def _value(value: Any, address: Address) -> Any:
    if isinstance(value, Mapped):
        given = {name: getattr(value, name) for name in value.model_fields_set}
        return {name: _value(inner, address) for name, inner in sorted(given.items())}
    if isinstance(value, SecretText):
        if value.source is None:
            raise Unsavable(f"{address.short} holds a secret that was not read by !secret")
        return {SECRET_KEY: dict(value.source)}
    if isinstance(value, Mapping):
        return {key: _value(inner, address) for key, inner in value.items()}
    return [_value(item, address) for item in value] if isinstance(value, tuple) else value


def _place(place: Place | None) -> list[Any] | None:
    return None if place is None else [place.file, place.line, place.column, place.length]


def _reference(reference: Reference) -> list[Any]:
    return [list(reference.path), str(reference.target), _place(reference.place)]


def restore(
    data: Mapping[str, Any], models: Mapping[Kind, type[Mapped]], secrets: Secrets
) -> Desired:
    """What `dump` made, with its secrets read again.

    Raises:
        ValueError: it is not what `dump` makes; the message says what is wrong.
    """
    try:
        _Stored.model_validate_json(json.dumps(data))
        stack = data["stack"]
        count, percent = stack["max_delete"]
        hosts = {name: HostSpec(uri, None) for name, uri in stack["hosts"].items()}
        found = [_restored(row, models, secrets) for row in data["resources"]]
        resources = {resource.address: resource for resource in found}
        moved = {parse_address(a): tuple(names) for a, names in data["moved"].items()}
        if not moved.keys() <= resources.keys():
            raise KeyError("moved")
        return Desired(
            Stack(stack["name"], stack["uid"], hosts, stack["prune"], count, percent, None),
            resources,
            tuple(data["sources"]),
            moved=moved,
            macs={parse_address(address): macs for address, macs in data["macs"].items()},
        )
    except (KeyError, TypeError, AttributeError, ValidationError) as error:
        raise ValueError(f"the specs inside are not readable ({type(error).__name__})") from error


def _restored(
    row: Mapping[str, Any], models: Mapping[Kind, type[Mapped]], secrets: Secrets
) -> Resource:
    address = parse_address(row["address"])
    place = _spot(row["place"])
    fields = _with_secrets(row["fields"], secrets, place)
    lifecycle = row["lifecycle"]
    return Resource(
        address=address,
        model=models[address.kind].model_validate(fields, context={"live": True}),
        defaults=frozenset(tuple(path) for path in row["defaults"]),
        place=place,
        places={tuple(path): place for path, spot in row["places"] if (place := _spot(spot))},
        lifecycle=Lifecycle(
            lifecycle["prevent_destroy"],
            tuple(tuple(path) for path in lifecycle["ignore_changes"]),
            lifecycle["unlisted"],
        ),
        depends_on=tuple(_edge(edge) for edge in row["depends_on"]),
        references=tuple(_edge(edge) for edge in row["references"]),
        stands_for=tuple(row.get("stands_for", ())),
    )


def _with_secrets(value: Any, secrets: Secrets, place: Place | None) -> Any:
    if isinstance(value, dict):
        if set(value) == {SECRET_KEY}:
            return secrets.read(_source(value[SECRET_KEY]), place)
        return {key: _with_secrets(inner, secrets, place) for key, inner in value.items()}
    return (
        [_with_secrets(item, secrets, place) for item in value]
        if isinstance(value, list)
        else value
    )


def _source(given: Any) -> Mapping[str, Any]:
    """Where a secret is, as `Secrets.read` takes it."""
    source, argument = next(iter(given.items()))
    words = argument if source == "command" and isinstance(argument, list) else [argument]
    if source not in SECRET_SOURCES or not words or not all(isinstance(w, str) for w in words):
        raise ValueError("a secret inside has no source that can be read")
    return {source: argument}


def _spot(spot: list[Any] | None) -> Place | None:
    match spot:
        case None:
            return None
        case [str(file), int(line), int(column), int(length)]:
            return Place(file, line, column, length)
    raise ValueError("a place inside is none")


def _edge(edge: list[Any]) -> Reference:
    path, target, spot = edge
    return Reference(tuple(path), parse_address(target), _spot(spot))
