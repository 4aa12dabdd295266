"""Networks that went down by hand, or in a run that was cut, under running guests.

libvirt leaves such guests' taps in no bridge, and does not bring them back with the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import libvirt
import pytest

from kvmplan.apply.port import HostError
from kvmplan.host.actuators import ACTUATORS
from kvmplan.kinds.verbs import Verb
from tests.integration.support import (
    Stack,
    connection,
    document,
    idle_domain,
    kvmplan,
    network,
    stack,
    subnet,
)
from tests.privatehost import PrivateHost

LOST = "in again: lost when it went down"


class Lan:
    """A network with three running domains; one of them is on its bridge past the network."""

    def __init__(self, made: Stack, conn: libvirt.virConnect) -> None:
        self.stack, self.conn = made, conn
        self.names = [f"{made.tag}-{letter}" for letter in "abc"]

    @property
    def network(self) -> libvirt.virNetwork:
        return self.conn.networkLookupByName(self.stack.tag)

    def members(self) -> set[str]:
        """The taps that are plugged into the network's bridge."""
        assert self.stack.host is not None
        told = self.stack.host.run(["bridge", "link"]).stdout.splitlines()
        bridge = f"master {self.stack.tag}-0"
        return {line.split()[1].rstrip(":") for line in told if bridge in line}

    def nics(self) -> list[tuple[str, dict[str, str]]]:
        """How each domain's NIC is plugged in: its type and source, without its port."""
        found = []
        for name in self.names:
            nic = document(self.conn.lookupByName(name), 0).find("devices/interface")
            source = {k: v for k, v in nic.find("source").attrib.items() if k != "portid"}
            found.append((nic.get("type"), source))
        return found

    def named(self, *names: str) -> str:
        return ", ".join(f"domain.{name}" for name in names)


@pytest.fixture
def lan(private_host: PrivateHost, tmp_path: Path) -> Iterator[Lan]:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        found = Lan(made, conn)
        bridge = f"{made.tag}-0"
        running = {"state": "running", "shutdown_timeout": "1s", "force": True}
        made.specs |= {
            "networks": {made.tag: network(subnet(), bridge={"name": bridge, "stp": False})},
            "domains": {
                name: idle_domain(
                    interfaces={"lan": made.tag if name[-1] != "c" else {"bridge": bridge}},
                    depends_on=[f"network.{made.tag}"],
                    **running,
                )
                for name in found.names
            },
        }
        made.apply()
        yield found


destroy, create = libvirt.virNetwork.destroy, libvirt.virNetwork.create
undefine = libvirt.virNetwork.undefine


@pytest.mark.parametrize(
    "by_hand",
    [(destroy,), (destroy, create), (undefine, destroy)],
    ids=["stopped", "stopped and started", "gone"],
)
def test_guests_get_back_what_was_taken_down_by_hand(
    lan: Lan, by_hand: tuple[Callable[[libvirt.virNetwork], object], ...]
) -> None:
    members, nics, uuid = lan.members(), lan.nics(), lan.network.UUIDString()
    assert len(members) == len(lan.names)
    lan.stack.in_sync()
    for step in by_hand:
        step(lan.network)
    assert not lan.members()
    planned = lan.stack.settle()
    assert f"plugs NICs of {lan.named(*lan.names)} {LOST}" in _line(planned.out)
    assert "Impact: 1 live" in planned.out
    assert (lan.members(), lan.nics(), lan.network.UUIDString()) == (members, nics, uuid)
    lan.stack.in_sync("--read-only")


def test_what_is_held_stays_as_it_is_and_strangers_are_named(lan: Lan) -> None:
    made, (first, held, past) = lan.stack, lan.names
    members, alien = lan.members(), _alien(lan)
    _hold(made, "hold", held)
    lan.network.destroy()
    lan.network.create()
    told = f"domain.{held} is held: its NICs on it stay cut off"
    planned = _line(made.plan().out)
    strangers = f"domain.{alien.name()} (not this stack's)"
    assert f"plugs NICs of {lan.named(first)}, {strangers}, {lan.named(past)} {LOST}" in planned
    assert told in planned
    made.apply()
    assert len(lan.members()) == len(lan.names), "the alien is, and the held one is not"
    assert told in _line(made.in_sync().out)
    alien.destroy()
    _hold(made, "release", held)
    made.settle()
    assert lan.members() == members


def test_a_run_that_is_cut_between_start_and_plugging_in_is_finished(lan: Lan) -> None:
    """Also for a guest past the network, of which libvirt cannot tell whether it is lost."""
    *others, past = lan.names
    for name in others:
        lan.conn.lookupByName(name).destroy()
        lan.stack.domains[name]["state"] = "stopped"
    (member,) = lan.members()
    lan.network.destroy()
    with _failing(Verb.RECONNECT):
        lan.stack.apply(code=5)
    assert not lan.members()
    planned = lan.stack.settle()
    assert f"plugs NICs of {lan.named(past)} {LOST}" in _line(planned.out)
    assert lan.members() == {member}


def test_a_restarted_daemon_has_lost_nobody(lan: Lan) -> None:
    assert lan.stack.host is not None
    lan.stack.host.restart()
    lan.stack.in_sync()


@contextmanager
def _failing(verb: Verb) -> Iterator[None]:
    """Whatever comes to this verb fails before it has done anything."""

    def fails(*_: Any, **__: Any) -> None:
        raise HostError("cut")

    with mock.patch.dict(ACTUATORS, {verb: fails}):
        yield


def _hold(made: Stack, command: str, domain: str) -> None:
    assert made.host is not None
    done = kvmplan(command, f"domain.{domain}", "--specs", made.path, "--connect", made.host.uri)
    assert done.code == 0, str(done)


def _alien(lan: Lan) -> libvirt.virDomain:
    """A running domain of nobody on the network."""
    return lan.conn.createXML(
        f"<domain type='qemu'><name>{lan.stack.tag}-alien</name><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64'>hvm</type></os><devices>"
        f"<interface type='network'><source network='{lan.stack.tag}'/></interface>"
        "</devices></domain>",
        0,
    )


def _line(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())
