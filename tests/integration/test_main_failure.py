"""When something fails: the rest is done, each failure is named, and the next apply completes it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.support import (
    NOTHING_APPLIED,
    Stack,
    connection,
    idle_domain,
    network,
    stack,
    subnet,
)
from tests.privatehost import PrivateHost


def broken(made: Stack, directory: Path) -> None:
    """A stack whose first domain cannot start; the second depends on it, the third does not."""
    tag = made.tag
    kernel = {"image": str(directory / "no-such-kernel")}
    made.specs |= {
        "networks": {tag: network(subnet())},
        "domains": {
            f"{tag}-bad": idle_domain(state="running", kernel=kernel, interfaces={"lan": tag}),
            f"{tag}-behind": idle_domain(depends_on=[f"domain.{tag}-bad"]),
            f"{tag}-good": idle_domain(interfaces={"lan": tag}),
        },
    }


def test_a_domain_that_does_not_start(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        tag = made.tag
        broken(made, tmp_path)
        failed = made.apply(code=5)
        ending = (
            "Apply incomplete! Resources: 2 added, 0 changed, 0 destroyed; 1 failed, 1 skipped."
        )
        assert failed.last == ending
        table = failed.out.rpartition("\n\n")[0].splitlines() + failed.out.splitlines()
        assert any(f"domain.{tag}-bad" in line and "failed" in line for line in table), failed.out
        assert any(f"domain.{tag}-behind" in line and "skipped" in line for line in table)
        assert "no-such-kernel" in failed.out + failed.err
        assert "Traceback" not in failed.err
        names = {domain.name() for domain in conn.listAllDomains()}
        assert f"{tag}-good" in names
        assert f"{tag}-behind" not in names

        del made.domains[f"{tag}-bad"]["kernel"]["image"]
        again = made.plan()
        assert again.code == 2
        completed = made.apply()
        assert completed.last.startswith("Apply complete!")
        made.in_sync()
        assert conn.lookupByName(f"{tag}-bad").isActive()
        assert made.apply().last == NOTHING_APPLIED


def test_failures_in_json(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        broken(made, tmp_path)
        events = made.apply("--json", code=5).events
        kinds = {event["type"] for event in events}
        assert {"version", "planned_change", "apply_start", "apply_complete"} <= kinds
        assert {"apply_errored", "apply_skipped"} <= kinds
        last = events[-1]
        assert last["type"] == "change_summary"
        changes = last["changes"]
        assert (changes["add"], changes["failed"], changes["skipped"]) == (2, 1, 1)


def test_json_of_plan_and_apply(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        tag = made.tag
        made.specs |= {
            "networks": {tag: network(subnet())},
            "domains": {tag: idle_domain(interfaces={"lan": tag})},
        }
        plan = json.loads(made.plan("--format", "json").out)
        by_address = {change["address"]: change for change in plan["resource_changes"]}
        assert set(by_address) == {f"local:network.{tag}", f"local:domain.{tag}"}
        domain = by_address[f"local:domain.{tag}"]
        assert domain["change"]["actions"] == ["create"]
        assert domain["depends_on"] == [f"local:network.{tag}"]
        assert plan["stack"] == {"name": tag, "uid": made.uid}
        assert (plan["summary"]["add"], plan["errored"]) == (2, False)
        assert plan["hosts"]["local"]["libvirt_version"]

        events = made.apply("--json").events
        assert events[0]["type"] == "version"
        assert events[-1]["type"] == "change_summary"
        assert events[-1]["changes"]["add"] == 2
        for event in events:
            assert {"@level", "@message", "@module", "@timestamp", "type"} <= set(event)
        quiet = made.apply("--json").events[-1]
        assert (quiet["type"], quiet["changes"]["add"]) == ("change_summary", 0)
        settled = json.loads(made.plan("--format", "json").out)
        assert {tuple(c["change"]["actions"]) for c in settled["resource_changes"]} == {("no-op",)}


def test_nobody_there_to_approve(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        made.specs["domains"] = {made.tag: idle_domain()}
        refused = made.run("apply")
        assert (refused.code, "KVP640" in refused.err) == (1, True)
        assert made.plan().code == 2
