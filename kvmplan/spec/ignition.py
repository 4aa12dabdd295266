"""Ignition's configurations: a domain's `ignition`, as the volume that QEMU hands on.

Only what makes Ignition stop at once is said here; the rest of its specification is its own:
https://coreos.github.io/ignition/specs/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.ignition import SUFFIX, Ignition
from kvmplan.kinds.pooltypes import pool_type
from kvmplan.spec import codes
from kvmplan.spec.desired import Reference, Resource
from kvmplan.spec.places import nearest
from kvmplan.spec.seedvolume import (
    REPLACE,
    Refused,
    as_json,
    first_pool,
    has_secret,
    is_unread,
    refuse,
    revealed,
    seed_volume,
)

FILE = "config.ign"
"""The one file of such a seed."""
VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-\w+)?")
BUTANE = re.compile(r"^variant:", re.MULTILINE)


def write_ignition(resources: dict[Address, Resource], report: Diagnostics) -> None:
    """Give domains with `ignition` the volumes of their configurations.

    Args:
        resources: all of a stack, by address.
        report: gets what is wrong: KVP122.
    """
    for address, resource in tuple(resources.items()):
        model = resource.model
        wanted = model.ignition if isinstance(model, Domain) else None
        if not isinstance(model, Domain) or wanted is None or wanted.volume is not None:
            continue
        try:
            volume = _volume(resource, model, wanted, resources)
        except Refused as error:
            refuse(error, resource, "ignition", codes.IGNITION, report)
            resources[address] = _on(resource, model, None)
            continue
        resources[volume.address] = volume
        told = {"on_change": REPLACE} if wanted.on_change == REPLACE else {}
        made = Ignition.model_validate({"volume": volume.address.name, **told})
        resources[address] = _on(resource, model, made)


def _on(resource: Resource, domain: Domain, made: Ignition | None) -> Resource:
    model = domain.model_copy(update={"ignition": made})
    if made is None or made.volume is None:
        return replace(resource, model=model)
    volume = Address(resource.address.host, Kind.VOLUME, made.volume)
    place = nearest(resource.places, ("ignition",))
    reference = Reference(("ignition", "volume"), volume, place)
    return replace(resource, model=model, references=(*resource.references, reference))


def _volume(
    resource: Resource, domain: Domain, wanted: Ignition, resources: Mapping[Address, Resource]
) -> Resource:
    pool = wanted.pool or first_pool(domain)
    if pool is None:
        why = "it does not say in which pool its configuration is to be"
        raise Refused((), why, "write it as config: …, and pool: NAME")
    declared = resources.get(Address(resource.address.host, Kind.POOL, pool))
    type_ = getattr(declared.model, "type", None) if declared is not None else None
    if "qcow2" not in pool_type(type_).formats:
        why = f"pool.{pool} keeps no files, and QEMU reads its configuration from one"
        raise Refused((), why, "write pool: NAME of a pool of type dir, fs or netfs")
    return seed_volume(
        resource,
        "ignition",
        f"{pool}/{resource.address.name}{SUFFIX}",
        {FILE: _text(wanted.config)},
        ("ignition", "volume"),
        secret=has_secret(wanted.config),
        on_change=wanted.on_change,
        resources=resources,
    )


def _text(config: Any) -> str:
    """A configuration as JSON. Raises Refused."""
    if is_unread(config):
        return ""
    if config is None:
        raise Refused((), "it says nothing", "write its config, or the volume that holds it")
    value = revealed(config)
    text = value if isinstance(value, str) else as_json(value)
    if isinstance(value, str):
        value = _parsed(value)
    head = value.get("ignition")
    version = head.get("version") if isinstance(head, Mapping) else None
    if not isinstance(version, str) or not VERSION.fullmatch(version):
        why = "it does not say by which specification it is written"
        raise Refused((), why, "write ignition: {version: 3.4.0}, or that of your system")
    return text


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        if BUTANE.search(text):
            what = "translate it: butane --strict FILE"
            raise Refused((), "it is Butane's, which Ignition does not read", what) from error
        line = getattr(error, "lineno", 1)
        raise Refused((), f"it is no JSON, in its line {line}", "correct it") from error
    if not isinstance(value, Mapping):
        raise Refused((), "it is no JSON object", "write a mapping")
    return value
