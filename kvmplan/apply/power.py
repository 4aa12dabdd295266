"""Power: starting, stopping and restarting guests by hand, outside of any plan.

The same verbs as in a plan, with the same patience; what others do to a guest is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from kvmplan.address import Address
from kvmplan.apply.port import Host, HostError
from kvmplan.apply.problems import Busy, not_restarted
from kvmplan.apply.work import has_agent
from kvmplan.inventory import Record, State
from kvmplan.kinds.verbs import Verb
from kvmplan.plan.steps import BACK_TIMEOUT

SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things may take, in seconds.

    Attributes:
        shutdown: for the guest to go down.
        force: whether it is powered off then.
        jobs: for others to end what they do to it.
    """

    shutdown: float
    force: bool
    jobs: float


class Unable(Exception):
    """A guest is in a state from which that cannot be done. The message says which."""


def start(host: Host, record: Record, patience: Patience, tell: Callable[[str], None]) -> str:
    """Start a guest, or resume one that a user paused; what was done, in words.

    Raises:
        Unable, Busy, HostError: it was not.
    """
    address = record.address
    _wait_for_jobs(host, address, patience, tell)
    if record.state is State.RUNNING:
        return "runs already"
    if record.state is State.PAUSED and record.reason in ("", "user", "unknown"):
        host.perform(Verb.RESUME, address, {})
        return "resumed"
    if record.active:
        why = record.reason or record.state.value
        raise Unable(f"{address.short} is {record.state} ({why}), which kvmplan never resumes")
    host.perform(Verb.START, address, {})
    return "started"


def stop(host: Host, record: Record, patience: Patience, tell: Callable[[str], None]) -> str:
    """Ask a guest to shut down and wait; what was done, in words.

    Raises:
        Busy, HostError: it was not.
    """
    if not record.active:
        return "is off already"
    _wait_for_jobs(host, record.address, patience, tell)
    _shut_down(host, record.address, patience)
    return "stopped"


def restart(host: Host, record: Record, patience: Patience, tell: Callable[[str], None]) -> str:
    """Shut a guest down, start it, and wait until it is back; what was done, in words.

    Raises:
        Unable, Busy, NotRestarted, HostError: it was not.
    """
    address = record.address
    if record.state is not State.RUNNING:
        raise Unable(f"{address.short} is not running: there is nothing to restart; start it")
    _wait_for_jobs(host, address, patience, tell)
    arguments = {"timeout": BACK_TIMEOUT, "agent": has_agent(record)}
    verb = Verb.SHUTDOWN
    try:
        _shut_down(host, address, patience)
        verb = Verb.START
        host.perform(verb, address, {})
        verb = Verb.AWAIT
        host.perform(verb, address, arguments)
    except HostError as error:
        raise not_restarted(verb, error) from error
    return "restarted"


def _shut_down(host: Host, address: Address, patience: Patience) -> None:
    arguments = {"timeout": patience.shutdown, "force": patience.force}
    host.perform(Verb.SHUTDOWN, address, arguments)


def _wait_for_jobs(
    host: Host, address: Address, patience: Patience, tell: Callable[[str], None]
) -> None:
    """Wait until nobody else works on a guest. Raises Busy, HostError."""
    deadline = time.monotonic() + patience.jobs
    told = ""
    while jobs := host.jobs(address):
        what = " and ".join(jobs)
        left = deadline - time.monotonic()
        if left <= 0:
            raise Busy(f"{address.short} is busy: {what} is at work on it")
        if what != told:
            tell(f"{address.short} waits for {what}")
            told = what
        time.sleep(min(SECONDS_BETWEEN_LOOKS, left))
