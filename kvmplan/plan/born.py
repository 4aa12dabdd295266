"""What a fresh object would have: skeletons filled with the birth values of a host.

Gives the applier the document that a new object starts from, and `!default` its meaning.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lxml.etree import _Element as Element

from kvmplan.address import Address, Kind
from kvmplan.inventory import Inventory
from kvmplan.kinds import birth
from kvmplan.kinds.context import HostContext, VolumeFacts
from kvmplan.mapping.lens import Path
from kvmplan.spec.desired import Desired

NAMESPACE = uuid.UUID("5f1d9a52-6f0c-5a3b-9d4e-1d6b1f3c7a90")
"""Root of the uuids that new objects get."""


def uuid_of(stack: str, host_uuid: str, address: Address) -> str:
    """The uuid of a new object: known before it exists, so that its claim can be written first."""
    return str(uuid.uuid5(NAMESPACE, f"{stack}/{host_uuid}/{address.short}"))


@dataclass(frozen=True)
class Births:
    """Makes documents of new objects and the contexts they are read and written with."""

    skeleton: Callable[[str, Mapping[str, Any]], Element]
    desired: Desired
    inventories: Mapping[str, Inventory] = field(default_factory=dict)

    def context(
        self,
        inventory: Inventory,
        runtime: Mapping[str, Any] | None = None,
        names: Mapping[Path, Mapping[str, str]] | None = None,
        volume: Callable[[str], VolumeFacts | None] = lambda _: None,
    ) -> HostContext:
        """The context for an object of this host."""
        return HostContext(
            skeleton=self.skeleton,
            names=names or {},
            runtime=runtime or {},
            volume=volume,
            volume_at=inventory.volume_by_path.get,
        )

    def document(
        self, address: Address, tree: Mapping[str, Any], inventory: Inventory, uuid_: str
    ) -> Element:
        """The skeleton of a new object, with the host's birth values and its name and uuid."""
        values: dict[str, Any] = {"name": address.leaf, "uuid": uuid_}
        match address.kind:
            case Kind.DOMAIN:
                values |= birth.domain_birth(tree, inventory.facts)
            case Kind.NETWORK:
                values |= birth.network_birth(tree)
            case Kind.POOL:
                values |= birth.pool_birth(tree)
            case Kind.VOLUME:
                values |= birth.volume_birth(tree, self.pool_type(address, inventory))
        return self.skeleton(birth.skeleton_name(address.kind), values)

    def pool_type(self, address: Address, inventory: Inventory) -> str:
        """The type of a volume's pool: as it is live, else as the spec says, else ``dir``."""
        pool = Address(address.host, Kind.POOL, address.pool)
        record = inventory.record(pool)
        if record is not None:
            head = record.document.partition("type='")[2] or record.document.partition('type="')[2]
            return head.partition("'")[0].partition('"')[0]
        resource = self.desired.resources.get(pool)
        return getattr(resource.model, "type", None) or "dir" if resource else "dir"
