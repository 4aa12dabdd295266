"""libvirt's errors, translated once, by their code; nothing above here sees the originals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import libvirt

from kvmplan.apply.port import ConnectionLost, Held, HostError, NotLive, TimedOut, Vanished

MISSING = frozenset(
    {
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_NETWORK,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_NO_SECRET,
    }
)
"""Codes that say that an object is not there."""

DENIED = frozenset({libvirt.VIR_ERR_ACCESS_DENIED, libvirt.VIR_ERR_OPERATION_DENIED})
"""Codes that say that the caller may not."""

_COLD = frozenset(
    {
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_OPERATION_UNSUPPORTED,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
        libvirt.VIR_ERR_DEVICE_MISSING,
    }
)
_COLD_MESSAGES = (
    "does not support hotplug",
    "No more available PCI",
    "No free ",
    "cannot be hot",
    "Could not set password",
    # The guest has locked the tray: it reads from the medium.
    "waiting to open tray",
    "is locked and force was not specified",
)
_LOCKED = '"write" lock'
"""QEMU's words for an image that others have open: ``Failed to get shared "write" lock``."""
_TRANSPORT = frozenset({libvirt.VIR_ERR_SSH, libvirt.VIR_ERR_LIBSSH})
_LEVELS = frozenset({"VIR_ERR_NONE", "VIR_ERR_WARNING", "VIR_ERR_ERROR"})


@cache
def _names() -> dict[int, str]:
    return {
        value: name
        for name, value in vars(libvirt).items()
        if name.startswith("VIR_ERR_") and name not in _LEVELS
    }


def translate(error: libvirt.libvirtError, doing: str = "", *, live: bool = False) -> HostError:
    """The `HostError` that says the same.

    Args:
        error: what libvirt raised.
        doing: what was tried, in words.
        live: whether a running object was to be changed: only then "unsupported" means `NotLive`.
    """
    code: int = error.get_error_code() or 0
    message = (error.get_error_message() or str(error)).strip()
    kind: type[HostError] = HostError
    if _lost(error, code):
        kind = ConnectionLost
    elif code in MISSING:
        kind = Vanished
    elif code == libvirt.VIR_ERR_OPERATION_TIMEOUT:
        kind = TimedOut
    elif live and _LOCKED in message:
        kind = Held
    elif live and (code in _COLD or any(text in message for text in _COLD_MESSAGES)):
        kind = NotLive
    return kind(message, code=code, name=_names().get(code, ""), doing=doing)


def _lost(error: libvirt.libvirtError, code: int) -> bool:
    """Whether the connection is dead; VIR_ERR_RPC, too much for one message, does not say so."""
    if code in _TRANSPORT:
        return True
    dead = (
        libvirt.VIR_ERR_INTERNAL_ERROR,
        libvirt.VIR_ERR_SYSTEM_ERROR,
        libvirt.VIR_ERR_NO_CONNECT,
    )
    rpc = (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
    return code in dead and error.get_error_domain() in rpc


@contextmanager
def translating(doing: str = "", *, live: bool = False) -> Iterator[None]:
    """Let no libvirtError out: raise what it means instead."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise translate(error, doing, live=live) from error
