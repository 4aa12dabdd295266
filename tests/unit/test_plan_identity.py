"""Specs that were copied, uid and all; stacks that were renamed or have moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kvmplan.apply.applier import apply
from kvmplan.inventory import Claims
from kvmplan.plan.change import Plan
from kvmplan.plan.options import PlanOptions
from tests.unit.fakehost import FACTS, STACK, FakeHost, desired, planned

LAB: dict[str, dict[str, Any]] = {
    "pool.vms": {"path": "/pools/vms"},
    "network.lan": {"active": False, "forward": {"mode": "none"}},
}
HERE, THERE = "git.example.org/lab", "git.example.org/copy"


def applied(host: FakeHost, wanted: dict[str, Any], options: PlanOptions, name: str) -> Plan:
    """Apply in the name of a stack; the plan that was."""
    specs = desired(wanted)
    made = planned(replace(specs, stack=replace(specs.stack, name=name)), host, options=options)
    if not made.plan.refusals:
        apply(made, {"local": host}, {}, lambda event: None)
    return made.plan


def owner(host: FakeHost) -> tuple[str, str]:
    assert host.claims is not None
    return host.claims.stack_name, host.claims.origin


def codes(plan: Plan) -> list[str]:
    refused = [refusal.code for refusal in plan.refusals]
    return [*(problem.code for problem in plan.diagnostics), *refused]


@pytest.fixture
def host() -> FakeHost:
    """A host on which the stack `lab` of HERE has been applied."""
    made = FakeHost()
    plan = applied(made, LAB, PlanOptions(origin=HERE), "lab")
    assert codes(plan) == []
    assert owner(made) == ("lab", HERE)
    return made


def test_the_same_stack_is_not_warned_and_writes_nothing_more(host: FakeHost) -> None:
    writes = len(host.claim_writes)
    for origin in (HERE, ""):
        assert codes(applied(host, LAB, PlanOptions(origin=origin), "lab")) == []
    assert len(host.claim_writes) == writes
    assert owner(host) == ("lab", HERE)


def test_a_renamed_stack_is_warned_once_and_noted_by_the_next_apply(host: FakeHost) -> None:
    assert codes(applied(host, LAB, PlanOptions(origin=HERE), "shop")) == ["KVP222"]
    assert owner(host) == ("shop", HERE)
    assert codes(applied(host, LAB, PlanOptions(origin=HERE), "shop")) == []


@pytest.mark.parametrize("asked", [{"destroy": True}, {"prune": True, "max_delete": 9}])
@pytest.mark.parametrize(
    ("origin", "name", "warned"), [(HERE, "shop", "KVP222"), (THERE, "lab", "KVP223")]
)
def test_nothing_is_deleted_in_the_name_of_another(
    host: FakeHost, asked: dict[str, Any], origin: str, name: str, warned: str
) -> None:
    wanted = {"pool.vms": LAB["pool.vms"]}
    options = PlanOptions(origin=origin, **asked)
    refused = applied(host, wanted, options, name)
    assert codes(refused) == [warned, "KVP219"]
    assert "lab" in refused.refusals[0].summary

    meant = applied(host, wanted, replace(options, same_stack=True), name)
    assert codes(meant) == []
    assert meant.count()[2] > 0
    if host.claims is not None and host.claims.entries:
        assert owner(host) == (name, origin)


def test_a_copy_does_not_become_the_original_by_an_apply(host: FakeHost) -> None:
    copy = PlanOptions(origin=THERE)
    assert codes(applied(host, LAB, copy, "copy")) == ["KVP223"]
    edited = {**LAB, "network.more": LAB["network.lan"]}
    assert codes(applied(host, edited, copy, "copy")) == ["KVP223"]
    assert owner(host) == ("lab", HERE), "the claims grew, in the original's name"
    assert codes(applied(host, edited, replace(copy, same_stack=True), "lab")) == []
    assert owner(host) == ("lab", THERE)


def test_an_origin_that_was_not_known_is_noted() -> None:
    host = FakeHost()
    applied(host, LAB, PlanOptions(), "lab")
    assert owner(host) == ("lab", "")
    assert codes(applied(host, LAB, PlanOptions(origin=HERE), "lab")) == []
    assert owner(host) == ("lab", HERE)


def test_where_no_claims_can_be_kept_nothing_is_deleted() -> None:
    host = FakeHost(facts=replace(FACTS, has_secrets=False))
    assert codes(applied(host, LAB, PlanOptions(), "lab")) == ["KVP224"]
    assert applied(host, LAB, PlanOptions(destroy=True), "lab").acting == ()
    assert applied(host, {}, PlanOptions(prune=True, allow_empty=True), "lab").acting == ()
    replaced = applied(host, LAB, PlanOptions(replace=("pool.*",)), "lab")
    assert codes(replaced) == ["KVP224", "KVP225"]
    assert len(host.things) == len(LAB)
    assert host.claims is None


def test_the_claims_of_a_host_without_any_say_who_wrote_them() -> None:
    host = FakeHost()
    applied(host, {}, PlanOptions(origin=HERE), "lab")
    assert host.claim_writes == []
    host.claims = Claims(STACK, "lab", {}, "")
    applied(host, LAB, PlanOptions(origin=HERE), "lab")
    assert owner(host) == ("lab", HERE)
