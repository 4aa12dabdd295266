"""Every field of domains, changed, drifted, released and given back, stopped and running."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.kinds.cloud_init import CloudInit
from kvmplan.kinds.ignition import Ignition
from kvmplan.kinds.source import Source
from kvmplan.mapping.types import SecretText
from tests.integration.fields import (
    NOTED,
    SILENT,
    Bench,
    Default,
    Edit,
    Life,
    account,
    field_stack,
)
from tests.integration.fields_by_hand import by_hand, document_of
from tests.integration.fields_devices import BASE, DEVICES, TUNING, disk, domain
from tests.integration.support import SecretRef, connection, network, subnet
from tests.privatehost import PrivateHost

NS = "https://example.org/ns"
OVMF = "/usr/share/OVMF/OVMF_"
CRASH = "<domain><on_crash>{}</on_crash></domain>"
ARGUMENT = (
    "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:commandline>"
    "<q:arg value='-name'/><q:arg value='debug-threads={}'/></q:commandline></domain>"
)


UUID, OTHER = (f"0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b1{n}" for n in (1, 2))
GROUPS = (
    domain(
        "words",
        Edit("title", "one", "two", "live"),
        Edit("description", "one\nline", "two lines & <more>", "live"),
        Edit(f"metadata {NS}", "<a/>", "<b x='1'>é</b>", "live", default=False),
        Edit("autostart", False, True, "live", "live"),
        Edit("shutdown_timeout", "1s", "2s", SILENT, default=False),
        Edit("on_change", "next-boot", None, SILENT, default=False),
        Edit("force", True, None, SILENT, default=False),
    ),
    domain(
        "devices",
        Edit("console", True, False),
        Edit("agent", True, False),
        Edit("video", "virtio", "vga"),
        Edit("memballoon", "virtio", "none"),
    ),
    domain(
        "fewer",
        Edit("console", False, True),
        Edit("agent", False, True),
        Edit("video", None, "qxl"),
        Edit("memballoon", "none", "virtio"),
    ),
    domain(
        "size",
        Edit("vcpus current", 1, 2, "live", default=False),
        Edit("memory current", "64MiB", "96MiB", "live", default=False),
        Edit("vcpus pinning 0", "0", "0-1", "live", default=False, released=False),
        vcpus={"maximum": 4},
        memory={"maximum": "128MiB"},
    ),
    domain(
        "ceiling",
        Edit("vcpus maximum", 2, 4, default=False),
        Edit("memory maximum", "96MiB", "128MiB", default=False),
        vcpus={"current": 1},
        memory={"current": "64MiB"},
    ),
    domain(
        "topology",
        Edit("vcpus topology sockets", 2, 1, default=False),
        Edit("vcpus topology dies", 1, 2, default=False),
        Edit("vcpus topology cores", 2, 1, default=False),
        Edit("vcpus topology threads", 1, 2, default=False),
        vcpus={"current": 4, "maximum": 4},
    ),
    domain(
        "identity",
        Edit("uuid", None, "0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11", NOTED, drift=False),
        Edit("machine", "pc-q35-7.2", "pc-q35-7.1"),
        idle=False,
        why="two domains cannot have the same",
    ),
    domain("machine", Edit("machine", "pc-q35-7.2", "pc-q35-7.1")),
    domain("arch", Edit("arch", "x86_64", "i686")),
    domain("firmware", Edit("firmware type", "bios", "uefi")),
    domain("secure", Edit("firmware secure_boot", False, True), firmware={"type": "uefi"}),
    domain(
        "flash",
        Edit("firmware loader", f"{OVMF}CODE_4M.fd", f"{OVMF}CODE_4M.ms.fd", default=False),
        Edit("firmware nvram_template", f"{OVMF}VARS_4M.fd", f"{OVMF}VARS_4M.ms.fd", default=False),
        firmware={"type": "uefi"},
    ),
    domain(
        "kernel",
        Edit("kernel image", "$dir/kernel-a", "$dir/kernel-b"),
        Edit("kernel initrd", "$dir/initrd-a", "$dir/initrd-b"),
        Edit("kernel cmdline", "one", "two 'and' <more>"),
    ),
    domain("boot", Edit("boot", ["hd", "cdrom"], ["cdrom", "hd"])),
    domain(
        "turns",
        Edit("disks vda boot", 1, 2),
        Edit("interfaces lan boot", 2, 1),
        disks={"vda": disk("vda")},
        interfaces={"lan": {"user": True}},
    ),
    domain("cpu", Edit("cpu mode", "maximum", "host-model")),
    domain(
        "model",
        Edit("cpu model", "qemu64", "Nehalem", default=False),
        Edit("cpu features aes", "require", "disable", default=False, released=False),
        cpu={"mode": "custom"},
    ),
    domain("cache", Edit("cpu cache mode", None, "disable"), cpu={"mode": "maximum"}),
    domain(
        "disks",
        Edit("disks vda cache", "none", "writeback"),
        Edit("disks vdb io", "threads", "native"),
        Edit("disks vdc discard", "unmap", "ignore"),
        Edit("disks vdc serial", "AAA", "BBB"),
        Edit("disks vdc readonly", False, True),
        Edit("disks vdd shareable", True, False),
        Edit("disks vde format", "raw", "qcow2"),
        Edit("disks sda bus", "scsi", "sata"),
        disks={
            "vda": disk("vda"),
            "vdb": disk("vdb", cache="none"),
            "vdc": disk("vdc"),
            "vdd": disk("vdd", format="raw"),
            "vde": {"file": "$dir/$own-vde.qcow2"},
            "sda": disk("sda"),
        },
    ),
    domain(
        "sources",
        Edit("disks vda file", "$dir/$own-a.img", "$dir/$own-b.img", default=False),
        Edit("disks sda file", "$dir/$own-c.img", "$dir/$own-d.img", "live"),
        Edit("disks sdb file", None, "$dir/$own-e.img", "live"),
        Edit("disks vdb volume", "$tag/$own-a.qcow2", "$tag/$own-b.img", default=False),
        Edit("disks vdc", disk("f"), None, "live", default=False, waits="disks.vdc"),
        Edit(
            "disks vdd",
            None,
            disk("g"),
            "live",
            default=False,
            covers="disks * target",
        ),
        disks={
            "sda": {"device": "cdrom", "bus": "sata"},
            "sdb": {"device": "cdrom", "bus": "scsi"},
        },
    ),
    domain(
        "elsewhere",
        Edit("disks vda block", "/dev/kvmplan-a", "/dev/kvmplan-b", default=False),
        Edit("disks vdb network", "rbd:pool/one", "rbd:pool/two", default=False),
        Edit("disks sda device", "cdrom", "disk"),
        Edit("disks vdc file", None, "$dir/moved.img", default=False),
        Edit("disks vdc block", "/dev/kvmplan-c", None, SILENT, default=False),
        disks={"sda": disk("sda", bus="sata")},
        active=False,
        why="such disks are not here",
    ),
    domain(
        "nics",
        Edit("interfaces a network", "$tag-one", "$tag-two", "live", default=False),
        Edit("interfaces b portgroup", "gold", "iron"),
        Edit("interfaces c bridge", "kfbr1", "kfbr2", "live", default=False),
        Edit("interfaces d link", "up", "down", "live"),
        Edit("interfaces e mtu", 1400, 1300),
        Edit("interfaces e model", "virtio", "e1000e"),
        Edit(
            "interfaces f filter name",
            "$tag-one",
            "$tag-two",
            "live",
            default=False,
            released=False,
        ),
        Edit(
            "interfaces f filter parameters IP",
            "10.0.0.1",
            "10.0.0.2",
            "live",
            default=False,
            released=False,
        ),
        Edit(
            "interfaces g",
            {"user": True, "mac": "$mac:07"},
            None,
            "live",
            default=False,
            waits="interfaces.$mac:07",
        ),
        Edit("interfaces h", None, {"network": "$tag-two"}, "live", default=False),
        interfaces={
            "b": {"network": "$tag-one"},
            "d": {"user": True},
            "e": {"network": "$tag-one"},
            "f": {"network": "$tag-one"},
        },
    ),
    domain(
        "address",
        Edit(
            "interfaces a mac",
            "$mac:01",
            "$mac:02",
            drift=False,
            default=False,
            released=False,
        ),
        Edit("interfaces b network", "$tag-one", None, SILENT, default=False),
        Edit("interfaces b user", None, True, default=False),
        interfaces={"a": {"user": True}, "b": {}},
    ),
    domain(
        "direct",
        Edit("interfaces a direct dev", "kfbr1", "kfbr2", default=False),
        Edit("interfaces a direct mode", "vepa", "bridge", default=False),
        active=False,
        why="these are bridges, which bear no macvtap",
    ),
    domain(
        "card",
        Edit("interfaces a hostdev pci", "0000:03:00.0", "0000:03:10.1", default=False),
        Edit("interfaces a hostdev managed", True, False),
        Edit("interfaces b user", True, None, SILENT, default=False),
        Edit(
            "interfaces b hostdev",
            None,
            {"pci": "0000:04:00.0"},
            default=False,
            covers="interfaces * hostdev pci",
        ),
        interfaces={"a": {"hostdev": {"pci": "03:00.0"}}, "b": {"user": True}},
        active=False,
        why="this machine has no IOMMU",
    ),
    domain(
        "ports",
        Edit("interfaces a virtualport profileid", "p", "q", default=False),
        Edit("interfaces a virtualport interfaceid", UUID, OTHER, default=False),
        Edit("interfaces b virtualport type", "802.1Qbh", "openvswitch", default=False),
        Edit("interfaces c virtualport managerid", 11, 12, default=False, released=False),
        Edit("interfaces c virtualport typeid", 1193047, 1193048, default=False, released=False),
        Edit("interfaces c virtualport typeidversion", 1, 2, default=False, released=False),
        Edit("interfaces c virtualport instanceid", UUID, OTHER, default=False, released=False),
        interfaces={
            "a": {"bridge": "kfbr1", "virtualport": {"type": "openvswitch"}},
            "b": {"direct": {"dev": "kfbr1"}, "virtualport": {"profileid": "p"}},
            "c": {"direct": {"dev": "kfbr1"}, "virtualport": {"type": "802.1Qbg"}},
        },
        active=False,
        why="there is no such switch here",
    ),
    domain(
        "graphics",
        Edit("graphics vnc listen", "127.0.0.1", "0.0.0.0"),
        Edit("graphics vnc port", "auto", 5999),
        Edit(
            "graphics spice",
            None,
            {"type": "spice", "port": "auto"},
            default=False,
            covers="graphics * type",
        ),
        graphics={"vnc": {"type": "vnc"}},
        video="vga",
    ),
    domain("xml", Edit("xml", CRASH.format("preserve"), CRASH.format("restart"), default=False)),
    domain("qemu", Edit("xml", ARGUMENT.format("on"), ARGUMENT.format("off"), default=False)),
    *DEVICES,
    *TUNING,
)
CANNOT_HERE = {
    "type": "the private hosts offer no KVM",
    "graphics * password": "no plan shows it: tried on its own below",
    "disks * encryption format": "there is one: luks",
    "disks * encryption secret": "tried in test_main_storage",
    "state": "its impact depends on its value: tried on its own below",
    "interfaces * ip": "a lease and a name in the network's specs: cases show it",
    **dict.fromkeys(
        [
            f"wait_for {name}"
            for name in ("address", "agent", "cloud_init", "tcp port", "tcp timeout")
        ],
        "what a start is followed by, nothing of the guest: tried in test_main_waiting",
    ),
    **dict.fromkeys(
        [f"cloud_init {field}" for field in CloudInit.model_fields],
        "a volume behind the specs: tried in test_main_cloud",
    ),
    **dict.fromkeys(
        [f"ignition {field}" for field in Ignition.model_fields],
        "a volume behind the specs: tried in test_main_seeds",
    ),
    **dict.fromkeys(
        [
            f"disks * {name}"
            for name in (
                *("size", "pool", "clone", "backing format", "backing path", "backing volume"),
                *(f"source {field}" for field in Source.model_fields),
            )
        ],
        "the short way, a volume behind the specs: tried in test_main_images",
    ),
}


def kernel_image() -> bytes:
    """Something that QEMU takes for a Linux kernel, and that halts the CPU at once."""
    image = bytearray(16384)
    image[0x1F1], image[0x200:0x202], image[0x202:0x206] = 4, b"\xfa\xf4", b"HdrS"
    image[0x206:0x208] = (0x020C).to_bytes(2, "little")
    image[0x22C:0x230] = (0x37FFFFFF).to_bytes(4, "little")
    return bytes(image)


@contextlib.contextmanager
def surroundings(bench: Bench, host: PrivateHost) -> Iterator[None]:
    """What the domains of the table refer to: files, bridges, networks, volumes, filters."""
    directory, tag = bench.stack.directory, bench.stack.tag
    for name in ("kernel-a", "kernel-b", "initrd-a", "initrd-b"):
        (directory / name).write_bytes(kernel_image())
    portgroups = [{"name": "gold"}, {"name": "iron"}]
    bench.others |= {
        "networks": {
            f"{tag}-{name}": network(subnet(), portgroups=portgroups) for name in ("one", "two")
        },
        "pools": {tag: {"path": str(directory / "pool")}},
        "volumes": {
            f"{tag}/{subject.name}-{name}": {"capacity": "1MiB", "format": format_}
            for subject in bench.subjects
            if "$own-a.qcow2" in str(subject.group.edits)
            for name, format_ in (("a.qcow2", "qcow2"), ("b.img", "raw"))
        },
    }
    for name in ("one", "two"):
        bench.conn.nwfilterDefineXML(f"<filter name='{tag}-{name}'/>")
    made = directory / "empty.qcow2"
    host.run(["qemu-img", "create", "-q", "-f", "qcow2", str(made), "1M"])
    for subject in bench.subjects:
        for name in ("vda", "vdb", "vdc", "vdd", "sda", *"abcdefg"):
            (directory / f"{subject.name}-{name}.img").write_bytes(bytes(2**20))
        (directory / f"{subject.name}-vde.qcow2").write_bytes(made.read_bytes())
    for bridge in ("kfbr1", "kfbr2"):
        host.run(["ip", "link", "add", bridge, "type", "bridge"])
        host.run(["ip", "link", "set", bridge, "up"])
    try:
        yield
    finally:
        for bridge in ("kfbr1", "kfbr2"):
            host.run(["ip", "link", "del", bridge])


@pytest.fixture(scope="module")
def bench(private_host: PrivateHost, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("fields")
    with field_stack(directory, private_host) as made, connection(private_host) as conn:
        bench = Bench(made, conn, Kind.DOMAIN, GROUPS)
        with surroundings(bench, private_host):
            bench.turn("before")
            made.apply()
            yield bench


def test_every_field_has_a_line(summaries: Path) -> None:
    account(Kind.DOMAIN, GROUPS, CANNOT_HERE, summaries)


class TestEveryField(Life):
    """Of domains."""


def test_a_password_changes_live_and_drifts(private_host: PrivateHost, tmp_path: Path) -> None:
    with field_stack(tmp_path, private_host) as made, connection(private_host) as conn:
        secret = SecretRef("KF_PASSWORD")
        graphics = {"vnc": {"type": "vnc", "password": secret}}
        for name, state in (("on", "running"), ("off", "stopped")):
            made.specs.setdefault("domains", {})[f"{made.tag}-{name}"] = {
                **BASE,
                "state": state,
                "graphics": graphics,
            }
        made.env["KF_PASSWORD"] = "pw-One17"
        made.apply()
        made.in_sync()
        made.env["KF_PASSWORD"] = "pw-Two28"
        planned = made.settle()
        assert "(sensitive)" in planned.out
        assert "pw-Two28" not in planned.out
        for name in ("on", "off"):
            address = Address(LOCAL, Kind.DOMAIN, f"{made.tag}-{name}")
            assert "passwd='pw-Two28'" in document_of(conn, address)
            by_hand(conn, address, [(("graphics", "vnc", "password"), SecretText("thief"))], {})
        made.settle()


def test_states(private_host: PrivateHost, tmp_path: Path) -> None:
    with field_stack(tmp_path, private_host) as made, connection(private_host) as conn:
        spec = {**BASE, "state": "stopped"}
        made.specs["domains"] = {made.tag: spec}
        made.apply()
        for state, impact in (("running", "1 start"), ("stopped", "1 stop")):
            spec["state"] = state
            assert f"Impact: {impact}" in made.settle().out
            handle = conn.lookupByName(made.tag)
            handle.destroy() if handle.isActive() else handle.create()
            drifted = made.settle()
            assert "Drift on the host" in drifted.out
            assert f"Impact: {impact}" in drifted.out


def test_media_are_put_in_changed_and_taken_out(private_host: PrivateHost, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.iso").write_bytes(bytes(2**20))
    with field_stack(tmp_path, private_host) as made:
        drives = {"sda": {"device": "cdrom", "bus": "sata"}, "sdb": {"device": "cdrom"}}
        made.specs["domains"] = {made.tag: {**BASE, "state": "running", "disks": drives}}
        made.apply()
        for medium in (str(tmp_path / "one.iso"), str(tmp_path / "two.iso"), Default()):
            for drive in drives.values():
                drive["file"] = medium
            assert "Impact: 1 live" in made.settle().out


def test_a_drive_that_waits_takes_its_medium_along(
    private_host: PrivateHost, conn: libvirt.virConnect, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.iso").write_bytes(bytes(2**20))
    with field_stack(tmp_path, private_host) as made:
        disks: dict[str, Any] = {}
        spec = {**BASE, "state": "running", "disks": disks}
        made.specs["domains"] = {made.tag: spec}
        made.apply()
        disks["sda"] = {"device": "cdrom", "bus": "sata"}
        assert "Impact: 1 next-boot" in made.settle().out
        for name in ("one", "two"):
            disks["sda"]["file"] = str(tmp_path / f"{name}.iso")
            assert "Impact: 1 next-boot" in made.settle().out
        domain = conn.lookupByName(made.tag)
        domain.destroy()
        domain.create()
        assert f"{tmp_path}/two.iso" in domain.XMLDesc()
        made.in_sync()
