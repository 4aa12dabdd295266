"""Reading many documents: a few threads on a few connections, as fast as libvirt answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import libvirt

from kvmplan.host.connection import Connections
from kvmplan.host.errors import MISSING
from kvmplan.host.threads import side_by_side

THREADS = 8
_SERIAL_UP_TO = 12
_ONE_CONNECTION_UP_TO = 200
"""Listing everything on one more connection costs as much as reading a few documents."""


def read_all(
    connections: Connections,
    names: Sequence[str],
    handles: Mapping[str, Any],
    more: Callable[[Any], Mapping[str, Any]],
    read: Callable[[Any, str], None],
) -> None:
    """Read an object by each of its names, about in their order; what has vanished is left out.

    Args:
        connections: where.
        names: what to read.
        handles: libvirt's objects by name, on the main connection.
        more: makes the same for another connection.
        read: reads one, given its handle and name; may raise libvirtError.

    Raises:
        libvirtError: any other failure of one of them.
    """
    queue = deque(names)

    def work(by_name: Mapping[str, Any]) -> None:
        while queue:
            try:
                name = queue.popleft()
            except IndexError:
                return
            handle = by_name.get(name)
            if handle is None:
                continue
            try:
                read(handle, name)
            except libvirt.libvirtError as error:
                if error.get_error_code() not in MISSING:
                    queue.clear()
                    raise

    if len(names) <= _SERIAL_UP_TO:
        work(handles)
    else:
        _in_threads(connections, len(names), handles, more, work)


def _in_threads(
    connections: Connections,
    count: int,
    handles: Mapping[str, Any],
    more: Callable[[Any], Mapping[str, Any]],
    work: Callable[[Mapping[str, Any]], None],
) -> None:
    """Threads on the main connection start at once; those on others when these have listed."""
    few = count <= _ONE_CONNECTION_UP_TO
    others = () if few else connections.spread()[1:]
    share = THREADS // (1 + len(others)) or 1

    def elsewhere(connection: Any) -> None:
        by_name = more(connection)
        side_by_side([lambda: work(by_name)] * share)

    here: list[Callable[[], None]] = [lambda: work(handles)] * share
    there: list[Callable[[], None]] = [partial(elsewhere, connection) for connection in others]
    side_by_side(there + here)
