"""Applying whole plans to a host in memory: order, outcomes, events, idempotence."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from kvmplan.address import Address
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
from kvmplan.apply.execution import SECONDS_A_LOOK_HOLDS
from kvmplan.apply.port import ConnectionLost, HostError
from kvmplan.diagnostics import ExitCode, Failure
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.options import PlanOptions
from tests.unit.fakehost import FakeHost, FakeLock, desired, planned, short

LAB: dict[str, dict[str, Any]] = {
    "network.lan": {"bridge": {"name": "virbr-lan"}, "ips": {}},
    "pool.vms": {"path": "/pools/vms"},
    "volume.vms/base.qcow2": {"capacity": "4GiB"},
    "volume.vms/web.qcow2": {"backing": {"volume": "vms/base.qcow2"}},
    "domain.web": {
        "vcpus": {"current": 1},
        "disks": {"vda": {"target": "vda", "volume": "vms/web.qcow2"}},
        "interfaces": {"eth0": {"network": "lan"}},
    },
}
REFUSED = HostError("domain is not running", code=55, name="VIR_ERR_OPERATION_INVALID")


def run(
    resources: dict[str, dict[str, Any]], host: FakeHost, **options: Any
) -> tuple[ApplyFinished, list[Event]]:
    events: list[Event] = []
    plan_options = PlanOptions(**options.pop("plan", {}))
    plan = planned(desired(resources), host, options=plan_options)
    assert not plan.plan.errored, list(plan.plan.diagnostics)
    finished = apply(plan, {host.name: host}, options.pop("locks", {}), events.append, **options)
    return finished, events


def outcome(finished: ApplyFinished, name: str) -> tuple[Outcome, str]:
    return next((o, why) for a, _, o, why in finished.outcomes if a.short == name)


def test_a_whole_lab_is_made_and_then_nothing_is_left_to_do() -> None:
    host = FakeHost()
    finished, events = run(LAB, host)
    assert (finished.added, finished.failed, finished.skipped) == (5, 0, 0), finished
    assert planned(desired(LAB), host).plan.acting == ()
    assert isinstance(events[0], ApplyStarted)
    assert events[-1] is finished


def test_what_is_needed_comes_first() -> None:
    host = FakeHost()
    run(LAB, host)
    places = {call: place for place, call in enumerate(host.verbs)}
    assert places["start", "pool.vms"] < places["create-volume", "volume.vms/base.qcow2"]
    base, web = "volume.vms/base.qcow2", "volume.vms/web.qcow2"
    assert places["create-volume", base] < places["create-volume", web]
    assert places["create-volume", web] < places["define", "domain.web"]
    assert places["start", "network.lan"] < places["define", "domain.web"]


def test_an_overlay_takes_its_base_s_size_path_and_format() -> None:
    host = FakeHost()
    run(LAB, host)
    xml = next(a["xml"] for v, s, a in host.calls if s == "volume.vms/web.qcow2")
    assert f'<capacity unit="bytes">{4 * 2**30}</capacity>' in xml
    assert "<path>/pools/vms/base.qcow2</path>" in xml
    assert '<format type="qcow2"/>' in xml


def test_a_disk_is_written_by_the_path_of_a_volume_that_this_run_made() -> None:
    host = FakeHost()
    run(LAB, host)
    xml = host.things[short("domain.web")].document
    assert 'file="/pools/vms/web.qcow2"' in xml


def test_every_change_s_events_come_in_order() -> None:
    host = FakeHost()
    _, events = run(LAB, host)
    of_pool = [type(e) for e in events if address_of(e) == "pool.vms"]
    assert of_pool[0] is ChangeStarted
    assert of_pool[-1] is ChangeFinished
    steps = of_pool[1:-1]
    assert steps == [StepStarted, StepFinished] * (len(steps) // 2)


def address_of(event: Event) -> str | None:
    match event:
        case StepStarted(step) | StepFinished(step, _, _):
            return step.address.short
        case ChangeStarted(change) | ChangeFinished(change, _, _):
            return change.address.short
    return None


def test_a_failure_skips_what_depends_on_it_and_nothing_else() -> None:
    host = FakeHost(refuse={(Verb.CREATE_VOLUME, "volume.vms/base.qcow2"): REFUSED})
    finished, events = run(LAB, host)
    assert outcome(finished, "network.lan")[0] is Outcome.DONE
    failed, why = outcome(finished, "volume.vms/base.qcow2")
    assert failed is Outcome.FAILED
    assert "libvirt 55 VIR_ERR_OPERATION_INVALID: domain is not running [KVP602]" in why
    base = short("volume.vms/base.qcow2")
    for name in ("volume.vms/web.qcow2", "domain.web"):
        assert outcome(finished, name) == (Outcome.SKIPPED, f"after {base.short}")
    assert sum(isinstance(event, ChangeFailed) for event in events) == 1
    assert sum(isinstance(event, ChangeSkipped) for event in events) == 2
    run_again, _ = run(LAB, clean(host))
    assert run_again.added == 3


def clean(host: FakeHost) -> FakeHost:
    host.refuse.clear()
    return host


def test_a_start_that_fails_leaves_a_domain_that_is_ours_and_is_tried_again() -> None:
    host = FakeHost(refuse={(Verb.START, "domain.web"): REFUSED})
    finished, _ = run(LAB, host)
    assert finished.failed == 1
    assert host.claims is not None
    assert host.claims.entries["domain.web"].phase == "creating"
    again, _ = run(LAB, clean(host))
    assert (again.added, again.changed) == (0, 1)
    assert host.claims.entries["domain.web"].phase == "done"


def test_fail_fast_begins_nothing_more() -> None:
    host = FakeHost(refuse={(Verb.DEFINE, "network.lan"): REFUSED})
    finished, _ = run(LAB, host, fail_fast=True, parallelism=1)
    assert finished.failed == 1
    assert finished.skipped == 4
    assert host.verbs == [("define", "network.lan")]


def test_a_lost_connection_ends_all_work_on_that_host() -> None:
    lost = ConnectionLost("client socket is closed", code=1, name="VIR_ERR_INTERNAL_ERROR")
    host = FakeHost(refuse={(Verb.DEFINE, "network.lan"): lost})
    finished, events = run(LAB, host, parallelism=1)
    assert host.verbs == [("define", "network.lan")]
    assert len(host.claim_writes) == 1
    (failure,) = [event for event in events if isinstance(event, ChangeFailed)]
    assert "unknown" in failure.diagnostic.summary
    assert finished.skipped == 4


def test_a_lost_lock_stops_before_the_next_write() -> None:
    host = FakeHost(before=lambda verb, address: time.sleep(SECONDS_A_LOOK_HOLDS * 1.1))
    finished, events = run(LAB, host, locks={"local": FakeLock(looks=2)}, parallelism=1)
    assert len(host.calls) == 2
    (failure,) = [event for event in events if isinstance(event, ChangeFailed)]
    assert failure.diagnostic.code == "KVP402"
    assert len(host.claim_writes) == 1
    assert finished.failed == 1


def test_a_stop_finishes_the_step_in_flight() -> None:
    stop = threading.Event()
    host = FakeHost(before=lambda verb, address: stop.set())
    finished, events = run(LAB, host, stop=stop, parallelism=1)
    assert len(host.calls) == 1
    (cut,) = [event.diagnostic for event in events if isinstance(event, ChangeFailed)]
    assert (cut.code, "only partly done: interrupted" in cut.summary) == ("KVP607", True)
    assert outcome(finished, "domain.web") == (Outcome.SKIPPED, "interrupted")
    assert finished.failed == 1, "what was begun is told as partly done"
    assert host.claims is not None, "claims are written in the end, too"


def test_a_bug_ends_its_change_alone_and_tells_no_value() -> None:
    def fail(verb: Verb, address: Any) -> None:
        if address.short == "network.lan":
            raise RuntimeError("hunter2")

    finished, events = run(LAB, FakeHost(before=fail))
    (failure,) = [event.diagnostic for event in events if isinstance(event, ChangeFailed)]
    assert failure.code == "KVP901"
    assert "internal error: RuntimeError in " in failure.summary
    assert "hunter2" not in failure.summary
    assert (finished.added, finished.failed, finished.skipped) == (3, 1, 1)


def test_heartbeats_name_what_runs_longest() -> None:
    release = threading.Event()
    beats: list[Event] = []

    def hold(verb: Verb, address: Any) -> None:
        if verb is Verb.START and address.short == "pool.vms":
            release.wait(10)

    host = FakeHost(before=hold)
    plan = planned(desired({"pool.vms": LAB["pool.vms"]}), host)

    def receive(event: Event) -> None:
        if isinstance(event, Progress):
            beats.append(event)
            release.set()

    apply(plan, {"local": host}, {}, receive, heartbeat=0.05)
    assert isinstance(beats[0], Progress)
    assert (beats[0].address.short, beats[0].total) == ("pool.vms", 1)


def test_destroy_removes_what_is_ours_and_its_claims() -> None:
    host = FakeHost()
    run(LAB, host)
    host.calls.clear()
    everything = {"destroy": True, "allow_data_loss": ("volume.*",)}
    finished, _ = run(LAB, host, plan=everything)
    assert finished.destroyed == 5
    assert host.things == {}
    assert host.claims is not None
    assert host.claims.entries == {}
    order = [short for verb, short in host.verbs if verb in ("undefine", "delete-volume")]
    assert order.index("domain.web") < order.index("volume.vms/web.qcow2")
    assert order.index("volume.vms/web.qcow2") < order.index("volume.vms/base.qcow2")


def test_a_plan_without_changes_writes_nothing() -> None:
    host = FakeHost()
    run(LAB, host)
    host.calls.clear()
    writes = len(host.claim_writes)
    finished, _ = run(LAB, host)
    assert finished.outcomes == ()
    assert host.calls == []
    assert len(host.claim_writes) == writes


def test_hosts_work_side_by_side() -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(verb: Verb, address: Address) -> None:
        both.wait()

    hosts = [FakeHost(name, before=meet) for name in ("a", "b")]
    wanted = desired(
        {f"{host.name}:network.lan": {"active": False, "autostart": False} for host in hosts}
    )
    plan = planned(wanted, *hosts)
    finished = apply(plan, {host.name: host for host in hosts}, {}, lambda event: None)
    assert finished.added == 2


def test_a_broken_receiver_ends_the_run_and_hangs_nowhere() -> None:
    def receive(event: Event) -> None:
        if isinstance(event, StepFinished):
            raise ZeroDivisionError("of a secret")

    host = FakeHost()
    plan = planned(desired(LAB), host)
    with pytest.raises(Failure) as ended:
        apply(plan, {"local": host}, {}, receive)
    assert ended.value.exit_code == ExitCode.INCOMPLETE
    (problem,) = ended.value.diagnostics
    assert problem.code == "KVP901"
    assert "ZeroDivisionError in " in problem.summary
    assert "secret" not in problem.summary
