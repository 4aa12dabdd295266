"""``plan --xml`` and ``show``: the documents that would be sent, and what is there."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.support import (
    connection,
    document,
    idle_domain,
    kvmplan,
    network,
    stack,
    subnet,
)
from tests.privatehost import PrivateHost


def test_documents_stand_above_the_plan(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        made.specs["networks"] = {f"{made.tag}-lan": network(subnet(), mtu=1500)}
        made.specs["domains"] = {made.tag: idle_domain(title="old")}

        new = made.plan("--xml")
        assert f"+++ domain.{made.tag} (planned)" in new.out
        assert "+  <title>old</title>" in new.out
        assert new.last == "Plan: 2 to add, 0 to change, 0 to destroy."
        made.apply()

        made.domains[made.tag]["title"] = "new"
        made.specs["networks"][f"{made.tag}-lan"]["mtu"] = 1400
        changed = made.plan("--xml")
        for line in ("-  <title>old</title>", "+  <title>new</title>", '+  <mtu size="1400"/>'):
            assert line in changed.out, str(changed)
        assert "kvmplan:object" not in changed.out
        made.settle()


def test_what_cannot_be_drawn_yet_says_why(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        pool = private_host.directory / made.tag
        made.specs["pools"] = {made.tag: {"path": str(pool)}}
        made.specs["volumes"] = {
            f"{made.tag}/base": {"capacity": "1MiB"},
            f"{made.tag}/overlay": {"backing": f"{made.tag}/base"},
        }
        planned = made.plan("--xml")
        assert f"volume.{made.tag}/overlay: its document cannot be shown yet" in planned.out


def test_an_object_of_each_kind_is_shown(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as made:
        tag, path = made.tag, str(tmp_path / "pool")
        made.specs |= {
            "networks": {tag: network(subnet())},
            "pools": {tag: {"path": path}},
            "volumes": {f"{tag}/a.img": {"capacity": "1MiB", "format": "raw"}},
            "domains": {tag: idle_domain(state="stopped", title="shown")},
        }
        made.apply()
        flags = ("--specs", made.path, "--connect", private_host.uri)
        for kind, state, field in (
            ("network", "running", ("active", True)),
            ("pool", "running", ("path", path)),
            ("volume", None, ("format", "raw")),
            ("domain", "stopped", ("title", "shown")),
        ):
            address = f"{kind}.{tag}/a.img" if kind == "volume" else f"{kind}.{tag}"
            told = json.loads(kvmplan("show", address, "--json", "--xml", *flags).out)
            assert told["address"] == f"local:{address}"
            assert told["state"] == state
            assert told["ownership"] == f"owned by stack {made.specs['stack']['name']}"
            assert told["fields"][field[0]] == field[1]
            assert told["xml"].startswith(f"<{kind}")
            first = kvmplan("show", address, *flags).out.splitlines()[0]
            assert first.split("   ") == [
                address,
                f"{state} · {told['ownership']}" if state else told["ownership"],
            ]


def test_a_new_domain_is_shown_as_it_will_be(private_host: PrivateHost, tmp_path: Path) -> None:
    """Its disks are on volumes that are made in the same run: as qcow2, by path, not as raw."""
    with stack(tmp_path, private_host) as made:
        folder = private_host.directory / made.tag
        made.specs["pools"] = {made.tag: {"path": str(folder)}}
        made.specs["volumes"] = {f"{made.tag}/a.raw": {"capacity": "1MiB", "format": "raw"}}
        disks = {"vda": {"size": "1MiB", "pool": made.tag}, "vdb": f"{made.tag}/a.raw"}
        made.specs["domains"] = {made.tag: idle_domain(disks=disks)}
        shown = made.plan("--xml").out
        made.apply()
        with connection(private_host) as conn:
            root = document(conn.lookupByName(made.tag), 2)
        for disk in root.findall("devices/disk"):
            source, driver = disk.find("source"), disk.find("driver")
            assert f'<source file="{source.get("file")}"/>' in shown, shown
            assert f'<driver name="qemu" type="{driver.get("type")}" discard="unmap"/>' in shown
        assert {disk.find("driver").get("type") for disk in root.findall("devices/disk")} == {
            "qcow2",
            "raw",
        }
