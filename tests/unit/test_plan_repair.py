"""What is proposed when claims are lost: only what the evidence carries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kvmplan.apply.applier import apply
from kvmplan.inventory import FORGOTTEN, Claim, Claims, DamagedClaims, Inventory, LockInfo, Wanted
from kvmplan.plan.repair import Finding, Trouble, findings
from kvmplan.views.repair_text import commands, repair_text
from tests.unit.fakehost import STACK, FakeHost, Thing, desired, planned, short

LAB: dict[str, dict[str, Any]] = {
    "network.lan": {"active": False},
    "pool.vms": {"path": "/pools/vms"},
    "volume.vms/a": {"capacity": "1GiB"},
    "domain.web": {"disks": {"vda": {"target": "vda", "volume": "vms/a"}}},
}
THEIRS = "<volume><name>b</name><target><path>/pools/vms/b</path></target></volume>"


@pytest.fixture
def host() -> FakeHost:
    """LAB, applied, and a stranger's volume in its pool."""
    made = FakeHost()
    apply(planned(desired(LAB), made), {"local": made}, {}, lambda event: None)
    made.things[short("volume.vms/b")] = Thing(THEIRS, "/pools/vms/b")
    return made


def seen(host: FakeHost) -> Inventory:
    return host.inventory(Wanted(frozenset(), stack_uid=STACK))


def look(inventory: Inventory, wanted: dict[str, Any] = LAB) -> dict[str, tuple[str, str]]:
    rows = findings(desired(wanted), inventory, {})
    assert len({row.what for row in rows}) == len(rows)
    return {row.what: (row.trouble.value, row.summary) for row in rows}


def test_what_is_claimed_needs_no_repair(host: FakeHost) -> None:
    assert look(seen(host)) == {}


def test_without_claims_all_that_bears_witness_is_proposed(host: FakeHost) -> None:
    host.claims = None
    found = look(seen(host))
    assert set(found) == set(LAB)
    assert {trouble for trouble, _ in found.values()} == {"unclaimed"}


def test_a_volume_that_left_the_specs_is_known_by_the_guest_that_uses_it(host: FakeHost) -> None:
    host.claims = None
    found = look(seen(host), {"pool.vms": LAB["pool.vms"]})
    assert set(found) == set(LAB)
    assert "domain.web" in found["volume.vms/a"][1]


def test_a_strangers_volume_is_not_proposed_because_a_spec_of_a_new_stack_names_it() -> None:
    host = FakeHost()
    pool = "<pool type='dir'><name>vms</name><target><path>/pools/vms</path></target></pool>"
    host.things[short("pool.vms")] = Thing(pool, "5d1c2e3f-0000-4000-8000-00000000000b")
    host.things[short("volume.vms/b")] = Thing(THEIRS, "/pools/vms/b")
    assert look(seen(host), {"volume.vms/b": {}}) == {}


def test_damaged_claims_make_a_declared_volume_of_any_pool_worth_asking_about() -> None:
    host = FakeHost()
    host.things[short("volume.vms/b")] = Thing(THEIRS, "/pools/vms/b")
    torn = DamagedClaims("kvmplan/claims/x", "5f", "it is damaged", newer=False)
    found = look(replace(seen(host), damaged=(torn,)), {"volume.vms/b": {}})
    assert {what: trouble for what, (trouble, _) in found.items()} == {
        "kvmplan/claims/x": "damaged",
        "volume.vms/b": "unclaimed",
    }


def test_what_was_given_up_or_is_anothers_is_not_proposed(host: FakeHost) -> None:
    assert host.claims is not None
    web = host.claims.entries["domain.web"]
    pool = host.claims.entries["pool.vms"]
    entries = {"domain.web": replace(web, phase=FORGOTTEN)}
    host.claims = Claims(STACK, "lab", entries)
    other = Claims("another", "shop", {"pool.vms": pool})
    found = look(replace(seen(host), foreign_claims=(other,)))
    assert set(found) == {"network.lan"}


def test_claims_of_what_the_specs_want_made_are_no_trouble(host: FakeHost) -> None:
    assert host.claims is not None
    for gone in ("domain.web", "volume.vms/a"):
        del host.things[short(gone)]
    assert look(seen(host)) == {}
    assert set(look(seen(host), {"pool.vms": LAB["pool.vms"]})) == {"domain.web", "volume.vms/a"}


def test_the_commands_are_quoted_for_the_shell_and_for_globs() -> None:
    local, nas = (short(f"domain.{name}") for name in ("a b", "x[1]*"))
    rows = [
        Finding(Trouble.UNCLAIMED, "local", "domain.a b", "why", adopt=(local,)),
        Finding(Trouble.GONE, "local", "domain.x", "why", forget=(nas,)),
    ]
    proposed = commands(rows, ["--specs", "my specs"], several=False)
    assert proposed == [
        "kvmplan adopt --specs 'my specs' 'domain.a b'",
        "kvmplan forget --specs 'my specs' 'domain.x[[]1][*]'",
    ]
    assert commands(rows, [], several=True)[0] == "kvmplan adopt 'local:domain.a b'"


def test_the_text_names_the_host_where_there_are_several(host: FakeHost) -> None:
    host.claims = Claims(STACK, "lab", {"domain.old": Claim("domain.old", "5f")})
    lock = LockInfo("1d", STACK, "me", "apply", "then")
    rows = findings(desired({}), seen(host), {lock: "its process is gone"})
    text = repair_text(rows, ["kvmplan x"], several=True)
    assert "gone       local:domain.old  claimed, in no spec, and not on the host\n" in text
    assert "locked     local:1d  apply by me since then: its process is gone\n" in text
    assert text.endswith("To decide with, whole or in part:\n  kvmplan x\n")
    assert repair_text([], [], several=False) == "Nothing to repair.\n"
