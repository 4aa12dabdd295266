"""What can be known without a host: cycles among the specs, and storage that cannot be."""

from __future__ import annotations

from itertools import pairwise

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.plan.graph import cycles
from kvmplan.plan.references import wanted
from kvmplan.plan.storage import Storage, check_shared, check_storage
from kvmplan.spec.desired import Desired


def check_offline(desired: Desired, found: Diagnostics) -> None:
    """KVP121 for every cycle of references; storage that cannot be as the specs say."""
    storage = Storage(desired.resources, {})
    check_storage(storage, desired.resources.values(), (), (), found)
    check_shared(desired.resources, found)
    links = {address: wanted(resource) for address, resource in desired.resources.items()}
    for circle in cycles(links):
        text = " -> ".join(address.short for address in circle)
        places = [_place(desired, *link) for link in pairwise(circle)]
        written = ", ".join(str(place) for place in places if place is not None)
        remedy = f"break one of the references at {written}"
        found.error("KVP121", f"references form a cycle: {text}", places[0], remedy, circle[0])


def _place(desired: Desired, source: Address, target: Address) -> Place | None:
    """Where one resource refers to another."""
    resource = desired.resources[source]
    references = (*resource.references, *resource.depends_on)
    return next((r.place for r in references if r.target == target), resource.place)
