"""Random stacks and edits on a host in memory: many more than a real one has time for."""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kvmplan.apply.applier import apply
from kvmplan.apply.events import Outcome
from kvmplan.plan.change import Action
from kvmplan.plan.options import PlanOptions
from kvmplan.spec import Desired, LoadOptions, load
from kvmplan.views.plan_json import plan_json
from tests.integration.random_stacks import Tree, edits, named, stacks, uses
from tests.integration.test_random_stacks import check_order
from tests.unit.fakehost import STACK, FakeHost, Thing, planned, short

EXAMPLES = int(os.environ.get("KVMPLAN_RANDOM_STACKS", "20"))
OPTIONS = PlanOptions(prune=True, allow_empty=True, max_delete=99, allow_data_loss=("volume.*",))
STRANGER = "<network><name>theirs</name><uuid>5d1c</uuid><bridge name='theirs'/></network>"


def loaded(specs: Tree) -> Desired:
    """The specs, read from files."""
    with tempfile.TemporaryDirectory() as folder:
        whole = {"stack": {"name": "lab", "uid": STACK}, **specs}
        Path(folder, "a.yaml").write_text(yaml.safe_dump(whole))
        desired, report = load(Path(folder), LoadOptions())
    assert desired is not None, list(report)
    return desired


def step(host: FakeHost, specs: Tree, before: Tree, counts: Counter[str], **more: bool) -> None:
    """From one stack to the next; everything must hold."""
    desired = loaded(specs)
    options = PlanOptions(**{**vars_of(OPTIONS), **more})
    plan = planned(desired, host, options=options)
    assert not plan.plan.errored, list(plan.plan.diagnostics)
    assert not plan.plan.refusals, plan.plan.refusals
    rows = plan_json(plan.plan, None)["resource_changes"]
    made = list(uses(specs, made=True)) if not more else []
    check_order(rows, made, list(uses(before, made=False)) if before else [])
    claimed = set(host.claims.entries) if host.claims else set()
    gone = {c.address.short for c in plan.plan.changes if c.action is Action.DELETE}
    assert gone <= claimed
    first = len(host.calls)
    done = apply(plan, {host.name: host}, {}, lambda _: None)
    wrong = [(a.short, str(o), why) for a, _, o, why in done.outcomes if o is not Outcome.DONE]
    assert wrong == []
    shown = {(s.verb, s.address.short) for s in plan.plan.steps}
    extra = {(verb, name) for verb, name, _ in host.calls[first:]} - shown
    assert {verb.value for verb, _ in extra} <= {"define", "set-metadata"}, "more than our mark"
    again = planned(desired, host, options=options).plan
    assert again.acting == (), [change.address.short for change in again.acting]
    assert host.things[short("network.theirs")].document == STRANGER
    counts["applies"] += 1
    counts["steps"] += len(plan.plan.steps)


def vars_of(options: PlanOptions) -> Tree:
    """The fields of options."""
    return {name: getattr(options, name) for name in options.__dataclass_fields__}


def test_what_holds_for_random_plans(summaries: Path) -> None:
    counts: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def walk(data: st.DataObject) -> None:
        host = FakeHost()
        host.things[short("network.theirs")] = Thing(STRANGER, "5d1c", active=True)
        tree, before = data.draw(stacks()), dict[str, Any]()
        for _ in range(3):
            specs = named(tree, "k", Path("/pools"))
            step(host, specs, before, counts)
            tree, before = data.draw(edits(tree)), specs
        step(host, before, before, counts, destroy=True)
        assert list(host.things) == [short("network.theirs")]
        counts["stacks"] += 1

    walk()
    text = ", ".join(f"{counts[kind]} {kind}" for kind in ("stacks", "applies", "steps"))
    line = {"title": "random stacks", "text": f"in memory: {text}: every law held"}
    (summaries / "random-plans.summary.json").write_text(json.dumps(line) + "\n")
