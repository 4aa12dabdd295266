"""Waiting for guests: what comes after a start, who waits with it, and what is told."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from kvmplan.address import Address
from kvmplan.apply import waits
from kvmplan.apply.applier import apply
from kvmplan.apply.events import (
    ApplyFinished,
    ChangeFinished,
    ChangeStarted,
    Event,
    GuestNotReady,
    Outcome,
    StepFinished,
    StepStarted,
)
from kvmplan.apply.port import HostError
from kvmplan.diagnostics import Diagnostic, Severity
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.planner import Planned
from kvmplan.plan.readiness import wait_for_all
from kvmplan.views.apply_text import ApplyText
from kvmplan.views.events_json import EventStream
from kvmplan.views.plan_text import plan_text
from tests.unit.fakehost import FakeHost, desired, planned, short

DB = {"wait_for": {"address": "60s", "tcp": {"port": 5432}}}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "SECONDS_BETWEEN_LOOKS", 0.01)


def two(db: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    return {"domain.db": DB if db is None else db, "domain.web": {"title": "web"}}


def plan_of(host: FakeHost, resources: dict[str, dict[str, Any]]) -> Planned:
    wanted = desired(resources, depends_on={"domain.web": ["domain.db"]})
    return planned(wanted, host)


def run(plan: Planned, host: FakeHost, **options: Any) -> tuple[ApplyFinished, list[Event]]:
    events: list[Event] = []
    return apply(plan, {host.name: host}, {}, events.append, **options), events


def named(events: list[Event]) -> list[tuple[str, str]]:
    """What happened to whom, where it matters here."""
    found = []
    for event in events:
        match event:
            case StepStarted(step) | StepFinished(step, _, _) if step.verb is Verb.WAIT_FOR:
                found.append(
                    (type(event).__name__, f"{step.address.short} {step.arguments['what']}")
                )
            case ChangeStarted(change) | ChangeFinished(change, _, _):
                found.append((type(event).__name__, change.address.short))
            case GuestNotReady(change, _, _, _):
                found.append((type(event).__name__, change.address.short))
    return found


def test_what_depends_on_a_guest_begins_when_it_is_ready() -> None:
    host = FakeHost(unready={"domain.db": 3})
    finished, events = run(plan_of(host, two()), host)
    assert named(events) == [
        ("ChangeStarted", "domain.db"),
        ("ChangeFinished", "domain.db"),
        ("StepStarted", "domain.db address"),
        ("StepFinished", "domain.db address"),
        ("StepStarted", "domain.db tcp"),
        ("StepFinished", "domain.db tcp"),
        ("ChangeStarted", "domain.web"),
        ("ChangeFinished", "domain.web"),
    ]
    assert (finished.added, finished.unready) == (2, ())
    looks = [arguments for verb, _, arguments in host.calls if verb is Verb.WAIT_FOR]
    assert looks[0] == {"what": "address", "timeout": 60, "old": ()}
    assert looks[-1] == {"what": "tcp", "port": 5432, "timeout": 300}
    assert len(looks) == 5


def test_time_runs_out_for_a_guest_and_for_what_depends_on_it() -> None:
    host = FakeHost(unready={"domain.db": 10**6})
    finished, events = run(plan_of(host, two({"wait_for": {"agent": "0s"}})), host)
    assert ("GuestNotReady", "domain.db") in named(events)
    assert finished.unready == (short("domain.db"),)
    assert [(a.short, outcome, why) for a, _, outcome, why in finished.outcomes] == [
        ("domain.db", Outcome.DONE, ""),
        ("domain.web", Outcome.SKIPPED, "after domain.db"),
    ]
    assert host.claims is not None
    assert host.claims.entries["domain.db"].phase == "done"
    host.unready.clear()
    again, _ = run(plan_of(host, two({"wait_for": {"agent": "0s"}})), host)
    assert (again.added, again.skipped, again.unready) == (1, 0, ())


def test_a_guest_that_will_never_be_ready_is_not_waited_for() -> None:
    host = FakeHost(refuse={(Verb.WAIT_FOR, "domain.db"): HostError("its guest is gone")})
    finished, events = run(plan_of(host, two()), host)
    (told,) = [event for event in events if isinstance(event, GuestNotReady)]
    assert told.diagnostic.code == "KVP611"
    assert told.diagnostic.summary == "its guest is gone"
    assert finished.unready == (short("domain.db"),)


def test_a_plan_shows_what_is_waited_for_and_a_second_one_does_not() -> None:
    host = FakeHost()
    plan = plan_of(host, two())
    assert "once started, waits for an address (up to 1m), port 5432 (up to 5m)" in plan_text(
        plan.plan
    )
    run(plan, host)
    again = plan_of(host, two())
    assert again.plan.steps == ()


def test_waiting_for_all_waits_for_those_that_ran_before() -> None:
    host = FakeHost()
    run(plan_of(host, {"domain.db": DB}), host)
    plan = wait_for_all(plan_of(host, two()))
    assert [change.address.short for change in plan.plan.acting] == ["domain.web"]
    host.unready["domain.db"] = 2
    finished, events = run(plan, host)
    order = named(events)
    assert order.index(("StepFinished", "domain.db tcp")) < order.index(
        ("ChangeStarted", "domain.web")
    )
    assert [a.short for a, *_ in finished.outcomes] == ["domain.web"]
    lone = wait_for_all(plan_of(host, {"domain.db": DB}))
    assert lone.plan.acting == ()
    host.unready["domain.db"] = 10**6
    lone = wait_for_all(plan_of(host, {"domain.db": {"wait_for": {"agent": "0s"}}}))
    finished, _ = run(lone, host)
    assert (finished.unready, finished.outcomes) == ((short("domain.db"),), ())


def test_text_and_json_tell_what_is_waited_for() -> None:
    host = FakeHost(unready={"domain.db": 10**6})
    plan = plan_of(host, {"domain.db": {"wait_for": {"agent": "0s"}}})
    out, err, lines = io.StringIO(), io.StringIO(), io.StringIO()
    text, stream = ApplyText(out, err), EventStream(lines)

    def tell(event: Event) -> None:
        text(event)
        stream(event)

    apply(plan, {host.name: host}, {}, tell)
    late = Diagnostic("KVP606", Severity.ERROR, "the claims could not be written")
    stream.diagnostic(late)
    stream.finish()
    stream.diagnostic(late)
    assert "waiting domain.db: its agent, up to 0s\n" in err.getvalue()
    assert "UNREADY domain.db: no agent yet within 0s of its start [KVP611]" in out.getvalue()
    assert "        | db login:\n" in out.getvalue()
    assert out.getvalue().endswith("Apply complete! Resources: 1 added, 0 changed, 0 destroyed.\n")
    events = [json.loads(line) for line in lines.getvalue().splitlines()]
    (waiting,) = [event for event in events if event["type"] == "apply_progress"]
    assert waiting["hook"]["waiting"] == "its agent"
    problem, _ = [event for event in events if event["type"] == "diagnostic"]
    assert problem["console"] == ["db login:"]
    assert events[-1]["unready"] == [str(Address("local", short("domain.db").kind, "db"))]
