"""What can be known without a host: cycles among the specs."""

from __future__ import annotations

from kvmplan.diagnostics import Diagnostics
from kvmplan.plan.graph import cycles
from kvmplan.plan.references import wanted
from kvmplan.spec.desired import Desired


def check_offline(desired: Desired, found: Diagnostics) -> None:
    """KVP121 for every cycle of references, at the first reference of the circle."""
    links = {address: wanted(resource) for address, resource in desired.resources.items()}
    for circle in cycles(links):
        resource = desired.resources[circle[0]]
        references = (*resource.references, *resource.depends_on)
        place = next((r.place for r in references if r.target == circle[1]), resource.place)
        text = " -> ".join(address.short for address in circle)
        found.error(
            "KVP121", f"references form a cycle: {text}", place, "break one of them", circle[0]
        )
