"""Devices that depend on what is there: a controller of the domain's, a queue of the kernel's."""

from __future__ import annotations

import json
from pathlib import Path

import libvirt

from tests.integration.support import document, idle_domain, network, stack, subnet
from tests.privatehost import PrivateHost

RUNNING = 0
BARE = """<domain type='qemu'><name>{}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><features><acpi/></features><devices>
<controller type='pci' index='0' model='pcie-root'/>{}</devices></domain>"""
PORTS = "".join(f"<controller type='pci' index='{n}' model='pcie-root-port'/>" for n in range(1, 8))


def test_a_scsi_disk_brings_its_controller_to_a_running_guest(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    """A machine that somebody else made has none; libvirt's own choice would be another model."""
    (tmp_path / "disk.img").write_bytes(bytes(2**20))
    with stack(tmp_path, private_host) as made:
        domain = conn.defineXML(BARE.format(made.tag, PORTS))
        domain.create()
        assert document(domain).find("devices/controller[@type='scsi']") is None
        made.specs["domains"] = {made.tag: {"force": True, "shutdown_timeout": "1s"}}
        made.apply("--adopt")
        made.domains[made.tag]["disks"] = {"sda": {"file": str(tmp_path / "disk.img")}}
        planned = made.settle()
        assert "Impact: 1 live" in planned.out
        for flags in (RUNNING, libvirt.VIR_DOMAIN_XML_INACTIVE):
            root = document(domain, flags)
            assert root.find("devices/controller[@type='scsi']").get("model") == "virtio-scsi"
            assert root.find("devices/disk/target[@bus='scsi']") is not None


def test_what_moves_to_another_bus_gets_another_address(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    with stack(tmp_path, private_host) as made:
        made.specs["pools"] = {made.tag: {"path": str(tmp_path / "pool")}}
        made.specs["volumes"] = {f"{made.tag}/a.qcow2": {"capacity": "1MiB"}}
        disk = {"volume": f"{made.tag}/a.qcow2"}
        made.specs["domains"] = {made.tag: idle_domain(disks={"vda": disk}, watchdog="i6300esb")}
        made.apply()
        for bus, watchdog in (("sata", "i6300esb"), ("scsi", "ib700"), ("virtio", "i6300esb")):
            disk["bus"] = bus
            made.domains[made.tag]["watchdog"] = watchdog
            made.settle()
            root = document(conn.lookupByName(made.tag))
            kind = "pci" if bus == "virtio" else "drive"
            assert root.find(f"devices/disk/address[@type='{kind}']") is not None
            assert root.find("devices/watchdog").get("model") == watchdog


def test_bandwidth_of_a_running_guest(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path, summaries: Path
) -> None:
    """Live where the kernel has the queue; where it has not, nothing is changed, and it says so."""
    with stack(tmp_path, private_host) as made:
        nic = {"network": made.tag}
        made.specs |= {
            "networks": {made.tag: network(subnet())},
            "domains": {
                made.tag: idle_domain(
                    state="running", force=True, shutdown_timeout="1s", interfaces={"lan": nic}
                )
            },
        }
        made.apply()
        made.domains[made.tag]["interfaces"]["lan"] = {
            **nic,
            "bandwidth": {"inbound": {"average": 1000}, "outbound": {"average": 500}},
        }
        domain = conn.lookupByName(made.tag)
        if has_sfq(private_host):
            assert "Impact: 1 live" in made.settle().out
            for flags in (RUNNING, libvirt.VIR_DOMAIN_XML_INACTIVE):
                path = "devices/interface/bandwidth/inbound[@average='1000']"
                assert document(domain, flags).find(path) is not None
            text = "interfaces * bandwidth: live"
        else:
            refused = made.apply(code=5)
            assert "sfq" in str(refused)
            assert document(domain).find("devices/interface/bandwidth") is None
            text = "interfaces * bandwidth: not live here: this kernel has no sfq queue"
    line = json.dumps({"title": "Live edits of a running guest", "text": text})
    (summaries / "bandwidth.summary.json").write_text(line + "\n")


def has_sfq(host: PrivateHost) -> bool:
    """Whether the kernel has the queue that libvirt limits NICs with."""
    tried = host.run(["tc", "qdisc", "add", "dev", "lo", "root", "sfq"], check=False)
    host.run(["tc", "qdisc", "del", "dev", "lo", "root"], check=False)
    return tried.returncode == 0
