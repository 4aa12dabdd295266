"""Claims while a plan is applied: a superset at every moment, exact at the end."""

from __future__ import annotations

import copy
from collections.abc import Set
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from kvmplan.address import Address, Kind
from kvmplan.apply import claims
from kvmplan.apply.applier import apply
from kvmplan.apply.events import ChangeFailed, Event
from kvmplan.apply.port import HostError
from kvmplan.diagnostics import Failure
from kvmplan.inventory import Claims, Hold
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.change import Action
from kvmplan.plan.options import PlanOptions
from kvmplan.spec.desired import Lifecycle
from tests.unit.fakehost import FACTS, STACK, FakeHost, Thing, desired, planned, short

Resources = dict[str, dict[str, Any]]
LAB: Resources = {
    "pool.vms": {"path": "/pools/vms"},
    "volume.vms/a": {"capacity": "1GiB"},
    "domain.web": {"disks": {"vda": {"target": "vda", "volume": "vms/a"}}},
}
BROKEN = HostError("no space left", code=38, name="VIR_ERR_SYSTEM_ERROR")


def run(wanted: Resources, host: FakeHost, **lifecycles: Lifecycle) -> list[Event]:
    events: list[Event] = []
    apply(planned(desired(wanted, {}, **lifecycles), host), {"local": host}, {}, events.append)
    return events


def phases(claims: Claims) -> dict[str, str]:
    return {address: claim.phase for address, claim in claims.entries.items()}


def test_everything_is_claimed_before_the_first_step() -> None:
    host = FakeHost()
    seen: list[dict[str, str]] = []

    def look(verb: Verb, address: Address) -> None:
        assert host.claims is not None
        seen.append(phases(host.claims))

    host.before = look
    run(LAB, host)
    assert seen[0] == dict.fromkeys(LAB, "creating")
    first = host.claim_writes[0].entries
    assert first["volume.vms/a"].key == ""
    assert first["domain.web"].key == host.claim_writes[-1].entries["domain.web"].key
    assert phases(host.claim_writes[-1]) == dict.fromkeys(LAB, "done")


def test_a_volume_is_done_before_a_guest_can_write_into_it() -> None:
    host = FakeHost()

    def look(verb: Verb, address: Address) -> None:
        if (verb, address.short) == (Verb.START, "domain.web"):
            assert host.claims is not None
            assert host.claims.entries["volume.vms/a"].phase == "done"

    host.before = look
    run(LAB, host)


@pytest.mark.parametrize("verb", [Verb.START, Verb.ATTACH])
def test_no_guest_gets_at_a_volume_that_is_claimed_as_being_created(
    verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "SECONDS_BETWEEN_WRITES", 3600.0)
    host = FakeHost()
    wanted = LAB
    if verb is Verb.ATTACH:
        run(wanted, host)
        disks = {n: {"target": n, "volume": f"vms/{n}"} for n in ("vdb", "vdc")}
        more = {"vda": {"target": "vda", "volume": "vms/a"}, **disks}
        wanted = {**LAB, "domain.web": {"disks": more}}
        wanted |= {f"volume.vms/{name}": {"capacity": "1GiB"} for name in disks}
    seen: list[set[str]] = []

    def look(done: Verb, address: Address) -> None:
        if done is verb and address.kind is Kind.DOMAIN:
            assert host.claims is not None
            seen.append({p for a, p in phases(host.claims).items() if a.startswith("volume.")})

    host.before = look
    before = len(host.claim_writes)
    run(wanted, host)
    assert seen
    assert all(phase == {"done"} for phase in seen)
    assert len(host.claim_writes) - before <= 3


def test_many_new_volumes_are_few_writes() -> None:
    host = FakeHost()
    volumes = {f"volume.vms/v{n}": {"capacity": "1MiB"} for n in range(100)}
    run({"pool.vms": {"path": "/pools/vms"}, **volumes}, host)
    assert len(host.claim_writes) <= 4
    assert host.claims is not None
    assert set(phases(host.claims).values()) == {"done"}


def test_claims_of_the_unmarked_say_what_was_applied() -> None:
    host = FakeHost()
    run(LAB, host)
    assert host.claims is not None
    entries = host.claims.entries
    assert entries["volume.vms/a"].applied == {"capacity": 2**30}
    assert entries["volume.vms/a"].key == "/pools/vms/a"
    assert entries["domain.web"].applied is None


EMPTY_VOLUME = (
    "<volume><name>a</name><capacity>1073741824</capacity><allocation>0</allocation>"
    "<target><format type='raw'/></target></volume>"
)
WRITTEN_VOLUME = EMPTY_VOLUME.replace("<allocation>0", "<allocation>4096")


def test_a_volume_whose_creation_was_cut_stays_torn() -> None:
    host = FakeHost()

    def cut(verb: Verb, address: Address) -> None:
        if verb is Verb.CREATE_VOLUME:
            host._new_volume(address, EMPTY_VOLUME)
            raise BROKEN

    host.before = cut
    run(LAB, host)
    assert host.claims is not None
    assert host.claims.entries["volume.vms/a"].phase == "creating"
    assert "domain.web" not in host.claims.entries, "it was never made"
    host.before = lambda verb, address: None
    run(LAB, host)
    assert phases(host.claims) == dict.fromkeys(LAB, "done")
    assert planned(desired(LAB), host).plan.acting == ()


@pytest.mark.parametrize(
    ("address", "first", "second"),
    [
        ("pool.vms", {"autostart": True}, {"autostart": False}),
        ("volume.vms/a", {"capacity": "1GiB"}, {"capacity": "2GiB"}),
    ],
)
def test_an_update_that_was_cut_is_nobody_s_drift(
    address: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    host = FakeHost()
    storage = {name: LAB[name] for name in ("pool.vms", "volume.vms/a")}
    old, new = ({**storage, address: LAB[address] | more} for more in (first, second))
    run(old, host)

    def cut(verb: Verb, at: Address) -> None:
        host.claims_refused = BROKEN

    host.before = cut
    with pytest.raises(Failure):
        run(new, host)
    assert host.claims is not None
    assert host.claims.entries[address].phase == "changing"
    host.before, host.claims_refused = lambda verb, at: None, None

    reverted = PlanOptions(drift="keep", allow_data_loss=("volume.*",))
    plan = planned(desired(old), host, options=reverted).plan
    assert [(c.address.short, [f.drift for f in c.fields]) for c in plan.acting] == [
        (address, [False])
    ]
    settling = planned(desired(new), host).plan.acting
    assert [(c.address.short, c.fields, c.steps) for c in settling] == [(address, (), ())]
    run(new, host)
    assert host.claims.entries[address].phase == "done"
    assert planned(desired(new), host).plan.acting == ()
    (again,) = planned(desired(old), host).plan.acting
    assert [field.drift for field in again.fields] == [False]


def test_an_update_that_was_left_out_leaves_its_claim_alone() -> None:
    host = FakeHost(facts=FACTS)
    run({**LAB, "pool.vms": {"path": "/pools/vms", "autostart": True}}, host)
    assert host.claims is not None
    before = host.claims.entries["pool.vms"]
    wanted = {**LAB, "pool.vms": {"path": "/pools/vms", "autostart": False}}
    stale = planned(desired(wanted), host)
    host.things[short("pool.vms")].autostart = False
    apply(stale, {"local": host}, {}, lambda event: None)
    assert host.claims.entries["pool.vms"] == before


def test_what_could_not_be_made_is_not_claimed_in_the_end() -> None:
    host = FakeHost(refuse={(Verb.CREATE_VOLUME, "volume.vms/a"): BROKEN})
    run(LAB, host)
    assert host.claims is not None
    assert set(host.claims.entries) == {"pool.vms"}


TAKEN = HostError("it exists already", code=90, name="VIR_ERR_STORAGE_VOL_EXIST")


@pytest.mark.parametrize("known", [False, True])
def test_a_volume_that_somebody_else_has_made_at_that_moment_is_not_claimed(known: bool) -> None:
    """`known`: one of that name was ours, and is gone."""
    host = FakeHost()
    if known:
        run(LAB, host)
        del host.things[short("volume.vms/a")], host.things[short("domain.web")]

    def strange(verb: Verb, address: Address) -> None:
        if verb is Verb.CREATE_VOLUME:
            host._new_volume(address, WRITTEN_VOLUME)
            raise TAKEN

    host.before = strange
    run(LAB, host)
    assert host.claims is not None
    assert "volume.vms/a" not in host.claims.entries
    host.before = lambda verb, address: None
    run(LAB, host)
    assert "volume.vms/a" not in host.claims.entries
    assert host.things[short("volume.vms/a")].document.count("4096") == 1


def test_what_is_written_into_a_torn_volume_after_the_plan_is_not_lost() -> None:
    host = FakeHost()
    wanted = {"pool.vms": LAB["pool.vms"], "volume.vms/a": {"capacity": "2GiB"}}

    def cut(verb: Verb, address: Address) -> None:
        if verb is Verb.CREATE_VOLUME:
            host._new_volume(address, EMPTY_VOLUME)
            raise BROKEN

    host.before = cut
    run(wanted, host)
    host.before = lambda verb, address: None
    plan = planned(desired(wanted), host)
    assert [change.action for change in plan.plan.acting] == [Action.REPLACE]
    thing = host.things[short("volume.vms/a")]
    thing.document = thing.document.replace("<allocation unit='bytes'>0", "<allocation>4096")
    thing.document = thing.document.replace("<allocation>0", "<allocation>4096")
    apply(plan, {"local": host}, {}, lambda event: None)
    assert host.things[short("volume.vms/a")] is thing


@pytest.mark.parametrize(
    ("volume", "verb", "key"),
    [
        ({"clone": "vms/gold"}, Verb.CLONE_VOLUME, ""),
        ({"capacity": "1GiB", "allocation": "1GiB"}, Verb.CREATE_VOLUME, ""),
        ({"capacity": "1GiB", "content": "x", "format": "raw"}, Verb.UPLOAD, "/pools/vms/a"),
    ],
)
def test_what_would_not_show_whose_it_is_is_noted_right_before(
    volume: dict[str, Any], verb: Verb, key: str
) -> None:
    host = FakeHost()
    host._new_volume(short("volume.vms/gold"), WRITTEN_VOLUME)
    seen: list[tuple[Verb, str, str]] = []

    def look(done: Verb, address: Address) -> None:
        assert host.claims is not None
        if address.kind is Kind.VOLUME:
            claim = host.claims.entries[address.short]
            seen.append((done, claim.phase, claim.key))

    host.before = look
    run({"pool.vms": LAB["pool.vms"], "volume.vms/a": volume}, host)
    assert (verb, "begun", key) in seen
    assert (Verb.CREATE_VOLUME, "creating", "") in seen or verb is not Verb.UPLOAD
    assert host.claims is not None
    assert host.claims.entries["volume.vms/a"].phase == "done"


def test_a_replaced_object_is_claimed_anew_once_the_old_one_is_gone() -> None:
    host = FakeHost()
    run(LAB, host)
    seen: list[str] = []

    def look(verb: Verb, address: Address) -> None:
        if address.short == "volume.vms/a":
            assert host.claims is not None
            seen.append(f"{verb} {host.claims.entries['volume.vms/a'].phase}")

    host.before = look
    options = PlanOptions(replace=("volume.*",), allow_data_loss=("volume.*",))
    plan = planned(desired(LAB), host, options=options)
    apply(plan, {"local": host}, {}, lambda event: None)
    assert seen == ["delete-volume done", "create-volume creating"]


def test_adoption_claims_and_protection_follows_the_specs() -> None:
    host = FakeHost()
    run(LAB, host)
    host.claims = None
    options = PlanOptions(adopt=True)
    wanted = desired(LAB, vms=Lifecycle(prevent_destroy=True))
    plan = planned(wanted, host, options=options)
    apply(plan, {"local": host}, {}, lambda event: None)
    claims = host.claims
    assert claims is not None
    assert phases(claims) == dict.fromkeys(LAB, "done")
    assert [a for a, claim in claims.entries.items() if claim.protect] == ["pool.vms"]
    assert planned(wanted, host).plan.acting == ()


def protected(host: FakeHost) -> list[str]:
    assert host.claims is not None
    return [address for address, claim in host.claims.entries.items() if claim.protect]


def test_protection_is_noted_and_taken_back_where_nothing_else_is_to_do() -> None:
    host = FakeHost()
    run(LAB, host)
    calls, writes = len(host.calls), len(host.claim_writes)
    for lifecycle, wanted in ((Lifecycle(prevent_destroy=True), ["domain.web"]), (Lifecycle(), [])):
        plan = planned(desired(LAB, web=lifecycle), host).plan
        assert plan.acting == ()
        (told,) = [change for change in plan.changes if change.notes]
        assert (told.address.short, told.protect) == ("domain.web", bool(wanted))
        run(LAB, host, web=lifecycle)
        assert protected(host) == wanted
        run(LAB, host, web=lifecycle)
        assert not any(it.notes for it in planned(desired(LAB, web=lifecycle), host).plan.changes)
    assert len(host.claim_writes) == writes + 2, "an apply without anything to note writes nothing"
    assert len(host.calls) == calls


def test_what_has_left_the_specs_is_told_until_an_apply_has_noted_it() -> None:
    host = FakeHost()
    fields: Resources = {
        "pool.vms": {"permissions": {"mode": "0711"}},
        "domain.web": {"title": "web"},
    }
    given = {address: {**spec, **fields.get(address, {})} for address, spec in LAB.items()}

    def told(wanted: Resources) -> list[str]:
        plan = planned(desired(wanted), host).plan
        assert plan.acting == ()
        return [f"{it.address.short} {'.'.join(it.path)}" for it in plan.released]

    run(given, host)
    assert told(given) == []
    calls, writes = len(host.calls), len(host.claim_writes)
    for _ in range(2):
        assert sorted(told(LAB)) == ["domain.web title", "pool.vms permissions"]
    for _ in range(2):
        run(LAB, host)
        assert told(LAB) == []
    assert len(host.calls) == calls, "no object is touched for that"
    assert len(host.claim_writes) == writes + 1, "and it is noted once"
    run(given, host)
    assert "domain.web title" in told(LAB), "what was there again in between is told again"


def test_protection_is_not_taken_from_what_the_plan_leaves_alone() -> None:
    host = FakeHost()
    keep = Lifecycle(prevent_destroy=True)
    run(LAB, host, web=keep, vms=keep)
    for excluded in (PlanOptions(excludes=("pool.*",)), PlanOptions(only=frozenset())):
        plan = planned(desired(LAB), host, options=excluded)
        apply(plan, {"local": host}, {}, lambda event: None)
        assert "pool.vms" in protected(host)
    assert host.claims is not None
    held = replace(host.claims.entries["pool.vms"], hold=Hold("me"))
    host.claims = replace(host.claims, entries={**host.claims.entries, "pool.vms": held})
    run(LAB, host)
    assert protected(host) == ["pool.vms"]


def test_what_is_noted_stays_so_where_a_change_is_left_out() -> None:
    host = FakeHost()
    run(LAB, host)

    def fail(verb: Verb, address: Address) -> None:
        raise BROKEN

    host.before = fail
    wanted = {
        **LAB,
        "volume.vms/a": {"capacity": "2GiB"},
        "domain.web": {**LAB["domain.web"], "title": "new"},
    }
    run(wanted, host, web=Lifecycle(prevent_destroy=True))
    assert protected(host) == ["domain.web"]


def test_a_restart_that_was_cut_is_over_once_its_guest_runs() -> None:
    """Else a guest that its owner shuts down later would be started again."""
    host = FakeHost()
    run(LAB, host)
    assert host.claims is not None
    cut = replace(host.claims.entries["domain.web"], phase="restarting")
    host.claims = replace(host.claims, entries={**host.claims.entries, "domain.web": cut})
    run(LAB, host)
    assert phases(host.claims)["domain.web"] == "done"
    host.things[short("domain.web")].active = False
    assert planned(desired(LAB), host).plan.acting == ()


def test_a_host_that_takes_no_claims_is_not_touched() -> None:
    host = FakeHost(claims_refused=BROKEN)
    events = run(LAB, host)
    assert host.calls == []
    assert sum(isinstance(event, ChangeFailed) for event in events) == 1


def test_claims_that_cannot_be_written_in_the_end_are_an_error() -> None:
    host = FakeHost()

    def break_claims(verb: Verb, address: Address) -> None:
        host.claims_refused = BROKEN

    host.before = break_claims
    with pytest.raises(Failure) as caught:
        run({"pool.vms": {"path": "/pools/vms"}}, host)
    assert caught.value.diagnostics[0].code == "KVP606"


def test_without_secrets_there_are_no_claims() -> None:
    host = FakeHost(facts=replace(FACTS, has_secrets=False))
    run(LAB, host)
    assert host.claim_writes == []


def test_many_guests_that_start_are_few_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All volumes come first: what starts then waits for no write of another guest's claim."""
    monkeypatch.setattr(claims, "SECONDS_BETWEEN_WRITES", 3600.0)
    host = FakeHost()
    wanted: Resources = {"pool.vms": {"path": "/pools/vms"}}
    for n in range(100):
        disk = {"target": "vda", "volume": f"vms/v{n}"}
        wanted[f"volume.vms/v{n}"] = {"capacity": "1MiB"}
        wanted[f"domain.d{n}"] = {"disks": {"vda": disk}}
    run(wanted, host)
    assert len(host.claim_writes) <= 8


def test_writes_that_take_long_are_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run of 100 s, writes of 2 s each take no more than those that cannot wait."""
    now = [0.0]

    class SlowHost(FakeHost):
        def write_claims(self, claims: Claims, *, over: Set[str] = frozenset()) -> None:
            now[0] += 2.0
            super().write_claims(claims, over=over)

    def work(verb: Verb, address: Address) -> None:
        now[0] += 1.0

    monkeypatch.setattr(claims, "time", SimpleNamespace(monotonic=lambda: now[0]))
    host = SlowHost(before=work)
    run({f"network.n{n}": {"active": False} for n in range(100)}, host)
    assert len(host.claim_writes) <= 4


def test_a_thousand_changes_are_few_writes() -> None:
    host = FakeHost()
    run({f"network.n{n}": {"active": False} for n in range(100)}, host)
    assert len(host.claim_writes) <= 4
    assert host.claims is not None
    assert host.claims.stack_uid == STACK
    assert len(host.claims.entries) == 100


def test_claims_on_what_is_gone_are_dropped_even_where_nothing_else_is_to_do() -> None:
    host = FakeHost()
    run(LAB, host)
    for name in ("domain.web", "volume.vms/a"):
        kind, _, leaf = name.partition(".")
        del host.things[Address("local", Kind(kind), leaf)]
    left: Resources = {"pool.vms": LAB["pool.vms"]}
    assert planned(desired(left), host).plan.acting == ()
    run(left, host)
    assert host.claims is not None
    assert sorted(host.claims.entries) == ["pool.vms"]
    writes = len(host.claim_writes)
    run(left, host)
    assert len(host.claim_writes) == writes, "an apply without anything to do writes nothing"


def test_a_destroy_that_was_cut_is_finished_with_its_claims() -> None:
    host = FakeHost()
    run(LAB, host)
    del host.things[short("domain.web")]
    options = PlanOptions(destroy=True, allow_data_loss=("volume.*",))
    plan = planned(desired(LAB), host, options=options)
    assert [change.address.short for change in plan.plan.acting] == ["pool.vms", "volume.vms/a"]
    apply(plan, {"local": host}, {}, lambda event: None)
    assert not (host.claims and host.claims.entries)


def test_a_volume_without_its_pool_keeps_its_claim_until_all_goes() -> None:
    host = FakeHost()
    run(LAB, host)
    host.things.clear()
    run({}, host)
    assert host.claims is not None
    assert sorted(host.claims.entries) == ["volume.vms/a"]
    plan = planned(desired({}), host, options=PlanOptions(destroy=True))
    apply(plan, {"local": host}, {}, lambda event: None)
    assert not (host.claims and host.claims.entries)


def test_a_rename_is_finished_wherever_it_was_cut() -> None:
    host = FakeHost()
    old: Resources = {"domain.old": {"title": "one", "interfaces": {"eth0": {"user": True}}}}
    run({**old, "pool.vms": LAB["pool.vms"]}, host)
    host.perform(Verb.STOP, short("domain.old"), {})
    key = host.things[short("domain.old")].key
    new: Resources = {
        "domain.new": {"title": "two", "interfaces": {"eth0": {"user": True}}},
        "pool.vms": LAB["pool.vms"],
    }
    wanted = replace(desired(new), moved={short("domain.new"): ("old",)})
    moments: list[tuple[dict[Address, Thing], Claims | None]] = []

    def look(*_: object) -> None:
        moments.append((copy.deepcopy(host.things), host.claims))

    host.before = look
    apply(planned(wanted, host), {"local": host}, {}, lambda event: None)
    look()
    assert len(moments) == 3
    for things, known in moments:
        again = FakeHost(things=things, claims=known)
        apply(planned(wanted, again), {"local": again}, {}, lambda event: None)
        assert planned(wanted, again).plan.acting == ()
        assert again.things[short("domain.new")].key == key
        assert again.claims is not None
        assert phases(again.claims) == {"domain.new": "done", "pool.vms": "done"}
        plain = planned(desired(new), again).plan
        assert (plain.acting, plain.orphans) == ((), ())
