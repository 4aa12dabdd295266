"""The plan as text and as JSON: golden texts, laws of the last lines, and a canary secret."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kvmplan.address import Address, Kind
from kvmplan.apply.events import ApplyFinished, ApplyStarted, ChangeFailed, ChangeFinished, Outcome
from kvmplan.diagnostics import Diagnostic, Place, Severity
from kvmplan.inventory import HostFacts
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.mapping.types import SecretText
from kvmplan.plan.change import (
    Action,
    Busy,
    Change,
    FieldChange,
    Guarded,
    Pending,
    Plan,
    Precondition,
    Reason,
    Released,
    Step,
    Unlisted,
)
from kvmplan.views.apply_text import ApplyText
from kvmplan.views.events_json import EventStream
from kvmplan.views.gitstate import GitState
from kvmplan.views.plan_json import plan_json, plan_json_text
from kvmplan.views.plan_text import NO_CHANGES, plan_text
from kvmplan.views.prompt import confirm
from kvmplan.views.style import Style

GOLDEN = Path(__file__).parent / "golden" / "views"
CANARY = "c4n4ry&<secret>"
GIB = 1024**3
GIT = GitState("3f9c2e1d00aa", "main", False)


def describe(kind: Kind, path: tuple[str, ...], value: object) -> str:
    if path[0] in ("memory", "capacity") and isinstance(value, int):
        return f"{value // GIB}GiB"
    return str(value)


def at(kind: Kind, name: str, host: str = "local") -> Address:
    return Address(host, kind, name)


WEB, DB = at(Kind.DOMAIN, "web"), at(Kind.DOMAIN, "db")
LAN, SCRATCH = at(Kind.NETWORK, "lan"), at(Kind.VOLUME, "vms/db-scratch")


def web_change() -> Change:
    vnc = ("graphics", "vnc", "password")
    return Change(
        WEB,
        Action.UPDATE,
        fields=(
            FieldChange(("vcpus", "maximum"), 4, 8, Impact.RESTART, reason="fixed while it runs"),
            FieldChange(("memory", "current"), 8 * GIB, 12 * GIB, Impact.LIVE, Impact.NEXT_BOOT),
            FieldChange(
                ("disks", "vdb"),
                None,
                {"volume": "vms/web-logs", "cache": "none"},
                Impact.LIVE,
                Impact.NEXT_BOOT,
            ),
            FieldChange(vnc, None, CANARY, Impact.LIVE, sensitive=True),
            FieldChange(("graphics", "spice"), {"port": 5901, "ticket": CANARY}, None),
            FieldChange(("description",), "one\ntwo\nthree", "one\n2\nthree\nfour", Impact.LIVE),
            FieldChange(("autostart",), False, True, Impact.LIVE, drift=True),
        ),
        impact=Impact.RESTART,
        before={"memory": {"current": 8 * GIB}, "graphics": {"spice": {"ticket": CANARY}}},
        after={"memory": {"current": 12 * GIB}, "graphics": {"vnc": {"password": CANARY}}},
        sensitive=(vnc, ("graphics", "spice", "ticket")),
        depends_on=(LAN,),
        steps=(
            Step(
                4,
                WEB,
                Verb.UPDATE_DEVICE,
                (vnc,),
                {"xml": "<graphics passwd='c4n4ry&amp;&lt;secret&gt;'/>", "scope": "both"},
                (1,),
            ),
        ),
        precondition=Precondition(True, "2b1d8f52", True, "ab12"),
        source=Place("specs/web.yaml", 12, 5),
        notes=(f"the password {CANARY} reaches the next viewer that connects",),
    )


def new_domain(address: Address) -> Change:
    return Change(
        address,
        Action.CREATE,
        impact=Impact.CREATE,
        after={
            "vcpus": {"current": 2},
            "memory": {"current": 2 * GIB},
            "state": "running",
            "title": None,
            "disks": {
                "vda": {"volume": "vms/new.qcow2", "bus": "virtio", "discard": "unmap"},
                "vdb": {"volume": "vms/new-data.qcow2", "bus": "virtio", "cache": "none"},
            },
            "graphics": {"vnc": {"password": CANARY}},
            "boot": ["hd", "network"],
        },
        sensitive=(("graphics", "vnc", "password"),),
        source=Place("specs/web.yaml", 40, 3),
    )


def rich_plan() -> Plan:
    web = web_change()
    lease = ("ips", "10.0.0.1/24", "dhcp", "hosts", "52:54:00:1c:aa:01", "ip")
    lan = Change(
        LAN,
        Action.UPDATE,
        fields=(FieldChange(lease, "10.0.0.11", "10.0.0.21", Impact.LIVE),),
        impact=Impact.LIVE,
        notes=("web keeps 10.0.0.11 until its lease renews",),
    )
    db = Change(
        DB,
        Action.UPDATE,
        fields=(FieldChange(("autostart",), False, True, Impact.LIVE, drift=True),),
        impact=Impact.LIVE,
        source=Place("specs/db.yaml", 4, 3),
    )
    pool = at(Kind.POOL, "vms")
    return Plan(
        "prod",
        "0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11",
        {"local": HostFacts("qemu:///system", libvirt_version="9.0.0", hypervisor_version="7.2.0")},
        changes=(
            new_domain(at(Kind.DOMAIN, "new")),
            Change(
                SCRATCH,
                Action.DELETE,
                Reason.NOT_IN_SPEC,
                impact=Impact.DATA_LOSS,
                before={"capacity": 40 * GIB},
            ),
            web,
            lan,
            db,
            Change(at(Kind.DOMAIN, "old"), Action.UPDATE, Reason.ADOPT, impact=Impact.NONE),
            Change(pool, Action.NOOP, after={"path": "/srv/vms"}),
            Change(at(Kind.NETWORK, "default"), Action.NOOP, Reason.UNOWNED),
            Change(at(Kind.DOMAIN, "ci"), Action.NOOP, Reason.HELD_BACK),
            Change(
                at(Kind.VOLUME, "vms/base.qcow2"),
                Action.NOOP,
                notes=("born from vms/debian-11, the spec says vms/debian-12",),
            ),
        ),
        drift=(
            replace(web, fields=(web.fields[-1],), before=None, after=None),
            db,
        ),
        pending=(
            Pending(
                at(Kind.DOMAIN, "cache"), (FieldChange(("memory", "maximum"), 2 * GIB, 4 * GIB),)
            ),
            Pending(WEB, (FieldChange(("memory", "current"), 8 * GIB, 6 * GIB),), waiting=True),
        ),
        unlisted=(Unlisted(WEB, ("disks", "sdb"), "cdrom, /srv/iso/rescue.iso"),),
        released=(Released(WEB, ("title",)),),
        orphans=(at(Kind.DOMAIN, "ghost"),),
        refusals=(
            Guarded(
                "KVP211",
                SCRATCH,
                "38.2 GiB written, no snapshot, used by: none",
                "pass --allow-data-loss volume.vms/db-scratch",
            ),
            Guarded("KVP210", DB, "prevent_destroy holds it", "remove prevent_destroy first"),
        ),
        diagnostics=(
            Diagnostic(
                "KVP230",
                Severity.WARNING,
                "pool vms was not refreshed since a file came",
                Place("specs/pools.yaml", 3, 5),
                "apply refreshes it",
            ),
        ),
        created="2026-01-02T03:04:05Z",
    )


def quiet_plan() -> Plan:
    plan = rich_plan()
    return replace(
        plan,
        changes=tuple(change for change in plan.changes if change.action is Action.NOOP),
        drift=(),
        refusals=(),
    )


def two_host_plan() -> Plan:
    facts = HostFacts("qemu+ssh://root@kvm1/system")
    volume = at(Kind.VOLUME, "vms/web.qcow2", "kvm1")
    return Plan(
        "prod",
        "uid",
        {"kvm1": facts, "kvm2": facts},
        changes=(
            Change(volume, Action.CREATE, impact=Impact.CREATE, after={"capacity": 20 * GIB}),
            new_domain(at(Kind.DOMAIN, "web", "kvm2")),
            Change(
                at(Kind.DOMAIN, "db", "kvm1"),
                Action.REPLACE,
                Reason.REQUESTED,
                impact=Impact.REPLACE,
                before={},
                after={},
            ),
            Change(at(Kind.NETWORK, "lan", "kvm1"), Action.NOOP),
        ),
    )


def text(plan: Plan, **options: object) -> str:
    return plan_text(plan, describe=describe, git=GIT, **options)  # type: ignore[arg-type]


def check(name: str, actual: str, request: pytest.FixtureRequest) -> None:
    file = GOLDEN / name
    if request.config.getoption("--update-golden", default=False):
        file.write_text(actual, encoding="utf-8")
    assert actual == file.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "plan", "summary"),
    [
        ("plan-rich.txt", rich_plan(), False),
        ("plan-rich-summary.txt", rich_plan(), True),
        ("plan-no-changes.txt", quiet_plan(), False),
        ("plan-two-hosts.txt", two_host_plan(), False),
    ],
)
def test_text_is_as_recorded(
    name: str, plan: Plan, summary: bool, request: pytest.FixtureRequest
) -> None:
    shown = text(plan, summary=summary)
    check(name, shown, request)
    assert max(map(len, shown.splitlines())) <= 80


def test_json_is_as_recorded(request: pytest.FixtureRequest) -> None:
    shown = json.dumps(plan_json(rich_plan(), GIT), indent=2, ensure_ascii=False) + "\n"
    check("plan-rich.json", shown, request)


def test_last_line_counts_a_replacement_twice() -> None:
    lines = text(two_host_plan()).splitlines()
    assert lines[-1] == "Plan: 3 to add, 0 to change, 1 to destroy."
    assert lines[-2] == "Impact: 1 replace, 2 create"


def test_bystanders_leave_no_changes_alone_and_stand_above_it() -> None:
    lines = text(quiet_plan()).splitlines()
    assert lines[-1] == NO_CHANGES
    assert not any(line.startswith("Impact:") for line in lines)
    assert "Pending restart (1)" in lines
    assert "Warnings (1)" in lines


def test_a_plan_with_errors_never_claims_that_all_matches() -> None:
    error = Diagnostic("KVP501", Severity.ERROR, "kvm1 does not answer")
    shown = text(replace(quiet_plan(), diagnostics=(error,), errored=True))
    assert NO_CHANGES not in shown
    assert shown.endswith(
        "This plan is incomplete: 1 error.\nPlan: 0 to add, 0 to change, 0 to destroy.\n"
    )


def test_a_plan_without_all_hosts_never_claims_that_all_matches() -> None:
    shown = text(replace(quiet_plan(), hosts_left_out=("kvm2", "kvm3")))
    assert NO_CHANGES not in shown
    assert " · 1 of 3 hosts read\n" in shown
    assert "    local:domain.ghost\n" in shown, "several hosts: each address carries its own"
    assert shown.endswith(
        "This plan leaves out hosts kvm2, kvm3: what is there is not known.\n"
        "Plan: 0 to add, 0 to change, 0 to destroy.\n"
    )


def test_colour_repeats_and_never_adds() -> None:
    import re

    painted = text(rich_plan(), style=Style(True))
    assert re.sub(r"\x1b\[[0-9;]*m", "", painted) == text(rich_plan())
    assert painted != text(rich_plan())


def test_names_cannot_drive_the_terminal() -> None:
    plan = replace(quiet_plan(), orphans=(at(Kind.DOMAIN, "evil\x1b[2J\nname"),))
    assert "\x1b" not in text(plan)
    assert r"domain.evil\x1b[2J\nname" in text(plan)


def test_json_has_every_name_of_the_contract() -> None:
    plan = plan_json(rich_plan(), GIT)
    top = (
        "format_version kvmplan_version plan_id digest created stack git hosts resource_changes"
        " resource_drift pending_restart unlisted orphans diagnostics summary errored"
    )
    assert set(top.split()) <= set(plan)
    change = next(c for c in plan["resource_changes"] if c["address"] == "local:domain.web")
    inner = "address host type name change action_reason depends_on steps precondition source"
    assert set(inner.split()) <= set(change)
    parts = "actions before after before_sensitive after_sensitive impact fields"
    assert set(parts.split()) <= set(change["change"])
    assert {"path", "before", "after", "impact", "reason"} <= set(change["change"]["fields"][0])
    assert change["change"]["after_sensitive"] == {"graphics": {"vnc": {"password": True}}}
    assert change["change"]["after"]["graphics"]["vnc"]["password"] == "(sensitive)"
    assert change["source"] == {"file": "specs/web.yaml", "line": 12, "column": 5}
    assert plan["git"] == {"commit": "3f9c2e1d00aa", "branch": "main", "dirty": False}


def test_actions_are_terraforms() -> None:
    by_name = {c["address"]: c for c in plan_json(rich_plan())["resource_changes"]}
    assert by_name["local:pool.vms"]["change"]["actions"] == ["no-op"]
    assert by_name["local:domain.old"]["change"]["actions"] == ["update"]
    assert by_name["local:domain.old"]["action_reason"] == "adopt"
    replaced = [c for c in plan_json(two_host_plan())["resource_changes"] if c["name"] == "db"]
    assert replaced[0]["change"]["actions"] == ["delete", "create"]


def test_digest_ignores_the_time_and_what_one_machine_cannot_read_and_nothing_else() -> None:
    first = plan_json(rich_plan())
    for same in (replace(rich_plan(), created="later"), replace(rich_plan(), diagnostics=())):
        later = plan_json(same)
        assert (first["digest"], first["plan_id"]) == (later["digest"], later["plan_id"])
    for differs in (
        replace(rich_plan(), orphans=()),
        replace(rich_plan(), errored=True),
        replace(rich_plan(), hosts_left_out=("kvm2",)),
        replace(rich_plan(), refusals=()),
    ):
        other = plan_json(differs)
        assert other["digest"] != first["digest"]
        assert other["plan_id"] != first["plan_id"]


def test_digest_does_not_depend_on_the_order_in_which_a_plan_was_made() -> None:
    plan = rich_plan()
    turned = replace(plan, changes=plan.changes[::-1], orphans=plan.orphans[::-1])
    assert plan_json(turned)["digest"] == plan_json(plan)["digest"]
    assert text(turned) == text(plan)


def test_no_secret_in_any_output() -> None:
    plan, web = rich_plan(), web_change()
    out, err = io.StringIO(), io.StringIO()
    stream = EventStream(out, clock=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    stream.plan(plan)
    problem = Diagnostic("KVP601", Severity.ERROR, f"libvirt said: {CANARY} is too long")
    for view in (stream, ApplyText(out, err)):
        view(ApplyStarted(plan))
        view(ChangeFailed(web, problem, 1.0))
        view(ChangeFinished(web, 1.0, (f"note {CANARY}",)))
        view(ApplyFinished(0, 1, 0, ((WEB, Action.UPDATE, Outcome.FAILED, CANARY),)))
    confirm(plan, io.StringIO("no\n"), out)
    everything = [text(plan), text(plan, summary=True), plan_json_text(plan, GIT)]
    for shown in (*everything, out.getvalue(), err.getvalue()):
        assert shown is not None
        assert "c4n4ry" not in shown
    assert "(sensitive)" in everything[0]


def test_secret_texts_are_hidden_wherever_they_are() -> None:
    secret = SecretText("hush-hush")
    path = ("graphics", "vnc", "password")
    change = Change(
        WEB,
        Action.UPDATE,
        fields=(FieldChange(path, SecretText("before-it"), secret, Impact.LIVE),),
        before={"graphics": {"vnc": {"password": SecretText("before-it")}}},
        after={"graphics": {"vnc": {"password": secret}}},
        impact=Impact.LIVE,
        notes=("hush-hush replaces before-it",),
    )
    plan = Plan("lab", "uid", {"local": HostFacts("x")}, (change,))
    shown = text(plan)
    assert "graphics.vnc.password  (sensitive) changes" in shown
    assert "(sensitive) replaces (sensitive)" in shown
    document = plan_json(plan)["resource_changes"][0]["change"]
    assert document["after_sensitive"] == {"graphics": {"vnc": {"password": True}}}
    for output in (shown, plan_json_text(plan)):
        assert "hush-hush" not in output
        assert "before-it" not in output


def test_events_say_all_that_the_text_says(request: pytest.FixtureRequest) -> None:
    out = io.StringIO()
    clock = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    held = Change(at(Kind.DOMAIN, "kept"), Action.NOOP, Reason.HELD, notes=("held by ann: demo",))
    busy = Busy(DB, ("block copy of vda",))
    plan = replace(rich_plan(), changes=(*rich_plan().changes, held), busy=(busy,))
    EventStream(out, "plan", lambda: clock).plan(plan)
    check("plan-rich-events.jsonl", out.getvalue(), request)
    events = [json.loads(line) for line in out.getvalue().splitlines()]
    by_type: dict[str, list[str]] = {}
    for event in events[:-1]:
        about = event.get("change") or event[event["type"]]
        by_type.setdefault(event["type"], []).append(about["resource"]["addr"])
    assert sorted(by_type["resource_drift"]) == ["local:domain.db", "local:domain.web"]
    assert by_type["held"] == ["local:domain.kept"]
    assert by_type["orphan"] == ["local:domain.ghost"]
    assert set(by_type) == {
        "resource_drift",
        "planned_change",
        "refusal",
        "pending_restart",
        "busy",
        "unowned",
        "note",
        "held",
        "unlisted",
        "released",
        "orphan",
    }
    assert events[-1]["type"] == "change_summary"
    assert CANARY not in out.getvalue()
