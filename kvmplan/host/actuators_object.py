"""Verbs that networks, pools and domains share: define, undefine, start, stop, autostart."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import libvirt

from kvmplan.address import Kind
from kvmplan.host.verb import Target, code_of, is_missing, verb
from kvmplan.kinds.verbs import Verb

_one_network_at_a_time = Lock()
"""libvirt 9.0 gives two networks that are defined at the same moment the same bridge name, and then
refuses every redefinition of either: "bridge name 'virbr7' already in use"."""


@verb(Verb.DEFINE)
def define(target: Target, *, xml: str) -> Any:
    """Write the persistent definition; gives the handle of a domain."""
    connection = target.connection
    match target.address.kind:
        case Kind.NETWORK:
            with _one_network_at_a_time:
                connection.networkDefineXML(xml)
        case Kind.POOL:
            connection.storagePoolDefineXML(xml, 0)
        case Kind.DOMAIN:
            return connection.defineXML(xml)
        case Kind.VOLUME:
            raise ValueError("a volume is created, not defined")
    return None


@verb(Verb.UNDEFINE)
def undefine(target: Target, *, keep_state: bool = True) -> None:
    """Remove the persistent definition; gone already is as good.

    With `keep_state` what a guest has written beside its disks stays: UEFI variables and a TPM's
    state; and a domain with a managed save image is not undefined.
    """
    try:
        handle = target.find()
        if target.address.kind is Kind.DOMAIN:
            _undefine_domain(handle, keep_state)
        else:
            handle.undefine()
    except libvirt.libvirtError as error:
        if not is_missing(error):
            raise


def _undefine_domain(domain: Any, keep_state: bool) -> None:
    saved: int = 0 if keep_state else libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    metadata: int = libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    checkpoints: int = libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    if keep_state:
        state = libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_TPM
    else:
        state = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_TPM
    try:
        domain.undefineFlags(saved | metadata | checkpoints | state)
    except libvirt.libvirtError as error:
        # A driver or a daemon that knows fewer flags refuses all of them; but without KEEP_TPM the
        # TPM's state would be deleted, so a domain that has such state is not tried with fewer.
        if code_of(error) != libvirt.VIR_ERR_INVALID_ARG or (keep_state and _has_state(domain)):
            raise
        domain.undefineFlags(saved | metadata)


def _has_state(domain: Any) -> bool:
    document: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    return "<tpm " in document or "<nvram" in document


@verb(Verb.START)
def start(target: Target) -> None:
    """Start it; running already is as good."""
    handle = target.find()
    _unless(lambda: bool(handle.isActive()), lambda: _create(handle))


def _create(handle: Any) -> None:
    """Start it, a second time if its control groups were taken away while libvirt made them.

    Without systemd-machined libvirt itself makes the group of all guests when the first one starts.
    Guests that start side by side trip over each other there (libvirt 9.0, once in some hundred
    times): "Unable to write to '/sys/fs/cgroup/cpuset/machine/...': No such file or directory".
    """
    try:
        handle.create()
    except libvirt.libvirtError as error:
        # Only the message tells it from other errors of the system; a path is in no language.
        if code_of(error) != libvirt.VIR_ERR_SYSTEM_ERROR or "/cgroup/" not in str(error):
            raise
        handle.create()


@verb(Verb.STOP)
def stop(target: Target) -> None:
    """Stop a network or pool, power a domain off; stopped or gone already is as good."""
    try:
        handle = target.find()
        _unless(lambda: not handle.isActive(), handle.destroy)
    except libvirt.libvirtError as error:
        if not is_missing(error):
            raise


@verb(Verb.SET_AUTOSTART)
def set_autostart(target: Target, *, on: bool) -> None:
    """Whether it starts with the host."""
    target.find().setAutostart(int(on))


def _unless(done: Callable[[], bool], act: Callable[[], Any]) -> None:
    """Act; if libvirt finds the state wrong for it, see whether it is the state we want."""
    try:
        act()
    except libvirt.libvirtError as error:
        if code_of(error) != libvirt.VIR_ERR_OPERATION_INVALID or not done():
            raise
