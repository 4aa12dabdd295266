"""Spellings: what says the same in other words makes no difference, running or not, ever."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fields import FieldStack, field_stack
from tests.integration.fields_by_hand import power_cycle
from tests.integration.support import connection, idle_domain, subnet
from tests.privatehost import PrivateHost

CUSTOM = {"mode": "custom", "model": "Nehalem", "features": {"aes": "disable"}}
DOMAINS: dict[str, dict[str, Any]] = {
    "q35": {"machine": "q35"},
    "pc": {"machine": "pc"},
    "pinned": {"machine": "pc-q35-7.2"},
    "mib": {"memory": "65536KiB", "vcpus": {"current": 1}},
    "odd": {"memory": "70000001B"},
    "odd-maximum": {"memory": {"current": "64MiB", "maximum": "70000001B"}},
    "model": {"cpu": "Nehalem"},
    "custom": {"cpu": CUSTOM},
    "maximum": {"cpu": "maximum"},
    "host-model": {"cpu": {"mode": "host-model"}},
    "qemu64": {"cpu": {"model": "qemu64"}},
    "boot": {"boot": ["cdrom", "network", "hd"]},
    "uefi": {"firmware": "uefi"},
    "bios": {"firmware": "bios"},
    "graphics": {"graphics": "vnc", "video": "virtio"},
    "graphics-list": {"graphics": [{"type": "vnc", "port": "auto", "listen": "127.0.0.1"}]},
    "spice": {"graphics": "spice", "video": "qxl"},
    "no-video": {"video": "none"},
    "nic": {"interfaces": {"a": "NET", "b": {"network": "NET", "mac": "52-54-00-AA-BB-01"}}},
    "upper": {"interfaces": {"a": {"user": True, "mac": "52:54:00:AA:BB:02"}}},
    "link": {"interfaces": {"a": {"user": True, "link": "up"}}},
    "slashes": {"disks": {"vda": {"file": "DIR//disk-a.img"}, "sda": {"device": "cdrom"}}},
    "drives": {"disks": {"sda": {"device": "cdrom", "bus": "sata"}, "sdb": {"device": "cdrom"}}},
    "bare": {"console": False, "agent": False, "memballoon": "none"},
    "words": {
        "title": " blanks ",
        "description": "a\n  b\n",
        "metadata": {"urn:x": "<a  b='c' />"},
    },
    "pinning": {"vcpus": {"current": 1, "maximum": 2, "pinning": {"0": "0,1", "1": "0-1"}}},
    "xml": {"xml": "<domain><on_crash>preserve</on_crash><!-- why --></domain>"},
}
NO_RUN = frozenset({"boot", "slashes"})


def networks(tag: str) -> dict[str, Any]:
    """Networks in unusual words."""
    net, other, sixth = subnet(), subnet(), subnet().split(".")
    long = f"FD00:{sixth[1]}:{sixth[2]}:0:0:0:0:1/64"
    lease = {"mac": "52-54-00-AA-BB-0C", "ip": f"{net}.10", "name": "web"}
    return {
        f"{tag}-net": {
            "mac": "52:54:00:AA:BB:0A",
            "ips": [
                {
                    "address": f"{net}.1/24",
                    "dhcp": {"ranges": [f"{net}.100 - {net}.199"], "hosts": [lease]},
                },
                long,
            ],
            "dns": {"hosts": [{"ip": long.partition("/")[0], "names": ["six"]}]},
        },
        f"{tag}-off": {
            "forward": "none",
            "active": False,
            "domain": "off.example",
            "dns": {"enable": True},
            "ips": [f"{other}.1/24"],
            "bridge": {"stp": True, "delay": 0},
        },
    }


def stores(tag: str, directory: Path) -> dict[str, Any]:
    """Pools and volumes in unusual words."""
    pools: dict[str, dict[str, Any]] = {
        f"{tag}-{n}": {"path": f"{directory}/pool{n}///"} for n in (1, 2)
    }
    pools[f"{tag}-1"]["permissions"] = {"mode": "755"}
    pools[f"{tag}-2"]["permissions"] = {"mode": "0755"}
    volumes: dict[str, dict[str, Any]] = {
        f"{tag}-1/{format_}-{size}.img": {"capacity": size, "format": format_}
        for format_ in ("raw", "qcow2")
        for size in ("1000001B", "1025KiB", "1024KiB", "1MiB", "1537B")
    }
    volumes[f"{tag}-2/mode.img"] = {"capacity": "1MiB", "permissions": {"mode": "600"}}
    return {"pools": pools, "volumes": volumes}


@pytest.fixture
def made(own_host: PrivateHost, tmp_path: Path) -> Iterator[FieldStack]:
    (tmp_path / "disk-a.img").write_bytes(bytes(2**20))
    with field_stack(tmp_path, own_host) as fresh:
        fresh.specs |= {"networks": networks(fresh.tag), **stores(fresh.tag, tmp_path)}
        fresh.specs["domains"] = {}
        for name, spec in DOMAINS.items():
            for mode in ("on", "off"):
                if mode == "off" or name not in NO_RUN:
                    fresh.domains[f"{fresh.tag}-{name}-{mode}"] = domain(fresh, spec, mode)
        yield fresh


def domain(fresh: FieldStack, spec: dict[str, Any], mode: str) -> dict[str, Any]:
    """One of the domains, its MACs its own."""
    state = "running" if mode == "on" else "stopped"
    extra = {"shutdown_timeout": "1s", "state": state}
    return idle_domain(**{**filled(spec, fresh, mode), **extra})


def filled(value: Any, fresh: FieldStack, mode: str) -> Any:
    """A spec with the names of this stack in it."""
    if isinstance(value, dict):
        return {key: filled(item, fresh, mode) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    last = "-AA-BB" if mode == "on" else "-AB-BB"
    value = value.replace("NET", f"{fresh.tag}-net").replace("DIR", str(fresh.directory))
    return value.replace("-AA-BB", last).replace(":AA:BB", last.replace("-", ":"))


def test_other_words_for_the_same(made: FieldStack, own_host: PrivateHost) -> None:
    made.apply()
    _nothing_to_do(made)
    own_host.restart()
    _nothing_to_do(made)
    with connection(own_host) as conn:
        for handle in conn.listAllDomains():
            if handle.isActive():
                power_cycle(handle)
    _nothing_to_do(made)


def _nothing_to_do(made: FieldStack) -> None:
    text = made.in_sync().out
    for word in ("Pending", "Drift", "Note", "Unlisted", "Released"):
        assert word not in text, text
