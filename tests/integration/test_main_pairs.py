"""Two or three edits of one running guest in one plan: each is done, or told to wait.

The choice of edits is the same in every run. `KVMPLAN_RANDOM_STACKS=N` tries N rounds, others each
time.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import libvirt
import pytest

from tests.integration.guests import MIB, RUNNING, Guest
from tests.integration.support import (
    SecretRef,
    connection,
    console_of,
    document,
    network,
    stack,
    subnet,
    tiny_domain,
)
from tests.privatehost import PrivateHost, TinyGuest

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("pairs")]

LONG = int(os.environ.get("KVMPLAN_RANDOM_STACKS", "0"))
ROUNDS = LONG or 16
Edit = Callable[[Guest, random.Random], None]
HOT = ("vdb", "vdc", "sdc")
"""Targets that disks are plugged in at, and out."""


@pytest.fixture(scope="module")
def guest(
    private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Guest]:
    directory = tmp_path_factory.mktemp("pairs")
    for medium in ("one", "two"):
        (directory / f"{medium}.iso").write_bytes(b"\0" * MIB)
    drive = {"device": "cdrom", "file": str(directory / "one.iso")}
    with stack(directory, private_host) as made, connection(private_host) as conn:
        tag, lan = made.tag, subnet()
        made.env["WORD"] = "first"
        ports = {f"pci{index}": {"model": "pcie-root-port"} for index in range(1, 15)}
        domain = tiny_domain(
            tiny_guest,
            tag,
            directory / f"{tag}.console",
            machine="q35",
            controllers={"pci0": {"model": "pcie-root"}, **ports},
            disks={"vda": {"volume": f"{tag}/main.qcow2"}, "sda": {**drive, "bus": "scsi"}},
            interfaces={"eth0": {"network": f"{tag}-a"}},
            graphics=[{"type": "vnc", "listen": "127.0.0.1", "password": SecretRef("WORD")}],
            channels={},
        )
        del domain["state"]
        made.specs |= {
            "networks": {f"{tag}-a": network(lan), f"{tag}-b": network(subnet())},
            "pools": {tag: {"path": str(directory / "pool")}},
            "volumes": {
                f"{tag}/main.qcow2": {"capacity": "16MiB"},
                f"{tag}/raw.img": {"capacity": "16MiB", "format": "raw"},
                f"{tag}/more.qcow2": {"capacity": "16MiB"},
            },
            "domains": {tag: domain},
        }
        made.apply()
        console_of(directory, tag).wait_ready()
        yield Guest(made, private_host, conn, console_of(directory, tag), lan)


def other(chance: random.Random, values: list[Any], now: Any) -> Any:
    return chance.choice([value for value in values if value != now])


def cpus(guest: Guest, chance: random.Random) -> None:
    old = guest.spec["vcpus"]
    guest.spec["vcpus"] = {**old, "current": other(chance, [1, 2, 3, 4], old["current"])}


def pins(guest: Guest, chance: random.Random) -> None:
    pinning = {chance.choice("01"): chance.choice(["0", "0-1"])}
    guest.spec["vcpus"] = {**guest.spec["vcpus"], "pinning": pinning}


def memory(guest: Guest, chance: random.Random) -> None:
    old = guest.spec["memory"]
    guest.spec["memory"] = {**old, "current": other(chance, ["144MiB", "160MiB"], old["current"])}


def maximum(guest: Guest, chance: random.Random) -> None:
    old = guest.spec["memory"]
    guest.spec["memory"] = {**old, "maximum": other(chance, ["192MiB", "200MiB"], old["maximum"])}


def plug(guest: Guest, chance: random.Random) -> None:
    disks = guest.spec["disks"]
    used = {disk.get("volume") for disk in disks.values()}
    free = [name for name in guest.stack.volumes if name not in used]
    targets = [target for target in HOT if target not in disks]
    if free and targets:
        target = chance.choice(targets)
        bus = "scsi" if target == "sdc" else "virtio"
        disks[target] = {"volume": chance.choice(free), "bus": bus}


def unplug(guest: Guest, chance: random.Random) -> None:
    there = [target for target in HOT if target in guest.spec["disks"]]
    if there:
        del guest.spec["disks"][chance.choice(there)]


def cold_disk(guest: Guest, _: random.Random) -> None:
    if guest.spec["disks"].pop("sdd", None) is None:
        medium = guest.spec["disks"]["sda"]["file"]
        guest.spec["disks"]["sdd"] = {"device": "cdrom", "bus": "sata", "file": medium}


def medium(guest: Guest, chance: random.Random) -> None:
    drives = [disk for disk in guest.spec["disks"].values() if disk.get("device") == "cdrom"]
    drive = chance.choice(drives)
    old, new = ("one", "two") if "one.iso" in drive["file"] else ("two", "one")
    drive["file"] = drive["file"].replace(f"{old}.iso", f"{new}.iso")


def any_disk(guest: Guest, chance: random.Random) -> dict[str, Any]:
    disks = [disk for disk in guest.spec["disks"].values() if disk.get("device") != "cdrom"]
    found: dict[str, Any] = chance.choice(disks)
    return found


def limits(guest: Guest, chance: random.Random) -> None:
    any_disk(guest, chance)["iotune"] = {"total_iops_sec": chance.randrange(100, 1000)}


def cache(guest: Guest, chance: random.Random) -> None:
    disk = any_disk(guest, chance)
    disk["cache"] = other(chance, ["none", "writeback"], disk.get("cache"))


def grow(guest: Guest, chance: random.Random) -> None:
    volume = guest.stack.volumes[chance.choice(sorted(guest.stack.volumes))]
    volume["capacity"] = f"{int(volume['capacity'].removesuffix('MiB')) + 1}MiB"


def any_nic(guest: Guest, chance: random.Random) -> dict[str, Any]:
    found: dict[str, Any] = chance.choice(list(guest.spec["interfaces"].values()))
    return found


def nic(guest: Guest, chance: random.Random) -> None:
    if guest.spec["interfaces"].pop("eth1", None) is None:
        guest.spec["interfaces"]["eth1"] = {"network": f"{guest.name}-{chance.choice('ab')}"}


def link(guest: Guest, chance: random.Random) -> None:
    card = any_nic(guest, chance)
    card["link"] = "up" if card.get("link") == "down" else "down"


def net(guest: Guest, chance: random.Random) -> None:
    card = any_nic(guest, chance)
    card["network"] = guest.name + ("-a" if card["network"].endswith("-b") else "-b")


def mac(guest: Guest, chance: random.Random) -> None:
    number = chance.randrange(1, 0xFFFF)
    any_nic(guest, chance)["mac"] = f"52:54:00:ad:{number >> 8:02x}:{number & 255:02x}"


def model(guest: Guest, chance: random.Random) -> None:
    card = any_nic(guest, chance)
    card["model"] = other(chance, ["virtio", "e1000e"], card.get("model", "virtio"))


def password(guest: Guest, chance: random.Random) -> None:
    guest.stack.env["WORD"] = f"pw{chance.randrange(10**5, 10**6)}"


def listen(guest: Guest, _: random.Random) -> None:
    (display,) = guest.spec["graphics"]
    display["listen"] = "127.0.0.1" if display["listen"] == "0.0.0.0" else "0.0.0.0"


def lease(guest: Guest, chance: random.Random) -> None:
    hosts = guest.stack.specs["networks"][f"{guest.name}-a"]["ips"][0]["dhcp"]
    number = chance.randrange(20, 90)
    one = {"mac": f"52:54:00:ae:00:{number:02x}", "ip": f"{guest.lan}.{number}"}
    hosts["hosts"] = [one] if not hosts.get("hosts") or chance.random() < 0.5 else []


def subdomain(guest: Guest, chance: random.Random) -> None:
    net = guest.stack.specs["networks"][f"{guest.name}-a"]
    net["domain"] = f"d{chance.randrange(1000)}.example"


def words(guest: Guest, chance: random.Random) -> None:
    guest.spec["title"] = f"title {chance.randrange(1000)}"
    guest.spec["metadata"] = {"https://example.org/ns": f"<n>{chance.randrange(1000)}</n>"}


def channel(guest: Guest, chance: random.Random) -> None:
    channels = guest.spec["channels"]
    name = f"org.example.{chance.randrange(3)}"
    if channels.pop(name, None) is None:
        channels[name] = {"type": "unix"}


def order(guest: Guest, chance: random.Random) -> None:
    guest.spec["boot"] = other(chance, [["hd"], ["network", "hd"]], guest.spec.get("boot"))


EDITS: tuple[Edit, ...] = (
    cpus, pins, memory, maximum, plug, unplug, cold_disk, medium, limits, cache, grow, nic, link,
    net, mac, model, password, listen, lease, subdomain, words, channel, order,
)  # fmt: skip


def seen(guest: Guest, flags: int) -> dict[str, Any]:
    """What a document says, by the name of the field that would be told to wait."""
    root = document(guest.domain, flags | libvirt.VIR_DOMAIN_XML_SECURE)
    cpu, card, found = root.find("vcpu"), "devices/interface", dict[str, Any]()
    found["vcpus"] = (cpu.get("current", cpu.text), root.xpath("cputune/vcpupin/@vcpu"))
    found["boot"] = root.xpath("os/boot/@dev")
    found["graphics"] = root.xpath("devices/graphics/@listen | devices/graphics/@passwd")
    found["title"] = root.findtext("title")
    found["metadata"] = root.xpath("string(metadata/*[local-name()='n'])")
    found["channels"] = sorted(root.xpath("devices/channel/target/@name"))
    for disk in root.iterfind("devices/disk"):
        limits = disk.findtext("iotune/total_iops_sec")
        said = disk.xpath("source/@file | driver/@cache | target/@bus")
        found[f"disks.{disk.find('target').get('dev')}"] = (said, limits)
    for path in ("mac/@address", "source/@network", "model/@type"):
        found[f"interfaces {path}"] = root.xpath(f"{card}/{path}")
    found["interfaces links"] = [
        node.get("state") if (node := each.find("link")) is not None else "up"
        for each in root.iterfind(card)
    ]
    return found


def told(guest: Guest) -> list[str]:
    """The fields of the guest that wait, by a plan that has nothing to do."""
    guest.stack.in_sync()
    document = json.loads(guest.stack.run("plan", "--format", "json").out)
    rows = document["pending_restart"]
    return [field["path"] for row in rows if row["type"] == "domain" for field in row["fields"]]


def test_edits_in_any_company(guest: Guest) -> None:
    number = guest.domain.ID()
    chance = random.Random() if LONG else random.Random(9)
    for _ in range(ROUNDS):
        chosen = chance.sample(EDITS, chance.choice([2, 2, 3]))
        names = [edit.__name__ for edit in chosen]
        for edit in chosen:
            edit(guest, chance)
        # A paused guest lets nothing go, which is waited for.
        paused = chance.random() < 0.3 and not {unplug, nic, channel}.intersection(chosen)
        if paused:
            guest.domain.suspend()
        guest.stack.apply()
        waits = told(guest)
        if paused:
            assert guest.domain.info()[0] == libvirt.VIR_DOMAIN_PAUSED, names
            guest.domain.resume()
        assert guest.domain.ID() == number, names
        runs, defined = seen(guest, RUNNING), seen(guest, libvirt.VIR_DOMAIN_XML_INACTIVE)
        for field in runs.keys() | defined.keys():
            if runs.get(field) != defined.get(field):
                start = field.partition(" ")[0]
                assert any(f"{name}.".startswith(f"{start}.") for name in waits), (names, field)
    guest.domain.destroy()
    guest.domain.create()
    assert set(told(guest)) <= {"memory.current"}, "its balloon comes with its system"
    assert seen(guest, RUNNING) == seen(guest, libvirt.VIR_DOMAIN_XML_INACTIVE)
    guest.domain.destroy()  # it would not hear a power button yet
