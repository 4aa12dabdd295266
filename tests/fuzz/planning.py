"""Planning on damaged hosts: a golden case whose live documents or marks say something else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from kvmplan.diagnostics import Failure
from kvmplan.inventory import Inventory, Record
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.planner import Planner
from kvmplan.spec import Desired
from kvmplan.views.plan_json import plan_json_text
from kvmplan.views.plan_text import plan_text
from tests.cases.stage import SKELETON, Stage, set_stage, specs_of
from tests.fuzz.seeds import pages


@cache
def stages() -> tuple[tuple[Desired, Stage, PlanOptions], ...]:
    """Every case that has a host with something on it."""
    found: list[tuple[Desired, Stage, PlanOptions]] = []
    here = Path.cwd()
    for page in pages():
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                desired, _ = specs_of(page, "specs", Path(folder))
                was = specs_of(page, "was", Path(folder))[0] if page.below("was") else desired
                if desired is None or was is None:
                    continue
                stage = set_stage(page, desired, was)
            finally:
                os.chdir(here)
        if any(inventory.records for inventory in stage.full.values()):
            found.append((desired, stage, PlanOptions(destroy=len(found) % 5 == 0)))
    return tuple(found)


def damaged(text: str, at: int, length: int, new: str) -> str:
    """A text with a part replaced."""
    start = at % (len(text) + 1)
    return text[:start] + new + text[start + length :]


def plan_on_damage(data: bytes) -> None:
    """Byte 0: the case, 1: the object, 2 and 3: the place, 4: the length; the rest is put in."""
    if len(data) < 5:
        return
    case, which, high, low, length = data[:5]
    desired, stage, options = stages()[case % len(stages())]
    new = data[5:].decode(errors="replace")

    def edited(text: str | None) -> str | None:
        return None if text is None else damaged(text, high * 256 + low, length, new)

    full = {name: _with(inventory, which, edited) for name, inventory in stage.full.items()}
    stage = replace(stage, full=full)
    with suppress(Failure):
        planner = Planner(desired, stage.first(desired), SKELETON, options, stage.complete)
        planned = planner.plan()
        plan_text(planned.plan)
        plan_json_text(planned.plan)


def _with(inventory: Inventory, which: int, edited: Any) -> Inventory:
    if not inventory.records:
        return inventory
    address = sorted(inventory.records)[which % len(inventory.records)]
    record = inventory.records[address]
    new: Record = replace(
        record, document=edited(record.document) or "", running=edited(record.running)
    )
    records: Mapping[Any, Record] = {**inventory.records, address: new}
    return replace(inventory, records=records)
