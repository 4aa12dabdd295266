"""Saved plans: what was approved is what runs, or nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kvmplan.cli.session import templates_folder
from kvmplan.kinds.skeletons import SOURCE_TREE
from kvmplan.views.plan_json import digest, plan_id
from tests.integration.support import (
    NO_CHANGES,
    NOTHING_APPLIED,
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
        assert json.loads(kvmplan("show", file, "--json").out) == document

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


def test_what_was_refused_when_it_was_reviewed_stays_refused(
    private_host: PrivateHost, tmp_path: Path
) -> None:
    """Who may write the file can write a word into its flags, and have it digested anew."""
    with stack(tmp_path, private_host) as made:
        pool, volume = made.tag, f"{made.tag}/a.raw"
        made.specs["pools"] = {pool: {"path": str(tmp_path / "pool")}}
        made.specs["volumes"] = {volume: {"capacity": "2MiB", "format": "raw"}}
        made.apply()
        made.volumes[volume]["capacity"] = "1MiB"
        file = tmp_path / "p.plan"
        made.plan("--out", str(file))
        reviewed = json.loads(kvmplan("show", file, "--format", "json").out)
        assert [row["code"] for row in reviewed["refusals"]] == ["KVP211"]
        approved = ("--expect-digest", reviewed["digest"])
        for digested, flags, code, why in (
            (False, (), 1, "KVP311"),
            (True, (), 7, "KVP211"),
            (True, approved, 3, "KVP302"),
        ):
            forge(file, "plan.json", partial(allowed, digested=digested))
            refused = kvmplan("apply", file, *flags)
            assert (refused.code, why in refused.err) == (code, True), str(refused)
        made.volumes[volume]["capacity"] = "2MiB"
        made.in_sync()


def allowed(document: Any, *, digested: bool) -> Any:
    """A plan with a word of permission that nobody gave."""
    document["inputs"]["options"]["allow_data_loss"] = ["volume.*"]
    if digested:
        document["digest"] = digest(document)
        document["plan_id"] = plan_id(document)
    return document


def forge(file: Path, name: str, edit: Callable[[Any], Any]) -> None:
    """Edit a member of a plan file, and its digest in the manifest."""
    with zipfile.ZipFile(file) as archive:
        members = {info: archive.read(info) for info in archive.namelist()}
    members[name] = json.dumps(edit(json.loads(members[name])), sort_keys=True).encode()
    manifest = json.loads(members["manifest.json"])
    manifest["sha256"][name] = hashlib.sha256(members[name]).hexdigest()
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


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


@pytest.mark.parametrize("edited", [2, 0])
def test_what_is_left_out_of_a_saved_plan_is_named_and_counted(
    private_host: PrivateHost, tmp_path: Path, edited: int
) -> None:
    """Six domains in a row: what is stale takes along all that comes after it."""
    with stack(tmp_path, private_host) as made:
        names = [f"{made.tag}-{n}" for n in range(6)]
        after = dict(zip(names[1:], names, strict=False))
        made.specs["domains"] = {
            name: idle_domain(depends_on=[f"domain.{after[name]}"] if name in after else [])
            for name in names
        }
        made.apply()
        for domain in made.domains.values():
            domain["memory"] = "96MiB"
        file = tmp_path / "p.plan"
        made.plan("--out", str(file))
        private_host.run(["virsh", "setmem", names[edited], "32MiB", "--config"])
        refused = kvmplan("apply", file, "--json")
        assert refused.code == 3, str(refused)
        types = [event["type"] for event in refused.events]
        assert (types[-1], types.count("change_summary")) == ("change_summary", 1)

        file_again = Path(shutil.copy(file, tmp_path / "again.plan"))
        text = kvmplan("apply", file, "--stale", "skip")
        assert text.code == 5, str(text)
        left = 6 - edited
        ending = f"{edited} changed, 0 destroyed; 0 failed, {left} skipped."
        assert text.last == f"Apply incomplete! Resources: 0 added, {ending}"
        assert NO_CHANGES not in text.out
        stale, *others = names[edited:]
        assert f"skipped domain.{stale} (stale since it was planned: memory" in text.out
        for before, name in zip(names[edited:], others, strict=False):
            assert f"skipped domain.{name} (needs domain.{before}, which is left out)" in text.out

        events = kvmplan("apply", file_again, "--stale", "skip", "--json").events
        skipped = [e["hook"]["resource"]["resource_name"] for e in events if "skip" in e["type"]]
        assert skipped == names, "what was done is in the plan no longer"
        assert events[-1]["type"] == "change_summary"
        assert (events[-1]["changes"]["change"], events[-1]["changes"]["skipped"]) == (0, 6)


def test_without_what_is_stale_no_other_guest_has_its_turn(
    private_host: PrivateHost, tmp_path: Path
) -> None:
    """`max_restarts` chose a: that b would be next was neither shown nor approved."""
    with stack(tmp_path, private_host) as made:
        running = {
            "state": "running",
            "on_change": "restart",
            "force": True,
            "shutdown_timeout": "1s",
        }
        made.specs["domains"] = {
            f"{made.tag}-{name}": idle_domain(title="old") | running for name in "ab"
        }
        made.apply()
        for domain in made.domains.values():
            domain["vcpus"] = {"current": 1, "maximum": 2}
        file = tmp_path / "p.plan"
        allow = ("--allow-restart", "all", "--max-restarts", "1")
        made.plan(*allow, "--out", str(file))
        with connection(private_host) as conn:
            conn.lookupByName(f"{made.tag}-a").setMetadata(1, "by hand", None, None, 3)
            runs = conn.lookupByName(f"{made.tag}-b").ID()
            done = kvmplan("apply", file, "--stale", "skip")
            assert done.code == 5, str(done)
            assert f"skipped domain.{made.tag}-b (stale since it was planned" in done.out, str(done)
            assert conn.lookupByName(f"{made.tag}-b").ID() == runs


def test_a_saved_plan_protects_and_gives_up_what_it_says(
    private_host: PrivateHost, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        two(made)
        made.apply()
        name, file, old = f"{made.tag}-a", tmp_path / "p.plan", tmp_path / "old.plan"
        made.plan("--out", str(old))
        edit = tmp_path / "edit.plan"
        made.domains[name]["title"] = "new"
        made.plan("--out", str(edit))
        made.domains[name]["title"] = "old"
        lifecycle = made.domains[name].setdefault("lifecycle", {})
        for protect in (True, False):
            lifecycle["prevent_destroy"] = protect
            made.plan("--out", str(file))
            assert kvmplan("apply", file).last == NOTHING_APPLIED
            assert "Note on" not in made.in_sync().out
            assert kvmplan("apply", old).last == NOTHING_APPLIED
            if protect:
                refused = kvmplan("apply", edit)
                assert "changed since it was planned: prevent_destroy" in refused.err, str(refused)
            domain = made.domains.pop(name)
            pruned = made.run("plan", "--prune")
            assert ("KVP210" in pruned.out) is protect, str(pruned)
            made.domains[name] = domain


def test_a_plan_of_destruction_is_carried_out_by_destroy(
    private_host: PrivateHost, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        two(made)
        made.apply()
        kept, gone = tmp_path / "kept.plan", tmp_path / "gone.plan"
        made.plan("--out", str(kept))
        assert made.run("plan", "--destroy", "--out", gone).code == 0
        refused = kvmplan("destroy", kept)
        assert (refused.code, "KVP313" in refused.err) == (1, True), str(refused)
        assert "error[KVP313]: destroy would make it another plan" in refused.err
        done = kvmplan("destroy", gone, "--connect", private_host.uri)
        assert done.last == "Apply complete! Resources: 0 added, 0 changed, 3 destroyed."


def test_other_templates_make_another_plan(private_host: PrivateHost, tmp_path: Path) -> None:
    """What no spec names is born from them: no step of the plan would say otherwise."""
    with stack(tmp_path, private_host) as made:
        made.specs["domains"] = {made.tag: idle_domain()}
        file = tmp_path / "p.plan"
        made.plan("--out", str(file))
        with zipfile.ZipFile(file) as archive:
            specs = Path(json.loads(archive.read("origin.json"))["path"])
        own = templates_folder(specs) / "domain.xml.j2"
        own.parent.mkdir()
        own.write_text((SOURCE_TREE / "domain.xml.j2").read_text() + "<!-- of somebody else -->")
        refused = kvmplan("apply", file)
        assert (refused.code, "KVP301" in refused.err) == (3, True), str(refused)
        assert "are not those that it was planned with" in refused.err
        own.unlink()
        assert kvmplan("apply", file).code == 0


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
        ("--connect", "qemu:///session"),
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
