"""Guests, looked at from outside: their addresses, their agents, files inside, their consoles.

Nothing here changes a guest. libvirt has calls of its own for most of what the agent tells; files
are read by the agent's own commands, after which libvirt calls the domain tainted
(``custom-ga-command``), which means nothing to the guest.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import libvirt
from lxml import etree

from kvmplan.apply.port import ConsoleTail
from kvmplan.host.verb import code_of
from kvmplan.inventory import GuestAddress
from kvmplan.kinds.agent import CONNECTED_AGENT

AGENT_SECONDS = 5
"""How long the agent may think."""
MOST_BYTES = 1 << 20
"""Of a file inside the guest."""
TAIL_BYTES = 16 << 10

CANNOT_ASK = frozenset(
    {
        libvirt.VIR_ERR_OPERATION_INVALID,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_AGENT_UNRESPONSIVE,
        libvirt.VIR_ERR_AGENT_UNSYNCED,
        libvirt.VIR_ERR_OPERATION_TIMEOUT,
        libvirt.VIR_ERR_NO_SUPPORT,
    }
)
"""What libvirt answers while an agent is not there, or not able to answer."""
MAY_NOT_ASK = frozenset({libvirt.VIR_ERR_OPERATION_DENIED, libvirt.VIR_ERR_ACCESS_DENIED})
"""What it answers to those who may only look."""


def running_root(domain: Any) -> Any:
    """The running document, parsed; the persistent one of a domain that is off."""
    return etree.fromstring(domain.XMLDesc(0).encode())


def has_agent(domain: Any) -> bool:
    """Whether an agent inside has opened its channel."""
    return bool(running_root(domain).xpath(CONNECTED_AGENT))


def agent_answers(domain: Any) -> bool:
    """Ask the agent for the time: it has no ping that does not taint the domain."""
    try:
        domain.agentSetResponseTimeout(AGENT_SECONDS)
        domain.getTime()
    except libvirt.libvirtError as error:
        if code_of(error) not in CANNOT_ASK:
            raise
        return False
    return True


# ------------------------------------------------------------------------------ addresses


def addresses(connection: Any, domain: Any) -> tuple[GuestAddress, ...]:
    """The addresses by which others can reach a running guest, IPv4 before IPv6.

    From the leases of libvirt's networks and from the agent, where one answers.
    """
    root = running_root(domain)
    found = [*_leases(connection, root)]
    if root.xpath(CONNECTED_AGENT):
        found += _told_by_agent(domain, {_mac(nic) for nic in root.iterfind("devices/interface")})
    known: dict[tuple[str, str], GuestAddress] = {}
    for address in found:
        if _is_reachable(address.ip):
            known.setdefault((address.mac, address.ip), address)
    return tuple(sorted(known.values(), key=lambda it: ipaddress.ip_address(it.ip).version))


def leases(connection: Any, domain: Any) -> tuple[GuestAddress, ...]:
    """What libvirt's networks have leased to a domain's interfaces."""
    return tuple(_leases(connection, running_root(domain)))


def _mac(nic: Any) -> str:
    return str(nic.find("mac").get("address")).lower()


def _leases(connection: Any, root: Any) -> Iterator[GuestAddress]:
    for nic in root.iterfind("devices/interface[@type='network']"):
        mac = _mac(nic)
        try:
            network = connection.networkLookupByName(nic.find("source").get("network"))
            leases = network.DHCPLeases(mac)
        except libvirt.libvirtError as error:
            # The network is gone or off, or has no DHCP server of libvirt's.
            if error.get_error_domain() in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE):
                raise
            continue
        for lease in leases:
            yield GuestAddress(mac, lease["ipaddr"], "lease", lease.get("expirytime") or 0)


def _told_by_agent(domain: Any, macs: set[str]) -> Iterator[GuestAddress]:
    """Only of the domain's own interfaces: a guest has others, such as those of its containers."""
    try:
        domain.agentSetResponseTimeout(AGENT_SECONDS)
        told = domain.interfaceAddresses(libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
    except libvirt.libvirtError as error:
        if code_of(error) not in CANNOT_ASK | MAY_NOT_ASK:
            raise
        return
    for interface in told.values():
        mac = str(interface.get("hwaddr") or "").lower()
        for entry in interface.get("addrs") or () if mac in macs else ():
            yield GuestAddress(mac, entry["addr"], "agent")


def _is_reachable(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False  # an agent says whatever a guest makes it say
    return not (address.is_loopback or address.is_link_local or address.is_unspecified)


# ------------------------------------------------------------------------------ files


def read_file(domain: Any, path: str) -> str | None:
    """A small text file inside the guest, by its agent; None if there is none.

    Raises:
        libvirtError: the agent does not answer, or is not allowed to.
    """
    try:
        handle = _agent(domain, "guest-file-open", path=path, mode="r")
    except libvirt.libvirtError as error:
        if code_of(error) == libvirt.VIR_ERR_INTERNAL_ERROR and "No such file" in str(error):
            return None
        raise
    try:
        got = _agent(domain, "guest-file-read", handle=handle, count=MOST_BYTES)
    finally:
        _agent(domain, "guest-file-close", handle=handle)
    return base64.b64decode(got["buf-b64"]).decode(errors="replace")


def _agent(domain: Any, command: str, **arguments: Any) -> Any:
    import libvirt_qemu

    asked = json.dumps({"execute": command, "arguments": arguments})
    return json.loads(libvirt_qemu.qemuAgentCommand(domain, asked, AGENT_SECONDS, 0))["return"]


# ------------------------------------------------------------------------------ consoles


def console_tail(domain: Any, uri: str, lines: int) -> ConsoleTail:
    """The last lines of a guest's console, where libvirt or QEMU keeps them in a file."""
    file = next(_console_files(running_root(domain)), None)
    if file is None:
        return ConsoleTail("", (), "its console has no log; `xml:` can give it one: <log file=…/>")
    if is_remote(uri):
        return ConsoleTail(file, (), f"its console's log is {file} on the host")
    try:
        text = _end_of(Path(file))
    except OSError as error:
        return ConsoleTail(file, (), f"its console's log {file}: {error.strerror}")
    said = [line.rstrip() for line in text.replace("\r", "\n").split("\n") if line.strip()]
    return ConsoleTail(file, tuple(said[-lines:]), "" if said else "its console is silent so far")


def _console_files(root: Any) -> Iterator[str]:
    devices: Iterable[Any] = root.xpath("devices/serial | devices/console")
    for device in devices:
        log, source = device.find("log"), device.find("source")
        if log is not None and log.get("file"):
            yield log.get("file")
        elif device.get("type") == "file" and source is not None:
            yield source.get("path")


def _end_of(path: Path) -> str:
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - TAIL_BYTES))
        return stream.read().decode(errors="replace")


def is_remote(uri: str) -> bool:
    """Whether a connection leads to another machine."""
    return bool(urlsplit(uri).netloc)
