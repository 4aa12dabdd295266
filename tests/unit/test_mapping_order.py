"""New nodes stand where libvirt's own schemas want them, at birth and in real documents."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from kvmplan.address import Kind
from kvmplan.diff import diff
from kvmplan.kinds import MODELS
from kvmplan.mapping.document import parse, serialise
from kvmplan.mapping.lens import patch, read
from kvmplan.mapping.model import declared
from tests.elements import the
from tests.laws.documents import NAMES, Lens, kind_of, text_of

SCHEMAS = Path("/usr/share/libvirt/schemas")
RNG = {
    Kind.NETWORK: "network.rng",
    Kind.POOL: "storagepool.rng",
    Kind.VOLUME: "storagevol.rng",
    Kind.DOMAIN: "domain.rng",
}
UUID = "0d9f3c1e-6c1f-4c4f-9a53-0f6a8a3a2b11"
MAC = "52:54:00:aa:00:01"
FULL: dict[Kind, dict[str, Any]] = {
    Kind.NETWORK: {
        "forward": {"mode": "nat", "nat": {"addresses": "192.0.2.1-192.0.2.9", "ports": "1-9"}},
        "bridge": {"name": "br7", "stp": True, "delay": 1, "zone": "z"},
        "mac": MAC, "mtu": 1400, "domain": {"name": "d", "local_only": True},
        "vlan": (4,), "port_isolated": True, "bandwidth": {"inbound": {"average": 9}},
        "virtualport": {"type": "openvswitch", "interfaceid": UUID, "profileid": "p"},
        "dnsmasq_options": ("log-dhcp", "dhcp-option=3,10.9.0.1"),
        "dns": {
            "enable": True,
            "forwarders": {"9.9.9.9": {"address": "9.9.9.9"}},
            "hosts": {"10.9.0.2": {"ip": "10.9.0.2", "names": ("a", "b")}},
            "txt": {"t": {"name": "t", "value": "v"}},
            "srv": {"s": {"service": "s", "protocol": "tcp"}},
        },
        "ips": {
            "10.9.0.1/24": {
                "address": "10.9.0.1/24",
                "dhcp": {
                    "bootp": {"file": "f"},
                    "hosts": {MAC: {"mac": MAC, "ip": "10.9.0.3"}},
                    "ranges": {"10.9.0.4-10.9.0.5": {"range": "10.9.0.4-10.9.0.5"}},
                },
                "tftp": "/srv/tftp",
            },
            "fd00::1/64": {"address": "fd00::1/64"},
        },
        "routes": {"10.8.0.0/16": {"to": "10.8.0.0/16", "via": "10.9.0.9", "metric": 2}},
        "portgroups": {"p": {"name": "p", "default": True, "vlan": (3,)}},
    },
    Kind.POOL: {"path": "/p", "permissions": {"mode": "0711", "owner": 0, "label": "l"}},
    Kind.VOLUME: {
        "capacity": 1 << 30, "allocation": 0, "format": "qcow2",
        "permissions": {"mode": "0600", "owner": 0, "group": 0},
        "backing": {"volume": "vms/base"},
    },
    Kind.DOMAIN: {
        "type": "qemu", "title": "t", "description": "d", "metadata": {"urn:a": "<x/>"},
        "memory": {"maximum": 2 << 30, "current": 1 << 30, "slots": 4, "hotplug_maximum": 8 << 30},
        "vcpus": {"maximum": 4, "current": 2, "topology": {"sockets": 1, "cores": 4, "threads": 1},
                  "pinning": {"0": "0-1"}},
        "kernel": {"image": "/k", "initrd": "/i", "cmdline": "c"}, "boot": ("hd", "network"),
        "cpu": {"mode": "custom", "model": "EPYC", "features": {"vmx": "disable"}},
        "disks": {
            "vda": {"target": "vda", "volume": "vms/a", "cache": "none", "serial": "s",
                    "iothread": 1,
                    "iotune": {"total_bytes_sec": 10**6, "total_bytes_sec_max": 2 * 10**6,
                               "total_iops_sec": 100, "size_iops_sec": 4096}},
            "sda": {"target": "sda", "device": "cdrom", "bus": "sata", "file": "/x.iso"},
            "vdb": {"target": "vdb", "block": "/dev/sdb", "shareable": True, "io": "native"},
            "vdc": {"target": "vdc", "network": "rbd:pool/image"},
        },
        "interfaces": {
            "a": {"mac": MAC, "network": "lan", "model": "virtio", "link": "down", "mtu": 1400,
                  "filter": {"name": "f", "parameters": {"IP": "10.0.0.1"}},
                  "bandwidth": {"inbound": {"average": 100, "peak": 200, "burst": 50},
                                "outbound": {"average": 100}}},
            "b": {"mac": "52:54:00:aa:00:02", "direct": {"dev": "eth0", "mode": "bridge"}},
            "c": {"mac": "52:54:00:aa:00:03", "user": True},
            "d": {"mac": "52:54:00:aa:00:04", "bridge": "br0",
                  "virtualport": {"type": "802.1Qbg", "managerid": 11, "typeid": 1193047,
                                  "typeidversion": 2, "instanceid": UUID}},
        },
        "console": True, "agent": True, "tpm": {"version": "2.0", "model": "tpm-crb"},
        "graphics": {"vnc": {"type": "vnc", "listen": "127.0.0.1", "port": 5901}},
        "video": "virtio", "memballoon": "virtio",
        "rng": {"device": "/dev/urandom", "bytes": 1024, "period": 1000},
        "iothreads": 2,
        "blkio": {"weight": 500, "devices": {"/dev/sda": {"path": "/dev/sda", "weight": 300,
                                                          "read_bytes_sec": 10**6}}},
        "memtune": {"hard_limit": 4 << 30, "soft_limit": 3 << 30, "swap_hard_limit": 5 << 30},
        "cputune": {"shares": 512, "period": 100000, "quota": -1, "emulatorpin": "0",
                    "iothreadpin": {"1": "0"}},
        "features": {"acpi": True, "apic": True, "smm": True, "pmu": False,
                     "hyperv": {"relaxed": True, "spinlocks": 8191}, "kvm_hidden": True},
        "numa": {"cells": {"0": {"id": 0, "cpus": "0-3", "memory": 2 << 30}}},
        "clock": {"offset": "timezone", "timezone": "Europe/Berlin",
                  "timers": {"hpet": {"name": "hpet", "present": False}}},
        "events": {"on_poweroff": "destroy", "on_crash": "preserve", "on_lockfailure": "pause"},
        "controllers": {"scsi1": {"name": "scsi1", "model": "virtio-scsi", "queues": 4}},
        "serials": {"1": {"port": 1, "type": "file", "path": "/tmp/x"}},
        "channels": {"c.0": {"name": "c.0", "type": "unix", "path": "/run/c"}},
        "inputs": {"usb-tablet": {"device": "usb-tablet"}},
        "memory_backing": {"hugepages": 2 << 20, "source": "memfd",
                           "access": "shared", "allocation": "immediate", "nosharepages": True,
                           "locked": True, "discard": True},
        "filesystems": {"share": {"tag": "share", "source": "/srv", "driver": "virtiofs",
                                  "accessmode": "passthrough", "readonly": True}},
        "sound": "ich9", "panic": "isa", "watchdog": {"model": "i6300esb", "action": "reset"},
        "hostdevs": {"gpu": {"pci": "0000:03:00.0", "managed": True, "boot": 1},
                     "key": {"usb": "1234:beef", "startup_policy": "optional"}},
        "redirdevs": {"r": {"name": "r", "type": "tcp", "host": "127.0.0.1", "port": 4000}},
        "memory_devices": {"m": {"name": "m", "size": 1 << 30, "node": 0}},
        "vsock": {"cid": 3},
    },
}  # fmt: skip


@cache
def schema(kind: Kind) -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(str(SCHEMAS / RNG[kind])))


def valid(kind: Kind, text: str) -> None:
    rules = schema(kind)
    assert rules.validate(etree.fromstring(text)), str(rules.error_log)[:2000]


@pytest.mark.parametrize("kind", Kind)
def test_newborn_documents_are_valid(kind: Kind) -> None:
    desired = declared(MODELS[kind].model_validate(FULL[kind], context={"live": True}))
    there = Lens(kind, parse(text_of(kind.value)), desired)
    there.patch(there.differences())
    valid(kind, serialise(there.root))


@pytest.mark.parametrize("name", NAMES)
def test_each_field_goes_into_real_documents(name: str) -> None:
    """One top-level field at a time, in reverse order of the declarations: the harder one."""
    kind = kind_of(name)
    if kind in (Kind.POOL, Kind.VOLUME):
        return
    full = declared(MODELS[kind].model_validate(FULL[kind], context={"live": True}))
    there = Lens(kind, parse(text_of(name)), full)
    for field in reversed(list(full)):
        want = {field: full[field]}
        changes = diff(read(there.model, there.root, there.context, want), want)
        edits = [(path, after) for path, _, after in changes if after is not None]
        patch(there.model, there.root, edits, there.context, want)
    valid(kind, serialise(there.root))


@pytest.mark.parametrize(
    ("before", "path", "value", "tags"),
    [
        ("<ip address='10.9.0.1' prefix='24'><dhcp/></ip>", ("tftp",), "/t", "tftp dhcp"),
        (
            "<ip address='10.9.0.1' prefix='24'><dhcp><host/><bootp/></dhcp></ip>",
            ("dhcp", "ranges"),
            {"10.9.0.2-10.9.0.3": {"range": "10.9.0.2-10.9.0.3"}},
            "dhcp range host bootp",
        ),
    ],
)
def test_the_order_of_an_address(before: str, path: Any, value: Any, tags: str) -> None:
    there = Lens(Kind.NETWORK, parse(f"<network><name>n</name>{before}</network>"), {})
    there.patch([(("ips", "10.9.0.1/24", *path), None, value)])
    assert [node.tag for node in the(there.root, "ip").iter()][1:] == tags.split()
