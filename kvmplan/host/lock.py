"""The lock: one run at a time may change what a stack owns on a host.

It is a libvirt secret, whose usage name only one can hold. Its holder raises a beat while it
lives. Whoever finds the beat standing still for a whole lease, by its own clock, may break it;
the clocks of two machines are never compared.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import libvirt

from kvmplan.apply.port import HostError, LockHeld
from kvmplan.apply.who import process
from kvmplan.host import secrets
from kvmplan.host.connection import Connections
from kvmplan.host.errors import translating
from kvmplan.host.threads import attended
from kvmplan.inventory import LockInfo
from kvmplan.mapping.document import own_names
from kvmplan.mapping.foreign import read_json

PREFIX = f"{secrets.PREFIX}lock/"
BEAT_SECONDS = 10.0
LEASE_SECONDS = 60.0
GIVING_BACK = 2
"""How often it is tried: a connection may end in the very call."""
_LOOK_SECONDS = 1.0
_UNSEEN_SECONDS = 5.0
_DOING = "holding the lock"


@dataclass(slots=True)
class Watch:
    """What a contender has seen of the holder, on its own clock."""

    id: str = ""
    beat: int = -1
    since: float = 0.0

    def stalled(self, holder: LockInfo, now: float, lease: float) -> bool:
        """Note the holder's beat; whether it has stood still for a whole lease."""
        if (holder.id, holder.beat) != (self.id, self.beat):
            self.id, self.beat, self.since = holder.id, holder.beat, now
        return now - self.since >= lease


class HeldLock:
    """A stack's lock on one host: held between `__enter__` and `__exit__`.

    Args:
        connections: to the host.
        stack_uid: whose lock.
        operation: what it is held for, in words.
        timeout: seconds to wait for another holder; 0: do not.
        waiting: told who is waited for, at each look.
        beat: seconds between two signs of life.
        lease: seconds without one after which a contender may break the lock.
    """

    def __init__(
        self,
        connections: Connections,
        stack_uid: str,
        operation: str,
        timeout: float,
        waiting: Callable[[LockHeld], None] = lambda _: None,
        *,
        beat: float = BEAT_SECONDS,
        lease: float = LEASE_SECONDS,
    ) -> None:
        self._connections = connections
        self._timeout, self._every, self._lease = timeout, beat, lease
        self._waiting = waiting
        self._info = LockInfo(
            id=str(uuid.uuid4()),
            stack_uid=stack_uid,
            who=process(),
            operation=operation,
            since=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        self._lost = threading.Event()
        self._done = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="kvmplan-lock", daemon=True)

    @property
    def info(self) -> LockInfo:
        """Who holds it: this run."""
        return self._info

    def __enter__(self) -> Self:
        """Take it.

        Raises:
            LockHeld: another run has it, and still had it at the end of the timeout.
            HostError: the host did not do it.
        """
        with translating("taking the lock"):
            attended(self._connections.alive, self._acquire, "taking the lock")
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give it back. A host that is gone keeps it until its lease is over."""
        self._done.set()
        for _ in range(GIVING_BACK):
            with suppress(libvirt.libvirtError, HostError):
                self._connections.renew()
                attended(self._connections.alive, self._release, "giving the lock back")
                return

    def _release(self) -> None:
        # A beat under way would bring the secret back.
        self._renewer.join()
        secrets.undefine(self._connections.next(), self._info.id)

    def check(self) -> None:
        """Look whether it is still ours.

        Raises:
            HostError: it was broken or removed, or the host does not answer.
        """
        if self._lost.is_set() or not self._look():
            self._lost.set()
            raise HostError("the lock was lost: another run broke or removed it", doing=_DOING)

    def _look(self) -> bool:
        """Whether it is there; asked again if the host could be reached again."""

        def look() -> bool:
            with translating(_DOING):
                return attended(self._connections.alive, self._is_there, _DOING)

        return self._connections.again(look)

    def _is_there(self) -> bool:
        return secrets.exists(self._connections.next(), self._info.id)

    def _acquire(self) -> None:
        deadline = time.monotonic() + self._timeout
        watch = Watch()
        while True:
            try:
                self._write(self._info)
                return
            except secrets.UsageTaken:
                holder = self._holder()
            now = time.monotonic()
            if holder is None:
                self._unseen(now - deadline)
                continue
            if watch.stalled(holder, now, self._lease):
                secrets.undefine(self._connections.next(), holder.id)
                continue
            if now >= deadline:
                raise LockHeld(holder)
            self._waiting(LockHeld(holder))
            time.sleep(min(_LOOK_SECONDS, deadline - now))

    @staticmethod
    def _unseen(late: float) -> None:
        """The name was taken and nobody is seen: mostly given back between the two looks."""
        if late > _UNSEEN_SECONDS:
            raise HostError("the lock's name is taken by a secret that we may not see")
        time.sleep(_UNSEEN_SECONDS / 100)

    def _holder(self) -> LockInfo | None:
        uid = self._info.stack_uid
        locks = held(self._connections.next(), PREFIX + uid)
        return next((lock for lock in locks if lock.stack_uid == uid), None)

    def _write(self, info: LockInfo) -> None:
        text = json.dumps(
            {
                "format": 1,
                "who": info.who,
                "operation": info.operation,
                "since": info.since,
                "beat": info.beat,
            }
        )
        secrets.define(self._connections.next(), info.id, PREFIX + info.stack_uid, text)

    def _renew(self) -> None:
        own_names()
        while not self._done.wait(self._every):
            self._connections.renew()
            try:
                if not secrets.exists(self._connections.next(), self._info.id):
                    self._lost.set()
                    return
                beating = replace(self._info, beat=self._info.beat + 1)
                self._write(beating)
                self._info = beating
            except secrets.UsageTaken:
                self._lost.set()
                return
            except (libvirt.libvirtError, HostError):
                # Not known to be lost; `check` asks the host before every step, and says so then.
                continue


def held(connection: Any, prefix: str = PREFIX) -> tuple[LockInfo, ...]:
    """The locks on a host, by stack uid.

    Raises:
        libvirtError: the host did not answer.
    """
    locks = (_decode(secret) for secret in secrets.listed(connection, prefix))
    return tuple(lock for lock in locks if lock is not None)


def force(connection: Any, lock_id: str) -> bool:
    """Remove the lock with this id, if it is one of ours; False if there is none.

    Raises:
        libvirtError: the host did not do it.
    """
    ids = {secret.uuid for secret in secrets.listed(connection, PREFIX)}
    return lock_id in ids and secrets.undefine(connection, lock_id)


def _decode(secret: secrets.SecretHandle) -> LockInfo | None:
    """A lock that cannot be read still holds: it has an id to remove it by."""
    text = secret.text()
    if text is None:
        return None
    try:
        content = read_json(text)
        beat = int(content["beat"])
        who, operation, since = (str(content[key]) for key in ("who", "operation", "since"))
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        who, operation, since, beat = "unknown", "unreadable lock", "unknown", 0
    return LockInfo(secret.uuid, secret.usage[len(PREFIX) :], who, operation, since, beat)
