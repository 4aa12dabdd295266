"""Renamed domains keep what is theirs: uuid, disks, UEFI variables, MACs, snapshots, autostart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.host import open_host
from kvmplan.kinds.verbs import Verb
from tests.integration.support import (
    Stack,
    canonical,
    connection,
    document,
    idle_domain,
    kvmplan,
    network,
    stack,
    subnet,
)
from tests.privatehost import PrivateHost


@pytest.fixture
def made(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    with stack(tmp_path, private_host) as made:
        tag = made.tag
        made.specs |= {
            "networks": {tag: network(subnet())},
            "pools": {tag: {"path": str(tmp_path / "pool")}},
            "volumes": {f"{tag}/disk.qcow2": {"capacity": "8MiB"}},
            "domains": {
                f"{tag}-old": idle_domain(
                    firmware="uefi",
                    autostart=True,
                    disks={"vda": f"{tag}/disk.qcow2"},
                    interfaces={"eth0": tag, "eth1": tag},
                )
            },
        }
        made.apply()
        yield made


def rename_in_specs(made: Stack, old: str, new: str) -> None:
    made.domains[new] = made.domains.pop(old)
    made.specs.setdefault("moved", []).append({"from": f"domain.{old}", "to": f"domain.{new}"})


def test_a_renamed_domain_keeps_what_is_its_own(made: Stack) -> None:
    assert made.host is not None
    host = made.host
    old, new = f"{made.tag}-old", f"{made.tag}-new"
    with connection(host) as conn:
        domain = conn.lookupByName(old)
        domain.create()
        variables = document(domain, 0).findtext("os/nvram")
        rename_in_specs(made, old, new)
        refused = made.apply(code=1)
        assert f"domain.{old} is running" in refused.err
        domain.destroy()
        redefine = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE
        domain.snapshotCreateXML(
            "<domainsnapshot><name>kept</name><state>shutoff</state>"
            f"<creationTime>1</creationTime>{domain.XMLDesc(2)}</domainsnapshot>",
            redefine,
        )
        host.run(["sh", "-c", f"printf mark | dd of={variables} conv=notrunc bs=1 seek=64"])
        content = host.run(["sha256sum", variables]).stdout
        uuid, before = domain.UUIDString(), canonical(document(domain), "name", "os")
        made.domains[new]["description"] = "renamed"
        planned = made.plan()
        assert f"~ domain.{old} -> domain.{new}" in planned.out
        shown = json.loads(made.run("plan", "--format", "json").out)
        moved = {row["address"]: row.get("previous_address") for row in shown["resource_changes"]}
        assert moved[f"local:domain.{new}"] == f"local:domain.{old}"
        saved = made.directory / "p.plan"
        made.plan("--out", str(saved))
        done = kvmplan("apply", saved)
        assert done.code == 0, str(done)
        made.in_sync()
        with pytest.raises(libvirt.libvirtError, match="not found"):
            conn.lookupByName(old)
        domain = conn.lookupByName(new)
        after = document(domain)
        description = after.find("description")
        assert description is not None
        after.remove(description)
        assert canonical(after, "name", "os") == before
        assert (domain.UUIDString(), domain.autostart()) == (uuid, 1)
        assert domain.snapshotListNames() == ["kept"]
        assert document(domain).findtext("os/nvram") == variables
        assert host.run(["sha256sum", variables]).stdout == content
        domain.snapshotLookupByName("kept").delete(libvirt.VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY)
        del made.specs["moved"]
        made.in_sync()
        _cut(made, conn, new)


def test_one_renamed_by_hand_is_told_and_not_made_again(made: Stack) -> None:
    assert made.host is not None
    old, new = f"{made.tag}-old", f"{made.tag}-gx"
    del made.domains[old]["firmware"]
    made.apply("--replace", f"domain.{old}")
    with connection(made.host) as conn:
        conn.lookupByName(old).rename(new)
        refused = made.apply(code=1)
        assert f"domain.{old} has been renamed by hand: it is domain.{new} now" in refused.err
        assert refused.err.count("error[") == 1, refused.err
        conn.lookupByName(new).rename(old)
        made.in_sync()
        conn.lookupByName(old).rename(new)
    rename_in_specs(made, old, new)
    made.apply()
    made.in_sync()


def _cut(made: Stack, conn: libvirt.virConnect, old: str) -> None:
    """A run that is cut right after the rename: it is ours under either name, and finished."""
    new = f"{made.tag}-newest"
    macs = [mac.get("address") for mac in document(conn.lookupByName(old)).iterfind(".//mac")]
    rename_in_specs(made, old, new)
    made.domains[new]["interfaces"] = {"eth1": made.tag}
    host = open_host(LOCAL, conn.getURI())
    for _ in range(2):
        host.perform(Verb.RENAME, Address(LOCAL, Kind.DOMAIN, old), {"name": new})
    host.close()
    made.settle()
    nics = list(document(conn.lookupByName(new)).iterfind(".//mac"))
    assert [mac.get("address") for mac in nics] == macs[1:]
    assert "Orphans" not in made.plan().out
    del made.specs["moved"]
    made.in_sync()


def test_a_renamed_domain_keeps_what_its_fields_have_made(
    private_host: PrivateHost, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        tag, old, new = made.tag, f"{made.tag}-old", f"{made.tag}-new"
        made.specs |= {
            "pools": {tag: {"path": str(tmp_path / "pool")}},
            "domains": {
                old: idle_domain(
                    disks={"vda": {"size": "1MiB", "pool": tag}},
                    cloud_init={"user_data": {"packages": ["vim"]}},
                )
            },
        }
        made.apply()
        (seed,) = tmp_path.joinpath("pool").glob("*-seed.iso")
        disk = tmp_path / "pool" / f"{old}-vda.qcow2"
        before = disk.read_bytes(), seed.read_bytes()
        rename_in_specs(made, old, new)
        assert "Plan: 0 to add, 1 to change, 0 to destroy." in made.plan().out
        made.apply()
        made.in_sync()
        del made.specs["moved"]
        made.in_sync()
        assert (disk.read_bytes(), seed.read_bytes()) == before
        # An edit is one of the same guest: the instance that it is, and its new name.
        made.domains[new]["cloud_init"]["user_data"]["packages"] = ["nano"]
        made.apply()
        made.in_sync()
        edited = seed.read_bytes()
        assert b"nano" in edited
        (instance,) = re.findall(rb'"instance-id": "[0-9a-f-]+"', before[1])
        assert instance in edited
        made.domains[new]["disks"]["vda"]["size"] = "2MiB"
        made.apply()
        made.in_sync()
        assert sorted(path.name for path in disk.parent.iterdir()) == [seed.name, disk.name]
        # What would change it for an empty one is refused before anything is done.
        made.specs["pools"][f"{tag}-2"] = {"path": str(tmp_path / "other")}
        made.domains[new]["disks"]["vda"]["pool"] = f"{tag}-2"
        assert "KVP138" in made.apply(code=1).err
        made.domains[new]["disks"]["vda"]["pool"] = tag
        del made.specs["pools"][f"{tag}-2"]
        made.in_sync()
        made.run("destroy", "--auto-approve", "--allow-data-loss", "volume.*")
        assert not list(disk.parent.iterdir())


def test_leases_follow_the_interfaces_that_ask_for_them(
    private_host: PrivateHost, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        tag, prefix = made.tag, subnet()
        web, new = f"{tag}-web", f"{tag}-new"
        asking = {"network": tag, "ip": f"{prefix}.10"}
        made.specs |= {
            "networks": {tag: network(prefix)},
            "domains": {web: idle_domain(interfaces={"eth0": asking})},
        }
        made.apply()
        with connection(private_host) as conn:

            def leases() -> list[tuple[str | None, str | None]]:
                root = document(conn.networkLookupByName(tag), 1)
                return [
                    (host.get("mac"), host.get("name")) for host in root.iterfind(".//host[@mac]")
                ]

            ((mac, _),) = leases()
            made.domains[web]["interfaces"] = {"lan": asking}
            assert "dhcp" not in made.plan().out
            made.apply()
            made.in_sync()
            assert leases() == [(mac, web)]
            rename_in_specs(made, web, new)
            made.apply()
            made.in_sync()
            del made.specs["moved"]
            made.in_sync()
            assert leases() == [(mac, new)]
            nic = document(conn.lookupByName(new)).find(".//interface/mac")
            assert nic is not None
            assert nic.get("address") == mac
