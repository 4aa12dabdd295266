"""Circles: references that lead back to where they started, told with every place they stand at."""

from __future__ import annotations

from itertools import pairwise

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.plan.graph import cycles
from kvmplan.plan.references import wanted
from kvmplan.spec.desired import Desired


def report_circles(desired: Desired, found: Diagnostics) -> bool:
    """KVP121 for every circle of references in the specs; whether there is one."""
    links = {address: wanted(resource) for address, resource in desired.resources.items()}
    circles = cycles(links)
    for circle in circles:
        text = " -> ".join(address.short for address in circle)
        places = [_place(desired, *link) for link in pairwise(circle)]
        written = ", ".join(str(place) for place in places if place is not None)
        remedy = f"break one of the references at {written}"
        found.error("KVP121", f"references form a cycle: {text}", places[0], remedy, circle[0])
    return bool(circles)


def _place(desired: Desired, source: Address, target: Address) -> Place | None:
    """Where one resource refers to another."""
    resource = desired.resources[source]
    references = (*resource.references, *resource.depends_on)
    return next((r.place for r in references if r.target == target), resource.place)
