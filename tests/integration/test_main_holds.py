"""Ownership in the open: holds, prune and its limits, drift, status, adopt and forget."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.support import (
    NOTHING_APPLIED,
    Stack,
    connection,
    idle_domain,
    kvmplan,
    stack,
)
from tests.privatehost import PrivateHost


@pytest.fixture
def three(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    """A stack of three idle domains, applied."""
    with stack(tmp_path, private_host) as made:
        made.specs["domains"] = {f"{made.tag}-{n}": idle_domain(title="old") for n in "abc"}
        made.apply()
        yield made


def uri(made: Stack) -> str:
    """Where its host is."""
    assert made.host is not None
    return made.host.uri


def own(made: Stack, command: str, *flags: str) -> str:
    """Run a command that takes addresses first; what it printed."""
    made.write()
    done = kvmplan(command, *flags, "--specs", made.path, "--connect", uri(made))
    assert done.code == 0, str(done)
    return done.out


def title(made: Stack, name: str) -> str:
    """A domain's title on the host."""
    assert made.host is not None
    with connection(made.host) as conn:
        found: str = conn.lookupByName(f"{made.tag}-{name}").metadata(1, None)
        return found


def test_a_held_object_is_left_alone_by_every_run(three: Stack) -> None:
    own(three, "hold", f"domain.{three.tag}-a", "--until", "2h", "--reason", "moving disks")
    for domain in three.domains.values():
        domain["title"] = "new"
    planned = three.plan()
    assert "moving disks" in planned.out
    three.apply()
    assert [title(three, name) for name in "abc"] == ["old", "new", "new"]
    assert "held" in three.run("status").out

    destroyed = three.run("destroy", "--auto-approve", "--target", f"domain.{three.tag}-a")
    assert destroyed.code == 0
    assert title(three, "a") == "old"

    own(three, "release", f"domain.{three.tag}-a")
    three.settle()
    assert title(three, "a") == "new"


def test_a_hold_that_is_over_holds_nothing(three: Stack) -> None:
    own(three, "hold", f"domain.{three.tag}-a", "--until", "2s")
    three.domains[f"{three.tag}-a"]["title"] = "new"
    time.sleep(3)
    three.settle()


def test_a_hold_that_would_be_over_already_leaves_the_one_there_is(three: Stack) -> None:
    address = f"domain.{three.tag}-a"
    own(three, "hold", address, "--reason", "moving disks")
    for when in ("2020-01-01", "99999999999h"):
        where = ("--specs", three.path, "--connect", uri(three))
        refused = kvmplan("hold", address, "--until", when, *where)
        assert (refused.code, "--until" in refused.err, refused.out) == (1, True, ""), str(refused)
    assert "moving disks" in three.plan().out
    own(three, "release", address)


@pytest.mark.parametrize(
    "command", ["hold", "release", "forget", "adopt", "start", "stop", "restart", "force-unlock"]
)
def test_what_writes_is_refused_on_a_read_only_connection(three: Stack, command: str) -> None:
    name = "an-id" if command == "force-unlock" else f"domain.{three.tag}-a"
    where = ("--specs", three.path, "--connect", uri(three), "--read-only")
    refused = kvmplan(command, name, *where)
    assert (refused.code, "error[KVP514]" in refused.err) == (1, True), str(refused)


def test_orphans_go_only_when_asked_and_only_so_many(three: Stack) -> None:
    gone = [three.domains.pop(f"{three.tag}-{name}") for name in "ab"]
    assert len(gone) == 2
    kept = three.plan()
    assert kept.code == 0, str(kept)
    assert f"domain.{three.tag}-a" in three.run("orphans").out

    refused = three.run("apply", "--auto-approve", "--prune")
    assert (refused.code, "KVP216" in refused.err) == (7, True), str(refused)
    done = three.run("apply", "--auto-approve", "--prune", "--max-delete", "2")
    assert done.code == 0, str(done)
    assert done.last == "Apply complete! Resources: 0 added, 0 changed, 2 destroyed."
    assert three.run("orphans").out == "No orphans.\n"
    assert title(three, "c") == "old"


def test_empty_specs_prune_nothing(three: Stack) -> None:
    domains = three.specs.pop("domains")
    refused = three.run("apply", "--auto-approve", "--prune", "--max-delete", "9")
    assert (refused.code, "KVP215" in refused.err) == (7, True), str(refused)
    three.specs["domains"] = domains
    three.in_sync()


def test_errors_prune_nothing(three: Stack) -> None:
    three.domains.pop(f"{three.tag}-a")
    three.domains[f"{three.tag}-b"]["interfaces"] = {"eth0": {"network": "not-there"}}
    done = three.run("apply", "--auto-approve", "--prune", "--max-delete", "9")
    assert done.code == 1, str(done)
    assert title(three, "a") == "old"
    three.domains[f"{three.tag}-b"].pop("interfaces")


def test_protected_orphans_stay(three: Stack) -> None:
    name = f"{three.tag}-a"
    three.domains[name] |= {"lifecycle": {"prevent_destroy": True}, "title": "kept"}
    three.apply()
    protected = three.domains.pop(name)
    refused = three.run("apply", "--auto-approve", "--prune")
    assert (refused.code, "KVP210" in refused.err) == (7, True), str(refused)
    protected.pop("lifecycle")
    three.domains[name] = {**protected, "title": "free"}
    three.apply()


def test_protection_is_noted_where_nothing_else_is_to_do(three: Stack) -> None:
    name = f"{three.tag}-a"
    three.domains[name]["lifecycle"] = {"prevent_destroy": True}
    noted = three.in_sync()
    assert f"Note on domain.{name}\n    apply notes its prevent_destroy" in noted.out
    assert three.apply().last == NOTHING_APPLIED
    assert "Note on" not in three.in_sync().out
    protected = three.domains.pop(name)
    refused = three.run("plan", "--prune")
    assert (refused.code, "KVP210" in refused.out) == (0, True), str(refused)
    assert three.run("apply", "--auto-approve", "--prune").code == 7

    protected["lifecycle"] = {"prevent_destroy": False}
    three.domains[name] = protected
    assert "apply takes its prevent_destroy back" in three.in_sync().out
    assert three.apply().last == NOTHING_APPLIED
    three.domains.pop(name)
    done = three.apply("--prune")
    assert done.last == "Apply complete! Resources: 0 added, 0 changed, 1 destroyed."


def test_drift_is_shown_reverted_or_kept(three: Stack) -> None:
    assert three.run("drift").code == 0
    assert three.host is not None
    with connection(three.host) as conn:
        conn.lookupByName(f"{three.tag}-a").setMetadata(1, "by hand", None, None, 2)
    seen = three.run("drift")
    assert seen.code == 2, str(seen)
    assert "by hand" in seen.out
    document = json.loads(three.run("drift", "--json").out)
    assert [row["name"] for row in document["resource_drift"]] == [f"{three.tag}-a"]
    assert "drifted" in three.run("status").out

    own(three, "hold", f"domain.{three.tag}-b", "--reason", "demo")
    orphan = three.domains.pop(f"{three.tag}-c")
    events = three.run("plan", "--json").events
    told: dict[str, Any] = {it["type"]: it.get("change") or it.get(it["type"]) for it in events}
    assert told["resource_drift"]["resource"]["resource_name"] == f"{three.tag}-a"
    assert told["resource_drift"]["fields"] == ["title"]
    assert told["held"]["resource"]["resource_name"] == f"{three.tag}-b"
    assert "demo" in told["held"]["notes"][0]
    assert told["orphan"]["resource"]["resource_name"] == f"{three.tag}-c"
    three.domains[f"{three.tag}-c"] = orphan
    own(three, "release", f"domain.{three.tag}-b")

    three.domains[f"{three.tag}-b"]["title"] = "new"
    three.apply("--drift", "keep")
    assert (title(three, "a"), title(three, "b")) == ("by hand", "new")
    three.apply()
    assert title(three, "a") == "old"
    assert three.run("drift").code == 0


def test_forgotten_objects_are_nobodys_until_adopted(three: Stack) -> None:
    name = f"{three.tag}-a"
    own(three, "forget", f"domain.{name}")
    planned = three.plan()
    assert planned.code == 0
    assert "nowned" in planned.out
    three.domains[name]["title"] = "new"
    assert three.plan().code == 1
    three.run("destroy", "--auto-approve", "--target", f"domain.{three.tag}-*")
    assert title(three, "a") == "old"

    own(three, "adopt", f"domain.{name}")
    three.settle()
    assert title(three, "a") == "new"


def test_status_as_json(three: Stack) -> None:
    document = json.loads(three.run("status", "--json").out)
    assert {row["address"]: row["status"] for row in document["resources"]} == {
        f"local:domain.{three.tag}-{name}": ["in sync"] for name in "abc"
    }
    assert document["locks"] == []
