"""What is remembered as in sync: everything that a verdict follows from is in its digest."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from kvmplan.address import Address, Kind
from kvmplan.cli.memory import Memory
from kvmplan.inventory import Claim, Claims, GuestFacts, Hold, HostFacts, Inventory, Record, State
from kvmplan.kinds.models import MODELS
from kvmplan.plan.insync import SIZE, InSync, is_plain, wanted_digest
from kvmplan.plan.options import PlanOptions
from kvmplan.spec.desired import Lifecycle, Resource

ADDRESS = Address("local", Kind.DOMAIN, "web")
RECORD = Record(ADDRESS, "uuid", "<domain/>")
CLAIM = Claim(ADDRESS.short, "uuid")
WANTED = b"wanted"

OTHER_RECORDS: dict[str, Any] = {
    "key": "another",
    "document": "<domain> </domain>",
    "running": "<domain/>",
    "state": State.RUNNING,
    "reason": "user",
    "persistent": False,
    "autostart": True,
    "managed_save": True,
    "saved": "<domain/>",
    "bases": {"/b": "/a"},
    "secure": True,
    "ports": frozenset({"another"}),
}
OTHER_CLAIMS: dict[str, Any] = {
    "key": "another",
    "phase": "creating",
    "born": {"format": "raw"},
    "applied": {"capacity": 1},
    "protect": True,
    "waiting": {"video": "2026-01-01"},
    "released": (("title",),),
    "hold": Hold("somebody"),
}
OTHER_FACTS: dict[str, Any] = {
    "uri": "qemu:///session",
    "uuid": "another",
    "arch": "aarch64",
    "libvirt_version": "10.0.0",
    "hypervisor": "TEST",
    "hypervisor_version": "8.0.0",
    "read_only": True,
    "guests": {"x86_64": GuestFacts(("qemu",), {})},
    "cpu_features": frozenset({"vmx"}),
    "has_secrets": False,
}


def inventory(claim: Claim | None = CLAIM, **facts: Any) -> Inventory:
    claims = Claims("uid", "lab", {claim.address: claim} if claim else {})
    names = {Kind.VOLUME: {"vms/a": "/a"}}
    return Inventory("local", HostFacts(**{"uri": "u", **facts}), claims=claims, names=names)


def digest(record: Record = RECORD, there: Inventory | None = None, version: str = "1") -> Any:
    return InSync(version).digest(WANTED, record, there or inventory())


def resource(lifecycle: Lifecycle | None = None, **given: Any) -> Resource:
    model = MODELS[Kind.DOMAIN].model_validate(given)
    nothing = frozenset[tuple[str, ...]]()
    return Resource(ADDRESS, model, nothing, None, {}, lifecycle or Lifecycle(), (), ())


def test_the_same_is_the_same() -> None:
    assert digest() == digest(replace(RECORD), inventory(replace(CLAIM)))


@pytest.mark.parametrize("field", [f.name for f in fields(Record) if f.name != "address"])
def test_every_part_of_a_record_counts(field: str) -> None:
    assert digest(replace(RECORD, **{field: OTHER_RECORDS[field]})) != digest()


@pytest.mark.parametrize("field", [f.name for f in fields(Claim) if f.name != "address"])
def test_every_part_of_a_claim_counts(field: str) -> None:
    assert digest(there=inventory(replace(CLAIM, **{field: OTHER_CLAIMS[field]}))) != digest()


@pytest.mark.parametrize("field", [f.name for f in fields(HostFacts)])
def test_every_fact_of_the_host_counts(field: str) -> None:
    assert digest(there=inventory(**{field: OTHER_FACTS[field]})) != digest()


def test_the_program_and_what_is_wanted_count() -> None:
    assert digest(version="2") != digest()
    assert InSync("1").digest(b"another", RECORD, inventory()) != digest()


def test_whose_volume_a_path_is_counts() -> None:
    other = replace(inventory(), names={Kind.VOLUME: {"vms/b": "/a"}})
    assert digest(there=other) != digest()


def test_secrets_holds_strangers_and_other_stacks_are_not_remembered() -> None:
    foreign = (Claims("other", "theirs", {CLAIM.address: CLAIM}),)
    assert digest(replace(RECORD, secure=True)) is None
    assert digest(there=inventory(replace(CLAIM, hold=Hold("somebody")))) is None
    assert digest(there=inventory(None)) is None
    assert digest(there=replace(inventory(), foreign_claims=foreign)) is None


@pytest.mark.parametrize("phase", ["done", "restarting"])
def test_networks_that_have_lost_guests_are_not_remembered(phase: str) -> None:
    lan, web = Address("local", Kind.NETWORK, "lan"), Address("local", Kind.DOMAIN, "web")
    claims = Claims("uid", "lab", {lan.short: Claim(lan.short, "key", phase)})
    nic = "<interface type='network'><source network='lan' portid='p1'/></interface>"
    guest = f"<domain><devices>{nic}</devices></domain>"

    def remembered(*ports: str) -> bool:
        records = {
            lan: Record(lan, "key", "<network/>", ports=frozenset(ports)),
            web: Record(web, "key", guest, running=guest, state=State.RUNNING),
        }
        names = {Kind.NETWORK: {"lan": "key"}}
        there = Inventory("local", HostFacts("u"), records, names, claims)
        return digest(records[lan], there) is not None

    assert remembered("p1", "p2") == (phase == "done")
    assert not remembered("p2")


def test_what_is_declared_counts() -> None:
    plain = wanted_digest(resource(vcpus={"current": 2}))
    assert plain == wanted_digest(resource(vcpus={"current": 2}))
    assert plain != wanted_digest(resource(vcpus={"current": 3}))
    assert plain != wanted_digest(resource(Lifecycle(unlisted="remove"), vcpus={"current": 2}))
    assert wanted_digest(replace(resource(), defaults=frozenset({("title",)}))) is None


def test_a_plan_of_some_objects_does_not_forget_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = [bytes([number]) * SIZE for number in range(3)]
    whole = Memory("uid", ["u"])
    whole.in_sync.used.update(found[:2])
    whole.keep()
    for seen in ([], found[:1], found[:2]):
        targeted = Memory("uid", ["u"])
        targeted.in_sync.used.update(seen)
        assert not targeted.in_sync.is_new
        targeted.keep()
        again = Memory("uid", ["u"]).in_sync
        assert [again.knows(digest) for digest in found] == [True, True, False]
    whole.in_sync.used.add(found[2])
    whole.keep()
    assert Memory("uid", ["u"]).in_sync.knows(found[2])


def test_flags_that_judge_otherwise_are_not_plain() -> None:
    assert is_plain(PlanOptions(prune=True, allow_data_loss=("volume.*",)))
    for given in (
        {"destroy": True},
        {"targets": ("domain.web",)},
        {"excludes": ("domain.web",)},
        {"replace": ("domain.web",)},
        {"adopt": True},
        {"drift": "keep"},
        {"only": frozenset({ADDRESS})},
    ):
        assert not is_plain(PlanOptions(**given))
