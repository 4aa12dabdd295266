"""Journals: what was there is on record before it is touched; secrets and full disks."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kvmplan.address import Address
from kvmplan.apply import runs
from kvmplan.apply.applier import apply
from kvmplan.apply.events import ApplyFinished, Event, Warned
from kvmplan.apply.journal import Head, Journal, new_run_id, secret_places, secrets_of
from kvmplan.apply.port import HostError
from kvmplan.inventory import Record
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.options import PlanOptions
from tests.unit.fakehost import STACK, FakeHost, desired, planned, short

Resources = dict[str, dict[str, Any]]
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)
HEAD = Head("r1", "apply", "lab", STACK, {"local": "fake:///"}, "me@here pid 1", NOW.isoformat())
PASSWORD, OLD_PASSWORD = "s3cret<>&17", "0ldS3cret"
LAB: Resources = {
    "network.lan": {"ips": {}},
    "pool.vms": {"path": "/pools/vms"},
    "volume.vms/a": {"capacity": "1GiB"},
    "domain.web": {"vcpus": {"current": 1, "maximum": 2}, "title": "one"},
}
TWO = {"domain.web": {**LAB["domain.web"], "title": "two"}}


class Guarded(FakeHost):
    """A host that gives VNC passwords only to who asks for secrets, as libvirt does."""

    def record(
        self, address: Address, *, secure: bool = False, brief: bool = False
    ) -> Record | None:
        found = super().record(address, secure=secure, brief=brief)
        if found is None or secure:
            return found
        return replace(found, document=found.document.replace(f' passwd="{OLD_PASSWORD}"', ""))


def run(wanted: Resources, host: FakeHost, folder: Path, **options: Any) -> list[Event]:
    """Apply with a journal."""
    plan = planned(desired(wanted), host, options=PlanOptions(**options))
    journal = Journal(folder, HEAD, secrets_of(plan.intents.values()))
    events: list[Event] = []
    apply(plan, {"local": host}, {}, events.append, journal=journal)
    journal.close()
    return events


def touched(folder: Path) -> dict[str, runs.Touched]:
    return {t.short: t for t in runs.read(folder / "r1.jsonl").touched.values()}


def test_what_was_there_is_on_disk_before_it_is_touched(tmp_path: Path) -> None:
    host = FakeHost()
    run(LAB, host, tmp_path / "first")
    old = host.things[short("domain.web")].document
    on_record: list[str] = []

    def look(verb: Verb, address: Address) -> None:
        on_record.append((touched(tmp_path)["domain.web"].before or {})["document"])

    host.before = look
    (finished,) = [e for e in run(TWO, host, tmp_path) if isinstance(e, ApplyFinished)]
    assert on_record
    assert set(on_record) == {old}
    assert host.things[short("domain.web")].document != old
    assert finished.run == "r1"
    web = touched(tmp_path)["domain.web"]
    assert (web.action, web.outcome) == ("update", "done")
    assert web.done == [step["verb"] for step in web.planned]
    assert web.before is not None
    before = re.sub(r' id="\d+"', "", web.before["running"])
    assert (web.before["state"], before) == ("running", old)


def test_what_is_made_was_not_there(tmp_path: Path) -> None:
    run(LAB, FakeHost(), tmp_path)
    found = touched(tmp_path)
    assert set(found) == set(LAB)
    assert {(t.action, t.outcome, t.before is None) for t in found.values()} == {
        ("create", "done", True)
    }


def test_a_deleted_volume_and_a_failure_are_on_record(tmp_path: Path) -> None:
    refused = HostError(f"it says {OLD_PASSWORD} no", code=55, name="VIR_ERR_OPERATION_INVALID")
    host = FakeHost()
    run(LAB, host, tmp_path / "first")
    host.refuse[Verb.UNDEFINE, "domain.web"] = refused
    events = run({}, host, tmp_path, destroy=True, allow_data_loss=("volume.*",))
    assert not [event for event in events if isinstance(event, Warned)]
    found = touched(tmp_path)
    volume = found["volume.vms/a"]
    assert volume.before is not None
    assert "<capacity" in volume.before["document"]
    assert (found["domain.web"].outcome, found["domain.web"].done) == ("failed", ["shutdown"])
    assert found["domain.web"].why.endswith("[KVP602]")


def test_no_secret_gets_in(tmp_path: Path) -> None:
    vnc = {"vnc": {"type": "vnc", "password": OLD_PASSWORD}}
    first: Resources = {"domain.web": {"title": f"is {PASSWORD}", "graphics": vnc}}
    host = Guarded()
    run(first, host, tmp_path / "first")
    thing = host.things[short("domain.web")]
    thing.active = False
    assert f'passwd="{OLD_PASSWORD}"' in thing.document
    option = "<arg value='secret,id=a,data=c2Vj'/>"
    thing.document = thing.document.replace("</domain>", f"{option}</domain>")
    vnc = {"vnc": {"type": "vnc", "password": PASSWORD}}
    run({"domain.web": {"title": "two", "graphics": vnc}}, host, tmp_path)
    assert f'passwd="{OLD_PASSWORD}"' not in thing.document
    for text in (path.read_text() for path in tmp_path.rglob("*.jsonl")):
        for secret in (OLD_PASSWORD, PASSWORD, "s3cret&lt;", "c2Vj"):
            assert secret not in text
    before = touched(tmp_path)["domain.web"].before
    assert before is not None
    assert before["left_out"] == ["/domain/devices/graphics/@passwd"]
    assert "<title>is (sensitive)</title>" in before["document"]


def test_a_secret_s_place_is_told_and_nothing_else() -> None:
    plain = "<a><b x='1'/><b/></a>"
    assert secret_places(plain, plain) == ()
    assert secret_places("<a><b x='1' y='s'/><b><c>s</c></b></a>", plain) == (
        "/a/b[1]/@y",
        "/a/b[2]/c",
    )


def test_a_full_disk_is_told_once_and_stops_nothing(tmp_path: Path) -> None:
    host = FakeHost()
    run(LAB, host, tmp_path / "first")
    plan = planned(desired({**LAB, **TWO}), host)
    journal = Journal(tmp_path, HEAD)
    journal._stream.close()
    journal._stream = Path("/dev/full").open("wb")  # noqa: SIM115
    events: list[Event] = []
    finished = apply(plan, {"local": host}, {}, events.append, journal=journal)
    journal.close()
    (warned,) = [event for event in events if isinstance(event, Warned)]
    assert warned.diagnostic.code == "KVP620"
    assert "No space left on device" in warned.diagnostic.summary
    assert (finished.changed, finished.failed, finished.run) == (1, 0, "")


def test_a_place_that_cannot_be_written_raises_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Journal(tmp_path / "file" / "runs", HEAD)


def test_a_run_that_touches_nothing_leaves_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "state" / "runs"
    journal = Journal(folder, HEAD)
    (file,) = folder.iterdir()
    assert (file.stat().st_mode & 0o777, folder.stat().st_mode & 0o777) == (0o600, 0o700)
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    journal.close()
    assert list(folder.iterdir()) == []


def test_a_journal_that_was_cut_is_read_to_its_last_line(tmp_path: Path) -> None:
    host = FakeHost()
    run(LAB, host, tmp_path / "first")
    run({**LAB, **TWO}, host, tmp_path)
    file = tmp_path / "r1.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line)["type"] for line in lines]
    assert kinds[:2] == ["run", "before"]
    file.write_bytes(b"".join(lines[:2]) + lines[2][:10])
    cut = runs.read(file)
    assert (cut.ended, [t.outcome for t in cut.touched.values()]) == ("", ["cut"])
    for damaged in (b"", b"\xff\n", b"[]\n", lines[1]):
        file.write_bytes(damaged)
        with pytest.raises(runs.BadJournal, match="damaged"):
            runs.read(file)
    file.write_bytes(lines[0].replace(b'"format":1', b'"format":9'))
    with pytest.raises(runs.BadJournal, match="format 9"):
        runs.read(file)


def test_ids_sort_by_time() -> None:
    moments = [NOW + timedelta(milliseconds=5 * n) for n in range(400)]
    ids = [new_run_id(moment) for moment in moments]
    assert ids == sorted(ids)
    assert ids[0].startswith("20260102-030405-678")


def test_old_runs_go_and_the_newest_stays(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"r{number}.jsonl").write_text("x" * 100)
    runs.prune(tmp_path, runs=8)
    assert [path.stem for path in runs.find(tmp_path.parent, tmp_path.name)][-1] == "r2"
    runs.prune(tmp_path, size=350)
    assert len(list(tmp_path.iterdir())) == 3
    runs.prune(tmp_path, size=1)
    assert [path.stem for path in tmp_path.iterdir()] == ["r9"]
