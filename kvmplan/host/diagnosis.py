"""Diagnostics for what goes wrong between us and a host: what it means and what to do about it."""

from __future__ import annotations

from urllib.parse import urlsplit

from kvmplan.apply.port import ClaimsUnreadable, ConnectionLost, HostError
from kvmplan.diagnostics import Diagnostic, Severity

CONNECTING = "connecting to"
"""How `HostError.doing` begins for what failed before there was a connection."""

_DENIED = ("Permission denied", "authentication failed", "Authentication failed", "access denied")
_DENIED_CODES = frozenset(
    {"VIR_ERR_AUTH_FAILED", "VIR_ERR_AUTH_CANCELLED", "VIR_ERR_AUTH_UNAVAILABLE"}
    | {"VIR_ERR_ACCESS_DENIED", "VIR_ERR_OPERATION_DENIED"}
)
_UNKNOWN_HOST = ("Unable to resolve address", "Could not resolve", "Name or service not known")
_DRIVERS = ("qemu", "test", "remote", "lxc", "xen", "ch", "bhyve", "vz", "vbox", "esx", "hyperv")
_SSH = ("ssh", "Cannot recv data", "Host key verification")


def diagnose(error: HostError, host: str, uri: str) -> Diagnostic:
    """What a user is told when `host` at `uri` answered with `error`."""
    connecting = error.doing.startswith(CONNECTING)
    if denied(error):
        return _error("KVP503", f"host '{host}': {uri} refuses access: {error}", _permission(uri))
    if connecting:
        return _error(
            "KVP502", f"host '{host}': cannot connect to {uri}: {error}", _reach(error, uri)
        )
    if isinstance(error, ConnectionLost):
        remedy = "whatever was under way is unknown; run kvmplan again once the host answers"
        return _error("KVP504", f"host '{host}': the connection to {uri} was lost: {error}", remedy)
    if isinstance(error, ClaimsUnreadable):
        remedy = (
            "use the kvmplan that wrote them, or a newer one"
            if error.newer
            else "`kvmplan doctor --repair` says what can be rebuilt"
        )
        return _error("KVP515", f"host '{host}': {error}", remedy)
    doing = f" while {error.doing}" if error.doing else ""
    name = f" ({error.name})" if error.name else ""
    return _error("KVP505", f"host '{host}': libvirt refused{doing}: {error}{name}", None)


def denied(error: HostError) -> bool:
    """Whether it is a matter of permission."""
    return error.name in _DENIED_CODES or any(text in error.message for text in _DENIED)


def is_local(uri: str) -> bool:
    """Whether a URI leads to this very machine."""
    parts = urlsplit(uri)
    return parts.netloc in ("", "localhost") and parts.scheme.partition("+")[2] in ("", "unix")


def _error(code: str, summary: str, remedy: str | None) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, summary, remedy=remedy)


def _permission(uri: str) -> str:
    if is_local(uri):
        return "join the group (usermod -aG libvirt USER, then log in again), or run it with sudo"
    if "ssh" in uri.partition(":")[0]:
        return "check that ssh logs in without a password, as a user of the host's group libvirt"
    return "check the credentials and what the host's libvirt allows this client"


def _reach(error: HostError, uri: str) -> str:
    scheme = urlsplit(uri).scheme
    known = scheme.partition("+")[0] in _DRIVERS
    # A local libvirtd is asked about drivers that this client does not know.
    if not known or error.name == "VIR_ERR_NO_CONNECT":
        return "write a libvirt URI, such as qemu:///system or qemu+ssh://root@HOST/system"
    if any(text in error.message for text in _UNKNOWN_HOST):
        return "check the host's name in the URI and that this machine can resolve it"
    if "ssh" in scheme and any(text in error.message for text in _SSH):
        login = urlsplit(uri).netloc or "HOST"
        return f"check that this works without a question: ssh {login} virsh version"
    if is_local(uri):
        return (
            "start the daemon: systemctl start libvirtd (or virtqemud.socket); then kvmplan doctor"
        )
    return "check that the host is up and that its libvirt listens for this transport"
