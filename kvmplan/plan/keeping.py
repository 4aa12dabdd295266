"""Keeping: what a domain's field has made keeps its name when the domain gets another one.

A short disk and a seed are named after their domain. What an existing domain is on is its own all
the same, during a `moved` and ever after: a volume of the new name would be an empty one. And what
is not kept is not changed for a new volume behind the user's back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from posixpath import normpath
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.inventory import EMPTY, FORGOTTEN, Inventory, Record
from kvmplan.kinds.context import HostContext
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.lens import read
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import SecretText
from kvmplan.plan.origin import sealed
from kvmplan.plan.sources import Sources
from kvmplan.plan.storage import place_of
from kvmplan.spec.desired import Desired, Reference, Resource
from kvmplan.spec.seeds import under_name

SWAPPED = "KVP138"


def keep_volumes(
    desired: Desired, inventories: Mapping[str, Inventory], skeleton: Callable[..., Any]
) -> Desired:
    """The specs with those volumes that fields stand for under the names that they have."""
    elsewhere = [
        resource
        for _, resource in sorted(desired.resources.items())
        if resource.maker is not None and _is_elsewhere(resource, resource.maker, inventories)
    ]
    namers = _namers(desired) if elsewhere else {}
    kept: dict[Address, Address] = {}
    for resource in elsewhere:
        inventory = inventories[resource.address.host]
        found = _kept(resource, desired, inventory, skeleton)
        alone = namers.get(resource.address, set()) <= {resource.maker}
        if found is not None and alone and found not in kept.values():
            kept[resource.address] = found
    if not kept:
        return desired
    made: dict[Address, Resource] = {}
    for address, resource in desired.resources.items():
        resource = _referring(resource, kept)
        if address in kept:
            seed = _seed(resource, kept[address], desired, inventories[address.host])
            resource = replace(resource, address=kept[address], model=seed)
        made[resource.address] = resource
    for address, found in kept.items():
        domain = desired.resources[address].maker
        path = desired.resources[address].stands_for[1:]
        if domain is not None:
            made[domain] = replace(made[domain], model=_put(made[domain].model, path, found.name))
    return replace(desired, resources=made)


def _is_elsewhere(
    resource: Resource, domain: Address, inventories: Mapping[str, Inventory]
) -> bool:
    """Whether a domain of ours is not on the volume that one of its fields stands for."""
    inventory = inventories.get(domain.host)
    record = inventory.record(domain) if inventory is not None else None
    if inventory is None or record is None:
        return False
    # A search, so that not every document has to be read. The whole name, behind a path or quote.
    names = (f"{before}{resource.address.leaf}" for before in "/'\"")
    is_there = any(name in record.document for name in names)
    return not is_there and _is_ours(domain, record.key, inventory)


def _namers(desired: Desired) -> dict[Address, set[Address]]:
    """Who names what: a volume that others name, too, is meant as it is written there."""
    found: dict[Address, set[Address]] = {}
    for address, resource in desired.resources.items():
        for reference in (*resource.references, *resource.depends_on):
            found.setdefault(reference.target, set()).add(resource.maker or address)
    return found


def _kept(
    resource: Resource, desired: Desired, inventory: Inventory, skeleton: Callable[..., Any]
) -> Address | None:
    """The volume that an existing domain has in place of the one named after it; None if none."""
    address, domain = resource.address, resource.maker
    record = inventory.record(domain) if domain is not None else None
    if domain is None or record is None:
        return None
    tail = _tail(address, domain)
    context = HostContext(skeleton=skeleton, volume_at=inventory.volume_by_path.get)
    for name in _volumes(record, resource.stands_for[1:], context):
        found = Address(address.host, Kind.VOLUME, name)
        there = inventory.names.get(Kind.VOLUME, EMPTY).get(name, "")
        alike = found.pool == address.pool and found.leaf.endswith(tail)
        if alike and found not in desired.resources and _is_ours(found, there, inventory):
            return found
    return None


def _tail(volume: Address, domain: Address) -> str:
    """What the name of a volume has behind its domain's: ``-vda.qcow2``."""
    return volume.leaf.removeprefix(domain.name)


def _is_ours(address: Address, key: str, inventory: Inventory) -> bool:
    """Whether an object is claimed; one in a pool that is off shows no key to compare."""
    if not inventory.facts.has_secrets:
        return inventory.exists(address)
    claim = inventory.claim(address)
    return claim is not None and claim.phase != FORGOTTEN and claim.key in (key or claim.key, "")


def _volumes(record: Record, path: tuple[str, ...], context: HostContext) -> Iterator[str]:
    """The volumes that a domain has at a field, the topmost first: below it are those of a disk."""
    value: Any = read(Domain, parse_to_read(record.document), context)
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    if isinstance(value, str):
        yield value
    for document in (record.running, record.document) if path[0] == "disks" else ():
        disk = _disk(parse_to_read(document), path[1]) if document is not None else None
        for source in disk.iterfind(".//backingStore/source") if disk is not None else ():
            found = context.volume_at(source.get("file") or source.get("dev") or "")
            if found is not None:
                yield found


def _disk(root: Element, target: str) -> Element | None:
    disks = root.iterfind("devices/disk")
    return next((d for d in disks if d.find(f"target[@dev='{target}']") is not None), None)


def _referring(resource: Resource, kept: Mapping[Address, Address]) -> Resource:
    """A resource that refers to volumes under the names that they have."""

    def follow(references: tuple[Reference, ...]) -> tuple[Reference, ...]:
        return tuple(replace(r, target=kept.get(r.target, r.target)) for r in references)

    if not any(r.target in kept for r in (*resource.references, *resource.depends_on)):
        return resource
    return replace(
        resource,
        references=follow(resource.references),
        depends_on=follow(resource.depends_on),
    )


def _put(model: Mapped, path: tuple[str, ...], value: str) -> Any:
    """A model with another value at a path."""
    name, rest = path[0], path[1:]
    if not rest:
        return model.model_copy(update={name: value})
    below: Any = getattr(model, name)
    if isinstance(below, Mapping):
        return model.model_copy(
            update={name: {**below, rest[0]: _put(below[rest[0]], rest[1:], value)}}
        )
    return model.model_copy(update={name: _put(below, rest, value)})


def _seed(resource: Resource, kept: Address, desired: Desired, inventory: Inventory) -> Mapped:
    """The model of a kept volume: a seed is that of the guest that has it, under its name then."""
    model, domain = resource.model, resource.maker
    seed = model.seed if isinstance(model, Volume) else None
    if seed is None or domain is None or resource.stands_for[1] != "disks":
        return model
    former = replace(domain, name=kept.leaf.removesuffix(_tail(resource.address, domain)))
    secret = isinstance(seed, SecretText)
    policies = getattr(desired.resources[domain].model, "cloud_init", None)
    text = seed.reveal() if secret else seed
    claim = inventory.claim(kept)
    noted = claim.born.get("seed") if claim is not None else None
    variants = list(under_name(text, domain, former, policies, desired.stack.uid))
    same = (v for v in variants if noted is not None and noted == sealed(v, inventory.key))
    chosen = next(same, variants[-1]) if inventory.key else variants[0]
    return model.model_copy(update={"seed": SecretText(chosen) if secret else chosen})


def refuse_swaps(
    desired: Desired,
    inventories: Mapping[str, Inventory],
    created: Collection[Address],
    changed: Collection[Address],
    found: Diagnostics,
) -> None:
    """KVP138 for each disk of an existing domain that would get a new volume of the short way.

    Args:
        desired: the specs.
        inventories: the hosts, by name.
        created: the volumes that shall be made.
        changed: the domains that are there and shall be changed.
        found: gets the problems.
    """
    for address in sorted(created):
        resource = desired.resources[address]
        domain = resource.maker
        if domain is None or domain not in changed or getattr(resource.model, "seed", None):
            continue
        inventory = inventories[address.host]
        record, target = inventory.record(domain), resource.stands_for[2]
        now = _source(record, target) if record is not None else None
        there = Sources(address.host, desired.resources, inventory).of(address.name, None)
        if now is None or now in (address.name, there):
            continue
        volume = inventory.volume_by_path.get(now, now)
        summary = (
            f"disks.{target} of {domain.short} is on {volume}, and would change for a new volume, "
            f"{address.name}"
        )
        remedy = (
            f"to keep it, declare {volume} under `volumes`, and write `{target}: {{volume: "
            f"{volume}}}`; to change it, do so with {address.name}"
        )
        place = place_of(desired.resources[domain], ("disks", target))
        found.error(SWAPPED, summary, place, remedy, domain)


def _source(record: Record, target: str) -> str | None:
    """What a domain's disk is on: a path, or ``POOL/NAME``; None if it is on nothing."""
    disk = _disk(parse_to_read(record.document), target)
    source = disk.find("source") if disk is not None else None
    if source is None:
        return None
    if source.get("pool"):
        return f"{source.get('pool')}/{source.get('volume')}"
    path = source.get("file") or source.get("dev")
    return normpath(path) if path else source.get("name")
