"""Planning, one page a case: specs and what lives beside them go in, the plan comes out.

A page holds ``specs/*.yaml``, what lives (see `tests.cases.stage`), ``options.json``
(`PlanOptions`), and what came out of it: ``diagnostics.txt``, ``plan.txt`` (80 columns),
``steps.txt`` (what apply would do, in order), ``patched/KIND.NAME.xml`` (the document that a
redefine sends, without its mark) and, where the page has such a section, ``born/KIND.NAME.xml``.
Adding a case is adding its inputs; ``--update-golden`` writes the rest.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from kvmplan.address import LOCAL, Kind, parse_address
from kvmplan.apply.documents import new_document, new_text, patched
from kvmplan.apply.mould import WORTH_IT
from kvmplan.diagnostics import Diagnostic, Diagnostics
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.lens import read
from kvmplan.plan.change import Action, Change, Plan, Reason, Step
from kvmplan.plan.insync import InSync
from kvmplan.plan.offline import check_offline
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.planner import Planned, Planner
from kvmplan.spec.desired import Desired
from kvmplan.views.diagnostics import diagnostics_text
from kvmplan.views.plan_json import plan_json_text
from kvmplan.views.plan_read import plan_of
from kvmplan.views.plan_text import plan_text
from tests.cases.page import Page
from tests.cases.stage import SECRETS, SKELETON, Stage, set_stage, specs_of

FOLDER = Path(__file__).parent
PAGES = sorted(FOLDER.glob("*.txtar"))
INPUTS = (
    "specs/",
    "was/",
    "live/",
    "running/",
    "saved/",
    "live.json",
    "options.json",
    "interfaces.json",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a page: the output sections by name, and what they were made from."""

    texts: dict[str, str]
    planned: Planned | None = None
    stage: Stage | None = None


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.stem)
def test_case(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update_golden: bool
) -> None:
    page = Page.read(file)
    monkeypatch.chdir(tmp_path)
    outcome = play(page, tmp_path)
    check_laws(outcome)
    again = play(page, tmp_path)
    assert again.texts == outcome.texts, "planning twice gave two plans"
    first = InSync("test")
    play(page, tmp_path, first)
    remembered = play(page, tmp_path, InSync("test", first.used))
    assert remembered.texts == outcome.texts, "what is remembered gave another plan"
    inputs = {name: text for name, text in page.texts.items() if name.startswith(INPUTS)}
    if update_golden:
        Page(page.about, inputs | outcome.texts).write(file)
        return
    expected = {name: text for name, text in page.texts.items() if name not in inputs}
    assert expected == outcome.texts


def test_there_are_cases() -> None:
    assert len(PAGES) > 60


def test_every_page_says_what_it_is_about() -> None:
    silent = [file.name for file in PAGES if not Page.read(file).about.strip()]
    assert not silent


def play(page: Page, folder: Path, in_sync: InSync | None = None) -> Outcome:
    """Load, plan, and write down what comes out."""
    desired, found = specs_of(page, "specs", folder)
    problems = Diagnostics(list(found))
    if desired is not None:
        check_offline(desired, problems)
    circles = [item for item in problems if item.code == "KVP121"]
    if desired is not None and circles:
        assert _planned_anyway(page, desired, folder) == circles
    if desired is None or problems.has_errors:
        return Outcome({"diagnostics.txt": diagnostics_text(problems)})
    was, wrong = specs_of(page, "was", folder) if page.below("was") else (desired, ())
    assert was is not None, [str(item.summary) for item in wrong]
    stage = set_stage(page, desired, was)
    options = PlanOptions(**_options(page))
    inventories = stage.first(desired)
    planner = Planner(desired, inventories, SKELETON, options, stage.complete, "", in_sync)
    planned = planner.plan()
    texts: dict[str, str] = {}
    diagnostics = Diagnostics([*problems, *planned.plan.diagnostics])
    if len(diagnostics):
        texts["diagnostics.txt"] = diagnostics_text(diagnostics)
    texts["plan.txt"] = plan_text(planned.plan)
    if planned.plan.steps:
        texts["steps.txt"] = "".join(map(_step, planned.plan.steps))
    for name, text in (*_patched(planned, stage), *_born(page, planned, stage)):
        texts[name] = text
    return Outcome({name: f"{text.strip()}\n" for name, text in texts.items()}, planned, stage)


def _planned_anyway(page: Page, desired: Desired, folder: Path) -> list[Diagnostic]:
    """What a plan says of specs that `validate` refuses: whoever plans need not have validated."""
    stage = set_stage(page, desired, desired)
    plan = Planner(desired, stage.first(desired), SKELETON, PlanOptions(), stage.complete, "")
    return [item for item in plan.plan().plan.diagnostics if item.code == "KVP121"]


def _options(page: Page) -> dict[str, Any]:
    given = json.loads(page.texts.get("options.json", "{}"))
    return {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}


def _step(step: Step) -> str:
    """One step on one line: number, address, verb, fields, arguments, impact, what comes before."""
    address = step.address
    where = address.short if address.host == LOCAL else str(address)
    parts = [str(step.id), where, step.verb.value]
    if step.fields and step.verb is not Verb.CREATE_VOLUME:
        parts.append(" ".join(".".join(path) for path in step.fields))
    if step.arguments:
        parts.append(json.dumps(step.arguments, sort_keys=True))
    parts.append(f"{step.impact}, else {step.fallback}" if step.fallback else str(step.impact))
    if step.after:
        parts.append("<- " + ",".join(map(str, step.after)))
    return " | ".join(parts) + "\n"


def _patched(planned: Planned, stage: Stage) -> Iterator[tuple[str, str]]:
    for change in planned.plan.changes:
        step = next((s for s in change.steps if s.verb is Verb.DEFINE and s.fields), None)
        if change.action is not Action.UPDATE or step is None:
            continue
        intent = planned.intents[change.address]
        inventory = planned.inventories[change.address.host]
        site = stage.site(inventory, planned.births, planned.plan.stack_uid)
        edits = [(field.path, field.after) for field in change.fields if field.path in step.fields]
        before = stage.bare[change.found_at]
        root, _ = patched(site, intent, before, edits, None)
        text = serialise(root)
        again, _ = patched(site, intent, text, edits, None)
        assert serialise(again) == text, "patching again changes something"
        context = site.context(intent)
        got = read(intent.model, root, context, intent.tree)
        for path, value in edits:
            assert _at(got, path) == value, f"{path}: {_at(got, path)} is not {value}"
        _nothing_is_lost(before, text, change)
        yield f"patched/{change.address.short}.xml", _without_secrets(text)


def _born(page: Page, planned: Planned, stage: Stage) -> Iterator[tuple[str, str]]:
    for name in page.below("born"):
        address = parse_address(name.removesuffix(".xml"))
        site = stage.site(planned.inventories[address.host], planned.births, planned.plan.stack_uid)
        root = new_document(site, planned.intents[address])
        for metadata in root.findall("metadata"):
            for mark in metadata.findall("{https://kvmplan.org/ns/mark/1}object"):
                metadata.remove(mark)
            if not len(metadata):
                root.remove(metadata)
        yield f"born/{name}", _without_secrets(serialise(root))


def _without_secrets(text: str) -> str:
    """A document that is sent holds its secrets; the page does not."""
    for secret in SECRETS.values():
        text = text.replace(secret, "(sensitive)")
    return text


def _at(tree: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        tree = tree.get(name) if isinstance(tree, dict) else None
    return tree


def _nothing_is_lost(before: str, after: str, change: Change) -> None:
    """Every comment and every tag that no change names is still there, as often as before."""
    old, new = _content(before), _content(after)
    removes = any(field.after is None for field in change.fields)
    removes |= change.address.kind is Kind.NETWORK
    for what, number in old.items():
        if what.startswith("!") or not removes:
            kept = new[what] >= number or any(field.before is not None for field in change.fields)
            assert kept, f"{what} was lost"


def _content(text: str) -> Counter[str]:
    return Counter(
        f"!{node.text}" if not isinstance(node.tag, str) else node.tag
        for node in parse(text).iter()
    )


def check_laws(outcome: Outcome) -> None:
    """What holds for every plan."""
    for name, text in outcome.texts.items():
        for secret in SECRETS.values():
            assert secret not in text, f"a secret stands in {name}"
        if name == "plan.txt":
            assert max(map(len, text.splitlines())) <= 80, "the plan is wider than 80 columns"
    if outcome.planned is None:
        return
    plan = outcome.planned.plan
    text = plan_json_text(plan)
    assert json.loads(text)["summary"]["add"] == plan.count()[0]
    assert not any(secret in text for secret in SECRETS.values())
    read_back = plan_of(json.loads(text))
    assert plan_text(read_back) == plan_text(plan), "a saved plan is shown as another one"
    assert plan_json_text(read_back) == text
    check_losses(plan)
    check_order(plan)
    check_moulds(outcome.planned, outcome.stage)


def check_losses(plan: Plan) -> None:
    """What a change takes away, or back, stands in what is told to be there before it."""
    for change in plan.acting:
        gone = change.action is Action.DELETE and change.precondition.key
        assert not gone or change.before, f"{change.address} goes, and nobody knows what it was"
        for field in change.fields if change.action is Action.UPDATE else ():
            before = change.before or {}
            assert _at(before, field.path) == field.before, f"{change.address}: {field.name}"


def check_moulds(planned: Planned, stage: Stage | None) -> None:
    """A new domain's twins of other names are the same from a mould as on the usual way."""
    for change in planned.plan.changes:
        intent = planned.intents.get(change.address)
        new = intent is not None and change.action is Action.CREATE
        if intent is None or not new or stage is None or change.address.kind is not Kind.DOMAIN:
            continue
        inventory = planned.inventories[change.address.host]
        site = stage.site(inventory, planned.births, planned.plan.stack_uid)
        for number in range(WORTH_IT + 2):
            address = replace(change.address, name=f"{change.address.name}-{number}")
            twin = replace(intent, resource=replace(intent.resource, address=address))
            assert new_text(site, twin)[0] == serialise(new_document(site, twin))


def check_order(plan: Plan) -> None:
    """Steps are numbered from 1, follow what they wait for, and every acting change has some."""
    numbers = [step.id for step in plan.steps]
    assert numbers == list(range(1, len(numbers) + 1))
    assert all(before < step.id for step in plan.steps for before in step.after)
    if not plan.errored:
        refused = {item.address for item in plan.refusals}
        for change in plan.acting:
            settles = change.reason in (Reason.ADOPT, Reason.TORN)
            assert change.steps or settles or change.address in refused, (
                f"{change.address} does nothing"
            )
