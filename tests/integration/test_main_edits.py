"""A running guest through many live edits in a row: it is not disturbed, and sees each of them."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fields import Default, field_stack
from tests.integration.guests import MIB, RUNNING, Guest, ask_agent, inside
from tests.integration.support import (
    Root,
    SecretRef,
    connection,
    console_of,
    document,
    network,
    subnet,
    tiny_domain,
    wait_until,
)
from tests.privatehost import PrivateHost, TinyGuest
from tests.privatehost.guest import GuestState

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("live")]
MAC, SECOND = "52:54:00:ab:20:01", "52:54:00:ab:20:02"
NS = "https://example.org/ns"


@pytest.fixture
def guest(
    private_host: PrivateHost,
    tiny_guest: TinyGuest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Guest]:
    directory = tmp_path_factory.mktemp("edits")
    for name, size in (("one", MIB), ("two", 2 * MIB)):
        (directory / f"{name}.iso").write_bytes(bytes(size))
    with field_stack(directory, private_host) as made, connection(private_host) as conn:
        tag, lan = made.tag, subnet()
        made.env["EDITS_PASSWORD"] = "x7Qp2kLm"
        vnc = {"type": "vnc", "password": SecretRef("EDITS_PASSWORD")}
        domain = tiny_domain(
            tiny_guest,
            tag,
            directory / f"{tag}.console",
            memory={
                "current": "160MiB",
                "maximum": "192MiB",
                "slots": 2,
                "hotplug_maximum": "1GiB",
            },
            numa={"cells": [{"id": 0, "cpus": "0-3", "memory": "192MiB"}]},
            disks={
                "vda": {"volume": f"{tag}/main.qcow2"},
                "sda": {"device": "cdrom", "bus": "scsi", "file": str(directory / "one.iso")},
            },
            interfaces={"lan": {"network": f"{tag}-a", "mac": MAC}},
            graphics={"vnc": vnc},
            # The watchdog is a PCI device, which finds no slot in PCI Express ports.
            controllers={"pci15": {"model": "pcie-to-pci-bridge"}},
        )
        made.specs |= {
            "networks": {f"{tag}-a": network(lan), f"{tag}-b": network(subnet())},
            "pools": {tag: {"path": str(directory / "pool")}},
            "volumes": {
                f"{tag}/main.qcow2": {"capacity": "32MiB"},
                f"{tag}/raw.img": {"capacity": "16MiB", "format": "raw"},
                f"{tag}/scsi.img": {"capacity": "8MiB", "format": "raw"},
            },
            "domains": {tag: domain},
        }
        made.apply()
        conn.nwfilterDefineXML(f"<filter name='{tag}'/>")
        console = console_of(directory, tag)
        console.wait_ready()
        yield Guest(made, private_host, conn, console, lan)
    with connection(private_host) as conn:
        conn.nwfilterLookupByName(tag).undefine()


Look = Callable[[Root], bool]
"""What the running document shall say."""


def text_is(path: str, value: str) -> Look:
    return lambda root: root.findtext(path) == value


def has(path: str) -> Look:
    return lambda root: bool(root.xpath(path))


def lacks(path: str) -> Look:
    return lambda root: not root.xpath(path)


class Edits:
    """Edits in a row, each planned as live only, and looked for afterwards."""

    def __init__(self, guest: Guest) -> None:
        self.guest, self.count = guest, 0

    def make(
        self,
        change: dict[str, Any],
        *,
        runs: Look | None = None,
        sees: Callable[[GuestState], bool] | None = None,
    ) -> None:
        """Change fields of the domain's spec (a path with blanks; None takes a line out)."""
        for path, value in change.items():
            *outer, last = path.split(" ")
            node = self.guest.spec
            for name in outer:
                node = node.setdefault(name, {})
            if value is None:
                del node[last]
            else:
                node[last] = value
        planned = json.loads(self.guest.stack.run("plan", "--format", "json").out)
        fields = [f for c in planned["resource_changes"] for f in c["change"]["fields"]]
        assert {field["impact"] for field in fields} == {"live"}, (change, fields)
        self.guest.edit()
        self.look(runs, sees)

    def look(self, runs: Look | None, sees: Callable[[GuestState], bool] | None) -> None:
        root = document(self.guest.domain, RUNNING)
        assert runs is None or runs(root), self.guest.domain.XMLDesc(RUNNING)
        if sees is not None:
            self.guest.console.wait_state(sees)
        self.count += 1


def test_twenty_edits_in_a_row(guest: Guest, summaries: Path) -> None:
    """Same run, same MACs and addresses, no ping lost; each edit is there at once."""
    gateway = f"{guest.lan}.1"
    ping = {"path": "/bin/ping", "arg": ["-i", "0.3", gateway], "capture-output": True}
    pid = ask_agent(guest, "guest-exec", ping)["pid"]
    edits, tag, directory = Edits(guest), guest.name, guest.stack.directory
    memory = guest.state().memory
    edits.make({"title": "edited"}, runs=text_is("title", "edited"))
    edits.make({"description": "two\nlines"}, runs=text_is("description", "two\nlines"))
    edits.make({f"metadata {NS}": "<a/>"}, runs=has(f"metadata/*[namespace-uri()='{NS}']"))
    edits.make({"vcpus current": 2}, sees=lambda state: state.cpus == 2)
    edits.make({"vcpus pinning": {"0": "0"}}, runs=has("cputune/vcpupin[@cpuset='0']"))
    edits.make({"cputune": {"shares": 700}}, runs=text_is("cputune/shares", "700"))
    edits.make({"memtune": {"soft_limit": "4GiB"}}, runs=text_is("memtune/soft_limit", "4194304"))
    edits.make({"iothreads": 2}, runs=text_is("iothreads", "2"))
    edits.make(
        {"memory_devices": {"more": {"size": "128MiB"}}},
        sees=lambda state: state.memory > memory + 100,
    )
    edits.make(
        {"disks vdb": f"{tag}/raw.img"}, sees=lambda state: state.disks.get("vdb") == 16 * MIB
    )
    edits.make({"disks sdb": f"{tag}/scsi.img"}, sees=lambda state: 8 * MIB in state.disks.values())
    edits.make(
        {"disks vda iotune": {"total_iops_sec": 5000}},
        runs=text_is("devices/disk/iotune/total_iops_sec", "5000"),
    )
    edits.make({"disks sda file": str(directory / "two.iso")})
    assert inside(guest, "blockdev", "--getsize64", "/dev/sr0") == str(2 * MIB)
    edits.make(
        {"interfaces second": {"network": f"{tag}-a", "mac": SECOND}},
        sees=lambda state: SECOND in state.nics,
    )
    second = f"devices/interface/mac[@address='{SECOND}']/.."
    edits.make(
        {"interfaces second network": f"{tag}-b"}, runs=has(f"{second}/source[@network='{tag}-b']")
    )
    edits.make({"interfaces second link": "down"}, runs=has(f"{second}/link[@state='down']"))
    edits.make(
        {"interfaces lan filter": tag}, runs=has(f"devices/interface/filterref[@filter='{tag}']")
    )
    edits.make({"inputs": ["usb-tablet"]}, runs=has("devices/input[@type='tablet']"))
    edits.make({"channels": {"shop.0": {}}}, runs=has("devices/channel/target[@name='shop.0']"))
    assert "shop.0" in inside(guest, "sh", "-c", "cat /sys/class/virtio-ports/*/name")
    edits.make({"watchdog": {"action": "none"}}, runs=has("devices/watchdog"))
    edits.make({"events": {"on_reboot": "destroy"}}, runs=text_is("on_reboot", "destroy"))
    guest.stack.env["EDITS_PASSWORD"] = "y8Rq3nMz"
    edits.make({})
    edits.make({"disks sdb": None}, sees=lambda state: 8 * MIB not in state.disks.values())
    edits.make({"disks vdb": None}, sees=lambda state: "vdb" not in state.disks)
    edits.make({"interfaces second": None}, sees=lambda state: SECOND not in state.nics)
    edits.make({"watchdog": Default()}, runs=lacks("devices/watchdog"))
    answered = unbroken(guest, pid)
    assert edits.count >= 20
    assert answered >= edits.count
    text = f"{edits.count} in a row, {answered} pings answered, none lost"
    line = json.dumps({"title": "Live edits of a running guest", "text": text})
    (summaries / "edits.summary.json").write_text(line + "\n")


def unbroken(guest: Guest, pid: int) -> int:
    """End the guest's ping; how many answers it got, none of which may be missing."""
    inside(guest, "kill", "-INT", str(pid))
    said: list[dict[str, Any]] = []

    def has_ended() -> bool:
        status = ask_agent(guest, "guest-exec-status", {"pid": pid})
        said.extend([status] if status["exited"] else [])
        return bool(said)

    wait_until(has_ended, "ping has ended")
    text = base64.b64decode(said[0]["out-data"]).decode()
    found = re.search(r"(\d+) packets transmitted, (\d+) packets received", text)
    assert found is not None, text
    sent, received = map(int, found.groups())
    assert sent - received <= 1, text  # the last may be on its way
    return received
