"""Seeds that are unplugged when they are done, and edits that let a guest begin from nothing."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from kvmplan.apply import waits
from kvmplan.apply.applier import apply
from kvmplan.apply.events import ApplyFinished
from kvmplan.apply.port import HostError
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.change import Action, Reason
from kvmplan.plan.options import PlanOptions
from kvmplan.plan.planner import Planned
from kvmplan.spec import Desired, LoadOptions, load
from kvmplan.views.plan_text import plan_text
from tests.unit.fakehost import STACK, FakeHost, planned, short

WEB, SEED, VDA = short("domain.web"), short("volume.vms/web-seed.iso"), "vms/web-vda.qcow2"
DISK = 'target dev="vdz"'
GONE = PlanOptions(allow_data_loss=("volume.*",))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waits, "SECONDS_BETWEEN_LOOKS", 0.01)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost(keyed=b"key")


def stack(
    directory: Path, name: str, policy: str = "eject_after: done", more: str = "", vda: str = ""
) -> Desired:
    """A guest that is told its name by its seed."""
    (directory / "lab.yaml").write_text(f"""
stack: {{name: lab, uid: {STACK}}}
pools: {{vms: {{path: /pools/vms}}}}
volumes: {{vms/base.qcow2: {{capacity: 1GiB}}}}
domains:
  web:
    {more}
    disks: {{vda: {{size: 1GiB, pool: vms{vda}}}, vdb: {{size: 1GiB, pool: vms}}}}
    cloud_init: {{user_data: {{hostname: {name}}}, {policy}}}
""")
    desired, found = load(directory, LoadOptions())
    assert desired is not None, list(found)
    return desired


def settle(wanted: Desired, host: FakeHost, options: PlanOptions | None = None) -> ApplyFinished:
    """Apply, and look that nothing is left to do."""
    host.calls.clear()
    done = apply(planned(wanted, host, options=options), {host.name: host}, {}, lambda _: None)
    assert (done.failed, done.skipped, done.unready) == (0, 0, ()), done
    assert is_empty(planned(wanted, host))
    return done


def is_empty(plan: Planned) -> bool:
    return not plan.plan.acting and not plan.plan.steps


def verbs(host: FakeHost, *which: Verb) -> list[str]:
    return [f"{verb} {address}" for verb, address, _ in host.calls if verb in which]


def has_seed(host: FakeHost) -> tuple[bool, bool]:
    """Whether the definition has the seed's disk, and the running guest."""
    thing = host.things[WEB]
    return DISK in thing.document, thing.active and DISK in (thing.running or "")


def boot(host: FakeHost) -> None:
    """Somebody turns the guest off and on."""
    host.perform(Verb.STOP, WEB, {})
    host.perform(Verb.START, WEB, {})


def test_a_seed_that_is_done_is_unplugged_and_stays_so(tmp_path: Path, host: FakeHost) -> None:
    host.unready["domain.web"] = 3
    wanted = stack(tmp_path, "a")
    said = " ".join(plan_text(planned(wanted, host).plan).split())
    assert "its seed, vdz, is unplugged once cloud-init has finished (up to 5m)" in said
    settle(wanted, host)
    assert has_seed(host) == (False, False)
    assert verbs(host, Verb.EJECT, Verb.ATTACH) == ["eject domain.web"]
    boot(host)
    assert is_empty(planned(wanted, host))


def test_an_edited_seed_is_plugged_in_for_the_next_boot(tmp_path: Path, host: FakeHost) -> None:
    settle(stack(tmp_path, "a"), host)
    edited = stack(tmp_path, "b")
    settle(edited, host)
    assert verbs(host, Verb.UPLOAD, Verb.ATTACH, Verb.EJECT) == [
        "upload volume.vms/web-seed.iso",
        "attach-device domain.web",
    ]
    assert has_seed(host) == (True, True), "this boot's cloud-init says nothing of the new seed"
    boot(host)
    (change,) = planned(edited, host).plan.acting
    assert (change.address, change.action, [s.verb for s in change.steps][-1]) == (
        WEB,
        Action.UPDATE,
        Verb.EJECT,
    )
    done = settle(edited, host)
    assert (done.changed, has_seed(host)) == (1, (False, False))


def test_time_runs_out_and_the_next_apply_ejects(tmp_path: Path, host: FakeHost) -> None:
    wanted = stack(tmp_path, "a", more="wait_for: {cloud_init: 0s}")
    host.unready["domain.web"] = 10**6
    done = apply(planned(wanted, host), {host.name: host}, {}, lambda _: None)
    assert (done.added, done.unready, has_seed(host)) == (6, (WEB,), (True, True))
    assert [change.address for change in planned(wanted, host).plan.acting] == [WEB]
    host.unready.clear()
    settle(wanted, host)
    assert has_seed(host) == (False, False)


def test_what_is_edited_before_it_was_done_is_for_the_next_boot(
    tmp_path: Path, host: FakeHost
) -> None:
    settle(stack(tmp_path, "a", policy=""), host)
    edited = stack(tmp_path, "b")
    settle(edited, host)
    assert (verbs(host, Verb.EJECT), has_seed(host)) == ([], (True, True))
    boot(host)
    settle(edited, host)
    assert has_seed(host) == (False, False)


def test_a_cut_ejection_is_finished(tmp_path: Path, host: FakeHost) -> None:
    wanted = stack(tmp_path, "a")

    def cut(verb: Verb, _: Any) -> None:
        if verb is Verb.EJECT:
            raise KeyboardInterrupt

    host.before = cut
    with pytest.raises(KeyboardInterrupt):
        apply(planned(wanted, host), {host.name: host}, {}, lambda _: None)
    host.before = lambda *_: None
    settle(wanted, host)
    assert has_seed(host) == (False, False)


def test_a_replaced_guest_is_given_its_seed_again(tmp_path: Path, host: FakeHost) -> None:
    wanted = stack(tmp_path, "a", more="vcpus: 2")
    settle(wanted, host)
    settle(wanted, host, PlanOptions(replace=("domain.web",)))
    assert '<vcpu current="2">2</vcpu>' in host.things[WEB].document
    defined = [arguments["xml"] for verb, _, arguments in host.calls if verb is Verb.DEFINE]
    assert [DISK in xml for xml in defined] == [True]
    assert has_seed(host) == (False, False)
    settle(wanted, host, PlanOptions(replace=("volume.*seed.iso", "domain.web")))
    assert has_seed(host) == (False, False)


def test_a_guest_that_is_off_keeps_its_seed_until_it_has_run(
    tmp_path: Path, host: FakeHost
) -> None:
    settle(stack(tmp_path, "a", more="state: stopped"), host)
    assert has_seed(host) == (True, False)
    settle(stack(tmp_path, "a", more="state: running"), host)
    assert has_seed(host) == (False, False)


def test_without_its_policy_a_seed_is_plugged_in_again(tmp_path: Path, host: FakeHost) -> None:
    settle(stack(tmp_path, "a"), host)
    settle(stack(tmp_path, "a", policy=""), host)
    assert has_seed(host) == (True, True)


def test_without_the_key_what_was_ejected_stays_so(tmp_path: Path, host: FakeHost) -> None:
    settle(stack(tmp_path, "a"), host)
    host.keyed = b""
    assert is_empty(planned(stack(tmp_path, "b"), host))


def test_a_kept_seed_is_told(tmp_path: Path, host: FakeHost) -> None:
    settle(stack(tmp_path, "a", "on_change: keep, eject_after: done"), host)
    plan = planned(stack(tmp_path, "b", "on_change: keep, eject_after: done"), host)
    assert is_empty(plan)
    (seed,) = [change for change in plan.plan.changes if change.address == SEED]
    assert seed.notes == ("seed: not what it was born with, and kept",)


def test_a_seed_that_is_kept_from_now_on_stays_where_it_is(tmp_path: Path, host: FakeHost) -> None:
    settle(stack(tmp_path, "a"), host)
    settle(stack(tmp_path, "b"), host)
    assert has_seed(host) == (True, True)
    kept = stack(tmp_path, "c", "on_change: keep, eject_after: done")
    assert is_empty(planned(kept, host)), "its next boot has not read what it holds"
    boot(host)
    settle(kept, host)
    assert has_seed(host) == (False, False)


def replaced(plan: Planned) -> dict[str, Reason]:
    return {
        change.address.short: change.reason
        for change in plan.plan.acting
        if change.action is Action.REPLACE
    }


REPLACE = "on_change: replace, eject_after: done"
BASED = ", backing: vms/base.qcow2"


def test_an_edit_lets_the_guest_begin_from_nothing(tmp_path: Path, host: FakeHost) -> None:
    settle(stack(tmp_path, "a", REPLACE, vda=BASED), host)
    edited = stack(tmp_path, "b", REPLACE, vda=BASED)
    plan = planned(edited, host)
    assert replaced(plan) == dict.fromkeys(
        ("domain.web", "volume.vms/web-seed.iso", f"volume.{VDA}"), Reason.RESEEDED
    ), "but not vdb, which is there for what the guest writes"
    (refusal,) = plan.plan.refusals
    assert (refusal.code, refusal.address.name) == ("KVP211", VDA)
    settle(edited, host, GONE)
    order = verbs(host, Verb.UNDEFINE, Verb.DELETE_VOLUME, Verb.UPLOAD, Verb.DEFINE, Verb.START)
    assert order[0] == "undefine domain.web"
    assert order[-3:] == [
        "upload volume.vms/web-seed.iso",
        "define domain.web",
        "start domain.web",
    ]
    assert has_seed(host) == (False, False)


@pytest.mark.parametrize(
    "at",
    [
        (Verb.UNDEFINE, "domain.web"),
        (Verb.DELETE_VOLUME, f"volume.{VDA}"),
        (Verb.CREATE_VOLUME, f"volume.{VDA}"),
        (Verb.DELETE_VOLUME, "volume.vms/web-seed.iso"),
        (Verb.UPLOAD, "volume.vms/web-seed.iso"),
        (Verb.DEFINE, "domain.web"),
        (Verb.START, "domain.web"),
    ],
    ids=lambda at: f"{at[0]} {at[1]}",
)
def test_a_beginning_that_was_cut_is_begun_again(
    tmp_path: Path, host: FakeHost, at: tuple[Verb, str]
) -> None:
    settle(stack(tmp_path, "a", REPLACE, vda=BASED), host)
    edited = stack(tmp_path, "b", REPLACE, vda=BASED)

    def cut(verb: Verb, address: Any) -> None:
        if (verb, address.short) == at:
            raise KeyboardInterrupt

    host.before, host.calls = cut, []
    plan = planned(edited, host, options=GONE)
    with pytest.raises(KeyboardInterrupt):
        apply(plan, {host.name: host}, {}, lambda _: None, parallelism=1)
    host.before, before = (lambda *_: None), list(host.calls)
    settle(edited, host, GONE)
    both = [*before, *host.calls]
    assert _made_after(both, "domain.web", VDA), "the guest that runs now has the new disk"


def test_a_beginning_that_failed_is_begun_again(tmp_path: Path, host: FakeHost) -> None:
    settle(stack(tmp_path, "a", REPLACE, vda=BASED), host)
    edited = stack(tmp_path, "b", REPLACE, vda=BASED)
    host.refuse[Verb.DELETE_VOLUME, f"volume.{VDA}"] = HostError("it is busy")
    done = apply(planned(edited, host, options=GONE), {host.name: host}, {}, lambda _: None)
    assert (done.failed > 0, WEB in host.things, SEED in host.things) == (True, False, False)
    host.refuse.clear()
    assert replaced(planned(edited, host)) == {f"volume.{VDA}": Reason.RESEEDED}
    settle(edited, host, GONE)


def _made_after(calls: Iterable[tuple[Verb, str, Any]], guest: str, disk: str) -> bool:
    """Whether a guest was started, last, after its disk was last made, and that was made."""
    order = [(verb, address) for verb, address, _ in calls]
    made = (Verb.CREATE_VOLUME, f"volume.{disk}")
    return made in order and order[::-1].index((Verb.START, guest)) < order[::-1].index(made)


def test_another_policy_is_no_edit(tmp_path: Path, host: FakeHost) -> None:
    for policy in ("on_change: reseed", "on_change: replace", "on_change: keep", ""):
        wanted = stack(tmp_path, "a", policy, vda=BASED)
        if not policy.endswith("reseed"):
            assert is_empty(planned(wanted, host))
        settle(wanted, host)


def test_a_first_seed_replaces_nothing(tmp_path: Path, host: FakeHost) -> None:
    settle(stack(tmp_path, "a", REPLACE, vda=BASED), host)
    del host.things[SEED]
    assert replaced(planned(stack(tmp_path, "a", REPLACE, vda=BASED), host)) == {}
