"""Collisions of networks and NICs with other networks and with the host's own interfaces.

libvirt takes most of them, and fails at the next start: a bridge that is there already, a subnet
that an interface has, a NIC on a bridge that is not there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from itertools import chain
from typing import Any, Protocol

from lxml.etree import _Element as Element

from kvmplan.address import Kind
from kvmplan.inventory import EMPTY, Inventory, Record
from kvmplan.mapping.document import parse_to_read
from kvmplan.plan.intent import Intent
from kvmplan.plan.users import Users

Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network
OF_THE_HOST = "bridge"
"""The mode of networks on a bridge that is the host's."""
OWN_BRIDGE = (None, "none", "nat", "route", "open")
"""Modes of networks whose bridge libvirt makes."""
LEFT_OVER = "choose another name; if nothing uses it (a killed libvirtd leaves one), delete it"


class Report(Protocol):
    """Notes a problem at a path of an object: an error if the plan acts on it, else a warning."""

    def __call__(
        self, code: str, intent: Intent, path: tuple[str, ...], summary: str, remedy: str
    ) -> None:
        """Note it."""
        ...


@dataclass(slots=True)
class _Taken:
    """What one network has, or will have."""

    owner: str
    bridges: set[str] = field(default_factory=set)
    mac: str = ""
    subnets: list[Subnet] = field(default_factory=list)


class Collisions:
    """Looks for collisions on one host.

    Args:
        inventory: of the host, complete.
        users: who uses what there.
        networks: those of the specs.
        report: gets the problems.
    """

    def __init__(
        self, inventory: Inventory, users: Users, networks: list[Intent], report: Report
    ) -> None:
        self._inventory, self._users, self._networks = inventory, users, networks
        self._report = report
        self._host = inventory.interfaces or EMPTY
        records = [r for r in inventory.records.values() if r.address.kind is Kind.NETWORK]
        self._running = {record.address: _running_bridge(record) for record in records}
        declared = {intent.address for intent in networks}
        self._others = [_of_record(record) for record in records if record.address not in declared]

    def check(self, domains: Iterable[Intent]) -> None:
        """Report everything that collides or is not there."""
        seen = list(self._others)
        for intent in self._networks:
            taken = _of_intent(intent)
            self._bridge(intent, seen)
            self._subnets(intent, seen)
            self._mac(intent, seen)
            self._uplinks(intent)
            seen.append(taken)
        macs = {taken.mac: taken.owner for taken in seen if taken.mac}
        for intent in domains:
            for key, nic in (intent.tree.get("interfaces") or {}).items():
                self._nic(intent, ("interfaces", key), nic, macs)

    # ------------------------------------------------------------------ networks

    def _bridge(self, intent: Intent, seen: Iterable[_Taken]) -> None:
        name = (intent.tree.get("bridge") or {}).get("name")
        if name is None or _mode(intent) not in OWN_BRIDGE:
            return
        owner = next((taken.owner for taken in seen if name in taken.bridges), None)
        wants = f"{intent.address.short} wants the bridge {name}"
        if owner is not None:
            summary = f"{wants}, which is {owner}'s"
            self._report("KVP133", intent, ("bridge",), summary, "choose another bridge name")
        elif name in self._host and name not in self._running.values():
            summary = f"{wants}, which is an interface of the host"
            self._report("KVP133", intent, ("bridge",), summary, LEFT_OVER)

    def _subnets(self, intent: Intent, seen: Iterable[_Taken]) -> None:
        held = [(subnet, taken.owner) for taken in seen for subnet in taken.subnets]
        bridges = {name for name in self._running.values() if name is not None}
        held += [
            (subnet, f"the host's interface {name}")
            for name, interface in sorted(self._host.items())
            if name not in bridges
            for subnet in _networks_of(interface.addresses)
        ]
        for key in intent.tree.get("ips") or {}:
            subnet = ipaddress.ip_interface(key).network
            for other, owner in held:
                if other.version == subnet.version and other.overlaps(subnet):
                    summary = f"{intent.address.short}: {subnet} overlaps {other} of {owner}"
                    at = ("ips", key, "address")
                    self._report("KVP134", intent, at, summary, "choose another subnet")

    def _mac(self, intent: Intent, seen: Iterable[_Taken]) -> None:
        mac = intent.tree.get("mac")
        if mac is None:
            return
        domains = (f"domain.{name}" for name in sorted(self._users.macs.get(mac, ())))
        networks = (taken.owner for taken in seen if taken.mac == mac)
        other = next(chain(networks, domains, self._interfaces_with(mac)), None)
        if other is not None:
            summary = f"{intent.address.short} has the MAC {mac} of {other}"
            self._report("KVP131", intent, ("mac",), summary, "give one of them another MAC")

    def _interfaces_with(self, mac: str) -> Iterator[str]:
        """The host's own interfaces with a MAC: neither networks' bridges nor guests' devices."""
        for name, interface in sorted(self._host.items()):
            theirs = name in self._users.devices or name in self._running.values()
            if interface.mac == mac and not theirs:
                yield f"the host's interface {name}"

    def _uplinks(self, intent: Intent) -> None:
        """What a network needs of the host."""
        forward = intent.tree.get("forward") or {}
        if _mode(intent) == OF_THE_HOST:
            name = (intent.tree.get("bridge") or {}).get("name")
            self._needs(intent, ("bridge",), "bridge", name)
        self._needs(intent, ("forward", "dev"), "interface", forward.get("dev"))
        for name in forward.get("interfaces") or ():
            self._needs(intent, ("forward", "interfaces"), "interface", name)

    # ------------------------------------------------------------------ NICs

    def _nic(
        self, intent: Intent, at: tuple[str, ...], nic: Mapping[str, Any], macs: Mapping[str, str]
    ) -> None:
        mac = nic["mac"]
        other = macs.get(mac) or next(self._interfaces_with(mac), None)
        if other is not None:
            summary = f"{intent.address.short}: interface '{at[1]}' has the MAC {mac} of {other}"
            self._report("KVP131", intent, (*at, "mac"), summary, "give one of them another MAC")
        self._needs(intent, (*at, "bridge"), "bridge", nic.get("bridge"))
        direct = nic.get("direct") or {}
        self._needs(intent, (*at, "direct"), "interface", direct.get("dev"))

    def _needs(self, intent: Intent, at: tuple[str, ...], what: str, name: str | None) -> None:
        """KVP135 where an interface is neither on the host nor made by a network."""
        if name is None or self._inventory.interfaces is None:
            return
        if name in self._known:
            return
        summary = f"{intent.address.short}: there is no {what} {name} on the host"
        near = get_close_matches(name, self._known, n=1)
        remedy = f"did you mean '{near[0]}'?" if near else "make it first, or name another"
        self._report("KVP135", intent, at, summary, remedy)

    @cached_property
    def _known(self) -> list[str]:
        """The host's interfaces, and the bridges that networks have made or will have made."""
        made = {
            bridge
            for network in self._networks
            if network.tree.get("active") is not False
            for bridge in _of_intent(network).bridges
        }
        running = {bridge for bridge in self._running.values() if bridge is not None}
        return sorted({*self._host, *made, *running})


def _mode(intent: Intent) -> str | None:
    """How a network forwards: as its spec says, else as it does, else as it will be born."""
    said = (intent.tree.get("forward") or {}).get("mode")
    if said is not None:
        return str(said)
    return _live_mode(parse_to_read(intent.record.document)) if intent.record else "nat"


def _live_mode(root: Element) -> str | None:
    forward = root.find("forward")
    return None if forward is None else forward.get("mode", "nat")


def _of_intent(intent: Intent) -> _Taken:
    """What a network of the specs has: what they say, and what it is for what they leave open."""
    taken = _of_record(intent.record) if intent.record else _Taken(intent.address.short)
    name = (intent.tree.get("bridge") or {}).get("name")
    if name is not None:
        running = _running_bridge(intent.record) if intent.record else None
        own = {name} if _mode(intent) in OWN_BRIDGE else set()
        taken.bridges = own | ({running} if running else set())
    if "ips" in intent.tree:
        taken.subnets = list(_networks_of(intent.tree["ips"] or ()))
    taken.mac = intent.tree.get("mac") or taken.mac
    return taken


def _of_record(record: Record) -> _Taken:
    """What a network has by its definition, and while it runs."""
    taken = _Taken(record.address.short)
    for text in {record.document, record.running or record.document}:
        root = parse_to_read(text)
        bridge, mac = root.find("bridge"), root.find("mac")
        if bridge is not None and _live_mode(root) in OWN_BRIDGE:
            taken.bridges.add(bridge.get("name", ""))
        if mac is not None and text == record.document:
            taken.mac = mac.get("address", "").lower()
        for subnet in _live_subnets(root):
            if subnet not in taken.subnets:
                taken.subnets.append(subnet)
    return taken


def _running_bridge(record: Record) -> str | None:
    """The bridge that libvirt has made for a network, while it runs."""
    root = parse_to_read(record.running) if record.running is not None else None
    bridge = root.find("bridge") if root is not None else None
    if root is None or bridge is None or _live_mode(root) not in OWN_BRIDGE:
        return None
    return bridge.get("name")


def _networks_of(addresses: Iterable[str]) -> Iterator[Subnet]:
    for text in addresses:
        yield ipaddress.ip_interface(text).network


def _live_subnets(root: Element) -> Iterator[Subnet]:
    for node in root.iterfind("ip"):
        address, prefix = node.get("address"), node.get("prefix") or node.get("netmask")
        if address and prefix:
            with suppress(ValueError):  # whatever libvirt holds, it is no subnet of ours
                yield ipaddress.ip_interface(f"{address}/{prefix}").network
