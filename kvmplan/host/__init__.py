"""libvirt: the only package that imports it, and only when a connection is opened.

Opening and examining, and asking several hosts side by side, is all that the outside needs; the
rest is reached through the port (`kvmplan.apply.port`) that an opened host implements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvmplan.host.connection import default_uri, open_host, open_hosts
    from kvmplan.host.diagnosis import diagnose
    from kvmplan.host.doctor import Finding, examine
    from kvmplan.host.threads import shares, side_by_side, start

__all__ = [
    "Finding",
    "default_uri",
    "diagnose",
    "examine",
    "open_host",
    "open_hosts",
    "shares",
    "side_by_side",
    "start",
]

_HOMES = {
    "default_uri": "connection",
    "open_host": "connection",
    "open_hosts": "connection",
    "diagnose": "diagnosis",
    "examine": "doctor",
    "Finding": "doctor",
    "shares": "threads",
    "side_by_side": "threads",
    "start": "threads",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
