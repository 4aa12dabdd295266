"""Seeds: a domain's `cloud_init`, as the volume and the disk that it stands for.

What the guest reads is settled here, as text; the image of it is made when it is uploaded.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.kinds.cloud_init import SEED_SUFFIX, TARGET, CloudInit
from kvmplan.kinds.disk import Disk
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.types import SecretText
from kvmplan.spec import codes
from kvmplan.spec.cloudconfig import Mistake, check_network, check_user_data
from kvmplan.spec.desired import Lifecycle, Reference, Resource
from kvmplan.spec.instances import image_disks
from kvmplan.spec.places import nearest

NAMESPACE = uuid.UUID("0f6b1c52-4b6e-5a07-9f10-6b766d706c61")
CONFIG = "#cloud-config\n"

TELLING = {"on_change": ("replace",), "eject_after": ("done",)}
"""Policies, and those of their values by which more than the seed itself is changed."""

Plain = dict[str, str]
"""The files of a seed, by name."""


@dataclass(frozen=True, slots=True)
class _Refused(Exception):
    path: tuple[str, ...]
    summary: str
    remedy: str


def write_seeds(resources: dict[Address, Resource], stack: str, report: Diagnostics) -> None:
    """Give domains with `cloud_init` their seeds: a volume each, and a disk on it.

    Args:
        resources: all of a stack, by address.
        stack: its uid, from which instance ids are made.
        report: gets what is wrong: KVP119.
    """
    for address, resource in tuple(resources.items()):
        model = resource.model
        if not isinstance(model, Domain) or model.cloud_init is None:
            continue
        try:
            volume = _volume(resource, model, model.cloud_init, stack, resources, report)
            if volume.address in resources:
                summary = f"{volume.address.short} is declared, and is to hold its seed"
                raise _Refused((), summary, "rename that one")
            resources[volume.address] = volume
            resources[address] = _with_disk(resource, model, volume.address)
        except _Refused as error:
            at = ("cloud_init", *error.path)
            summary = f"{'.'.join(at)} of {address.short}: {error.summary}"
            place = nearest(resource.places, at)
            report.error(codes.SEED, summary, place, error.remedy, address)
            bare = model.model_copy(update={"cloud_init": None})
            resources[address] = replace(resource, model=bare)


def _check_agent(domain: Domain, wanted: CloudInit) -> None:
    if wanted.eject_after is not None and domain.agent is False:
        why = "only the guest's agent tells when cloud-init has finished, and it has none"
        raise _Refused(("eject_after",), why, "take `agent: false` out")


def _volume(
    resource: Resource,
    domain: Domain,
    wanted: CloudInit,
    stack: str,
    resources: Mapping[Address, Resource],
    report: Diagnostics,
) -> Resource:
    address, place = resource.address, nearest(resource.places, ("cloud_init",))
    _check_agent(domain, wanted)
    name = f"{_pool(domain, wanted)}/{address.name}{SEED_SUFFIX}"
    target = Address(address.host, Kind.VOLUME, name)
    files = _files(resource, wanted, stack, report)
    text = json.dumps(files, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    secret = any(_has_secret(getattr(wanted, field)) for field in FILES.values())
    seed = SecretText(text) if secret else text
    told = (("seed",),) if wanted.on_change == "keep" else ()
    begins = wanted.on_change == "replace"
    images = image_disks(address, domain, resources) if begins else ()
    pool = Reference(("pool",), Address(address.host, Kind.POOL, target.pool), place)
    return Resource(
        address=target,
        model=Volume.model_validate({"seed": seed}),
        defaults=frozenset(),
        place=place,
        places={(): place} if place is not None else {},
        lifecycle=Lifecycle(resource.lifecycle.prevent_destroy, told=told),
        # An edited seed is noted once the disks are those of the new instance, not before.
        depends_on=tuple(Reference(("disks",), image, place) for image in images),
        references=(pool,),
    )


def _pool(domain: Domain, wanted: CloudInit) -> str:
    if domain.disks is None:
        why = "its seed is one of the guest's `disks`, and the spec says nothing of them"
        raise _Refused((), why, "write the disks that the guest shall have beside it")
    if TARGET in domain.disks:
        raise _Refused((), f"the disk {TARGET} is taken, which its seed is on", "rename that disk")
    if wanted.pool is not None:
        return wanted.pool
    for disk in domain.disks.values():
        if disk.volume is not None:
            return disk.volume.partition("/")[0]
    raise _Refused((), "it does not say in which pool its seed is to be", "write pool: NAME")


def _with_disk(resource: Resource, domain: Domain, volume: Address) -> Resource:
    disk = Disk.model_validate({"target": TARGET, "volume": volume.name, "readonly": True})
    disks = {**(domain.disks or {}), TARGET: disk}
    place = nearest(resource.places, ("cloud_init",))
    reference = Reference(("disks", TARGET, "volume"), volume, place)
    # What it said is in the volume now, and nobody shall look for it here.
    model = domain.model_copy(update={"disks": disks, "cloud_init": _policies(domain.cloud_init)})
    return replace(resource, model=model, references=(*resource.references, reference))


def _policies(wanted: CloudInit | None) -> CloudInit | None:
    """What the planner has to know of a seed beyond its volume, if there is anything."""
    rest = {
        name: getattr(wanted, name)
        for name, values in TELLING.items()
        if getattr(wanted, name) in values
    }
    return CloudInit.model_validate(rest) if rest else None


# ------------------------------------------------------------------------------ the documents

FILES = {
    "user-data": "user_data",
    "meta-data": "meta_data",
    "network-config": "network_config",
    "vendor-data": "vendor_data",
}
"""The files of a seed, and the fields that they come from."""


def _files(resource: Resource, wanted: CloudInit, stack: str, report: Diagnostics) -> Plain:
    files = {}
    for name, field in FILES.items():
        value = revealed(getattr(wanted, field))
        if _is_unread(getattr(wanted, field)):
            continue
        if field in ("user_data", "vendor_data"):
            _report(check_user_data(value), resource, field, report)
        elif field == "network_config":
            _report(check_network(value), resource, field, report)
        if field != "meta_data" and value is not None:
            head = CONFIG if field != "network_config" else ""
            files[name] = value if isinstance(value, str) else head + _as_text(value)
    files.setdefault("user-data", CONFIG)
    files["meta-data"] = _meta_data(resource.address, wanted, stack, files)
    return files


def _report(mistakes: list[Mistake], resource: Resource, field: str, report: Diagnostics) -> None:
    for mistake in mistakes:
        path = ("cloud_init", field, *mistake.path)
        summary = f"{'.'.join(path)} of {resource.address.short}: {mistake.summary}"
        place: Place | None = nearest(resource.places, path)
        add = report.warning if mistake.doubtful else report.error
        add(codes.SEED, summary, place, mistake.remedy, resource.address)


def _meta_data(address: Address, wanted: CloudInit, stack: str, files: Plain) -> str:
    value = revealed(wanted.meta_data)
    if isinstance(value, str) and not _is_unread(wanted.meta_data):
        if "instance-id" not in value:
            why = "it names no instance-id, without which cloud-init cannot tell guests apart"
            raise _Refused(("meta_data",), why, "add one, or write a mapping: one is given there")
        return value
    given = f"{stack}/{address}"
    if wanted.on_change == "replace":
        rest = json.dumps([sorted(files.items()), value], sort_keys=True, default=list)
        given += f"/{sha256(rest.encode()).hexdigest()}"
    identity = str(uuid.uuid5(NAMESPACE, given))
    defaults = {"instance-id": identity, "local-hostname": address.name}
    return _as_text({**defaults, **(value if isinstance(value, Mapping) else {})})


def _is_unread(value: Any) -> bool:
    """Whether a whole document is a secret that this run does not read."""
    return isinstance(value, SecretText) and not value.reveal()


def _as_text(value: Any) -> str:
    """A mapping as JSON, which is YAML: every text is quoted, so that none is taken for another."""
    return json.dumps(value, ensure_ascii=False, indent=2, default=list) + "\n"


def revealed(value: Any) -> Any:
    """A document with the secrets in it in clear."""
    if isinstance(value, SecretText):
        return value.reveal()
    if isinstance(value, Mapping):
        return {key: revealed(inner) for key, inner in value.items()}
    return [revealed(inner) for inner in value] if isinstance(value, tuple | list) else value


def _has_secret(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_has_secret(inner) for inner in value.values())
    if isinstance(value, tuple | list):
        return any(_has_secret(inner) for inner in value)
    return isinstance(value, SecretText)
