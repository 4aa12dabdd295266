"""Stored specs: a `Desired` as JSON and back, for plan files. Secrets keep their source alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
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
TakeSecret = Callable[[SecretText, Address], dict[str, Any] | None]
"""What is kept of a secret of a resource."""


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
    told: list[list[str]]


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


def dump(desired: Desired, *, clear: bool = False) -> dict[str, Any]:
    """All that the specs ask for, as JSON values.

    Args:
        desired: the specs.
        clear: whether secrets without a source may be in it: of these nothing is kept.

    Raises:
        Unsavable: a secret has no source of its own.
    """
    secret = _source_or_nothing if clear else _source_of
    stack = desired.stack
    return {
        "stack": {
            "name": stack.name,
            "uid": stack.uid,
            "hosts": {name: spec.uri for name, spec in stack.hosts.items()},
            "prune": stack.prune,
            "max_delete": [stack.max_delete_count, stack.max_delete_percent],
        },
        "resources": [_resource(it, secret) for _, it in sorted(desired.resources.items())],
        "sources": list(desired.sources),
        "moved": {str(address): list(names) for address, names in sorted(desired.moved.items())},
        "macs": {str(address): dict(macs) for address, macs in sorted(desired.macs.items())},
    }


def fingerprint(dumped: Mapping[str, Any]) -> str:
    """sha256 (64 hex digits) of what `dump` made, wherever and however it is written in files."""
    rows = [
        {key: _unplaced(key, row[key]) for key in row if key not in ("place", "places")}
        for row in dumped["resources"]
    ]
    kept = {**dumped, "resources": rows, "sources": None}
    canonical = json.dumps(kept, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _unplaced(key: str, value: Any) -> Any:
    return [edge[:2] for edge in value] if key in ("depends_on", "references") else value


def _resource(resource: Resource, secret: TakeSecret) -> dict[str, Any]:
    lifecycle = resource.lifecycle
    return {
        "address": str(resource.address),
        "fields": _value(resource.model, resource.address, secret),
        "defaults": sorted(list(path) for path in resource.defaults),
        "place": _place(resource.place),
        "places": [[list(path), _place(place)] for path, place in sorted(resource.places.items())],
        "lifecycle": {
            "prevent_destroy": lifecycle.prevent_destroy,
            "ignore_changes": [list(path) for path in lifecycle.ignore_changes],
            "unlisted": lifecycle.unlisted,
            "told": [list(path) for path in lifecycle.told],
        },
        "depends_on": [_reference(reference) for reference in resource.depends_on],
        "references": [_reference(reference) for reference in resource.references],
        "stands_for": list(resource.stands_for),
    }


def _value(value: Any, address: Address, secret: TakeSecret) -> Any:
    if isinstance(value, Mapped):
        given = {name: getattr(value, name) for name in value.model_fields_set}
        return {name: _value(inner, address, secret) for name, inner in sorted(given.items())}
    if isinstance(value, SecretText):
        return {SECRET_KEY: secret(value, address)}
    if isinstance(value, Mapping):
        return {key: _value(inner, address, secret) for key, inner in value.items()}
    return [_value(it, address, secret) for it in value] if isinstance(value, tuple) else value


def _source_of(value: SecretText, address: Address) -> dict[str, Any]:
    if value.source is None:
        raise Unsavable(f"{address.short} holds a secret that was not read by !secret")
    return dict(value.source)


def _source_or_nothing(value: SecretText, _address: Address) -> dict[str, Any] | None:
    return None if value.source is None else dict(value.source)


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
            tuple(tuple(path) for path in lifecycle["told"]),
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
