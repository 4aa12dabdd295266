"""Paths: a file that is named by its path, and is a volume of the stack, is made before it is used.

Only the order follows from it: what is at a path is libvirt's and the user's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from posixpath import normpath

from kvmplan.address import Address, Kind
from kvmplan.kinds.domain import Domain
from kvmplan.kinds.pool import Pool
from kvmplan.kinds.volume import Volume
from kvmplan.mapping.model import Mapped
from kvmplan.spec.desired import Reference, Resource
from kvmplan.spec.places import nearest

Path = tuple[str, ...]


def write_path_references(resources: dict[Address, Resource]) -> None:
    """Let resources refer to the volumes that they name by path.

    Args:
        resources: all of a stack, by address.
    """
    volumes = _volumes(resources)
    for address, resource in list(resources.items()):
        found = [
            Reference(path, target, nearest(resource.places, path))
            for path, file in _files(resource.model)
            if (target := volumes.get((address.host, normpath(file)))) not in (None, address)
        ]
        if found:
            references = (*resource.references, *found)
            resources[address] = replace(resource, references=references)


def path_of(volume: Address, resources: Mapping[Address, Resource]) -> str | None:
    """Where a volume will be; None if the specs do not say where its pool is."""
    pool = resources.get(Address(volume.host, Kind.POOL, volume.pool))
    if pool is None or not isinstance(pool.model, Pool) or pool.model.path is None:
        return None
    return f"{normpath(pool.model.path)}/{volume.leaf}"


def _volumes(resources: Mapping[Address, Resource]) -> dict[tuple[str, str], Address]:
    """Host and path -> the volume that will be there, in pools that say where they are."""
    return {
        (address.host, path): address
        for address in resources
        if address.kind is Kind.VOLUME and (path := path_of(address, resources)) is not None
    }


def _files(model: Mapped) -> Iterator[tuple[Path, str]]:
    """Every file that a resource names, and where."""
    if isinstance(model, Domain):
        for target, disk in (model.disks or {}).items():
            if disk.file is not None:
                yield ("disks", target, "file"), disk.file
    elif isinstance(model, Volume) and model.backing is not None and model.backing.path is not None:
        yield ("backing", "path"), model.backing.path
