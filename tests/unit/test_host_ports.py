"""What is plugged into networks: when libvirt tells it, and when its answer says nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import libvirt
import pytest

from kvmplan.address import Address, Kind
from kvmplan.host.stores import record_object
from kvmplan.inventory import HostFacts, Inventory, Record, State

LAN = Address("local", Kind.NETWORK, "lan")
NAT = "<forward mode='nat'/>"


def read(document: str, ports: Any) -> frozenset[str] | None:
    """The ports of an active network."""

    def list_all_ports() -> list[Any]:
        if isinstance(ports, libvirt.libvirtError):
            raise ports
        return [SimpleNamespace(UUIDString=lambda port=port: port) for port in ports]

    handle = SimpleNamespace(
        UUIDString=lambda: "uuid",
        XMLDesc=lambda flags: document,
        isActive=lambda: 1,
        isPersistent=lambda: 1,
        autostart=lambda: 1,
        listAllPorts=list_all_ports,
    )
    connection = SimpleNamespace(networkLookupByName=lambda name: handle)
    record = record_object(connection, LAN)
    assert record is not None
    return record.ports


def refusal(code: int) -> libvirt.libvirtError:
    error = libvirt.libvirtError("no")
    error.err = (code, 0, "no", 2, "", "", "", 0, 0)
    return error


def test_the_ports_of_a_network_with_a_bridge_of_its_own() -> None:
    assert read(f"<network connections='2'>{NAT}</network>", ["a", "b"]) == frozenset("ab")
    assert read("<network/>", []) == frozenset()
    assert read("<network><forward/></network>", ["a"]) == frozenset("a")


def test_what_polkit_hides_is_not_lost() -> None:
    assert read(f"<network connections='2'>{NAT}</network>", ["a"]) is None


@pytest.mark.parametrize("mode", ["bridge", "passthrough", "private", "vepa", "hostdev"])
def test_guests_of_other_networks_stay_where_they_are(mode: str) -> None:
    assert read(f"<network><forward mode='{mode}'/></network>", []) is None


@pytest.mark.parametrize(
    "code",
    [
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_ACCESS_DENIED,
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_NO_NETWORK,
    ],
)
def test_where_they_cannot_be_listed_nothing_is_known(code: int) -> None:
    assert read("<network/>", refusal(code)) is None


def test_a_host_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(libvirt.libvirtError):
        read("<network/>", refusal(libvirt.VIR_ERR_RPC))


def guest(name: str, *nics: str, active: bool = True) -> Record:
    text = f"<domain><devices>{''.join(nics)}</devices></domain>"
    state = State.RUNNING if active else State.STOPPED
    address = Address("local", Kind.DOMAIN, name)
    return Record(address, name, text, running=text if active else None, state=state)


def nic(network: str, port: str) -> str:
    return f"<interface type='network'><source network='{network}' portid='{port}'/></interface>"


def test_who_is_lost() -> None:
    ports = {"lan": frozenset({"p1", "p2"}), "dmz": frozenset[str](), "off": None}
    networks = [
        Record(Address("local", Kind.NETWORK, name), name, "<network/>", ports=there)
        for name, there in ports.items()
    ]
    guests = [
        guest("on", nic("lan", "p1")),
        guest("lost", nic("lan", "p3"), nic("dmz", "p4")),
        guest("half", nic("lan", "p2"), nic("lan", "p5")),
        guest("unknown", nic("off", "p6"), nic("theirs", "p7")),
        guest("stopped", nic("lan", "p8"), active=False),
        guest("past", "<interface type='bridge'><source bridge='virbr-lan'/></interface>"),
    ]
    records = {record.address: record for record in [*networks, *guests]}
    names = {Kind.NETWORK: {name: name for name in ports}}
    lost = Inventory("local", HostFacts("u"), records, names).lost
    assert lost == {"lan": {"lost", "half"}, "dmz": {"lost"}}
