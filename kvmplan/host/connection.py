"""Connections to a host: a few, shared by threads in turn, with keepalive so that nothing hangs."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from kvmplan.address import LOCAL
from kvmplan.apply.port import ConnectionLost, HostError
from kvmplan.host.diagnosis import CONNECTING, denied
from kvmplan.host.library import load
from kvmplan.host.threads import side_by_side, start

if TYPE_CHECKING:
    from kvmplan.host.live import LibvirtHost

T = TypeVar("T")

KEEPALIVE_SECONDS, KEEPALIVE_MISSES = 5, 3
"""A daemon that is silent for their product is given up."""
RENEWAL_SECONDS = 10.0
"""How long it may take to reach a host again that was lost."""
_MOMENT_SECONDS = 0.02
"""How long connections that were alive are taken to be; a call that is lost ends that."""
_TELLING_SECONDS = 2.0
"""How long libvirt may take to tell the end of a connection; its loop turns four times a second."""


_LEFT: list[Any] = []
"""Dead connections, kept so that nothing is freed under a call that hangs on one."""


class Connections:
    """The connections to one host; the first is opened at once, others when they are needed."""

    def __init__(self, uri: str, *, read_only: bool, limit: int) -> None:
        """Open the first connection.

        Raises:
            HostError: the host cannot be reached or refuses.
            Failure: KVP501, libvirt-python is missing.
        """
        self.uri = uri
        self._libvirt: ModuleType = load()
        # A test driver's file is private to its connection: a second one would see other objects.
        self._limit = 1 if urlsplit(uri).scheme.startswith("test") else max(1, limit)
        self._guard = threading.Lock()
        self._renewal = threading.Lock()
        self._is_kept = self._is_gone = False
        self._ended: list[Any] = []
        self.read_only = read_only
        self._open: list[Any] = [self._first()]
        self._turns = itertools.count()
        self._seen_alive = float("-inf")

    @property
    def main(self) -> Any:
        """The first connection, for whatever is asked once."""
        return self._open[0]

    def next(self) -> Any:
        """A connection, in turn."""
        connections = self.spread() if self._limit > 1 else self._open
        return connections[next(self._turns) % len(connections)]

    def spread(self) -> tuple[Any, ...]:
        """All the connections that this host may have, opened now if they are not yet."""
        with self._guard:
            while len(self._open) < self._limit:
                self._open.append(self._connect(self.read_only))
                if self._is_kept:
                    self._watch(self._open[-1])
            return tuple(self._open)

    def alive(self) -> bool:
        """Whether none of them is known to be dead, or they are being renewed: costs no call."""
        return self._renewal.locked() or self._are_alive()

    def _are_alive(self) -> bool:
        return all(connection.isAlive() for connection in tuple(self._open))

    def keep(self) -> None:
        """From now on have those replaced that end (`renew`): asks each something, once."""
        with self._guard:
            if not self._is_kept:
                self._is_kept = True
                for connection in self._open:
                    self._watch(connection)

    def _watch(self, connection: Any) -> None:
        # Nothing tells of it where a driver cannot: then it is not replaced.
        with suppress(self._libvirt.libvirtError):
            connection.registerCloseCallback(self._told, None)

    def _told(self, connection: Any, reason: int, _: None) -> None:
        """A connection has ended, and no call hangs on it: libvirt tells nothing until then.

        A host that became silent is not asked again.
        """
        if reason in (
            self._libvirt.VIR_CONNECT_CLOSE_REASON_EOF,
            self._libvirt.VIR_CONNECT_CLOSE_REASON_ERROR,
        ):
            self._ended.append(connection)

    def renew(self) -> bool:
        """Open others in place of those that have ended; that costs no call while all live.

        While calls hang on a dead connection (`kvmplan.host.threads`) none may be opened: what they
        wait for would be given to the new one, and libvirt would crash this process (measured). So
        only connections are replaced whose end libvirt tells. A host that cannot be reached again
        is given up for good.

        Returns:
            Whether all of them live.
        """
        if self._are_alive():
            return True
        with self._renewal:
            if not self._is_gone and not self._are_alive():
                self._is_gone = not (self._have_ended() and self._is_reached())
            return not self._is_gone

    def on_living(self, work: Callable[[], T]) -> T:
        """Begin something on living connections. Raises what it raises.

        Calls of one moment share a look: asking libvirt is cheap, and slow where many threads do.
        """
        now = time.monotonic()
        if now - self._seen_alive > _MOMENT_SECONDS and self.renew():
            self._seen_alive = now
        try:
            return work()
        except ConnectionLost:
            self._seen_alive = float("-inf")
            raise

    def again(self, work: Callable[[], T]) -> T:
        """Do what only reads; do it again, once for each connection that may have ended meanwhile.

        Raises:
            ConnectionLost: the host cannot be reached again.
        """
        for _ in range(self._limit):
            try:
                return work()
            except ConnectionLost:
                if not self.renew():
                    raise
        return work()

    def _have_ended(self) -> bool:
        """Whether libvirt has told the end of all dead connections, waited for."""
        deadline = time.monotonic() + _TELLING_SECONDS
        while self._is_kept and time.monotonic() < deadline:
            dead = [connection for connection in self._open if not connection.isAlive()]
            if all(any(it is ended for ended in self._ended) for it in dead):
                return True
            time.sleep(_TELLING_SECONDS / 100)
        return False

    def _is_reached(self) -> bool:
        """Try to open others, in time."""
        attempt = start(self._reopen)
        try:
            return attempt.wait(RENEWAL_SECONDS) and attempt.result()
        except HostError:
            return False

    def _reopen(self) -> bool:
        """Open others in place of the dead; whether they live. Raises HostError."""
        for place, dead in enumerate(tuple(self._open)):
            if dead.isAlive():
                continue
            opened = self._connect(self.read_only)
            self._watch(opened)
            with self._guard:
                _LEFT.append(dead)
                self._open[place] = opened
        return self._are_alive()

    def close(self) -> None:
        """Close all; what a dying connection says to that does not matter.

        A dead one may still have calls hanging on it (`kvmplan.host.threads`). To close it would
        free what they use, and libvirt would crash this process when they wake: it is left open.
        """
        with self._guard:
            for connection in self._open:
                if not connection.isAlive():
                    _LEFT.append(connection)
                    continue
                if self._is_kept:
                    with suppress(self._libvirt.libvirtError):
                        connection.unregisterCloseCallback()
                with suppress(self._libvirt.libvirtError):
                    connection.close()

    def _first(self) -> Any:
        try:
            return self._connect(self.read_only)
        except HostError as error:
            if self.read_only or not denied(error):
                raise
            self.read_only = True
            try:
                return self._connect(True)
            except HostError:
                raise error from None

    def _connect(self, read_only: bool) -> Any:
        from kvmplan.host.errors import translate, translating

        libvirt = self._libvirt
        with translating(f"{CONNECTING} {self.uri}"):
            opener = libvirt.openReadOnly if read_only else libvirt.open
            connection = opener(self.uri)
        try:
            connection.setKeepAlive(KEEPALIVE_SECONDS, KEEPALIVE_MISSES)
        except libvirt.libvirtError as error:
            # Drivers inside this process and very old daemons have none, and work without.
            if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
                connection.close()
                raise translate(error, f"{CONNECTING} {self.uri}") from error
        return connection


def default_uri() -> str:
    """Where a stack without hosts lives."""
    return os.environ.get("LIBVIRT_DEFAULT_URI") or "qemu:///system"


def open_host(
    name: str = LOCAL, uri: str | None = None, *, read_only: bool = False, connections: int = 2
) -> LibvirtHost:
    """Connect to a host.

    Args:
        name: the host's name in the stack.
        uri: its libvirt URI; None is `default_uri`.
        read_only: use libvirt's read-only socket. It is used, too, where the other one refuses us.
        connections: how many connections bulk work may use.

    Raises:
        HostError: it cannot be reached; `diagnose` says what to do.
        Failure: KVP501, libvirt-python is missing.
    """
    opened = Connections(uri or default_uri(), read_only=read_only, limit=connections)
    from kvmplan.host.live import LibvirtHost

    try:
        return LibvirtHost(name, opened)
    except BaseException:
        opened.close()
        raise


def open_hosts(
    uris: Mapping[str, str | None], *, read_only: bool = False, connections: int = 2
) -> tuple[dict[str, LibvirtHost], dict[str, HostError]]:
    """Connect to several hosts side by side.

    Returns:
        The hosts that answered, and why the others did not; by name, in the order given.

    Raises:
        Failure: KVP501, libvirt-python is missing.
    """
    load()

    def attempt(name: str) -> LibvirtHost | HostError:
        try:
            return open_host(name, uris[name], read_only=read_only, connections=connections)
        except HostError as error:
            return error

    hosts: dict[str, LibvirtHost] = {}
    errors: dict[str, HostError] = {}
    for name, result in zip(uris, side_by_side([partial(attempt, n) for n in uris]), strict=True):
        if isinstance(result, HostError):
            errors[name] = result
        else:
            hosts[name] = result
    return hosts, errors
