"""Seeds: a domain's `cloud_init`, as the volume and the disk that it stands for.

What the guest reads is settled here, as text; the image of it is made when it is uploaded.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.kinds.cloud_init import INSTANCE, SEED_SUFFIX, TARGET, CloudInit
from kvmplan.kinds.disk import Disk
from kvmplan.kinds.domain import Domain
from kvmplan.spec import codes
from kvmplan.spec.cloudconfig import Mistake, check_network, check_user_data
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
    seed_text,
    seed_volume,
)

NAMESPACE = uuid.UUID("0f6b1c52-4b6e-5a07-9f10-6b766d706c61")
CONFIG = "#cloud-config\n"
HOSTNAME = "local-hostname"

TELLING = {"on_change": (REPLACE,), "eject_after": ("done",)}
"""Policies, and those of their values by which more than the seed itself is changed."""

Plain = dict[str, str]
"""The files of a seed, by name."""


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
            resources[volume.address] = volume
            resources[address] = _with_disk(resource, model, volume.address)
        except Refused as error:
            refuse(error, resource, "cloud_init", codes.SEED, report)
            bare = model.model_copy(update={"cloud_init": None})
            resources[address] = replace(resource, model=bare)


def _check_agent(domain: Domain, wanted: CloudInit) -> None:
    if wanted.eject_after is not None and domain.agent is False:
        why = "only the guest's agent tells when cloud-init has finished, and it has none"
        raise Refused(("eject_after",), why, "take `agent: false` out")


def _volume(
    resource: Resource,
    domain: Domain,
    wanted: CloudInit,
    stack: str,
    resources: Mapping[Address, Resource],
    report: Diagnostics,
) -> Resource:
    _check_agent(domain, wanted)
    return seed_volume(
        resource,
        "cloud_init",
        f"{_pool(domain, wanted)}/{resource.address.name}{SEED_SUFFIX}",
        _files(resource, wanted, stack, report),
        ("disks", TARGET, "volume"),
        secret=any(has_secret(getattr(wanted, field)) for field in FILES.values()),
        on_change=wanted.on_change,
        resources=resources,
    )


def _pool(domain: Domain, wanted: CloudInit) -> str:
    if domain.disks is None:
        why = "its seed is one of the guest's `disks`, and the spec says nothing of them"
        raise Refused((), why, "write the disks that the guest shall have beside it")
    if TARGET in domain.disks:
        raise Refused((), f"the disk {TARGET} is taken, which its seed is on", "rename that disk")
    pool = wanted.pool or first_pool(domain)
    if pool is not None:
        return pool
    raise Refused((), "it does not say in which pool its seed is to be", "write pool: NAME")


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
        if is_unread(getattr(wanted, field)):
            continue
        if field in ("user_data", "vendor_data"):
            _report(check_user_data(value), resource, field, report)
        elif field == "network_config":
            _report(check_network(value), resource, field, report)
        if field != "meta_data" and value is not None:
            head = CONFIG if field != "network_config" else ""
            files[name] = value if isinstance(value, str) else head + as_json(value)
    files.setdefault("user-data", CONFIG)
    files["meta-data"] = _meta_data(resource.address, wanted)
    if INSTANCE not in files["meta-data"]:
        files[INSTANCE] = _instance(resource.address, wanted, stack, files)
    return files


def under_name(
    text: str, domain: Address, former: Address, wanted: CloudInit | None, stack: str
) -> Iterator[str]:
    """A seed as its domain had it under another name: with that one's host name, then without.

    The instance is the former's in any case: a guest that has another name is no other guest.

    Args:
        text: the seed.
        domain: the domain as it is called now.
        former: as it was when the seed was made.
        wanted: the policies of its seed, if there are any.
        stack: its uid.
    """
    files = json.loads(text)
    own_id = files.pop(INSTANCE, None) is None
    as_named = {**files, "meta-data": _with_hostname(files["meta-data"], domain, former)}
    for given in (as_named, files):
        if own_id:
            yield seed_text(given)
        else:
            found = _instance(former, wanted or CloudInit(), stack, given)
            yield seed_text({**given, INSTANCE: found})


def _with_hostname(text: str, domain: Address, former: Address) -> str:
    """Meta-data with the former host name, if it has the one that is given where none is said."""
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not isinstance(value, dict) or value.get(HOSTNAME) != domain.name:
        return text
    return as_json({**value, HOSTNAME: former.name})


def _report(mistakes: list[Mistake], resource: Resource, field: str, report: Diagnostics) -> None:
    for mistake in mistakes:
        path = ("cloud_init", field, *mistake.path)
        summary = f"{'.'.join(path)} of {resource.address.short}: {mistake.summary}"
        place: Place | None = nearest(resource.places, path)
        add = report.warning if mistake.doubtful else report.error
        add(codes.SEED, summary, place, mistake.remedy, resource.address)


def _meta_data(address: Address, wanted: CloudInit) -> str:
    value = revealed(wanted.meta_data)
    if isinstance(value, str) and not is_unread(wanted.meta_data):
        if INSTANCE not in value:
            why = "it names no instance-id, without which cloud-init cannot tell guests apart"
            raise Refused(("meta_data",), why, "add one, or write a mapping: one is given there")
        return value
    given = value if isinstance(value, Mapping) else {}
    return as_json({HOSTNAME: address.name, **given})


def _instance(address: Address, wanted: CloudInit, stack: str, files: Plain) -> str:
    """The id of the instance that a guest is: another one for other documents, if that is asked."""
    given = f"{stack}/{address}"
    if wanted.on_change == REPLACE:
        given += f"/{sha256(json.dumps(sorted(files.items())).encode()).hexdigest()}"
    return str(uuid.uuid5(NAMESPACE, given))
