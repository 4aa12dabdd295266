"""Domains, read: what there is, what each is doing, and their documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import libvirt

from kvmplan.address import Address, Kind
from kvmplan.host.stores import volume_document
from kvmplan.inventory import EMPTY, Record, State

_STATES = {
    libvirt.VIR_DOMAIN_PAUSED: State.PAUSED,
    libvirt.VIR_DOMAIN_SHUTOFF: State.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: State.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: State.SUSPENDED,
}
"""All others run: a guest that is shutting down, or blocked, is not down."""

_NO_IMAGE = (libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_SUPPORT)
_GONE = (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT)

_REASONS = {
    libvirt.VIR_DOMAIN_PAUSED: "VIR_DOMAIN_PAUSED_",
    libvirt.VIR_DOMAIN_CRASHED: "VIR_DOMAIN_CRASHED_",
    libvirt.VIR_DOMAIN_PMSUSPENDED: "VIR_DOMAIN_PMSUSPENDED_",
}
_REASON_NAMES: Mapping[tuple[int, int], str] = {
    (state, value): name.removeprefix(prefix).lower().replace("_", "-")
    for state, prefix in _REASONS.items()
    for name, value in vars(libvirt).items()
    if name.startswith(prefix) and not name.endswith("_LAST")
}


@dataclass(slots=True)
class DomainList:
    """All domains of a host, as a handful of calls tell."""

    handles: dict[str, Any]
    states: dict[str, tuple[State, str]] = field(default_factory=dict)
    """State and reason of those that are not simply stopped."""
    autostart: Set[str] = frozenset()
    saved: Set[str] = frozenset()
    transient: Set[str] = frozenset()
    whole: bool = True
    """False: there are too many to list, and these are the ones asked for."""

    def state(self, name: str) -> tuple[State, str]:
        """What a domain is doing, and why where that matters."""
        return self.states.get(name, (State.STOPPED, ""))


def handles_by_name(connection: Any, flags: int = 0) -> dict[str, Any]:
    """The domains that the flags select."""
    return {domain.name(): domain for domain in connection.listAllDomains(flags)}


def all_names(connection: Any) -> frozenset[str] | None:
    """The names of all domains; None if there are more than libvirt can list."""
    try:
        return _names(connection, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_RPC:
            raise
        return None


def list_domains(connection: Any, asked: Callable[[], Set[str]]) -> DomainList:
    """List all domains and their states: calls that do not grow in number with the domains.

    Args:
        connection: where.
        asked: gives the names to look up one by one if there are more than libvirt can list.

    Raises:
        libvirtError: the host did not answer.
    """
    try:
        domains = DomainList(handles_by_name(connection))
        _flags(connection, domains)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_RPC:
            raise
        return _asked(connection, asked())
    return domains


def _flags(connection: Any, domains: DomainList) -> None:
    for name in handles_by_name(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING):
        domains.states[name] = (State.RUNNING, "")
    domains.autostart = _names(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART)
    domains.saved = _names(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE)
    domains.transient = _names(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)
    odd = libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED | libvirt.VIR_CONNECT_LIST_DOMAINS_OTHER
    special = connection.listAllDomains(odd)
    if special:
        domains.states.update(_states(connection, special))


def _names(connection: Any, flags: int) -> frozenset[str]:
    return frozenset(handles_by_name(connection, flags))


def _states(connection: Any, handles: list[Any]) -> dict[str, tuple[State, str]]:
    wanted = libvirt.VIR_DOMAIN_STATS_STATE
    # Without NOWAIT one guest whose monitor hangs would hold up the answer for all.
    nowait = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT
    try:
        stats = connection.domainListGetStats(handles, wanted, nowait)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        stats = connection.domainListGetStats(handles, wanted, 0)
    return {
        domain.name(): decode_state(values["state.state"], values.get("state.reason", 0))
        for domain, values in stats
    }


def decode_state(state: int, reason: int) -> tuple[State, str]:
    """What the two numbers of a domain's state say, in our words."""
    return _STATES.get(state, State.RUNNING), _REASON_NAMES.get((state, reason), "")


def _asked(connection: Any, asked: Set[str]) -> DomainList:
    domains = DomainList({}, whole=False)
    autostart: set[str] = set()
    saved: set[str] = set()
    transient: set[str] = set()
    for name in sorted(asked):
        handle = look_up(connection, name)
        if handle is None:
            continue
        domains.handles[name] = handle
        domains.states[name] = decode_state(*handle.state())
        for members, holds in (
            (autostart, handle.autostart()),
            (saved, handle.hasManagedSaveImage()),
            (transient, not handle.isPersistent()),
        ):
            if holds:
                members.add(name)
    domains.autostart, domains.saved, domains.transient = autostart, saved, transient
    return domains


def look_up(connection: Any, name: str) -> Any:
    """The domain's handle; None if there is none."""
    try:
        return connection.lookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def read_domain(handle: Any, address: Address, domains: DomainList, *, secure: bool) -> Record:
    """One domain's documents: persistent, and running if something runs.

    Raises:
        libvirtError: it is gone, or the host did not answer.
    """
    name = address.name
    state, reason = domains.state(name)
    flags = libvirt.VIR_DOMAIN_XML_INACTIVE | (libvirt.VIR_DOMAIN_XML_SECURE if secure else 0)
    active = state in (State.RUNNING, State.PAUSED, State.SUSPENDED)
    document, running = handle.XMLDesc(flags), handle.XMLDesc(0) if active else None
    return Record(
        address=address,
        key=handle.UUIDString(),
        document=document,
        running=running,
        state=state,
        reason=reason,
        persistent=name not in domains.transient,
        autostart=name in domains.autostart,
        managed_save=name in domains.saved,
        saved=_saved(handle) if name in domains.saved and not active else None,
        bases=_bases(handle, document, running),
        secure=secure,
    )


def _saved(handle: Any) -> str | None:
    """What a saved guest goes on with; None if the driver cannot say."""
    try:
        document: str = handle.managedSaveGetXMLDesc(0)
    except libvirt.libvirtError as error:
        # The image may be gone by now; the test driver knows no way to look into one.
        if error.get_error_code() not in _NO_IMAGE:
            raise
        return None
    return document


def _bases(handle: Any, document: str, running: str | None) -> Mapping[str, str]:
    """What the storage says of the chains in a persistent document; most have none."""
    if "<backingStore" not in document:
        return EMPTY
    from kvmplan.plan.chains import known_bases

    connection = handle.connect()
    return known_bases(document, running, lambda path: volume_document(connection, path))


def read_snapshots(connection: Any) -> dict[str, tuple[str, ...]]:
    """The metadata of all snapshots, by domain: a call, and one more for each that there is.

    Raises:
        libvirtError: the host did not answer.
    """
    found: dict[str, tuple[str, ...]] = {}
    try:
        holders = handles_by_name(connection, libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_RPC:
            raise
        # Too many to be listed: `DomainList.whole` says so.
        return found
    for name, handle in sorted(holders.items()):
        try:
            found[name] = tuple(s.getXMLDesc(0) for s in handle.listAllSnapshots(0))
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _GONE:
                raise
    return found


def _read_known(handle: Any, address: Address, *, secure: bool) -> Record | None:
    """The persistent document by a handle; None if that does not lead to this very name now."""
    try:
        record = read_domain(handle, address, DomainList({}, whole=False), secure=secure)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
            raise
        return None
    return record if f"<name>{address.name}</name>" in record.document else None


def record_domain(
    connection: Any, address: Address, known: Any = None, *, secure: bool, brief: bool = False
) -> Record | None:
    """One domain, looked at now; None if there is none.

    Args:
        connection: where.
        address: its own.
        known: its handle, if it was defined right now.
        secure: with its secrets.
        brief: asks for its persistent document only, and leaves the rest at its defaults.
    """
    assert address.kind is Kind.DOMAIN
    if brief:
        nothing_else = DomainList({}, whole=False)
        record = _read_known(known, address, secure=secure) if known is not None else None
        if record is not None:
            return record
        handle = look_up(connection, address.name)
        return read_domain(handle, address, nothing_else, secure=secure) if handle else None
    domains = _asked(connection, {address.name})
    handle = domains.handles.get(address.name)
    return read_domain(handle, address, domains, secure=secure) if handle is not None else None
