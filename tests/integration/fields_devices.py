"""The tables of domains' devices and tuning, for the tests of every field."""

from __future__ import annotations

from typing import Any

from tests.integration.fields import Default, Edit, Group

BASE = {"type": "qemu", "memory": "64MiB", "vcpus": 1, "force": True, "shutdown_timeout": "1s"}


def disk(name: str, **more: Any) -> dict[str, Any]:
    return {"file": f"$dir/$own-{name}.img", **more}


def domain(
    name: str, *edits: Edit, active: bool = True, idle: bool = True, why: str = "", **spec: Any
) -> Group:
    assert why or (active and idle), f"{name}: say why it cannot be tried"
    return Group(name, {**BASE, **spec}, edits, active, idle, why)


def live(path: str, before: Any, after: Any, **more: Any) -> Edit:
    return Edit(path, before, after, "live", **more)


DEVICES = (
    domain(
        "rng",
        Edit("rng device", "/dev/urandom", "/dev/random"),
        Edit("rng bytes", 1024, 2048),
        Edit("rng period", 1000, 2000),
    ),
    # It is a PCI device, which finds no slot in a q35 machine's PCI Express ports.
    domain(
        "dog-in",
        live("watchdog", None, {"model": "i6300esb"}, covers="watchdog model"),
        controllers={"pci15": {"model": "pcie-to-pci-bridge"}},
    ),
    domain(
        "dog-out",
        live("watchdog", {"action": "none"}, Default(), covers="watchdog model", drift=False),
        active=False,
        why="no guest here lets it go; test_main_edits has one",
    ),
    domain("dog", Edit("watchdog action", "reset", "poweroff"), watchdog={}),
    domain(
        "shares",
        Edit("filesystems a", {"source": "$dir"}, None, covers="filesystems * tag", default=False),
        Edit("filesystems b source", "$dir", "/srv", default=False),
        Edit("filesystems c driver", "path", "virtiofs"),
        Edit("filesystems d accessmode", "passthrough", "mapped", default=False),
        Edit("filesystems e readonly", True, False),
        live(
            "filesystems f",
            None,
            {"source": "$dir", "driver": "virtiofs"},
            covers="filesystems * tag",
            default=False,
        ),
        filesystems={
            **{name: {} for name in "b"},
            **{name: {"source": "$dir"} for name in "cde"},
        },
        memory_backing={"source": "memfd", "access": "shared"},
    ),
    domain(
        "backing",
        Edit("memory_backing source", "anonymous", "memfd"),
        Edit("memory_backing access", "private", "shared"),
        Edit("memory_backing allocation", "ondemand", "immediate"),
        Edit("memory_backing nosharepages", False, True),
        Edit("memory_backing discard", False, True),
    ),
    domain(
        "locked",
        Edit("memory_backing locked", False, True),
        active=False,
        why="the private hosts may not lock memory",
        memtune={"hard_limit": "1GiB"},
    ),
    domain(
        "huge",
        Edit("memory_backing hugepages", False, "2MiB"),
        active=False,
        why="this machine has no huge pages to give",
    ),
    domain("tpm", Edit("tpm model", "tpm-crb", "tpm-tis", default=False), tpm={}),
    domain(
        "tpm-version",
        Edit("tpm version", "2.0", "1.2", default=False),
        tpm={"model": "tpm-tis"},
        active=False,
        why="its device and state are another machine's",
    ),
    domain(
        "small",
        Edit("sound", "ich9", "ac97"),
        Edit("panic", None, "isa"),
        live("inputs usb-tablet", None, {}, covers="inputs * device", default=False),
        live("inputs virtio-keyboard", {}, None, default=False, waits="inputs.virtio-keyboard"),
    ),
    domain(
        "channels",
        live("channels a.0", None, {}, covers="channels * name", default=False),
        Edit("channels b.0 type", "unix", "pty"),
        Edit("channels c.0 path", "$dir/$own-a.sock", "$dir/$own-b.sock"),
        live("channels d.0", {}, None, default=False),
    ),
    domain(
        "serials",
        Edit("serials 1 type", "pty", "null"),
        Edit("serials 2 path", "$dir/$own-a.log", "$dir/$own-b.log", default=False),
        Edit("serials 3", None, {}, covers="serials * port", default=False),
        serials={"2": {"type": "file"}},
    ),
    domain(
        "controllers",
        Edit("controllers scsi1 queues", 1, 2),
        Edit("controllers scsi1 iothread", 1, 2),
        Edit("controllers scsi2 model", "virtio-scsi", "lsilogic", default=False),
        Edit("controllers virtio-serial1 ports", 4, 8),
        Edit(
            "controllers scsi3",
            None,
            {"model": "virtio-scsi"},
            covers="controllers * name",
            default=False,
        ),
        controllers={"scsi1": {"model": "virtio-scsi"}},
        iothreads=2,
    ),
    domain(
        "lent",
        live(
            "redirdevs a",
            None,
            {"type": "tcp", "host": "127.0.0.1", "port": 40011},
            covers="redirdevs * name",
            default=False,
        ),
        Edit("redirdevs b host", "127.0.0.1", "127.0.0.2", default=False),
        Edit("redirdevs b port", 40012, 40013, default=False),
        redirdevs={"b": {"type": "tcp"}},
    ),
    domain(
        "lent-type",
        Edit("redirdevs a type", "spicevmc", "tcp", default=False),
        Edit("redirdevs a host", None, "127.0.0.1", default=False),
        Edit("redirdevs a port", None, 40014, default=False),
        graphics="spice",
        active=False,
        why="a spice server is not built in everywhere",
    ),
    domain(
        "given",
        Edit(
            "hostdevs gpu pci",
            "0000:03:00.0",
            "0000:04:00.0",
            drift=False,
            default=False,
            released=False,
        ),
        Edit("hostdevs gpu managed", True, False),
        Edit("hostdevs gpu boot", 1, 2),
        Edit(
            "hostdevs key usb",
            "0x1234:0xbeef",
            "1234:cafe",
            drift=False,
            default=False,
            released=False,
        ),
        Edit("hostdevs key startup_policy", "optional", "requisite"),
        Edit("hostdevs other", None, {"pci": "05:00.0"}, default=False),
        active=False,
        why="this machine has no IOMMU and no USB bus",
    ),
    domain(
        "vsock",
        Edit("vsock cid", 3, 4, default=False),
        active=False,
        why="this kernel has no vhost-vsock",
    ),
    domain(
        "modules",
        live(
            "memory_devices a",
            None,
            {"size": "128MiB"},
            covers="memory_devices * name",
            default=False,
        ),
        Edit("memory_devices b size", "128MiB", "256MiB", default=False, released=False),
        Edit("memory_devices b node", 0, 1, default=False),
        Edit("memory slots", 4, 8, default=False),
        Edit("memory hotplug_maximum", "1GiB", "2GiB", default=False),
        vcpus=2,
        memory={"current": "128MiB"},
        numa={"cells": [{"id": n, "cpus": str(n), "memory": "64MiB"} for n in (0, 1)]},
    ),
    domain(
        "numa",
        Edit("numa cells 0 cpus", "0", "1", default=False),
        Edit("numa cells 1 cpus", "1-2", "0", default=False),
        Edit("numa cells 0 memory", "64MiB", "32MiB", default=False),
        Edit("numa cells 1 memory", "64MiB", "48MiB", default=False),
        Edit(
            "numa cells 2",
            None,
            {"cpus": "2", "memory": "48MiB"},
            covers="numa cells * id",
            default=False,
        ),
        vcpus=3,
        memory={"current": "128MiB"},
    ),
    domain(
        "platform",
        Edit("features acpi", True, False),
        Edit("features apic", True, False),
        Edit("features pae", False, True),
        Edit("features vmport", True, False),
        Edit("clock offset", "utc", "localtime"),
        Edit("clock timers hpet present", False, True),
        Edit("clock timers rtc tickpolicy", "catchup", "delay"),
        Edit(
            "clock timers tsc",
            None,
            {"present": False},
            covers="clock timers * name",
            default=False,
        ),
    ),
    domain(
        "enlightened",
        *(
            Edit(f"features hyperv {name}", True, False)
            for name in ("relaxed", "vapic", "vpindex", "synic", "stimer", "reset", "frequencies")
        ),
        Edit("features hyperv spinlocks", 8191, 4096),
        Edit("features kvm_hidden", True, False),
        Edit("features pmu", True, False),
        Edit("features smm", False, True),
        Edit("clock timezone", "Europe/Berlin", "Europe/Rome", default=False),
        clock={"offset": "timezone"},
        active=False,
        why="only accelerated guests have it",
    ),
    domain(
        "events",
        live("events on_poweroff", "destroy", "restart"),
        live("events on_crash", "destroy", "preserve"),
        Edit("events on_lockfailure", "pause", "ignore"),
    ),
    domain("reboot", live("events on_reboot", "restart", "destroy")),
)
MIB = 2**20
TUNING = (
    domain(
        "limits",
        live("disks vda iotune total_bytes_sec", MIB, 2 * MIB),
        live("disks vda iotune total_bytes_sec_max", 4 * MIB, 5 * MIB),
        live("disks vda iotune total_iops_sec", 100, 500),
        live("disks vda iotune total_iops_sec_max", 200, 900),
        live("disks vda iotune size_iops_sec", 4096, 8192),
        *(
            live(f"disks vdb iotune {way}_{unit}_sec{end}", size, 2 * size)
            for way in ("read", "write")
            for unit in ("bytes", "iops")
            for end, size in (("", 1000), ("_max", 5000))
        ),
        Edit("disks vda iothread", 1, 3, default=False, released=False),
        live("iothreads", 2, 3, default=False),
        disks={"vda": disk("vda"), "vdb": disk("vdb")},
    ),
    domain(
        "cputune",
        live("cputune shares", 512, 256),
        *(
            live(f"cputune {of}{name}", before, after)
            for of in ("", "global_", "emulator_", "iothread_")
            for name, before, after in (("period", 100_000, 50_000), ("quota", -1, 40_000))
        ),
        live("cputune emulatorpin", "0", "0-1"),
        live("cputune iothreadpin 1", "0", "0-1", default=False, released=False),
        iothreads=1,
    ),
    domain("memtune", live("memtune soft_limit", "512MiB", "768MiB")),
    # A guest cannot be started with a hard limit where root may not raise its own limits.
    domain(
        "hard",
        Edit("memtune hard_limit", "1GiB", "2GiB"),
        Edit("memtune swap_hard_limit", "2GiB", "3GiB"),
        active=False,
        why="a guest cannot start with it where root may not raise its limits",
    ),
    domain(
        "blkio",
        Edit("blkio weight", 500, 300),
        *(
            Edit(f"blkio devices /dev/kvmplan-a {way}_{unit}_sec", 1000, 2000)
            for way in ("read", "write")
            for unit in ("bytes", "iops")
        ),
        Edit("blkio devices /dev/kvmplan-a weight", 500, 300, default=False),
        Edit(
            "blkio devices /dev/kvmplan-b",
            None,
            {"weight": 200},
            covers="blkio devices * path",
            default=False,
        ),
        active=False,
        why="there is no such device",
    ),
    domain(
        "bandwidth",
        *(
            Edit(f"interfaces a bandwidth {way} {rate}", 1000, 2000, default=rate != "average")
            for way in ("inbound", "outbound")
            for rate in ("average", "peak", "burst")
        ),
        interfaces={"a": {"network": "$tag-one"}},
        active=False,
        why="this kernel has no sfq queue",
    ),
)
