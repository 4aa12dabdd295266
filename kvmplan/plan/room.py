"""Room: the bytes that a plan writes to each pool at once, and those that its pools may grow by.

What is written at once must fit, or the plan is refused: space that is allocated at birth, and the
bytes of a copy. Thin volumes may promise more than there is; that is common, and only warned of.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kvmplan.address import Address, Kind
from kvmplan.diagnostics import Diagnostics
from kvmplan.kinds.pooltypes import pool_type
from kvmplan.mapping.units import about_size
from kvmplan.plan.change import Action, Change, Growth, Guarded
from kvmplan.plan.storage import Storage
from kvmplan.spec.desired import Resource

NO_ROOM, PROMISED = "KVP240", "KVP241"


@dataclass(slots=True)
class Need:
    """What a plan asks of one pool, in bytes.

    Attributes:
        at_once: written while the plan is carried out.
        in_all: what it may come to when everything is written.
    """

    at_once: int = 0
    in_all: int = 0


def needs_of(changes: Iterable[Change], storage: Storage) -> dict[Address, Need]:
    """What the changes ask of each pool; pools that they ask nothing of are left out.

    What a plan deletes frees nothing: other steps may come before. What is replaced goes first.
    """
    needs: dict[Address, Need] = {}
    for change in changes:
        if change.address.kind is not Kind.VOLUME:
            continue
        pool = Address(change.address.host, Kind.POOL, change.address.pool)
        if change.action in (Action.CREATE, Action.REPLACE) and change.after is not None:
            capacity = storage.capacity_of(change.address) or 0
            freed = storage.number(change.address, "allocation") or 0
            freed = freed if change.action is Action.REPLACE else 0
            written = _written(change.address, change.after, capacity, storage)
            asked = Need(max(0, written - freed), max(0, max(capacity, written) - freed))
        else:
            asked = Need(0, max(0, sum(_grown(change))))
        if asked.at_once or asked.in_all:
            need = needs.setdefault(pool, Need())
            need.at_once += asked.at_once
            need.in_all += asked.in_all
    return needs


def _grown(change: Change) -> Iterator[int]:
    for field in change.fields:
        if field.path == ("capacity",) and isinstance(field.before, int):
            yield field.after - field.before


def _written(address: Address, tree: Mapping[str, Any], capacity: int, storage: Storage) -> int:
    """The bytes that a new volume takes up at once."""
    kind = pool_type(storage.type_of(Address(address.host, Kind.POOL, address.pool)))
    if not kind.sparse:
        return capacity
    allocation: int = min(tree.get("allocation") or 0, capacity)
    source = tree.get("clone")
    if source is None:
        return allocation
    copied = storage.number(Address(address.host, Kind.VOLUME, source), "allocation") or 0
    return max(allocation, min(copied, capacity or copied))


def growth(needs: Mapping[Address, Need]) -> tuple[Growth, ...]:
    """What each pool may grow by, for the plan."""
    return tuple(Growth(pool, need.in_all) for pool, need in sorted(needs.items()))


def refuse_what_cannot_fit(needs: Mapping[Address, Need], storage: Storage) -> Iterator[Guarded]:
    """KVP240 for each pool that has less room than is written to it at once."""
    for pool, need in sorted(needs.items()):
        available = _available(pool, storage)
        if available is None or need.at_once <= available:
            continue
        summary = (
            f"{pool.short} has {about_size(available)} available, and this plan writes "
            f"{about_size(need.at_once)} to it at once"
        )
        remedy = "make room, or let volumes be sparse: leave their allocation out"
        yield Guarded(NO_ROOM, pool, summary, remedy)


def warn_of_promises(
    needs: Mapping[Address, Need],
    storage: Storage,
    resources: Mapping[Address, Resource],
    found: Diagnostics,
) -> None:
    """KVP241 for each pool that its volumes may outgrow.

    It does not say how much is available: that changes by itself, and a plan with it.
    """
    for pool, need in sorted(needs.items()):
        available = _available(pool, storage)
        if available is None or not need.at_once <= available < need.in_all:
            continue
        resource = resources.get(pool)
        summary = (
            f"{pool.short} may grow by {about_size(need.in_all)} with this plan, "
            "which is more than it has available"
        )
        remedy = "its volumes are thin: see to it that it has room before they fill"
        place = resource.place if resource is not None else None
        found.warning(PROMISED, summary, place, remedy, pool)


def _available(pool: Address, storage: Storage) -> int | None:
    """The bytes that a pool has left; None where that is not known now.

    An inactive pool tells of earlier, and one that nobody has looked into yet has no size at all.
    """
    record = storage.record(pool)
    if record is None or not record.active or not storage.number(pool, "capacity"):
        return None
    return storage.number(pool, "available")
