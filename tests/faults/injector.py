"""Faults at a certain call to libvirt: the process ends, libvirt answers an error, the daemon dies.

The injector stands between libvirt-python and its C functions, so it sees every call that kvmplan
makes, from whatever layer and thread. Nothing of it is in kvmplan.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt

from tests.privatehost import PrivateHost
from tests.privatehost.ssh import cut

_KINDS = "vir(Domain|Network|StoragePool|StorageVol|Secret)"
WRITES = re.compile(
    f"{_KINDS}(Define|Create|Undefine|Destroy|Delete|Set|Attach|Detach|Update|Resize|BlockResize"
    "|Build|Refresh|Shutdown|Resume)"
)
READS = re.compile(
    f"(virConnect|virNode|{_KINDS}).*(List|XMLDesc|Lookup|GetInfo|GetState|IsActive|IsPersistent"
    "|GetAutostart|HasManagedSave|Capabilities|SecretGetValue)"
)
SECONDS_INTO_A_CALL = 0.002
MESSAGES = {
    1: "internal error: injected",
    9: "operation failed: injected",
    38: "End of file while reading data: Input/output error",
    55: "Requested operation is not valid: injected",
    67: "unsupported configuration: injected",
    68: "Timed out during operation: injected",
    84: "Operation not supported: injected",
}
GONE = 38
"""The code with which a connection ends; later calls fail as well, until another is opened."""


@dataclass(frozen=True)
class Fault:
    """What happens at which call.

    Attributes:
        kind: ``none``; ``interrupt`` is Ctrl-C, ``terminate`` SIGTERM,
            ``hangup`` SIGHUP, ``insist`` the first two;
            ``kill-before`` and ``kill-after`` end this process; ``fail-before`` and ``fail-after``
            answer an error instead of the call, or once it is done; ``daemon-before`` and
            ``daemon-during`` end libvirtd; ``freeze`` stops it; ``ssh-before`` and ``ssh-during``
            end all sessions of an ssh server.
        at: number of the call, from 1.
        reads: whether reading calls count, too.
        code: libvirt's error code, for ``fail-…``.
        host: the private host, for ``daemon-…`` and ``freeze``.
        server: the ssh server's process, for ``ssh-…``.
    """

    kind: str = "none"
    at: int = 0
    reads: bool = False
    code: int = 1
    host: str = ""
    server: int = 0

    def __str__(self) -> str:
        code = f" with {self.code}" if self.kind.startswith("fail") else ""
        return f"{self.kind}{code} at {'call' if self.reads else 'write'} {self.at}"


class Injector:
    """Stands in for ``libvirtmod``: counts calls, and lets a fault happen at one of them."""

    def __init__(self, real: Any, fault: Fault, log: Path) -> None:
        self._real, self._fault = real, fault
        self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._guard = threading.Lock()
        self._count = 0
        self._broken = False
        self._watchers: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        """A function of libvirt's; one that counts comes with the fault around it."""
        function = getattr(self._real, name)
        if self._broken and name == "virConnectIsAlive":
            return lambda *_: 0
        if name == "virConnectRegisterCloseCallback":
            return lambda *arguments: self._watched(function, arguments)
        if name == "virConnectOpen":
            self._broken = False  # the fault was of the connections before, not of the host
        if WRITES.match(name) or (self._fault.reads and READS.match(name)):
            return lambda *arguments: self._call(name, function, arguments)
        return function

    def _watched(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        self._watchers.append(arguments[1])
        return function(*arguments)

    def _break(self) -> None:
        """The connections end, and libvirt tells it."""
        self._broken = True
        for watcher in self._watchers:
            reason = libvirt.VIR_CONNECT_CLOSE_REASON_EOF
            watcher["cb"](watcher["conn"], reason, watcher["opaque"])
        self._watchers.clear()

    def _call(self, name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        with self._guard:
            self._count += 1
            now = self._count == self._fault.at
            os.write(self._log, f"{name}\n".encode())
        if self._broken:
            raise _error(GONE)
        if not now:
            return function(*arguments)
        return self._happen(function, arguments)

    def _happen(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        fault = self._fault
        match fault.kind:
            case "interrupt":
                os.kill(os.getpid(), signal.SIGINT)
            case "terminate":
                os.kill(os.getpid(), signal.SIGTERM)
            case "hangup":
                os.kill(os.getpid(), signal.SIGHUP)
            case "insist":
                os.kill(os.getpid(), signal.SIGTERM)
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(60)  # the process ends without this thread
            case "kill-before":
                os.kill(os.getpid(), signal.SIGKILL)
            case "kill-after":
                function(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            case "fail-before" | "fail-after":
                if fault.kind == "fail-after":
                    function(*arguments)
                if fault.code == GONE:
                    self._break()
                raise _error(fault.code)
            case "daemon-before":
                PrivateHost(fault.host).kill()
            case "daemon-during":
                return _during(lambda: PrivateHost(fault.host).kill(), function, arguments)
            case "ssh-before":
                cut(fault.server)
            case "ssh-during":
                return _during(lambda: cut(fault.server), function, arguments)
            case "freeze":
                signal_daemon(PrivateHost(fault.host), "STOP")
        return function(*arguments)


def inject(fault: Fault, log: Path) -> None:
    """Put the injector in place; every counted call is noted in `log`, one name a line."""
    libvirt.libvirtmod = Injector(libvirt.libvirtmod, fault, log)


def signal_daemon(host: PrivateHost, name: str) -> None:
    """Send libvirtd of a host a signal."""
    host.run(["sh", "-c", f"kill -{name} $(cat /run/libvirt/libvirtd.pid)"])


def _during(
    hurt: Callable[[], object], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Any:
    """Make a call that something happens in the middle of."""

    def soon() -> None:
        time.sleep(SECONDS_INTO_A_CALL)
        hurt()

    other = threading.Thread(target=soon, daemon=True)
    other.start()
    try:
        return function(*arguments)
    finally:
        other.join()


def _error(code: int) -> libvirt.libvirtError:
    domain = libvirt.VIR_FROM_RPC if code == GONE else libvirt.VIR_FROM_QEMU
    error = libvirt.libvirtError(MESSAGES[code])
    error.err = (code, domain, MESSAGES[code], 2, None, None, None, -1, -1)
    return error
