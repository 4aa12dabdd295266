"""Saved plans: what was approved is what runs, or nothing."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from tests.integration.support import (
    SecretRef,
    Stack,
    connection,
    idle_domain,
    kvmplan,
    network,
    stack,
    subnet,
)
from tests.privatehost import PrivateHost


def two(made: Stack) -> None:
    """Two domains and a network."""
    made.specs["networks"] = {f"{made.tag}-lan": network(subnet())}
    made.specs["domains"] = {
        f"{made.tag}-{name}": idle_domain(
            title="old", interfaces={"eth0": {"network": f"{made.tag}-lan"}}
        )
        for name in ("a", "b")
    }


def test_a_saved_plan_is_carried_out_and_shown(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        two(made)
        file = tmp_path / "p.plan"
        planned = made.plan("--out", str(file))
        assert planned.code == 2, str(planned)
        shown = kvmplan("show", file)
        assert shown.out == planned.out
        document = json.loads(kvmplan("show", file, "--format", "json").out)
        assert document["summary"]["add"] == 3

        made.domains[f"{made.tag}-a"]["title"] = "edited after the plan"
        made.write()
        wrong = kvmplan("apply", file, "--expect-digest", "0" * 64)
        assert wrong.code == 3, str(wrong)
        done = kvmplan("apply", file, "--expect-digest", document["digest"])
        assert done.code == 0, str(done)
        with connection(private_host) as conn:
            assert conn.lookupByName(f"{made.tag}-a").metadata(1, None) == "old"

        again = kvmplan("apply", file)
        assert again.code == 3, str(again)
        assert "KVP301" in again.err


def test_a_stale_plan_is_refused_or_its_stale_part_left_out(
    private_host: PrivateHost, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        two(made)
        made.apply()
        for domain in made.domains.values():
            domain["title"] = "new"
        file = tmp_path / "p.plan"
        made.plan("--out", str(file))
        with connection(private_host) as conn:
            by_hand = conn.lookupByName(f"{made.tag}-a")
            by_hand.setMetadata(1, "by hand", None, None, 2)
            refused = kvmplan("apply", file)
            assert refused.code == 3, str(refused)
            assert f"domain.{made.tag}-a changed since it was planned: title" in refused.err
            assert conn.lookupByName(f"{made.tag}-b").metadata(1, None) == "old"

            skipped = kvmplan("apply", file, "--stale", "skip")
            assert skipped.code == 5, str(skipped)
            assert by_hand.metadata(1, None) == "by hand"
            assert conn.lookupByName(f"{made.tag}-b").metadata(1, None) == "new"


def test_guards_hold_for_saved_plans(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        pool = private_host.directory / made.tag
        made.specs["pools"] = {made.tag: {"path": str(pool)}}
        made.specs["volumes"] = {f"{made.tag}/data": {"capacity": "1MiB"}}
        made.apply()
        file = tmp_path / "p.plan"
        assert made.run("plan", "--destroy", "--out", file).code == 0
        refused = kvmplan("apply", file)
        assert refused.code == 7, str(refused)
        assert (
            made.run("plan", "--destroy", "--allow-data-loss", "volume.*", "--out", file).code == 0
        )
        assert kvmplan("apply", file).code == 0


@pytest.mark.parametrize(
    "flags",
    [
        ("--var", "x=1"),
        ("--target", "domain.x"),
        ("--adopt",),
        ("--max-delete", "0"),
        ("--drift", "keep"),
    ],
)
def test_flags_that_would_change_it_are_refused(
    private_host: PrivateHost, tmp_path: Path, flags: tuple[str, ...]
) -> None:
    with stack(tmp_path, private_host, domains={}) as made:
        file = tmp_path / "p.plan"
        made.plan("--out", str(file))
        refused = kvmplan("apply", file, *flags)
        assert (refused.code, "KVP313" in refused.err) == (1, True), str(refused)


def test_no_secret_is_saved_and_it_is_read_again(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        graphics = [{"type": "vnc", "password": SecretRef("VNC_PASSWORD")}]
        made.specs["domains"] = {made.tag: idle_domain(graphics=graphics)}
        made.env["VNC_PASSWORD"] = "sekret17"
        file = tmp_path / "p.plan"
        made.plan("--out", str(file))
        with zipfile.ZipFile(file) as archive:
            inside = b"".join(archive.read(name) for name in archive.namelist())
        assert b"sekret17" not in inside
        missing = kvmplan("apply", file)
        assert (missing.code, "KVP113" in missing.err) == (1, True), str(missing)
        assert kvmplan("show", file).code == 0
        done = kvmplan("apply", file, env=made.env)
        assert done.code == 0, str(done)
        made.in_sync()

        graphics[0]["password"] = "in-clear"
        refused = made.plan("--out", str(file))
        assert (refused.code, "KVP314" in refused.err) == (1, True), str(refused)
