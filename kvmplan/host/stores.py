"""Networks, pools and volumes, read: what there is and their documents."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import libvirt
from lxml import etree

from kvmplan.address import Address, Kind
from kvmplan.host.errors import DENIED, MISSING
from kvmplan.host.threads import shares, side_by_side
from kvmplan.inventory import Record, State
from kvmplan.kinds.bridges import has_own_bridge

_FLAGS = {
    Kind.NETWORK: ("listAllNetworks", "VIR_CONNECT_LIST_NETWORKS_"),
    Kind.POOL: ("listAllStoragePools", "VIR_CONNECT_LIST_STORAGE_POOLS_"),
}
_INACTIVE = {
    Kind.NETWORK: libvirt.VIR_NETWORK_XML_INACTIVE,
    Kind.POOL: libvirt.VIR_STORAGE_XML_INACTIVE,
}
_LOOK_UP = {Kind.NETWORK: "networkLookupByName", Kind.POOL: "storagePoolLookupByName"}
_THREADS = 4
_NO_PORTS = MISSING | DENIED | {libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_OPERATION_INVALID}


@dataclass(slots=True)
class Listing:
    """All networks, or all pools, of a host."""

    kind: Kind
    handles: dict[str, Any]
    active: Set[str]
    autostart: Set[str]
    transient: Set[str]


def list_objects(connection: Any, kind: Kind) -> Listing:
    """List all networks or pools in four calls.

    Raises:
        libvirtError: the host did not answer.
    """
    method, prefix = _FLAGS[kind]

    def handles(flag: str = "") -> dict[str, Any]:
        flags = getattr(libvirt, prefix + flag) if flag else 0
        return {handle.name(): handle for handle in getattr(connection, method)(flags)}

    everything = handles()
    active, autostart, transient = (
        frozenset(handles(flag)) for flag in ("ACTIVE", "AUTOSTART", "TRANSIENT")
    )
    return Listing(kind, everything, active, autostart, transient)


def read_objects(listing: Listing, host: str) -> list[Record]:
    """The documents of all that was listed; what has vanished meanwhile is left out."""

    def read(names: list[str]) -> list[Record | None]:
        return [_read_listed(listing, host, name) for name in names]

    dealt = shares(sorted(listing.handles), _THREADS)
    found = side_by_side([partial(read, names) for names in dealt])
    records = [record for part in found for record in part if record is not None]
    return sorted(records, key=lambda record: record.address)


def _read_listed(listing: Listing, host: str, name: str) -> Record | None:
    try:
        return _read(
            listing.handles[name],
            Address(host, listing.kind, name),
            active=name in listing.active,
            autostart=name in listing.autostart,
            persistent=name not in listing.transient,
        )
    except libvirt.libvirtError as error:
        if error.get_error_code() in MISSING:
            return None
        raise


def _read(
    handle: Any, address: Address, *, active: bool, autostart: bool, persistent: bool
) -> Record:
    running = handle.XMLDesc(0) if active and address.kind is Kind.NETWORK else None
    return Record(
        address=address,
        key=handle.UUIDString(),
        document=_persistent(handle, address.kind),
        running=running,
        state=State.RUNNING if active else State.STOPPED,
        autostart=autostart,
        persistent=persistent,
        ports=_ports(handle, running) if running is not None else None,
    )


def _ports(network: Any, running: str) -> frozenset[str] | None:
    """What is plugged into an active network; None if that is not to be had, or not all of it.

    A network that libvirt makes no bridge for keeps its guests while it is down.
    """
    root = etree.fromstring(running.encode())
    if not has_own_bridge(root):
        return None
    try:
        ports = frozenset(port.UUIDString() for port in network.listAllPorts())
    except libvirt.libvirtError as error:
        # The test driver and old libvirts have no ports; it may be down by now; not all may ask.
        if error.get_error_code() not in _NO_PORTS:
            raise
        return None
    # libvirt leaves out, without a word, what polkit does not let the caller see.
    return ports if len(ports) >= int(root.get("connections", "0")) else None


def ports_of(connection: Any, name: str) -> frozenset[str]:
    """What is plugged into a network now; nothing if that cannot be asked."""
    record = record_object(connection, Address("", Kind.NETWORK, name))
    return (record.ports if record is not None else None) or frozenset()


def _persistent(handle: Any, kind: Kind) -> str:
    try:
        document: str = handle.XMLDesc(_INACTIVE[kind])
    except libvirt.libvirtError as error:
        # The test driver knows one definition only, and no flag to ask for the other.
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        document = handle.XMLDesc(0)
    return document


def record_object(connection: Any, address: Address) -> Record | None:
    """One network or pool, looked at now; None if there is none."""
    try:
        handle = getattr(connection, _LOOK_UP[address.kind])(address.name)
        return _read(
            handle,
            address,
            active=bool(handle.isActive()),
            autostart=bool(handle.autostart()),
            persistent=bool(handle.isPersistent()),
        )
    except libvirt.libvirtError as error:
        if error.get_error_code() in MISSING:
            return None
        raise


@dataclass(slots=True)
class VolumeList:
    """The volumes of all active pools, as listed: ``POOL/NAME`` -> handle."""

    handles: dict[str, Any] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def keys(self) -> dict[str, str]:
        """``POOL/NAME`` -> libvirt's key, without a call."""
        return {name: handle.key() for name, handle in self.handles.items()}


def list_volumes(pools: Listing, asked: Iterable[str]) -> VolumeList:
    """List the volumes of all active pools: a call each.

    Args:
        pools: the pools.
        asked: names, ``POOL/NAME``, to look up one by one in pools too big to be listed.

    Raises:
        libvirtError: the host did not answer.
    """
    wanted: dict[str, list[str]] = {}
    for name in asked:
        pool, _, leaf = name.partition("/")
        wanted.setdefault(pool, []).append(leaf)
    active = sorted(name for name in pools.handles if name in pools.active)

    def read(names: list[str]) -> dict[str, tuple[list[Any], bool]]:
        return {name: _volumes(pools.handles[name], wanted.get(name, [])) for name in names}

    parts = side_by_side([partial(read, names) for names in shares(active, _THREADS)])
    by_pool = {name: result for part in parts for name, result in part.items()}
    volumes = VolumeList()
    for pool in active:
        found, whole = by_pool[pool]
        volumes.handles.update((f"{pool}/{volume.name()}", volume) for volume in found)
        if not whole:
            volumes.unread.append(
                f"pool '{pool}' has more volumes than libvirt can list; "
                "only those in the specs and in the claims were looked at"
            )
    return volumes


def _volumes(pool: Any, asked: list[str]) -> tuple[list[Any], bool]:
    try:
        return pool.listAllVolumes(0), True
    except libvirt.libvirtError as error:
        # The pool may be stopped or gone by now: then its volumes are as unknown as of any other.
        if error.get_error_code() in MISSING | {libvirt.VIR_ERR_OPERATION_INVALID}:
            return [], True
        if error.get_error_code() != libvirt.VIR_ERR_RPC:
            raise
    found = (_look_up(pool, leaf) for leaf in asked)
    return [volume for volume in found if volume is not None], False


def _look_up(pool: Any, leaf: str) -> Any:
    try:
        return pool.storageVolLookupByName(leaf)
    except libvirt.libvirtError as error:
        if error.get_error_code() in MISSING | {libvirt.VIR_ERR_OPERATION_INVALID}:
            return None
        raise


def read_volume(handle: Any, address: Address, key: str) -> Record:
    """One volume's document.

    Args:
        handle: its handle.
        address: its own.
        key: what `handle.key()` gives: asked by many threads at once that takes its time.

    Raises:
        libvirtError: it is gone, or the host did not answer.
    """
    return Record(address=address, key=key, document=handle.XMLDesc(0))


def volume_document(connection: Any, path: str) -> str | None:
    """The document of the volume at a path; None if no active pool has it, or none may be read."""
    try:
        document: str = connection.storageVolLookupByPath(path).XMLDesc(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in MISSING | DENIED | {libvirt.VIR_ERR_NO_SUPPORT}:
            return None
        raise
    return document


def record_volume(connection: Any, address: Address) -> Record | None:
    """One volume, looked at now; None if its pool has none, does not run or is not there."""
    try:
        pool = connection.storagePoolLookupByName(address.pool)
        volume = _look_up(pool, address.leaf)
        return read_volume(volume, address, volume.key()) if volume is not None else None
    except libvirt.libvirtError as error:
        if error.get_error_code() in MISSING:
            return None
        raise
