"""Volumes of seeds: what a guest's first boot is told, as a volume of the stack's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.types import SecretText
from kvmplan.spec.desired import Lifecycle, Reference, Resource
from kvmplan.spec.instances import image_disks
from kvmplan.spec.places import nearest

REPLACE, KEEP = "replace", "keep"


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """A seed that cannot be made: where below its field, what is wrong, what to do."""

    path: tuple[str, ...]
    summary: str
    remedy: str


def first_pool(domain: Domain) -> str | None:
    """The pool of a guest's first disk that is on a volume."""
    volumes = (disk.volume for disk in (domain.disks or {}).values())
    return next((volume.partition("/")[0] for volume in volumes if volume is not None), None)


def seed_volume(
    resource: Resource,
    field: str,
    name: str,
    files: Mapping[str, str],
    named_in: tuple[str, ...],
    *,
    secret: bool,
    on_change: str | None,
    resources: Mapping[Address, Resource],
) -> Resource:
    """The volume of a seed.

    Args:
        resource: the domain's.
        field: of the domain, that it is made of.
        name: its own, ``POOL/NAME``.
        files: what the guest reads, by name.
        named_in: the path of the domain's field that names the volume.
        secret: whether there is a secret in them.
        on_change: what an edit does.
        resources: all of the stack.

    Raises:
        Refused: there is another of that name.
    """
    address, place = resource.address, nearest(resource.places, (field,))
    target = Address(address.host, Kind.VOLUME, name)
    if target in resources:
        summary = f"{target.short} is declared, and is to hold its seed"
        raise Refused((), summary, "rename that one")
    text = seed_text(files)
    model = resource.model
    begins = isinstance(model, Domain) and on_change == REPLACE
    images = image_disks(address, model, resources) if begins else ()  # type: ignore[arg-type]
    told = (("seed",),) if on_change == KEEP else ()
    pool = Reference(("pool",), Address(address.host, Kind.POOL, target.pool), place)
    return Resource(
        address=target,
        model=Volume.model_validate({"seed": SecretText(text) if secret else text}),
        defaults=frozenset(),
        place=place,
        places={(): place} if place is not None else {},
        lifecycle=Lifecycle(resource.lifecycle.prevent_destroy, told=told),
        # An edited seed is noted once the disks are those of the new instance, not before.
        depends_on=tuple(Reference(("disks",), image, place) for image in images),
        references=(pool,),
        stands_for=(address.name, *named_in),
    )


def seed_text(files: Mapping[str, str]) -> str:
    """What a guest reads, by the names of files, as the field of a volume."""
    return json.dumps(files, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def refuse(error: Refused, resource: Resource, field: str, code: str, report: Diagnostics) -> None:
    """Report a seed that cannot be made."""
    at = (field, *error.path)
    place: Place | None = nearest(resource.places, at)
    summary = f"{'.'.join(at)} of {resource.address.short}: {error.summary}"
    report.error(code, summary, place, error.remedy, resource.address)


def is_unread(value: Any) -> bool:
    """Whether a whole document is a secret that this run does not read."""
    return isinstance(value, SecretText) and not value.reveal()


def as_json(value: Any) -> str:
    """A mapping as JSON, which is YAML: every text is quoted, so that none is taken for another."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=list) + "\n"


def revealed(value: Any) -> Any:
    """A document with the secrets in it in clear."""
    if isinstance(value, SecretText):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: revealed(inner) for key, inner in value.items()}
    return [revealed(inner) for inner in value] if isinstance(value, tuple | list) else value


def has_secret(value: Any) -> bool:
    """Whether a secret is anywhere in a document."""
    if isinstance(value, Mapping):
        return any(has_secret(inner) for inner in value.values())
    if isinstance(value, tuple | list):
        return any(has_secret(inner) for inner in value)
    return isinstance(value, SecretText)
