"""The host's own network interfaces, as libvirt tells of them; taps of guests are none."""

from __future__ import annotations

from functools import partial
from typing import Any

import libvirt
from lxml import etree
from lxml.etree import _Element as Element

from kvmplan.host.threads import shares, side_by_side
from kvmplan.inventory import HostInterface

_THREADS = 4
_GUESTS = ("net_vnet", "net_lo_")
"""How libvirt's names of devices begin that are not looked at: guests' taps, the loopback."""


def read_interfaces(connection: Any) -> dict[str, HostInterface] | None:
    """All interfaces by name; None if this libvirt has no driver that tells.

    Raises:
        libvirtError: the host does not answer any more.
    """
    for read in (_by_interface_driver, _by_device_driver):
        try:
            return read(connection)
        except libvirt.libvirtError:
            # Either driver may not be built in, not be installed, or not run.
            if not connection.isAlive():
                raise
    return None


def _by_interface_driver(connection: Any) -> dict[str, HostInterface]:
    """Names and MACs in one call; their documents know addresses, where netcf reads them."""
    handles = connection.listAllInterfaces(0)

    def read(part: list[Any]) -> dict[str, HostInterface]:
        return {
            handle.name(): HostInterface(handle.MACString().lower(), _addresses(handle))
            for handle in part
        }

    parts = side_by_side([partial(read, part) for part in shares(handles, _THREADS)])
    found = {name: interface for part in parts for name, interface in part.items()}
    found.pop("lo", None)
    return found


def _addresses(handle: Any) -> tuple[str, ...]:
    try:
        root = etree.fromstring(handle.XMLDesc(0).encode())
    except libvirt.libvirtError as error:
        # It may have gone meanwhile, and may be one of a kind that libvirt does not describe.
        if error.get_error_code() in (libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_SYSTEM_ERROR):
            raise
        return ()
    nodes = root.iterfind("protocol/ip")
    return tuple(f"{node.get('address')}/{node.get('prefix')}" for node in nodes if _is_whole(node))


def _is_whole(node: Element) -> bool:
    return node.get("address") is not None and node.get("prefix") is not None


def _by_device_driver(connection: Any) -> dict[str, HostInterface]:
    """Names and MACs; a call for each, since a device's own name holds the interface's mangled."""
    found = {}
    for device in connection.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET):
        if device.name().startswith(_GUESTS):
            continue
        try:
            root = etree.fromstring(device.XMLDesc(0).encode())
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_NODE_DEVICE:
                raise
            continue
        name = root.findtext("capability/interface")
        if name:
            found[name] = HostInterface((root.findtext("capability/address") or "").lower())
    return found
