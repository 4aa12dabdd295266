"""An apply as text and as events."""

from __future__ import annotations

import io
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kvmplan.address import Address, Kind
from kvmplan.apply.applier import apply
from kvmplan.apply.events import (
    ApplyFinished,
    ApplyStarted,
    ChangeFailed,
    ChangeFinished,
    ChangeSkipped,
    ChangeStarted,
    Event,
    Outcome,
    Progress,
    StepFinished,
    StepStarted,
)
from kvmplan.diagnostics import Diagnostic, Severity
from kvmplan.inventory import HostFacts
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.plan.change import Action, Change, LeftOut, Plan, Reason, Step
from kvmplan.views.apply_text import ApplyText, done_words
from kvmplan.views.events_json import EventStream
from kvmplan.views.plan_text import plan_text
from tests.unit.fakehost import FakeHost, desired, planned

LAN, CI = Address("local", Kind.NETWORK, "lan"), Address("local", Kind.DOMAIN, "ci")
SCRATCH = Address("local", Kind.VOLUME, "vms/db-scratch")
NET = Change(LAN, Action.UPDATE, impact=Impact.LIVE)
GUEST = Change(CI, Action.UPDATE, impact=Impact.LIVE)
VOLUME = Change(SCRATCH, Action.CREATE, impact=Impact.CREATE)
PLAN = Plan("lab", "uid", {"local": HostFacts("test:///default")}, (NET, GUEST, VOLUME))
STEP = Step(1, LAN, Verb.UPDATE_NETWORK)
PROBLEM = Diagnostic(
    "KVP601",
    Severity.ERROR,
    "libvirt 55 VIR_ERR_OPERATION_INVALID: domain is not running",
    remedy="start it and apply again",
    address=CI,
)
RUN: tuple[Event, ...] = (
    ApplyStarted(PLAN),
    ChangeStarted(NET),
    StepStarted(STEP),
    StepFinished(STEP, 0.3, Impact.NEXT_BOOT),
    Progress(CI, 30.4, "guest-shutdown", 0, 3),
    ChangeFinished(NET, 0.31, ("web keeps its lease until it renews",)),
    ChangeFailed(GUEST, PROBLEM, 2.0),
    ChangeSkipped(VOLUME, CI),
    ApplyFinished(
        0,
        1,
        0,
        (
            (SCRATCH, Action.CREATE, Outcome.SKIPPED, "after domain.ci"),
            (LAN, Action.UPDATE, Outcome.DONE, ""),
            (CI, Action.UPDATE, Outcome.FAILED, "KVP601"),
        ),
    ),
)


def clock() -> datetime:
    return datetime(2026, 1, 2, 14, 3, 40, tzinfo=UTC)


def show(*events: Event) -> tuple[str, str]:
    out, err = io.StringIO(), io.StringIO()
    view = ApplyText(out, err, clock=clock)
    for event in events:
        view(event)
    return out.getvalue(), err.getvalue()


def stream(*events: Event) -> list[dict[str, Any]]:
    out = io.StringIO()
    view = EventStream(out, clock=clock)
    for event in events:
        view(event)
    view.finish()
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_what_was_left_out_of_a_saved_plan_is_skipped() -> None:
    host = FakeHost()
    left = LeftOut(CI, Action.UPDATE, "stale since it was planned: title")
    made = planned(desired({}), host)
    events: list[Event] = []
    overtaken = replace(made, plan=replace(made.plan, left_out=(left,)))
    apply(overtaken, {"local": host}, {}, events.append)
    out, _ = show(*events)
    assert "skipped domain.ci (stale since it was planned: title)\n" in out
    assert out.endswith("0 added, 0 changed, 0 destroyed; 0 failed, 1 skipped.\n")
    *_, skipped, last = stream(*events)
    assert (skipped["type"], skipped["hook"]["because"]) == ("apply_skipped", left.why)
    assert (last["type"], last["changes"]["skipped"]) == ("change_summary", 1)
    assert stream(*events[:2])[-1]["changes"]["skipped"] == 1, "also where the run ends early"
    shown = plan_text(overtaken.plan)
    assert "domain.ci  stale since it was planned: title" in shown
    assert shown.endswith("Plan: 0 to add, 0 to change, 0 to destroy.\n")


def test_a_failed_run_names_everything_and_counts_last() -> None:
    out, err = show(*RUN)
    assert out == (
        "ok      network.lan                          updated for the next boot    0.3 s\n"
        "        web keeps its lease until it renews\n"
        "FAILED  domain.ci: libvirt 55 VIR_ERR_OPERATION_INVALID: domain is not running [KVP601]\n"
        "        = start it and apply again\n"
        "skipped volume.vms/db-scratch (after domain.ci)\n"
        "\n"
        "3 resources:\n"
        "  done    network.lan                          update\n"
        "  failed  domain.ci                            update   KVP601\n"
        "  skipped volume.vms/db-scratch                create   after domain.ci\n"
        "        Nothing was undone. Plan again to see what is left to do.\n"
        "\n"
        "Apply incomplete! Resources: 0 added, 1 changed, 0 destroyed; 1 failed, 1 skipped.\n"
    )
    assert err == "14:03:40Z still domain.ci 30s waiting=guest-shutdown done=0/3\n"


def test_a_good_run_ends_as_terraforms() -> None:
    outcomes = ((LAN, Action.UPDATE, Outcome.DONE, ""),)
    out, err = show(ApplyStarted(PLAN), ChangeFinished(NET, 12.0), ApplyFinished(1, 2, 0, outcomes))
    assert out.endswith("\n\nApply complete! Resources: 1 added, 2 changed, 0 destroyed.\n")
    assert "updated live" in out
    assert err == ""


def test_a_terminal_sees_what_begins() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    err = Terminal()
    view = ApplyText(io.StringIO(), err)
    view(ApplyStarted(PLAN))
    view(ChangeStarted(NET))
    assert err.getvalue() == "...     network.lan\n"


def test_several_hosts_are_named() -> None:
    two = Plan("lab", "uid", {"a": HostFacts("x"), "b": HostFacts("y")}, (NET,))
    assert "ok      local:network.lan" in show(ApplyStarted(two), ChangeFinished(NET, 1))[0]


@pytest.mark.parametrize(
    ("change", "fell_back", "words"),
    [
        (Change(LAN, Action.CREATE), None, "created"),
        (Change(LAN, Action.REPLACE), None, "replaced"),
        (Change(LAN, Action.DELETE), None, "deleted"),
        (Change(LAN, Action.UPDATE, Reason.ADOPT), None, "adopted"),
        (Change(LAN, Action.UPDATE, impact=Impact.START), None, "started"),
        (Change(LAN, Action.UPDATE, impact=Impact.DATA_LOSS), None, "updated"),
        (NET, Impact.NEXT_BOOT, "updated for the next boot"),
    ],
)
def test_what_was_done(change: Change, fell_back: Impact | None, words: str) -> None:
    assert done_words(change, fell_back) == words


def test_lines_of_many_workers_stay_whole() -> None:
    out = io.StringIO()
    view = ApplyText(out, io.StringIO())
    events = [threading.Thread(target=view, args=(ChangeFinished(NET, 1.0),)) for _ in range(20)]
    for thread in events:
        thread.start()
    for thread in events:
        thread.join()
    assert len(set(out.getvalue().splitlines())) == 1
    assert len(out.getvalue().splitlines()) == 20


def test_the_stream_ends_with_a_summary() -> None:
    lines = stream(*RUN)
    assert [line["type"] for line in lines] == [
        "apply_start",
        "apply_progress",
        "apply_complete",
        "apply_errored",
        "diagnostic",
        "apply_skipped",
        "change_summary",
    ]
    for line in lines:
        assert {"@level", "@message", "@module", "@timestamp", "type"} <= set(line)
        assert line["@module"] == "kvmplan.ui"
        assert line["@timestamp"] == "2026-01-02T14:03:40.000Z"
    assert lines[-1]["changes"] == {
        "add": 0,
        "change": 1,
        "remove": 0,
        "failed": 1,
        "skipped": 1,
        "operation": "apply",
    }
    assert lines[0]["hook"]["resource"]["addr"] == "local:network.lan"


def test_a_run_that_ended_early_is_summarised_too() -> None:
    last = stream(ApplyStarted(PLAN), ChangeFinished(NET, 1.0))[-1]
    assert last["type"] == "change_summary"
    assert (last["changes"]["change"], last["changes"]["skipped"]) == (1, 2)
    assert stream()[-1]["type"] == "change_summary"


def test_planned_changes_are_terraforms_and_say_their_impact() -> None:
    out = io.StringIO()
    view = EventStream(out, "plan", clock)
    view.version()
    view.plan(PLAN)
    view.diagnostic(PROBLEM)
    version, first, *_, summary, diagnostic = map(json.loads, out.getvalue().splitlines())
    assert (version["type"], version["ui"]) == ("version", "1.0")
    assert first["type"] == "planned_change"
    assert first["change"]["action"] == "update"
    assert first["change"]["impact"] == "live"
    assert first["change"]["resource"]["resource_type"] == "domain"
    assert summary["@message"] == "Plan: 1 to add, 2 to change, 0 to destroy."
    assert summary["changes"]["operation"] == "plan"
    assert (diagnostic["@level"], diagnostic["diagnostic"]["code"]) == ("error", "KVP601")
