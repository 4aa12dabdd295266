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
    "filesystems": {"filesystems": {"s": {"tag": "s"}}},
    "redirdevs": {"redirdevs": {"r": {"name": "r", "type": "tcp"}}},
    "serials": {"serials": {"1": {"port": 1, "type": "file"}}},
    "vcpus": {"vcpus": {"topology": {"cores": 4}}},
    "rng": {"rng": {"period": 1000}},
    "clock": {"clock": {"offset": "timezone"}},
    "memory": {"memory": {"slots": 2}},
    "memory_devices": {"memory_devices": {"m": {"name": "m", "size": "1GiB"}}},
}
IP = "10.5.0.1/24"
MAC = "52:54:00:00:00:01"
NETWORK: dict[str, Tree] = {
    "routes": {"routes": {"10.9.0.0/16": {"to": "10.9.0.0/16"}}},
    "routes.10.9.0.0/16.via": {"routes": {"10.9.0.0/16": {"to": "10.9.0.0/16", "via": "10.7.0.1"}}},
    "dns": {"dns": {"txt": {"a": {"name": "a"}}}},
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
