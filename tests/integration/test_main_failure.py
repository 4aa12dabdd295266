"""When something fails, the rest is done and each failure named; the next apply completes it."""

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
from tests.privatehost import PrivateHost, TinyGuest


def broken(made: Stack, directory: Path) -> None:
    """A stack whose first domain cannot start; the second depends on it, the third does not."""
    tag = made.tag
    kernel = {"image": str(directory / "no-such-kernel")}
    made.specs |= {
        "networks": {tag: network(subnet())},
        "domains": {
            f"{tag}-bad": idle_domain(
                state="running", kernel=kernel, interfaces={"lan": tag}, shutdown_timeout="1s"
            ),
            f"{tag}-behind": idle_domain(depends_on=[f"domain.{tag}-bad"]),
            f"{tag}-good": idle_domain(interfaces={"lan": tag}),
        },
    }


def test_a_domain_that_does_not_start(
    private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        tag = made.tag
        broken(made, tmp_path)
        failed = made.apply(code=5)
        ending = (
            "Apply incomplete! Resources: 2 added, 0 changed, 0 destroyed; 1 failed, 1 skipped."
        )
        assert failed.last == ending
        table = failed.out.partition("resources:")[2].splitlines()
        listed = (line.split(maxsplit=3) for line in table if f".{tag}" in line)
        rows = {row[1]: row for row in listed}
        outcomes = {address: row[0] for address, row in rows.items()}
        assert outcomes == {
            f"network.{tag}": "done",
            f"domain.{tag}-good": "done",
            f"domain.{tag}-bad": "failed",
            f"domain.{tag}-behind": "skipped",
        }, failed.out
        assert "no-such-kernel" in rows[f"domain.{tag}-bad"][3]
        assert rows[f"domain.{tag}-behind"][3] == f"after domain.{tag}-bad"
        assert "Traceback" not in failed.err
        names = {domain.name() for domain in conn.listAllDomains()}
        assert f"{tag}-good" in names
        assert f"{tag}-behind" not in names

        made.domains[f"{tag}-bad"]["kernel"]["image"] = str(tiny_guest.kernel)
        again = made.plan()
        assert again.last == "Plan: 1 to add, 1 to change, 0 to destroy."
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


def test_what_depends_goes_first(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        names = [f"{made.tag}-{name}" for name in ("b", "c", "a")]
        after = [[], *([f"domain.{name}"] for name in names)]
        made.specs["domains"] = {
            name: idle_domain(depends_on=before) for name, before in zip(names, after, strict=False)
        }
        made.apply()
        events = made.destroy("--json").events
        gone = [e["hook"]["resource"]["addr"] for e in events if e["type"] == "apply_complete"]
        assert gone == [f"local:domain.{name}" for name in reversed(names)]
