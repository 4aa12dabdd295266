"""Edits of a guest that runs: each reaches it without a restart, and disturbs nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import libvirt
import pytest
from lxml import etree

from tests.elements import the
from tests.integration.guests import MIB, RUNNING, Guest, inside
from tests.integration.support import (
    connection,
    console_of,
    document,
    network,
    stack,
    subnet,
    tiny_domain,
    wait_until,
)
from tests.privatehost import PrivateHost, TinyGuest
from tests.privatehost.guest import GuestState

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("live")]


@pytest.fixture(scope="module")
def guest(
    private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    directory = tmp_path_factory.mktemp("live")
    for medium in ("one", "two"):
        (directory / f"{medium}.iso").write_bytes(b"\0" * (MIB if medium == "one" else 2 * MIB))
    with stack(directory, private_host) as made, connection(private_host) as conn:
        tag, lan = made.tag, subnet()
        domain = tiny_domain(
            tiny_guest,
            tag,
            directory / f"{tag}.console",
            disks={
                "vda": f"{tag}/main.qcow2",
                "sda": {"device": "cdrom", "bus": "scsi", "file": str(directory / "one.iso")},
            },
            interfaces={"lan": {"network": f"{tag}-a", "mac": "52:54:00:ab:00:01"}},
        )
        made.specs |= {
            "networks": {f"{tag}-a": network(lan), f"{tag}-b": network(subnet())},
            "pools": {tag: {"path": str(directory / "pool")}},
            "volumes": {
                f"{tag}/main.qcow2": {"capacity": "32MiB"},
                f"{tag}/raw.img": {"capacity": "16MiB", "format": "raw"},
            },
            "domains": {tag: domain},
        }
        made.apply()
        console = console_of(directory, tag)
        console.wait_ready()
        yield Guest(made, private_host, conn, console, lan)


def test_vcpus_grow_within_the_maximum(guest: Guest) -> None:
    guest.spec["vcpus"] = {"current": 2, "maximum": 4}
    planned = guest.edit()
    assert "vcpus.current" in planned.out
    assert guest.console.wait_state(lambda state: state.cpus == 2)
    assert guest.domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_CONFIG) == 2


def _has_memory(mib: int, state: GuestState) -> bool:
    return abs(state.memory - mib) <= 8


def test_the_balloon_follows_both_ways(guest: Guest) -> None:
    full = guest.state().memory
    for current, maximum in (("112MiB", "192MiB"), ("176MiB", "192MiB")):
        guest.spec["memory"] = {"current": current, "maximum": maximum}
        guest.stack.apply()
        wanted = int(current.removesuffix("MiB"))
        expected = full + wanted - 160
        guest.console.wait_state(partial(_has_memory, expected))
        # libvirt hears of it from QEMU at most once a second.
        wait_until(
            lambda: "Waiting for the guest" not in guest.stack.in_sync().out, "libvirt has noticed"
        )


def test_a_disk_is_plugged_and_unplugged(guest: Guest) -> None:
    disks = guest.spec["disks"]
    guest.spec["disks"] = {**disks, "vdb": f"{guest.name}/raw.img"}
    guest.edit()
    guest.console.wait_state(lambda state: state.disks.get("vdb") == 16 * MIB)
    for root in guest.both():
        assert root.find("devices/disk/target[@dev='vdb']") is not None
    guest.spec["disks"] = disks
    guest.edit()
    guest.console.wait_state(lambda state: "vdb" not in state.disks)
    volume = guest.conn.storagePoolLookupByName(guest.name).storageVolLookupByName("raw.img")
    assert volume.info()[1] == 16 * MIB


def test_a_nic_is_plugged_and_unplugged(guest: Guest) -> None:
    nics = guest.spec["interfaces"]
    guest.spec["interfaces"] = {**nics, "second": f"{guest.name}-b"}
    guest.edit()
    (mac,) = {
        node.get("address") for node in document(guest.domain).iterfind("devices/interface/mac")
    } - {"52:54:00:ab:00:01"}
    guest.console.wait_state(lambda state: state.nics.get(mac) is not None)
    guest.spec["interfaces"] = nics
    guest.edit()
    guest.console.wait_state(lambda state: mac not in state.nics)


def bridge_of(guest: Guest, network_name: str) -> str:
    """The NIC's host side, if it is in the network's bridge."""
    bridge = guest.conn.networkLookupByName(network_name).bridgeName()
    return guest.host.run(["ip", "-o", "link", "show", "master", bridge]).stdout


def test_a_nic_changes_its_network(guest: Guest) -> None:
    tap = document(guest.domain, RUNNING).find("devices/interface/target").get("dev")
    for suffix, other in (("b", "a"), ("a", "b")):
        guest.spec["interfaces"]["lan"]["network"] = f"{guest.name}-{suffix}"
        guest.edit()
        assert tap in bridge_of(guest, f"{guest.name}-{suffix}")
        assert tap not in bridge_of(guest, f"{guest.name}-{other}")


def test_a_cable_is_pulled_and_put_back(guest: Guest) -> None:
    address = str(guest.state().nics["52:54:00:ab:00:01"]).partition("/")[0]
    greeting = ["timeout", "2", "bash", "-c", f"echo > /dev/tcp/{address}/80"]
    nic = guest.spec["interfaces"]["lan"]
    wait_until(lambda: guest.host.run(greeting, check=False).returncode == 0, "guest answers")
    nic["link"] = "down"
    guest.edit()
    for root in guest.both():
        assert the(root, "devices/interface/link").get("state") == "down"
    assert guest.host.run(greeting, check=False).returncode != 0
    nic["link"] = "up"
    guest.edit()
    wait_until(lambda: guest.host.run(greeting, check=False).returncode == 0, "guest answers")


def test_a_nic_that_waits_for_another_mac_is_reached_by_the_one_it_has(guest: Guest) -> None:
    nics: dict[str, Any] = guest.spec["interfaces"]
    macs = ("52:54:00:ab:00:02", "52:54:00:ab:00:03")
    second: dict[str, Any] = {"network": f"{guest.name}-a", "mac": macs[0]}
    guest.spec["interfaces"] = {**nics, "second": second}
    guest.edit()
    guest.console.wait_state(lambda state: macs[0] in state.nics)
    second |= {"mac": macs[1], "model": "e1000e", "mtu": 1400}
    guest.stack.apply()
    second |= {"link": "down", "network": f"{guest.name}-b"}
    guest.edit()
    card = f"devices/interface/mac[@address='{macs[0]}']/.."
    running = the(document(guest.domain, RUNNING), card)
    assert the(running, "link").get("state") == "down"
    assert the(running, "source").get("network") == f"{guest.name}-b"
    assert the(running, "model").get("type") == "virtio"
    defined = the(document(guest.domain), card.replace(macs[0], macs[1]))
    assert the(defined, "link").get("state") == "down"
    assert the(defined, "model").get("type") == "e1000e"
    waiting = guest.stack.in_sync().out
    assert f"interfaces.second.mac  running with {macs[0]}" in waiting
    assert "link" not in waiting
    guest.spec["interfaces"] = nics
    guest.edit()
    guest.console.wait_state(lambda state: macs[0] not in state.nics)


def test_parts_of_what_waits_for_the_next_boot_wait_with_it(guest: Guest) -> None:
    disks, medium = guest.spec["disks"], guest.spec["disks"]["sda"]["file"]
    idle: dict[str, Any] = {"volume": f"{guest.name}/raw.img", "bus": "sata"}
    drive = {"device": "cdrom", "bus": "sata", "file": medium}
    guest.spec["disks"] = {**disks, "sdc": idle, "sdd": drive}
    guest.stack.apply()
    idle["iotune"] = {"total_iops_sec": 100}
    drive["file"] = str(guest.stack.directory / "two.iso")
    assert "(what runs does not have it yet)" in guest.stack.settle().out
    assert document(guest.domain).findtext("devices/disk/iotune/total_iops_sec") == "100"
    guest.spec["disks"] = disks
    guest.stack.settle()
    assert "Pending restart" not in guest.stack.in_sync().out


def test_words_and_autostart(guest: Guest) -> None:
    guest.spec.update(
        {
            "title": "edited <live>",
            "description": "two\nlines & more",
            "metadata": {"https://example.org/ns": "<note>ours</note>"},
            "autostart": True,
        }
    )
    guest.edit()
    for root in guest.both():
        assert root.findtext("title") == "edited <live>"
        assert root.findtext("description") == "two\nlines & more"
        assert root.findtext("metadata/{https://example.org/ns}note") == "ours"
    assert guest.domain.autostart() == 1
    guest.spec.update({"title": "edited again", "autostart": False})
    guest.edit()
    assert guest.domain.autostart() == 0


def test_a_medium_is_changed(guest: Guest) -> None:
    drive = guest.spec["disks"]["sda"]
    assert guest.state().disks["sr0"] == MIB
    drive["file"] = drive["file"].replace("one.iso", "two.iso")
    guest.edit()
    assert inside(guest, "blockdev", "--getsize64", "/dev/sr0") == str(2 * MIB)
    for root in guest.both():
        source = the(root, "devices/disk[@device='cdrom']/source")
        assert str(source.get("file")).endswith("two.iso")


def test_a_medium_that_the_guest_holds_waits(guest: Guest) -> None:
    drive = guest.spec["disks"]["sda"]
    hold = "(sleep 600 </dev/sr0 >/dev/null 2>&1 & echo $! >/held); sleep 1"
    inside(guest, "sh", "-c", f"echo 1 >/proc/sys/dev/cdrom/lock; {hold}")
    drive["file"] = drive["file"].replace("two.iso", "one.iso")
    told = guest.stack.apply().out
    assert "waiting for restart: disks.sda.file" in told
    assert "Pending restart" in guest.stack.in_sync().out
    inside(guest, "sh", "-c", "kill $(cat /held); echo 0 >/proc/sys/dev/cdrom/lock")
    drive["file"] = drive["file"].replace("one.iso", "two.iso")
    guest.edit()
    assert "Pending restart" not in guest.stack.in_sync().out


def test_a_static_lease_is_added_to_a_running_network(guest: Guest) -> None:
    name = f"{guest.name}-a"
    live = guest.conn.networkLookupByName(name)
    uuid_before, bridge = live.UUIDString(), live.bridgeName()
    dhcp = guest.stack.specs["networks"][name]["ips"][0]["dhcp"]
    dhcp["hosts"] = [{"mac": "52:54:00:ab:00:77", "ip": f"{guest.lan}.77", "name": "leased"}]
    guest.edit()
    for flags in (0, libvirt.VIR_NETWORK_XML_INACTIVE):
        assert document(live, flags).find("ip/dhcp/host[@name='leased']") is not None
    hosts = guest.host.run(["cat", f"/var/lib/libvirt/dnsmasq/{name}.hostsfile"]).stdout
    assert f"52:54:00:ab:00:77,{guest.lan}.77,leased" in hosts
    dhcp["hosts"][0]["name"] = "renamed"
    guest.edit()
    dhcp["hosts"] = []
    guest.edit()
    assert document(live, 0).find("ip/dhcp/host") is None
    again = guest.conn.networkLookupByName(name)
    assert (again.UUIDString(), again.bridgeName()) == (uuid_before, bridge)
    assert again.isActive()


def test_volumes_grow_in_use_and_idle(guest: Guest) -> None:
    main, idle = f"{guest.name}/main.qcow2", f"{guest.name}/raw.img"
    assert guest.state().disks["vda"] == 32 * MIB
    guest.stack.volumes[main]["capacity"] = "48MiB"
    guest.stack.volumes[idle]["capacity"] = "24MiB"
    guest.edit()
    guest.console.wait_state(lambda state: state.disks["vda"] == 48 * MIB)
    pool = guest.conn.storagePoolLookupByName(guest.name)
    assert pool.storageVolLookupByName("raw.img").info()[1] == 24 * MIB


def test_a_raw_volume_grows_in_use(guest: Guest) -> None:
    disks = guest.spec["disks"]
    guest.spec["disks"] = {**disks, "vdc": f"{guest.name}/raw.img"}
    guest.edit()
    guest.console.wait_state(lambda state: "vdc" in state.disks or "vdb" in state.disks)
    guest.stack.volumes[f"{guest.name}/raw.img"]["capacity"] = "40MiB"
    guest.edit()
    guest.console.wait_state(lambda state: 40 * MIB in state.disks.values())
    guest.spec["disks"] = disks
    guest.edit()


def test_what_a_stranger_plugs_in_stays(guest: Guest) -> None:
    path = guest.stack.directory / f"{uuid.uuid4().hex}.img"
    path.write_bytes(b"\0" * MIB)
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        "<target dev='vdz' bus='virtio'/></disk>"
    )
    guest.domain.attachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    guest.spec["title"] = "a stranger was here"
    guest.edit()
    assert document(guest.domain, RUNNING).find("devices/disk/target[@dev='vdz']") is not None
    guest.domain.detachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def test_what_is_changed_of_the_running_guest_alone_goes_back(guest: Guest) -> None:
    live, disks = libvirt.VIR_DOMAIN_AFFECT_LIVE, guest.spec["disks"]
    guest.spec["title"] = "as declared"
    guest.spec["disks"] = {**disks, "vdc": f"{guest.name}/raw.img"}
    guest.edit()
    before = [serialised(root) for root in guest.both()]
    guest.domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_TITLE, "by hand", None, None, live)
    card = the(document(guest.domain, RUNNING), "devices/interface")
    etree.SubElement(card, "link", state="down")
    guest.domain.updateDeviceFlags(etree.tostring(card, encoding="unicode"), live)
    drive = the(document(guest.domain, RUNNING), "devices/disk[@device='cdrom']")
    drive.remove(the(drive, "source"))
    guest.domain.updateDeviceFlags(etree.tostring(drive, encoding="unicode"), live)
    disk = the(document(guest.domain, RUNNING), "devices/disk/target[@dev='vdc']/..")
    guest.domain.detachDeviceFlags(etree.tostring(disk, encoding="unicode"), live)
    gone = "devices/disk/target[@dev='vdc']"
    wait_until(lambda: document(guest.domain, RUNNING).find(gone) is None, "vdc is unplugged")
    planned = guest.edit()
    assert "Drift on the host (1): changed by hand, goes back" in planned.out
    for name in ("title", "link", "sda", "vdc"):
        assert name in planned.out, planned.out
    assert [serialised(root) for root in guest.both()] == before
    guest.spec["disks"] = disks
    guest.edit()


def serialised(root: etree._Element) -> str:
    """A document without what is new at every plugging in: which block node a disk has."""
    for node in root.iterfind("devices/disk"):
        for below in (node.find("source"), node.find("alias"), node.find("backingStore")):
            if below is not None:
                below.attrib.pop("index", "")
    return etree.tostring(root, encoding="unicode")


def test_what_a_stranger_plugs_into_the_running_guest_is_unlisted(guest: Guest) -> None:
    path = guest.stack.directory / f"{uuid.uuid4().hex}.img"
    path.write_bytes(b"\0" * MIB)
    disk = (
        f"<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>"
        "<target dev='vdy' bus='virtio'/></disk>"
    )
    guest.domain.attachDeviceFlags(disk, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    seen = guest.stack.in_sync()
    assert "Unlisted (1)" in seen.out
    assert "disks.vdy" in seen.out
    guest.console.wait_state(lambda state: len(state.disks) > 1)
    guest.spec["lifecycle"] = {"unlisted": "remove"}
    planned = guest.edit()
    assert "disks.vdy" in planned.out
    assert document(guest.domain, RUNNING).find("devices/disk/target[@dev='vdy']") is None
    del guest.spec["lifecycle"]


def test_what_needs_a_restart_waits_for_one(guest: Guest) -> None:
    """The last one here: it starts the guest again."""
    guest.spec["vcpus"] = {"current": 5, "maximum": 6}
    guest.spec["disks"]["sdb"] = {"volume": f"{guest.name}/raw.img", "bus": "sata"}
    before = guest.domain.ID()
    planned = guest.stack.plan()
    assert "next-boot" in planned.out.rpartition("Impact: ")[2].splitlines()[0], planned.out
    guest.stack.apply()
    waiting = guest.stack.in_sync()
    assert "Pending restart" in waiting.out
    assert "vcpus.maximum" in waiting.out
    assert "disks.sdb" in waiting.out
    assert guest.domain.ID() == before
    guest.domain.destroy()
    assert "Pending restart" not in guest.stack.plan().out
    guest.domain.create()
    assert "Pending restart" not in guest.stack.in_sync().out
    assert guest.domain.vcpusFlags(libvirt.VIR_DOMAIN_AFFECT_LIVE) == 5
    guest.domain.destroy()  # it would not hear a power button yet
