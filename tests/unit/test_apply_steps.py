"""Single steps: documents, devices, sections, fallbacks, preconditions, verification."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from kvmplan.address import Address
from kvmplan.apply.applier import apply
from kvmplan.apply.events import (
    ApplyFinished,
    ChangeFailed,
    ChangeFinished,
    ChangeSkipped,
    Event,
    Progress,
    StepFinished,
)
from kvmplan.apply.port import ConnectionLost, Held, HostError, NotLive, TimedOut
from kvmplan.kinds.mark import read_mark
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.impact import Impact
from kvmplan.plan.options import PlanOptions
from tests.elements import the
from tests.unit.fakehost import FakeHost, Thing, desired, planned, short

Resources = dict[str, dict[str, Any]]

DISK = {"target": "vdb", "file": "/srv/b.raw"}
MAC = "52:54:00:aa:00:01"


def web(**fields: Any) -> Resources:
    return {"domain.web": {"vcpus": {"current": 1, "maximum": 4}, **fields}}


def lan(*hosts: dict[str, str], **fields: Any) -> Resources:
    dhcp = {"hosts": {host["mac"]: host for host in hosts}}
    ip = {"address": "10.10.0.1/24", "dhcp": dhcp}
    second = {"address": "10.20.0.1/24"}
    return {"network.lan": {"ips": {"10.20.0.1/24": second, "10.10.0.1/24": ip}, **fields}}


def run(wanted: Resources, host: FakeHost, **options: Any) -> tuple[ApplyFinished, list[Event]]:
    events: list[Event] = []
    plan = planned(desired(wanted), host, options=PlanOptions(**options))
    assert not plan.plan.errored, list(plan.plan.diagnostics)
    return apply(plan, {host.name: host}, {}, events.append), events


def made(wanted: Resources) -> FakeHost:
    """A host on which that much is done."""
    host = FakeHost()
    finished, _ = run(wanted, host)
    assert not finished.failed, finished.outcomes
    host.calls.clear()
    return host


def mark(host: FakeHost, name: str) -> Any:
    return read_mark(etree.fromstring(host.things[short(name)].document))


def in_sync(wanted: Resources, host: FakeHost) -> bool:
    return planned(desired(wanted), host).plan.acting == ()


def failures(events: list[Event]) -> list[tuple[str, str]]:
    return [
        (event.diagnostic.code, event.diagnostic.summary)
        for event in events
        if isinstance(event, ChangeFailed)
    ]


# ------------------------------------------------------------------ definitions and marks


def test_an_update_keeps_what_it_does_not_know() -> None:
    host = made(web())
    thing = host.things[short("domain.web")]
    thing.document = thing.document.replace("</devices>", "<!--mine--><odd x='1'/></devices>")
    wanted = web(machine="pc")
    run(wanted, host)
    assert "<!--mine--><odd x=" in thing.document
    assert in_sync(wanted, host)


def test_a_mark_says_what_was_applied_and_which_mac_is_whose() -> None:
    host = made(web(interfaces={"eth0": {"user": True}}))
    found = mark(host, "domain.web")
    assert found.applied["vcpus"] == {"current": 1, "maximum": 4}
    assert list(found.keys[("interfaces",)].values()) == ["eth0"]


def test_the_mark_is_left_last_where_live_steps_follow_a_redefine() -> None:
    host = made(web(disks={"vdb": DISK}))
    host.refuse[Verb.DETACH, "domain.web"] = HostError("no", code=1, name="VIR_ERR_INTERNAL_ERROR")
    finished, _ = run(web(disks={}, machine="pc"), host)
    assert finished.failed == 1
    assert "vdb" in mark(host, "domain.web").applied["disks"], "else it would be nobody's now"
    host.refuse.clear()
    run(web(disks={}, machine="pc"), host)
    assert "vdb" not in host.things[short("domain.web")].document


def test_what_a_cut_run_attached_is_ours_and_its_mark_is_finished() -> None:
    wanted = web(disks={"vdb": DISK})
    host = made(web(disks={}))
    before = mark(host, "domain.web")
    real = host.perform

    def cut(verb: Verb, address: Any, arguments: Any) -> None:
        real(verb, address, arguments)
        if verb is Verb.ATTACH:
            raise ConnectionLost("gone")

    host.perform = cut  # type: ignore[method-assign]
    run(wanted, host)
    host.perform = real  # type: ignore[method-assign]
    left = mark(host, "domain.web")
    assert (left.unfinished, sorted(left.applied["disks"])) == (True, ["vdb"])
    assert left.applied["vcpus"] == before.applied["vcpus"]
    assert not in_sync(wanted, host)
    run(wanted, host)
    assert not mark(host, "domain.web").unfinished
    assert in_sync(wanted, host)
    run(web(disks={}), host)
    assert "vdb" not in host.things[short("domain.web")].document


def test_metadata_goes_out_without_its_namespace() -> None:
    space = "https://example.org/ns"
    host = made(web())
    run(web(metadata={space: f"<a:note xmlns:a='{space}'>ours</a:note>"}), host)
    sent = next(a for v, _, a in host.calls if a.get("namespace") == space)
    assert (sent["xml"], sent["prefix"]) == ("<note>ours</note>", "a")


# ------------------------------------------------------------------ devices


def test_a_disk_is_plugged_in_and_out() -> None:
    host = made(web(disks={}))
    run(web(disks={"vdb": DISK}), host)
    _, _, sent = host.calls[1]
    assert host.calls[1][0] is Verb.ATTACH
    assert the(etree.fromstring(sent["xml"]), "target").get("dev") == "vdb"
    host.calls.clear()
    run(web(disks={}), host)
    verb, _, sent = host.calls[1]
    assert (verb, sent["find"], sent["key"]) == (
        Verb.DETACH,
        "./devices/disk/target",
        {"dev": "vdb"},
    )
    assert in_sync(web(disks={}), host)


def test_a_nic_is_found_by_its_mac() -> None:
    host = made(web(interfaces={"eth0": {"user": True, "mac": MAC}}))
    run(web(interfaces={}), host)
    _, _, sent = host.calls[1]
    assert (sent["find"], sent["key"]) == ("./devices/interface/mac", {"address": MAC})


def test_a_device_is_updated_from_its_live_element() -> None:
    host = made(web(interfaces={"eth0": {"user": True, "mac": MAC}}))
    thing = host.things[short("domain.web")]
    thing.document = thing.document.replace("</interface>", "<alias name='ua-x'/></interface>")
    run(web(interfaces={"eth0": {"user": True, "mac": MAC, "link": "down"}}), host)
    verb, _, sent = host.calls[1]
    node = etree.fromstring(sent["xml"])
    assert verb is Verb.UPDATE_DEVICE
    assert the(node, "link").get("state") == "down"
    assert the(node, "alias").get("name") == "ua-x"


def nic(**fields: Any) -> Resources:
    return web(interfaces={"eth0": {"user": True, "mac": MAC, **fields}})


def test_a_nic_whose_mac_waits_is_pulled_by_the_one_that_it_has() -> None:
    host, new = made(nic()), "52:54:00:aa:00:02"
    run(nic(mac=new), host)
    assert mark(host, "domain.web").former == {("interfaces",): {MAC: "eth0"}}
    host.calls.clear()
    finished, events = run(nic(mac=new, link="down"), host)
    assert finished.changed == 1
    (notes,) = [event.notes for event in events if isinstance(event, ChangeFinished)]
    assert notes == ("waiting for restart: interfaces.eth0.mac",)
    sent = [arguments for verb, _, arguments in host.calls if verb is Verb.UPDATE_DEVICE]
    macs = [the(etree.fromstring(each["xml"]), "mac").get("address") for each in sent]
    assert list(zip([each["scope"] for each in sent], macs, strict=True)) == [
        ("live", MAC),
        ("config", new),
    ]
    assert in_sync(nic(mac=new, link="down"), host)
    host.calls.clear()
    run(web(interfaces={}), host)
    (gone,) = [arguments for verb, _, arguments in host.calls if verb is Verb.DETACH]
    assert gone["key"] == {"address": MAC}


def test_a_nic_is_forgotten_by_its_old_mac_once_it_has_the_new_one() -> None:
    host, new = made(nic()), "52:54:00:aa:00:02"
    run(nic(mac=new), host)
    thing = host.things[short("domain.web")]
    thing.running = thing.document
    run(nic(mac=new, link="down"), host)
    assert mark(host, "domain.web").former == {}


def test_what_waits_is_left_out_of_what_runs() -> None:
    host = made(nic(model="virtio"))
    finished, _ = run(nic(model="e1000e", link="down"), host)
    assert finished.changed == 1
    sent = [arguments for verb, _, arguments in host.calls if verb is Verb.UPDATE_DEVICE]
    models = [the(etree.fromstring(each["xml"]), "model").get("type") for each in sent]
    assert models == ["virtio", "e1000e"]


def test_a_part_of_what_waits_waits_too() -> None:
    disk = {"target": "sdb", "file": "/srv/b.raw", "bus": "sata"}
    host = made(web(disks={}))
    run(web(disks={"sdb": disk}), host)
    host.calls.clear()
    finished, _ = run(web(disks={"sdb": {**disk, "iotune": {"total_iops_sec": 100}}}), host)
    assert finished.changed == 1
    assert [verb for verb, _, _ in host.calls] == [Verb.DEFINE]


def test_what_cannot_be_live_is_written_for_the_next_boot_and_told() -> None:
    for refusal in (NotLive("no free slot", code=67), TimedOut("not let go")):
        host = made(web(disks={}))
        host.refuse[Verb.ATTACH, "domain.web"] = refusal
        wanted = web(disks={"vdb": DISK})
        finished, events = run(wanted, host)
        assert finished.changed == 1
        fell = [event.fell_back for event in events if isinstance(event, StepFinished)]
        assert fell[0] is Impact.NEXT_BOOT
        (notes,) = [event.notes for event in events if isinstance(event, ChangeFinished)]
        assert notes == ("waiting for restart: disks.vdb",)
        assert in_sync(wanted, host)
        assert "vdb" in mark(host, "domain.web").applied["disks"]


def test_what_something_else_holds_is_written_for_the_next_boot_and_why_is_told() -> None:
    host = made(web(disks={}))
    host.refuse[Verb.ATTACH, "domain.web"] = Held('Failed to get "write" lock', code=1)
    finished, events = run(web(disks={"vdb": DISK}), host)
    assert finished.changed == 1
    (notes,) = [event.notes for event in events if isinstance(event, ChangeFinished)]
    assert notes[0].startswith('disks.vdb: in use by something else (Failed to get "write" lock)')
    assert notes[1:] == ("waiting for restart: disks.vdb",)


def test_a_guest_that_has_not_followed_its_balloon_is_waited_for() -> None:
    host = made(web(memory={"current": "1GiB", "maximum": "2GiB"}))
    _, events = run(web(memory={"current": "2GiB", "maximum": "2GiB"}), host)
    (notes,) = [event.notes for event in events if isinstance(event, ChangeFinished)]
    assert notes == ("waiting for the guest: memory.current",)


# ------------------------------------------------------------------ networks


def test_leases_are_added_changed_and_removed_below_their_own_ip() -> None:
    one = {"mac": MAC, "ip": "10.10.0.10"}
    host = made(lan())
    run(lan(one), host)
    run(lan({**one, "ip": "10.10.0.11"}), host)
    run(lan(), host)
    sent = [arguments for verb, _, arguments in host.calls if verb is Verb.UPDATE_NETWORK]
    assert [arguments["command"] for arguments in sent] == ["add-last", "modify", "delete"]
    parents = {arguments["parent"] for arguments in sent}
    document = etree.fromstring(host.things[short("network.lan")].document)
    assert [document.findall("ip")[p].get("address") for p in parents] == ["10.10.0.1"]
    assert in_sync(lan(), host)


def test_a_lease_gets_to_its_own_ip_where_what_runs_still_has_another_before_it() -> None:
    host = made(lan())
    thing, one = host.things[short("network.lan")], {"mac": MAC, "ip": "10.10.0.10"}
    root = etree.fromstring(thing.document)
    root.remove(root.findall("ip")[0])
    thing.document = etree.tostring(root, encoding="unicode")
    wanted = lan(one)
    del wanted["network.lan"]["ips"]["10.20.0.1/24"]
    run(wanted, host)
    for text in (thing.document, thing.running or ""):
        hosts = etree.fromstring(text).findall("ip/dhcp/host")
        assert [the(node, "../..").get("address") for node in hosts] == ["10.10.0.1"]
    sent = [arguments for verb, _, arguments in host.calls if verb is Verb.UPDATE_NETWORK]
    assert [(each["scope"], each["parent"]) for each in sent] == [("live", 1), ("config", 0)]


def test_what_libvirt_cannot_modify_is_taken_out_and_put_back() -> None:
    def names(*given: str) -> Resources:
        return lan(dns={"hosts": {"10.10.0.9": {"ip": "10.10.0.9", "names": given}}})

    host = made(names("a"))
    run(names("a", "b"), host)
    sent = [arguments for verb, _, arguments in host.calls if verb is Verb.UPDATE_NETWORK]
    assert [(a["command"], a["parent"]) for a in sent] == [("delete", -1), ("add-last", -1)]
    assert in_sync(names("a", "b"), host)


# ------------------------------------------------------------------ volumes


def test_a_clone_is_grown_to_its_size() -> None:
    wanted: Resources = {
        "pool.vms": {"path": "/pools/vms"},
        "volume.vms/a": {"capacity": "1GiB"},
        "volume.vms/b": {"clone": "vms/a", "capacity": "2GiB"},
    }
    host = made(wanted)
    assert host.claims is not None
    assert host.claims.entries["volume.vms/b"].born == {"clone": "vms/a", "format": "qcow2"}
    assert in_sync(wanted, host)


@pytest.mark.parametrize("used", [True, False])
def test_a_pool_that_domains_have_disks_in_comes_back_before_its_volumes_are_judged(
    used: bool,
) -> None:
    wanted: Resources = {"pool.vms": {"path": "/pools/vms"}, "volume.vms/a": {"capacity": "1GiB"}}
    wanted |= web(disks={"vda": {"target": "vda", "volume": "vms/a"}} if used else {})
    host = made(wanted)
    volume = host.things.pop(short("volume.vms/a"))
    del host.things[short("pool.vms")]

    def meddle(verb: Verb, at: Address) -> None:
        if (verb, at) == (Verb.START, short("pool.vms")):
            host.things[short("volume.vms/a")] = volume

    host.before = meddle
    events: list[Event] = []
    plan = planned(desired(wanted), host)
    apply(plan, {"local": host}, {}, events.append)
    skipped = [event for event in events if isinstance(event, ChangeSkipped)]
    assert bool(skipped) is not used
    assert in_sync(wanted, host)


def test_a_backing_volume_that_is_gone_fails_before_anything_is_sent() -> None:
    wanted: Resources = {"pool.vms": {"path": "/pools/vms"}, "volume.vms/a": {"capacity": "1GiB"}}
    host = made(wanted)
    wanted["volume.vms/b"] = {"backing": {"volume": "vms/a"}}
    plan = planned(desired(wanted), host)
    del host.things[short("volume.vms/a")]
    events: list[Event] = []
    apply(plan, {"local": host}, {}, events.append)
    (failure,) = failures(events)
    assert failure == ("KVP604", "the backing volume vms/a is not on the host")
    assert host.calls == []


# ------------------------------------------------------------------ refusals


def stale(wanted: Resources, host: FakeHost, meddle: Any, **options: Any) -> str:
    """What is said of a change whose object was meddled with after the plan."""
    plan = planned(desired(wanted), host, options=PlanOptions(**options))
    meddle()
    events: list[Event] = []
    apply(plan, {"local": host}, {}, events.append)
    (skipped,) = [event for event in events if isinstance(event, ChangeSkipped)]
    assert host.calls == []
    return str(skipped.because)


def test_a_field_that_moved_since_the_plan_is_named() -> None:
    host = made(web())
    thing = host.things[short("domain.web")]

    def meddle() -> None:
        thing.document = thing.document.replace('machine="q35"', 'machine="pc"')

    said = stale(web(machine="virt"), host, meddle)
    assert said == "stale: changed since it was planned: machine"


def test_what_exists_by_now_is_not_made() -> None:
    host = FakeHost()
    other = made(web())
    said = stale(web(), host, lambda: host.things.update(other.things))
    assert said == "stale: it exists now, and did not when it was planned"
    assert host.claims is not None
    assert host.claims.entries == {}, "it is not ours"


def test_where_domains_cannot_be_listed_each_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeHost, "domains", lambda self: None)
    host = FakeHost()
    other = made(web())
    said = stale(web(), host, lambda: host.things.update(other.things))
    assert said == "stale: it exists now, and did not when it was planned"


def test_what_takes_the_name_at_the_last_moment_keeps_it() -> None:
    host, address = FakeHost(), short("domain.web")
    theirs = Thing("<domain><name>web</name></domain>", "theirs")

    def meddle(verb: Verb, at: Address) -> None:
        if (verb, at) == (Verb.DEFINE, address):
            host.things[address] = theirs

    host.before = meddle
    events: list[Event] = []
    apply(planned(desired(web()), host), {"local": host}, {}, events.append)
    (skipped,) = [event for event in events if isinstance(event, ChangeSkipped)]
    assert str(skipped.because) == "stale: it exists now, and did not when it was planned"
    assert host.things[address] is theirs
    assert host.claims is not None
    assert short("domain.web").short not in host.claims.entries, "it is not ours"


def test_what_is_gone_or_another_object_is_left_alone() -> None:
    wanted = web(machine="pc")
    host = made(web())
    assert stale(wanted, host, host.things.clear) == "stale: it is gone since it was planned"
    host = made(web())

    def swap() -> None:
        host.things[short("domain.web")].key = "another"

    assert "another object" in stale(wanted, host, swap)


def test_a_guest_that_was_started_since_is_not_destroyed() -> None:
    host = made(web(state="stopped"))

    def start() -> None:
        host.things[short("domain.web")].active = True

    said = stale(web(state="stopped"), host, start, destroy=True)
    assert said == "stale: it was started since it was planned"


def test_what_libvirt_did_not_do_is_an_error() -> None:
    host = made(web())
    host._define = lambda address, xml: None  # type: ignore[method-assign]
    _, events = run(web(machine="pc"), host)
    assert failures(events) == [("KVP610", "after apply, machine is still q35 (wanted pc)")]


def test_what_libvirt_s_schema_refuses_is_not_sent() -> None:
    host = made(web())
    _, events = run(web(xml="<domain><nonsense/></domain>"), host)
    ((code, said),) = failures(events)
    assert code == "KVP605"
    assert "nonsense" in said
    assert host.calls == []


def test_an_invalid_live_document_is_not_held_against_a_change() -> None:
    host = made(web())
    thing = host.things[short("domain.web")]
    thing.document = thing.document.replace("<devices>", "<odd/><devices>")
    finished, events = run(web(machine="pc"), host)
    assert finished.changed == 1
    (notes,) = [event.notes for event in events if isinstance(event, ChangeFinished)]
    assert "does not pass libvirt's own schema" in notes[0]


def test_no_secret_is_in_any_message() -> None:
    host = made(web())
    host.refuse[Verb.DEFINE, "domain.web"] = HostError("bad passwd 'hunter22'", code=67)
    graphics = {"vnc": {"type": "vnc", "password": "hunter22"}}
    finished, events = run(web(graphics=graphics), host)
    ((_, said),) = failures(events)
    assert "hunter22" not in said
    assert "hunter22" not in repr(finished)
    assert "(sensitive)" in said


# ------------------------------------------------------------------ restarts and busy domains

BACKUP = ("a backup",)


def restartable(**fields: Any) -> Resources:
    return web(on_change="restart", **fields)


def running(wanted: Resources) -> FakeHost:
    host = made(wanted)
    host.things[short("domain.web")].active = True
    return host


def restart(wanted: Resources, host: FakeHost) -> tuple[ApplyFinished, list[Event]]:
    return run(wanted, host, allow_restart=("all",))


def phase(host: FakeHost) -> str:
    assert host.claims is not None
    return host.claims.entries["domain.web"].phase


def test_a_restart_is_noted_on_the_host_while_the_guest_is_down() -> None:
    host = running(restartable())
    seen: list[tuple[str, str]] = []
    host.before = lambda verb, address: seen.append((verb.value, phase(host)))
    finished, _ = restart(restartable(machine="pc"), host)
    assert not finished.failed
    assert seen[-3:] == [
        ("shutdown", "restarting"),
        ("start", "restarting"),
        ("await", "restarting"),
    ]
    assert phase(host) == "done"
    assert in_sync(restartable(machine="pc"), host)


def test_a_guest_that_was_caught_between_down_and_up_is_started_by_the_next_run() -> None:
    wanted = restartable(machine="pc")
    host = running(restartable())
    host.refuse[Verb.START, "domain.web"] = ConnectionLost("gone")
    finished, _ = restart(wanted, host)
    assert (finished.failed, phase(host)) == (1, "restarting")
    host.refuse.clear()
    host.calls.clear()
    run(wanted, host)
    assert [verb for verb, _ in host.verbs] == ["set-metadata", "start", "set-metadata"]
    assert in_sync(wanted, host)
    assert phase(host) == "done"


def test_a_guest_does_not_go_down_to_start_with_what_something_else_holds() -> None:
    host = running(restartable(disks={}))
    host.refuse[Verb.ATTACH, "domain.web"] = Held('Failed to get "write" lock', code=1)
    finished, _ = restart(restartable(machine="pc", disks={"vdb": DISK}), host)
    assert finished.failed == 1
    assert Verb.SHUTDOWN not in [verb for verb, _, _ in host.calls]
    assert host.things[short("domain.web")].active


def test_a_guest_that_stays_up_keeps_the_change_for_its_next_start() -> None:
    host = running(restartable())
    host.refuse[Verb.SHUTDOWN, "domain.web"] = TimedOut("still up")
    finished, events = restart(restartable(machine="pc"), host)
    assert (finished.failed, phase(host)) == (1, "done")
    assert failures(events)[0][0] == "KVP609"
    assert host.claims is not None
    assert list(host.claims.entries["domain.web"].waiting) == ["machine"]


def test_a_restart_that_somebody_else_did_meanwhile_is_not_done_again() -> None:
    host = running(restartable())

    def restarted(verb: Verb, _: Any) -> None:
        thing = host.things[short("domain.web")]
        if verb is Verb.SET_METADATA:
            thing.running = thing.document

    host.before = restarted
    _, events = restart(restartable(machine="pc", title="new"), host)
    assert "shutdown" not in [verb for verb, _ in host.verbs]
    notes = next(event.notes for event in events if isinstance(event, ChangeFinished))
    assert notes[0].startswith("not restarted")


def test_busy_is_waited_for_said_and_then_left_out() -> None:
    host = made(web())
    host.busy["domain.web"] = [BACKUP]
    finished, events = run(web(title="new"), host)
    assert finished.changed == 1
    assert [event.waiting for event in events if isinstance(event, Progress)] == ["a backup"]
    host.busy["domain.web"] = [BACKUP]
    plan = planned(desired(web(title="newer")), host)
    finished = apply(plan, {host.name: host}, {}, events.append, job_timeout=0)
    assert finished.skipped == 1
    assert finished.outcomes[0][3] == "busy: a backup is at work on it"


def test_a_job_that_begins_between_two_steps_leaves_the_change_half_done_and_said() -> None:
    host = made(web())
    host.busy["domain.web"] = [(), BACKUP]
    plan = planned(desired(web(machine="pc", title="new")), host)
    events: list[Event] = []
    finished = apply(plan, {host.name: host}, {}, events.append, job_timeout=0)
    assert finished.failed == 1
    assert failures(events) == [("KVP608", "busy: a backup is at work on it")]
