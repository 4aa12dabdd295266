"""Seeding: what follows from a guest's seed beyond the seed itself.

A seed is unplugged once cloud-init has finished, and stays so until it is edited; or an edit makes
the guest begin from nothing. What was unplugged is noted in the domain's claim, by the seed's seal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kvmplan.address import Address, Kind
from kvmplan.inventory import Claim, Inventory, State
from kvmplan.kinds.cloud_init import TARGET
from kvmplan.kinds.domain import Domain
from kvmplan.mapping.document import parse_to_read
from kvmplan.plan.origin import sealed
from kvmplan.spec.instances import image_disks
from kvmplan.spec.seedvolume import REPLACE

if TYPE_CHECKING:
    from kvmplan.plan.intent import Intent
    from kvmplan.spec.desired import Desired, Resource

EJECTED = "ejected"
"""In a domain's claim, under `born`: the seal of the seed that was unplugged."""
RESEEDED = "reseeded"
"""There, too: libvirt's id of the running guest that had its seed plugged in when it was edited. It
is for that guest's next boot, so this one's cloud-init says nothing of it."""


def has_policies(model: Any) -> bool:
    """Whether more than the seed itself follows from a domain's seeds."""
    ignition = getattr(model, "ignition", None)
    return getattr(model, "cloud_init", None) is not None or (
        ignition is not None and ignition.on_change is not None
    )


def ejects(resource: Resource) -> bool:
    """Whether a domain's seed is to be unplugged when cloud-init has finished."""
    wanted = getattr(resource.model, "cloud_init", None)
    return wanted is not None and wanted.eject_after is not None


def seed_of(resource: Resource) -> Address:
    """The volume of a domain's seed."""
    disk = resource.model.disks[TARGET]  # type: ignore[attr-defined]
    return Address(resource.address.host, Kind.VOLUME, disk.volume)


def seal_of(resource: Resource, desired: Desired, key: bytes) -> str:
    """The seal of the seed that a domain shall have."""
    volume: Any = desired.resources[seed_of(resource)].model
    return sealed(volume.seed, key)


# ------------------------------------------------------------------------------ ejection


def is_ejected(
    resource: Resource, claim: Claim | None, desired: Desired, inventory: Inventory
) -> bool:
    """Whether a domain's seed was unplugged because it was done, and has not been edited since."""
    noted = claim.born.get(EJECTED) if claim is not None else None
    if noted is None or not ejects(resource):
        return False
    kept = ("seed",) in desired.resources[seed_of(resource)].lifecycle.told
    return kept or not inventory.key or noted == seal_of(resource, desired, inventory.key)


def unplugged(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a domain without its seed's disk."""
    disks = {target: disk for target, disk in tree["disks"].items() if target != TARGET}
    return {**tree, "disks": disks}


def is_due(
    intent: Intent, running: Mapping[str, Any] | None, desired: Desired, inventory: Inventory
) -> bool:
    """Whether a running guest has a seed that it may be done with.

    Args:
        intent: the domain's.
        running: its running fields, if it runs.
        desired: says what its seed shall be.
        inventory: knows what it is.
    """
    record, resource = intent.record, intent.resource
    if not ejects(resource) or intent.ejected or record is None or record.running is None:
        return False
    if record.state is not State.RUNNING or TARGET not in (running or {}).get("disks", {}):
        return False
    since = intent.claim.born.get(RESEEDED) if intent.claim is not None else None
    if since is not None and since == running_id(record.running):
        return False
    seed = inventory.claim(seed_of(resource))
    if seed is None or not inventory.key:
        return seed is not None
    kept = ("seed",) in desired.resources[seed_of(resource)].lifecycle.told
    return kept or seed.born.get("seed") == seal_of(resource, desired, inventory.key)


def running_id(document: str) -> str:
    """The id that libvirt gives a running domain, another one at each start."""
    return str(parse_to_read(document).get("id", ""))


def reseeded(
    volume: Address, born: Callable[[Address], Claim | None], desired: Desired, inventory: Inventory
) -> Claim | None:
    """The claim of the guest whose seed was edited: nothing is done with the new one yet.

    Args:
        volume: the seed.
        born: the claims, by address.
        desired: says whose it is.
        inventory: knows whether that guest runs, with the seed plugged in: its next boot reads it.
    """
    made = desired.resources.get(volume)
    domain = made.maker if made is not None else None
    resource, claim = (desired.resources.get(domain), born(domain)) if domain else (None, None)
    if domain is None or resource is None or claim is None or not ejects(resource):
        return None
    if seed_of(resource) != volume:
        return None
    record = inventory.record(domain)
    rest = {name: value for name, value in claim.born.items() if name not in (EJECTED, RESEEDED)}
    if record is not None and record.running is not None:
        rest[RESEEDED] = running_id(record.running)
    return replace(claim, born=rest)


# ------------------------------------------------------------------------------ beginning anew


def renewed(desired: Desired, inventories: Mapping[str, Inventory]) -> frozenset[Address]:
    """What is replaced because a seed was edited: its guest, the guest's images, the seed."""
    found: set[Address] = set()
    for address, resource in desired.resources.items():
        model = resource.model
        if not isinstance(model, Domain) or address.host not in inventories:
            continue
        for seed in _renewing(model, address):
            if _is_edited(seed, desired, inventories[address.host]):
                found |= {address, seed, *image_disks(address, model, desired.resources)}
    return frozenset(found)


def _renewing(domain: Domain, address: Address) -> Iterator[Address]:
    """The seeds of a domain whose edits make it begin from nothing."""
    if domain.cloud_init is not None and domain.cloud_init.on_change == REPLACE:
        disk = (domain.disks or {})[TARGET]
        yield Address(address.host, Kind.VOLUME, str(disk.volume))
    if domain.ignition is not None and domain.ignition.on_change == REPLACE:
        yield Address(address.host, Kind.VOLUME, str(domain.ignition.volume))


def _is_edited(seed: Address, desired: Desired, inventory: Inventory) -> bool:
    """Whether a seed is to be another one than the guest was made with."""
    claim = inventory.claim(seed)
    noted = claim.born.get("seed") if claim is not None else None
    if not noted or not inventory.key or seed not in desired.resources:
        return False
    volume: Any = desired.resources[seed].model
    return bool(noted != sealed(volume.seed, inventory.key))
