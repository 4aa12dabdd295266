"""What can be known without a host: cycles among the specs, and storage that cannot be."""

from __future__ import annotations

from kvmplan.diagnostics import Diagnostics
from kvmplan.plan.circles import report_circles
from kvmplan.plan.shared import check_shared
from kvmplan.plan.storage import Storage, check_storage
from kvmplan.spec.desired import Desired


def check_offline(desired: Desired, found: Diagnostics) -> None:
    """KVP121 for every cycle of references; storage that cannot be as the specs say."""
    storage = Storage(desired.resources, {})
    check_storage(storage, desired.resources.values(), (), (), found)
    check_shared(desired.resources, found)
    report_circles(desired, found)
