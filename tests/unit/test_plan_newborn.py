"""What is new cannot be without its source; what is there may have it, whatever the specs say."""

from __future__ import annotations

from typing import Any

import pytest

from kvmplan.apply.applier import apply
from tests.unit.fakehost import FakeHost, desired, planned

Tree = dict[str, Any]
DOMAIN: dict[str, Tree] = {
    "disks": {"disks": {"vda": {"target": "vda", "cache": "none"}}},
    "disks.vdb": {"disks": {"vdb": {"target": "vdb", "device": "cdrom"}}},
    "interfaces": {"interfaces": {"lan": {"model": "virtio"}}},
    "interfaces.lan": {"interfaces": {"lan": {"direct": {"mode": "bridge"}}}},
    "disks.hda": {"disks": {"hda": {"target": "hda", "file": "/a"}}},
    "disks.sda.iothread": {"disks": {"sda": {"target": "sda", "file": "/a", "iothread": 1}}},
    "channels.c": {"channels": {"c": {"name": "c", "type": "spicevmc"}}},
    "redirdevs.u": {"redirdevs": {"u": {"name": "u"}}},
    "filesystems": {"filesystems": {"s": {"tag": "s"}}},
    "redirdevs": {"redirdevs": {"r": {"name": "r", "type": "tcp"}}},
    "serials": {"serials": {"1": {"port": 1, "type": "file"}}},
    "vcpus": {"vcpus": {"topology": {"cores": 4}}},
    "numa.cells": {"numa": {"cells": {"1": {"id": 1, "memory": "1GiB"}}}},
    "rng": {"rng": {"period": 1000}},
    "clock": {"clock": {"offset": "timezone"}},
    "memory": {"memory": {"slots": 2}},
    "memory_devices": {"memory_devices": {"m": {"name": "m", "size": "1GiB"}}},
}
SPICE = {"spice": {"type": "spice"}}
IP = "10.5.0.1/24"
MAC = "52:54:00:00:00:01"
NETWORK: dict[str, Tree] = {
    "routes": {"routes": {"10.9.0.0/16": {"to": "10.9.0.0/16"}}, "ips": {IP: {"address": IP}}},
    "routes.10.9.0.0/16.via": {
        "routes": {"10.9.0.0/16": {"to": "10.9.0.0/16", "via": "10.7.0.1"}},
        "ips": {IP: {"address": IP}},
    },
    "dns": {"dns": {"txt": {"a": {"name": "a"}}}, "forward": {"mode": "none"}},
    "ips of": {"forward": {"mode": "route"}},
    "ips": {"ips": {IP: {"address": IP, "dhcp": {"hosts": {MAC: {"mac": MAC}}}}}},
}


def lacking(address: str, spec: Tree, host: FakeHost | None = None) -> list[str]:
    plan = planned(desired({address: spec}), host or FakeHost()).plan
    return [it.summary for it in plan.diagnostics if it.code == "KVP123"]


@pytest.mark.parametrize(("path", "spec"), DOMAIN.items(), ids=DOMAIN)
def test_what_a_new_domain_cannot_be_without_is_told(path: str, spec: Tree) -> None:
    (told,) = lacking("domain.web", spec)
    assert told.startswith(path)
    assert lacking("domain.web", {**spec, "xml": "<domain/>"}) == [], "a fragment may say it"


@pytest.mark.parametrize(("path", "spec"), NETWORK.items(), ids=NETWORK)
def test_what_a_new_network_cannot_be_without_is_told(path: str, spec: Tree) -> None:
    (told,) = lacking("network.lan", spec)
    assert told.startswith(path)


@pytest.mark.parametrize(
    ("address", "spec"),
    [
        ("domain.web", {"machine": "pc", "disks": {"hda": {"target": "hda", "file": "/a"}}}),
        ("domain.web", {"disks": {"vda": {"target": "vda", "file": "/a", "iothread": 1}}}),
        ("domain.web", {"redirdevs": {"u": {"name": "u"}}, "graphics": SPICE}),
        ("network.lan", {"forward": {"mode": "none"}}),
        ("network.lan", {"forward": {"mode": "bridge"}}),
    ],
)
def test_what_something_new_can_be_without_is_not_told(address: str, spec: Tree) -> None:
    assert lacking(address, spec) == []


def test_what_is_there_may_have_it() -> None:
    host = FakeHost()
    disk = {"target": "vda", "file": "/srv/web.img"}
    nic = {"user": True, "mac": MAC}
    whole = {"disks": {"vda": disk}, "interfaces": {"lan": nic}}
    apply(planned(desired({"domain.web": whole}), host), {"local": host}, {}, lambda event: None)
    less: Tree = {
        "title": "web",
        "disks": {"vda": {"target": "vda", "cache": "none"}},
        "interfaces": {"lan": {"model": "e1000"}},
    }
    assert lacking("domain.web", less, host) == []
    less["disks"]["vdb"] = {"target": "vdb"}
    (told,) = lacking("domain.web", less, host)
    assert told.startswith("disks.vdb of domain.web: it is on nothing")
