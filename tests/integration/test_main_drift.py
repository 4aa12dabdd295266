"""What people do by hand beside kvmplan: seen, told apart from changes of the specs, put right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
from lxml.etree import _Element as Element

from tests.elements import the
from tests.integration.support import (
    Stack,
    document,
    idle_domain,
    owned,
    stack,
)
from tests.privatehost import PrivateHost

DRIFT = "Drift on the host"


@pytest.fixture
def made(private_host: PrivateHost, tmp_path: Path) -> Iterator[Stack]:
    """An applied stack with a network, a pool, two volumes and a stopped domain."""
    with stack(tmp_path, private_host) as fresh:
        fresh.specs |= owned(fresh)
        fresh.volumes[f"{fresh.tag}/idle.img"] = {"capacity": "4MiB", "format": "raw"}
        fresh.domains[fresh.tag]["title"] = "as applied"
        fresh.apply()
        yield fresh


def test_a_changed_field_goes_back(made: Stack, conn: libvirt.virConnect) -> None:
    domain = conn.lookupByName(made.tag)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "by hand", None, None, 2)
    planned = made.settle()
    assert DRIFT in planned.out
    assert "by hand" in planned.out
    assert document(domain).findtext("title") == "as applied"
    made.domains[made.tag]["title"] = "edited"
    assert DRIFT not in made.settle().out


def test_drift_of_a_running_guest_that_was_kept_once_goes_back_later(
    made: Stack, conn: libvirt.virConnect
) -> None:
    spec, live = made.domains[made.tag], libvirt.VIR_DOMAIN_AFFECT_LIVE
    spec["state"] = "running"
    made.apply()
    domain, title = conn.lookupByName(made.tag), libvirt.VIR_DOMAIN_METADATA_TITLE
    domain.setMetadata(title, "by hand", None, None, live)
    spec["description"] = "told"
    made.apply("--drift", "keep")
    assert domain.metadata(title, None, live) == "by hand"
    assert DRIFT in made.settle().out
    assert domain.metadata(title, None, live) == "as applied"


def test_a_field_that_left_the_specs_is_released(made: Stack, conn: libvirt.virConnect) -> None:
    del made.domains[made.tag]["title"]
    assert "Released" in made.in_sync().out
    domain = conn.lookupByName(made.tag)
    domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "nobody's business", None, None, 2)
    made.in_sync()
    made.domains[made.tag]["memory"] = "96MiB"
    made.settle()
    assert document(domain).findtext("title") == "nobody's business"
    assert "Released" not in made.in_sync().out


def test_what_was_stopped_is_started_again(made: Stack, conn: libvirt.virConnect) -> None:
    conn.networkLookupByName(made.tag).destroy()
    conn.storagePoolLookupByName(made.tag).destroy()
    refused = made.destroy(code=7)
    assert "KVP213" in refused.err  # what nobody can see is not deleted
    planned = made.settle()
    assert DRIFT in planned.out
    assert planned.last == "Plan: 0 to add, 2 to change, 0 to destroy.", str(planned)
    assert f"Note on volume.{made.tag}/disk.qcow2" in planned.out
    assert conn.networkLookupByName(made.tag).isActive()
    assert conn.storagePoolLookupByName(made.tag).isActive()
    conn.networkLookupByName(made.tag).setAutostart(0)
    conn.storagePoolLookupByName(made.tag).setAutostart(0)
    made.in_sync()  # a birth default is not enforced


def test_what_was_removed_is_made_again(made: Stack, conn: libvirt.virConnect) -> None:
    conn.lookupByName(made.tag).undefine()
    conn.networkLookupByName(made.tag).destroy()
    conn.networkLookupByName(made.tag).undefine()
    conn.storagePoolLookupByName(made.tag).storageVolLookupByName("idle.img").delete()
    planned = made.settle()
    assert planned.last == "Plan: 3 to add, 0 to change, 0 to destroy.", str(planned)


def test_what_was_undefined_while_it_runs_gets_its_autostart_back(
    made: Stack, conn: libvirt.virConnect
) -> None:
    """The network was made with it, the domain was given it; later nothing tells of it."""
    tag = made.tag
    net = conn.networkLookupByName(tag)
    made.domains[tag] |= {"state": "running", "autostart": True, "force": True}
    made.domains[tag]["shutdown_timeout"] = "1s"
    made.apply()
    del made.domains[tag]["autostart"]
    conn.lookupByName(tag).undefine()
    net.undefine()
    planned = made.settle()
    assert planned.out.count("autostart  false -> true") == 2, planned.out
    assert (net.autostart(), conn.lookupByName(tag).autostart()) == (1, 1)
    conn.lookupByName(tag).undefine()
    told = " ".join(made.settle().out.split())
    assert "autostart went with it and stays off" in told


def test_a_file_removed_outside_of_libvirt(made: Stack) -> None:
    (made.directory / "pool" / "idle.img").unlink()
    made.apply()
    made.in_sync()
    assert (made.directory / "pool" / "idle.img").exists()


def test_an_impostor_is_not_ours(made: Stack, conn: libvirt.virConnect) -> None:
    domain = conn.lookupByName(made.tag)
    root = document(domain)
    domain.undefine()
    xml = (
        f"<domain type='qemu'><name>{made.tag}</name><memory unit='MiB'>64</memory><os>"
        "<type arch='x86_64'>hvm</type></os></domain>"
    )
    impostor = conn.defineXML(xml)
    assert impostor.UUIDString() != root.findtext("uuid")
    refused = made.plan()
    assert (refused.code, "KVP220" in refused.err) == (1, True), str(refused)
    impostor.undefine()


def test_a_clone_is_not_ours(made: Stack, conn: libvirt.virConnect) -> None:
    root = document(conn.lookupByName(made.tag))
    clone = conn.defineXML(
        libvirt_clone(root, f"{made.tag}-clone"),
    )
    made.in_sync()
    refused = made.destroy(code=7)
    assert f"domain.{made.tag}-clone" in refused.err
    clone.undefine()


def libvirt_clone(root: Element, name: str) -> str:
    """A document as virt-clone leaves it: its own name, uuid and MAC, our mark inside."""
    from lxml import etree

    text: str = etree.tostring(root).decode()
    again = etree.fromstring(text)
    the(again, "name").text = name
    again.remove(the(again, "uuid"))
    for mac in again.iterfind("devices/interface/mac"):
        mac.set("address", "52:54:00:c1:0e:01")
    cloned: str = etree.tostring(again).decode()
    return cloned


def test_what_left_the_specs_is_an_orphan_until_destroy(
    made: Stack, conn: libvirt.virConnect
) -> None:
    kept = made.domains.pop(made.tag)
    orphaned = made.in_sync()
    assert "Orphans" in orphaned.out
    assert f"domain.{made.tag}" in orphaned.out
    conn.lookupByName(made.tag)
    made.domains[made.tag] = kept
    assert "Orphans" not in made.in_sync().out
    made.domains.pop(made.tag)


def test_dhcp_and_dns_changed_by_hand(made: Stack, conn: libvirt.virConnect) -> None:
    spec = made.specs["networks"][made.tag]
    prefix = spec["ips"][0]["address"].removesuffix(".1/24")
    lease = {"mac": "52:54:00:0a:0b:0c", "ip": f"{prefix}.20", "name": "ours"}
    spec["ips"][0]["dhcp"]["hosts"] = [lease]
    spec["dns"] = {"hosts": [{"ip": f"{prefix}.20", "names": ["ours", "www"]}]}
    made.settle()
    net = conn.networkLookupByName(made.tag)
    by_hand = f"<host mac='52:54:00:0a:0b:0d' ip='{prefix}.21' name='theirs'/>"
    net.update(3, 4, 0, by_hand, 3)
    reported = made.in_sync()
    assert "Unlisted" in reported.out
    net.update(2, 4, 0, f"<host mac='{lease['mac']}' ip='{lease['ip']}' name='ours'/>", 3)
    assert DRIFT in made.settle().out
    spec["dns"]["hosts"] = [{"ip": f"{prefix}.20", "names": ["renamed"]}]
    spec["ips"][0]["dhcp"]["ranges"] = [f"{prefix}.50-{prefix}.60"]
    made.settle()
    for flags in (0, libvirt.VIR_NETWORK_XML_INACTIVE):
        root = document(net, flags)
        names = [node.get("name") for node in root.iterfind("ip/dhcp/host")]
        assert sorted(names) == ["ours", "theirs"]
        assert [node.text for node in root.iterfind("dns/host/hostname")] == ["renamed"]
        assert [node.get("start") for node in root.iterfind("ip/dhcp/range")] == [f"{prefix}.50"]


def test_odd_names_make_the_circle(private_host: PrivateHost, tmp_path: Path) -> None:
    with stack(tmp_path, private_host) as odd:
        name, pool = f"{odd.tag} é&'<b>\"", f"{odd.tag} p&l"
        odd.specs |= {
            "pools": {pool: {"path": str(tmp_path / "a pool & more")}},
            "volumes": {f"{pool}/a b's & ü.qcow2": {"capacity": "4MiB"}},
            "domains": {
                name: idle_domain(
                    title="t < & > \" ' é",
                    description=" leading, trailing \n and\tinside & ",
                    disks={"vda": f"{pool}/a b's & ü.qcow2"},
                    interfaces={"a name": {"user": True}},
                )
            },
        }
        odd.settle()


def test_an_update_that_mixes_everything(made: Stack, conn: libvirt.virConnect) -> None:
    spec = made.domains[made.tag]
    spec |= {
        "title": "changed",
        "vcpus": {"current": 2, "maximum": 4},
        "memory": {"current": "64MiB", "maximum": "128MiB"},
        "cpu": {"mode": "maximum"},
        "boot": ["network", "hd"],
        "autostart": True,
        "video": "vga",
        "graphics": [{"type": "vnc", "listen": "127.0.0.1", "port": "auto"}],
        "metadata": {"https://example.org/a": "<a/>", "https://example.org/b": "<b x='1'>é</b>"},
    }
    spec["disks"] = {
        "vda": {"volume": f"{made.tag}/disk.qcow2", "cache": "none", "serial": "abc", "boot": None},
        "vdb": f"{made.tag}/idle.img",
        "sda": {"device": "cdrom", "bus": "sata"},
    }
    spec["interfaces"] = {
        "lan": {"network": made.tag, "model": "e1000e", "link": "down", "mtu": 1400},
        "out": {"user": True},
    }
    made.settle()
    mac = document(conn.lookupByName(made.tag)).find("devices/interface/mac").get("address")
    spec["interfaces"] = {"renamed": {"network": made.tag}}
    spec["disks"] = {}
    spec["metadata"] = {"https://example.org/b": "<b x='2'/>"}
    spec["graphics"] = []
    spec["boot"] = ["hd"]
    made.settle()
    root = document(conn.lookupByName(made.tag))
    assert [node.get("address") for node in root.iterfind("devices/interface/mac")] == [mac]
    assert root.find("devices/disk") is None
    assert root.find("devices/graphics") is None
