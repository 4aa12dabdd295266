"""A running tiny guest in a stack: edits that reach it live, and a look inside."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

import libvirt
import libvirt_qemu
from lxml.etree import _Element as Element

from tests.integration.support import Run, Stack, document, wait_until
from tests.privatehost import Console, PrivateHost
from tests.privatehost.guest import GuestState

MIB = 1024**2
RUNNING = 0
"""Flags that read the running document."""


@dataclass
class Guest:
    """A stack with one running tiny guest, edited by every test here."""

    stack: Stack
    host: PrivateHost
    conn: libvirt.virConnect
    console: Console
    lan: str

    @property
    def name(self) -> str:
        return self.stack.tag

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.stack.domains[self.name]
        return spec

    @property
    def domain(self) -> libvirt.virDomain:
        return self.conn.lookupByName(self.name)

    def state(self) -> GuestState:
        return self.console.wait_state(lambda _: True)

    def fingerprint(self) -> dict[str, Any]:
        """What no live edit may change: the running id, MACs and PCI addresses."""
        root = document(self.domain, RUNNING)
        seen: dict[str, Any] = {"id": self.domain.ID(), "uuid": self.domain.UUIDString()}
        for path in ("disk/target[@dev]", "interface/mac[@address]"):
            for node in root.iterfind(f"devices/{path}"):
                address = node.find("../address")
                key = node.get("dev") or node.get("address")
                seen[f"{path} {key}"] = dict(address.attrib)
        return seen

    def edit(self, *flags: str) -> Run:
        """Apply the edited specs: a live change that leaves all that was there as it was."""
        before = self.fingerprint()
        planned = self.stack.settle(*flags)
        impacts = planned.out.rpartition("Impact: ")[2].splitlines()[0]
        assert "next-boot" not in impacts, planned.out
        assert "restart" not in impacts, planned.out
        after = self.fingerprint()
        assert {key: after[key] for key in before if key in after} == {
            key: before[key] for key in before if key in after
        }
        assert after["id"] == before["id"]
        return planned

    def both(self) -> list[Element]:
        """The persistent and the running document."""
        return [document(self.domain), document(self.domain, RUNNING)]


def inside(guest: Guest, program: str, *arguments: str) -> str:
    """Run a program in the guest, by its agent; what it said."""
    command = {"path": f"/bin/{program}", "arg": list(arguments), "capture-output": True}
    pid = ask_agent(guest, "guest-exec", command)["pid"]
    ended: list[dict[str, Any]] = []  # the agent tells it once

    def has_ended() -> bool:
        status = ask_agent(guest, "guest-exec-status", {"pid": pid})
        ended.extend([status] if status["exited"] else [])
        return bool(ended)

    wait_until(has_ended, f"{program} has ended")
    return base64.b64decode(ended[0].get("out-data", "")).decode().strip()


def ask_agent(guest: Guest, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Ask the guest's agent."""
    asked = json.dumps({"execute": command, "arguments": arguments})
    answer: dict[str, Any] = json.loads(libvirt_qemu.qemuAgentCommand(guest.domain, asked, 10, 0))[
        "return"
    ]
    return answer
