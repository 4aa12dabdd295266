"""A network that is restarted under running guests: they are reachable again when apply ends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest
from lxml import etree

from kvmplan.address import LOCAL, Address, Kind
from kvmplan.apply.port import HostError
from kvmplan.host import open_host
from kvmplan.kinds.verbs import Verb
from tests.integration.support import (
    Stack,
    connection,
    console_of,
    document,
    network,
    stack,
    subnet,
    tiny_domain,
    wait_until,
)
from tests.privatehost import PrivateHost, TinyGuest

pytestmark = [pytest.mark.guest, pytest.mark.xdist_group("guest")]


class Lan:
    """A network with three tiny guests; one of them is on its bridge past libvirt's network."""

    def __init__(self, made: Stack, conn: libvirt.virConnect, directory: Path) -> None:
        self.stack, self.conn = made, conn
        self.names = [f"{made.tag}-{letter}" for letter in "abc"]
        self.address = Address(LOCAL, Kind.NETWORK, made.tag)
        self._directory = directory
        self.ips: list[str] = []

    @property
    def network(self) -> libvirt.virNetwork:
        return self.conn.networkLookupByName(self.stack.tag)

    def wait_ready(self) -> None:
        for name in self.names:
            console = console_of(self._directory, name)
            console.wait_ready()
            nics = console.wait_state(lambda state: all(state.nics.values())).nics
            self.ips.append(str(next(iter(nics.values()))).partition("/")[0])

    def unreachable(self) -> list[str]:
        """The guests that do not answer the host."""
        assert self.stack.host is not None
        asked = [
            self.stack.host.run(["curl", "-s", "-m", "10", f"http://{ip}/"], check=False)
            for ip in self.ips
        ]
        return [
            name
            for name, run in zip(self.names, asked, strict=True)
            if "tiny guest" not in run.stdout
        ]

    def all_reachable(self) -> None:
        """Wait for all: a bridge that has just come up takes a moment to forward."""
        wait_until(lambda: not self.unreachable(), "all guests answer", 60)

    def nic(self, name: str) -> str:
        """How a guest's NIC is plugged in: its type and source, without its port."""
        found = document(self.conn.lookupByName(name), 0).find("devices/interface")
        source = found.find("source")
        source.attrib.pop("portid", None)
        return f"{found.get('type')} {sorted(source.attrib.items())}"


@pytest.fixture
def lan(private_host: PrivateHost, tiny_guest: TinyGuest, tmp_path: Path) -> Iterator[Lan]:
    with stack(tmp_path, private_host) as made, connection(private_host) as conn:
        found = Lan(made, conn, tmp_path)
        made.specs |= {
            "networks": {
                made.tag: network(subnet(), bridge={"name": f"{made.tag}-0", "stp": False})
            },
            "domains": {
                name: tiny_domain(
                    tiny_guest,
                    name,
                    tmp_path / f"{name}.console",
                    interfaces={
                        "lan": made.tag if name[-1] != "c" else {"bridge": f"{made.tag}-0"}
                    },
                    depends_on=[f"network.{made.tag}"],
                )
                for name in found.names
            },
        }
        made.apply()
        found.wait_ready()
        yield found


def test_running_guests_are_reachable_after_a_restart(lan: Lan) -> None:
    made, tag = lan.stack, lan.stack.tag
    before = [lan.nic(name) for name in lan.names]
    spec, word = made.specs["networks"][tag], ("--allow-restart", f"network.{tag}")
    uuid, mac = lan.network.UUIDString(), document(lan.network, 1).find("mac").get("address")
    ids = [lan.conn.lookupByName(name).ID() for name in lan.names]
    lan.all_reachable()

    spec["domain"] = "moved.example"
    spec["on_change"] = "restart"
    refused = made.apply(code=7)
    named = ", ".join(f"domain.{name}" for name in lan.names)
    assert f"network.{tag} would be restarted, which cuts off {named}" in _line(refused.err)
    lan.all_reachable()

    planned = made.settle(*word)
    assert f"cuts off {named}" in _line(planned.out)
    assert "Impact: 1 restart" in planned.out
    assert document(lan.network, 0).find("domain").get("name") == "moved.example"
    assert (lan.network.UUIDString(), document(lan.network, 0).find("mac").get("address")) == (
        uuid,
        mac,
    )
    assert [lan.nic(name) for name in lan.names] == before
    lan.all_reachable()
    assert [lan.conn.lookupByName(name).ID() for name in lan.names] == ids

    _cut_between_the_updates_of_a_nic(lan)
    _a_definition_that_does_not_start(lan)

    alien = _alien(lan)
    spec["domain"] = "again.example"
    stranger = made.apply(*word, code=7)
    assert f"used by domain.{alien.name()} (not this stack's)" in _line(stranger.err)
    alien.destroy()
    made.settle(*word)
    lan.all_reachable()


def _cut_between_the_updates_of_a_nic(lan: Lan) -> None:
    """The network is up again, a NIC still on its bridge, another one lost: a run was killed."""
    first = lan.conn.lookupByName(lan.names[0])
    before = lan.nic(lan.names[0])
    nic = document(first, 0).find("devices/interface")
    nic.set("type", "bridge")
    source = nic.find("source")
    source.attrib.clear()
    source.set("bridge", lan.network.bridgeName())
    lan.network.destroy()
    lan.network.create()
    first.updateDeviceFlags(etree.tostring(nic).decode(), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert lan.unreachable() == lan.names[1:]
    host = open_host(LOCAL, lan.conn.getURI())
    host.perform(Verb.RECONNECT, lan.address, {"users": lan.names})
    host.close()
    lan.all_reachable()
    assert lan.nic(lan.names[0]) == before


def _a_definition_that_does_not_start(lan: Lan) -> None:
    assert lan.stack.host is not None
    taken, good = f"{lan.stack.tag}-1", lan.network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE)
    lan.stack.host.run(["ip", "link", "add", taken, "type", "bridge"])
    lan.conn.networkDefineXML(good.replace(f"{lan.stack.tag}-0", taken))
    host = open_host(LOCAL, lan.conn.getURI())
    with pytest.raises(HostError, match="it runs again as it did before"):
        host.perform(Verb.RESTART_NETWORK, lan.address, {"users": lan.names})
    with pytest.raises(HostError, match=f"that were not when it was planned: {lan.names[2]}"):
        host.perform(Verb.RESTART_NETWORK, lan.address, {"users": lan.names[:2]})
    host.close()
    lan.all_reachable()
    lan.stack.host.run(["ip", "link", "del", taken])
    lan.stack.in_sync()


def _alien(lan: Lan) -> libvirt.virDomain:
    """A running domain of nobody on the network."""
    name = f"{lan.stack.tag}-alien"
    return lan.conn.createXML(
        f"<domain type='qemu'><name>{name}</name><memory unit='MiB'>32</memory>"
        "<os><type arch='x86_64'>hvm</type></os><devices>"
        f"<interface type='network'><source network='{lan.stack.tag}'/></interface>"
        "</devices></domain>",
        0,
    )


def _line(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())
