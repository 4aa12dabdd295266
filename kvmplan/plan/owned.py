"""What a stack owns on its hosts: what it claims, and what no other stack does."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

from kvmplan.address import Address, parse_address
from kvmplan.inventory import Inventory, Record
from kvmplan.plan.intent import is_claimed
from kvmplan.plan.torn import (
    BEGUN,
    FILLING,
    begun_volumes,
    is_begun,
    made_for_guests,
    made_for_overlays,
)
from kvmplan.spec.desired import Resource


class Owned:
    """What one stack owns. What a cut run has made is looked for once, and only if one was cut."""

    def __init__(
        self, inventories: Mapping[str, Inventory], skeleton: Callable[..., Any], stack: str
    ) -> None:
        """`stack`: its uid."""
        self._inventories, self._skeleton, self._stack = inventories, skeleton, stack
        self._made: dict[tuple[str, Callable[..., Any]], frozenset[Address]] = {}

    def is_vouched(self, address: Address, inventory: Inventory) -> bool:
        """Whether a guest that a cut run has made says that it has made this volume."""
        return self._is_made(made_for_guests, address, inventory)

    def is_whole(self, address: Address, inventory: Inventory) -> bool:
        """Whether what a cut run has made says that this volume of it is whole."""
        over = self._is_made(made_for_overlays, address, inventory)
        return over or self.is_vouched(address, inventory)

    def _is_made(
        self, for_others: Callable[..., frozenset[Address]], address: Address, inventory: Inventory
    ) -> bool:
        if not is_begun(inventory, address):
            return False
        key = inventory.host, for_others
        if key not in self._made:
            self._made[key] = for_others(inventory, self._skeleton)
        return address in self._made[key]

    def claims(self, record: Record, inventory: Inventory) -> bool:
        """Whether an object is claimed, and the same one as then; another stack may do so, too."""
        vouched = self.is_vouched(record.address, inventory)
        claim = inventory.claim(record.address)
        return is_claimed(record, claim, inventory, None, self._stack, vouched=vouched)

    def half_made(self, resources: Mapping[Address, Resource]) -> frozenset[Address]:
        """The volumes that hold a part of what a cut run was filling them with."""
        return frozenset(
            record.address
            for inventory in self._inventories.values()
            for record in begun_volumes(inventory)
            if self._is_half_made(record, inventory, resources.get(record.address))
        )

    def _is_half_made(
        self, record: Record, inventory: Inventory, resource: Resource | None
    ) -> bool:
        model = resource.model if resource is not None else None
        claim = inventory.claim(record.address)
        begun = claim is not None and claim.phase == BEGUN
        if not begun and not any(getattr(model, name, None) is not None for name in FILLING):
            return False
        return self.claims(record, inventory) and not self.is_whole(record.address, inventory)

    def orphans(self, wanted: Container[Address]) -> tuple[Address, ...]:
        """What the stack owns, and nobody else does, beside what is wanted."""
        found = []
        for host, inventory in sorted(self._inventories.items()):
            claims = inventory.claims.entries if inventory.claims else {}
            for short, claim in sorted(claims.items()):
                address = parse_address(short, host)
                record = inventory.record(address)
                if address in wanted or record is None or record.key != claim.key:
                    continue
                other = inventory.other_owner(address, record.key)
                if other is None and self.claims(record, inventory):
                    found.append(address)
        return tuple(found)
