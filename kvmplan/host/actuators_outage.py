"""Verbs of a network that goes down and up again: libvirt leaves its running guests cut off.

Their taps are in no bridge then, and libvirt takes them for connected. A NIC whose port the network
does not know is put on the network's bridge directly and back on the network: both are live updates
that the guest does not notice.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import libvirt
from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.apply.port import HostError
from kvmplan.host.errors import translate
from kvmplan.host.verb import Target, code_of, is_missing, verb
from kvmplan.kinds.bridges import has_own_bridge
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.paths import unset

_PORT_ONLY = ("portid", "bridge")
"""Attributes of a running NIC's source that libvirt writes by itself."""


@verb(Verb.RESTART_NETWORK)
def restart_network(target: Target, *, users: list[str]) -> None:
    """Stop a network and start it as it is defined; if that fails, bring it back as it ran."""
    network = target.find()
    guests = _guests(target.connection, network)
    others = sorted({guest.name for guest in guests} - set(users))
    if others:
        what = f"running domains are on it that were not when it was planned: {', '.join(others)}"
        raise HostError(what, doing=f"{Verb.RESTART_NETWORK} {target.address.short}")
    ran = network.XMLDesc(0) if network.isActive() else None
    if ran is not None:
        network.destroy()
    try:
        network.create()
    except libvirt.libvirtError as error:
        if ran is None:
            raise
        raise _brought_back(target, ran, users, error) from error


def _brought_back(
    target: Target, ran: str, users: Collection[str], error: libvirt.libvirtError
) -> HostError:
    """What libvirt said to a definition that does not start; the one that ran runs again."""
    said = translate(error)
    target.connection.networkDefineXML(ran)
    network = target.find()
    network.create()
    _plug_in(target.connection, network, users)
    what = f"it does not start as it is defined ({said.message}); it runs again as it did before"
    return HostError(what, code=said.code, name=said.name)


@verb(Verb.RECONNECT)
def reconnect(target: Target, *, users: list[str]) -> None:
    """Plug all NICs of these domains in again that it has lost, and look whether they are."""
    _plug_in(target.connection, target.find(), users)


@dataclass(frozen=True, slots=True)
class _Guest:
    """A running domain's NIC on a network; `wanted` is the source that it shall have."""

    domain: Any
    name: str
    nic: Element
    wanted: Element

    @property
    def port(self) -> str | None:
        """The id of the port that libvirt takes it to be plugged into."""
        source = self.nic.find("source")
        return source.get("portid") if source is not None else None


def _guests(connection: Any, network: Any) -> list[_Guest]:
    """The NICs of running domains that a network's bridge carries, or should.

    Those past the network are on it only by a bridge that comes and goes with it.
    """
    own = has_own_bridge(etree.fromstring(network.XMLDesc(0)))
    name, bridge = network.name(), _bridge(network) if own else None
    found: list[_Guest] = []
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            root = etree.fromstring(domain.XMLDesc(0).encode())
            nics = [
                nic for nic in _nics(root, name, bridge) if nic.find("source[@bridge]") is not None
            ]
            if nics:
                found += _with_wanted(domain, nics, name)
        except libvirt.libvirtError as error:
            # It went down between the list and the look.
            if not is_missing(error):
                raise
    return found


def _nics(root: Element, network: str, bridge: str | None) -> Iterator[Element]:
    """NICs on the network that are taps in a bridge, and NICs on its bridge past the network."""
    for nic in root.iterfind("devices/interface"):
        source = nic.find("source")
        if source is None:
            continue
        past = bridge is not None and nic.get("type") == "bridge" and source.get("bridge") == bridge
        if source.get("network") == network or past:
            yield nic


def _with_wanted(domain: Any, nics: list[Element], network: str) -> Iterator[_Guest]:
    """Each NIC with its own source; of one that was cut between its two updates, its definition's.

    That one is on the bridge while it runs, and on the network by its definition.
    """
    defined: dict[str, Element] = {}
    if any(nic.get("type") == "bridge" for nic in nics) and domain.isPersistent():
        root = etree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE).encode())
        defined = {_mac(nic): nic for nic in _nics(root, network, None)}
    for nic in nics:
        meant = defined.get(_mac(nic), nic) if nic.get("type") == "bridge" else nic
        wanted = copy.deepcopy(meant.find("source"))
        assert wanted is not None
        for attribute in _PORT_ONLY if wanted.get("network") is not None else ():
            unset(wanted, attribute)
        yield _Guest(domain, domain.name(), nic, wanted)


def _mac(nic: Element) -> str:
    mac = nic.find("mac")
    return mac.get("address", "") if mac is not None else ""


def _bridge(network: Any) -> str | None:
    """The name of its bridge; None if it is none of bridges."""
    try:
        name: str = network.bridgeName()
    except libvirt.libvirtError as error:
        if code_of(error) not in (libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_ERR_NO_SUPPORT):
            raise
        return None
    return name


def _plug_in(connection: Any, network: Any, users: Collection[str]) -> None:
    """Put every lost NIC of some domains back.

    Raises:
        HostError: some are not back; they are named. The others are.
        libvirtError: the host did not answer.
    """
    bridge = _bridge(network)
    if bridge is None:
        return
    failed = {}
    for guest in _lost(connection, network, users):
        try:
            _move(guest, bridge, network.name())
        except libvirt.libvirtError as error:
            if is_missing(error) or not guest.domain.isActive():
                continue
            failed[guest.name] = translate(error).message
    failed |= {
        guest.name: "libvirt does not plug it in"
        for guest in _lost(connection, network, users)
        if guest.port is not None and guest.name not in failed
    }
    if failed:
        named = "; ".join(f"domain.{name}: {why}" for name, why in sorted(failed.items()))
        raise HostError(named, doing=f"{Verb.RECONNECT} network.{network.name()}")


def _lost(connection: Any, network: Any, users: Collection[str]) -> list[_Guest]:
    """NICs that the network does not know, and those past it, of which nobody can tell."""
    ports = {port.UUIDString() for port in network.listAllPorts()}
    guests = (guest for guest in _guests(connection, network) if guest.name in users)
    return [guest for guest in guests if guest.port not in ports]


def _move(guest: _Guest, bridge: str, network: str) -> None:
    """Away and back: to the bridge and on the network, or the other way round."""
    other = etree.Element("source")
    if guest.nic.get("type") == "bridge":
        other.set("network", network)
    else:
        other.set("bridge", bridge)
    for source in (other, guest.wanted):
        nic = copy.deepcopy(guest.nic)
        nic.set("type", "network" if source.get("network") is not None else "bridge")
        old = nic.find("source")
        assert old is not None
        nic.replace(old, copy.deepcopy(source))
        text = etree.tostring(nic, encoding="unicode", with_tail=False)
        guest.domain.updateDeviceFlags(text, libvirt.VIR_DOMAIN_AFFECT_LIVE)
