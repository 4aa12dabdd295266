"""Verbs of domains: going down, resuming, sizes and metadata."""

from __future__ import annotations

import time
from typing import Any

import libvirt

from kvmplan.apply.port import HostError, TimedOut
from kvmplan.host.guests import CANNOT_ASK, agent_answers, has_agent
from kvmplan.host.jobs import domain_jobs
from kvmplan.host.verb import Target, code_of, flags, is_missing, verb
from kvmplan.kinds.verbs import Verb

_POLL_SECONDS = 0.2
_ASK_AGAIN_SECONDS = 10.0


@verb(Verb.SHUTDOWN)
def shutdown(target: Target, *, timeout: float, force: bool) -> None:
    """Ask the guest to shut down and wait; power it off at the end of the timeout if forced."""
    try:
        domain = target.find()
        if _goes_down(domain, timeout):
            return
        if not force:
            what = f"the guest of {target.address.short} has not shut down within {timeout:g} s"
            raise TimedOut(what, doing=f"{Verb.SHUTDOWN} {target.address.short}")
        if domain.isActive():
            _power_off(target, domain)
    except libvirt.libvirtError as error:
        # A transient domain is gone once it is down; a guest may go down between look and deed.
        if not is_missing(error) and not _is_down(target, error):
            raise


def _power_off(target: Target, domain: Any) -> None:
    """Power off, unless that would cut what others do."""
    jobs = domain_jobs(domain)
    if jobs:
        what = f"{target.address.short} is not powered off: {' and '.join(jobs)} is at work on it"
        raise TimedOut(what, doing=f"{Verb.SHUTDOWN} {target.address.short}")
    domain.destroy()


def _goes_down(domain: Any, timeout: float) -> bool:
    start = asked = time.monotonic()
    deadline = start + timeout
    first = True
    while domain.isActive():
        now = time.monotonic()
        if first or now - asked >= _ASK_AGAIN_SECONDS:
            # The agent is asked once: if it took the request, ACPI is only a reminder.
            _ask(domain, agent=first)
            first, asked = False, now
        if now >= deadline:
            return False
        time.sleep(min(_POLL_SECONDS, max(0.0, deadline - now)))
    return True


def _ask(domain: Any, *, agent: bool) -> None:
    acpi: int = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
    ways = (
        [libvirt.VIR_DOMAIN_SHUTDOWN_GUEST_AGENT, acpi] if agent and has_agent(domain) else [acpi]
    )
    for way in [*ways, 0]:
        try:
            domain.shutdownFlags(way)
        except libvirt.libvirtError as error:
            # A paused guest cannot be asked (55) but may be resumed by someone while we wait; the
            # test driver knows no ways to choose from (8).
            if code_of(error) not in CANNOT_ASK | {libvirt.VIR_ERR_INVALID_ARG}:
                raise
        else:
            return


def _is_down(target: Target, error: libvirt.libvirtError) -> bool:
    return code_of(error) == libvirt.VIR_ERR_OPERATION_INVALID and not target.find().isActive()


@verb(Verb.AWAIT)
def await_guest(target: Target, *, timeout: float, agent: bool) -> None:
    """Wait until a started guest runs and, where one is expected, its agent answers."""
    domain = target.find()
    deadline = time.monotonic() + timeout
    while True:
        if domain.state()[0] not in (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_BLOCKED):
            what = f"{target.address.short} is not running any more"
            raise HostError(what, doing=f"{Verb.AWAIT} {target.address.short}")
        if not agent or (has_agent(domain) and agent_answers(domain)):
            return
        if time.monotonic() >= deadline:
            what = f"the agent of {target.address.short} has not answered within {timeout:g} s"
            raise TimedOut(what, doing=f"{Verb.AWAIT} {target.address.short}")
        time.sleep(_POLL_SECONDS)


@verb(Verb.RESUME)
def resume(target: Target) -> None:
    """Let a paused guest run on; running already is as good."""
    domain = target.find()
    try:
        domain.resume()
    except libvirt.libvirtError as error:
        running = domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
        if code_of(error) != libvirt.VIR_ERR_OPERATION_INVALID or not running:
            raise


@verb(Verb.SET_VCPUS)
def set_vcpus(target: Target, *, count: int, scope: str) -> None:
    """Set how many CPUs are online."""
    domain = target.find()
    domain.setVcpusFlags(count, flags(domain, scope))


@verb(Verb.SET_MEMORY)
def set_memory(target: Target, *, bytes: int, scope: str) -> None:
    """Set the current memory; the running guest follows when its balloon does."""
    domain = target.find()
    kibibytes = -(-bytes // 1024)
    domain.setMemoryFlags(kibibytes, flags(domain, scope))


@verb(Verb.SET_TITLE)
def set_title(target: Target, *, text: str | None, scope: str) -> None:
    """Set or remove the title."""
    _set_metadata(target, libvirt.VIR_DOMAIN_METADATA_TITLE, text, None, None, scope)


@verb(Verb.SET_DESCRIPTION)
def set_description(target: Target, *, text: str | None, scope: str) -> None:
    """Set or remove the description."""
    _set_metadata(target, libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, text, None, None, scope)


@verb(Verb.SET_METADATA)
def set_metadata(
    target: Target, *, namespace: str, prefix: str, xml: str | None, scope: str
) -> None:
    """Set or remove the metadata element of a namespace."""
    element: int = libvirt.VIR_DOMAIN_METADATA_ELEMENT
    key = prefix if xml is not None else None
    _set_metadata(target, element, xml, key, namespace, scope)


def _set_metadata(
    target: Target, kind: int, text: str | None, key: str | None, uri: str | None, scope: str
) -> None:
    domain = target.find()
    try:
        domain.setMetadata(kind, text, key, uri, flags(domain, scope))
    except libvirt.libvirtError as error:
        gone = code_of(error) == libvirt.VIR_ERR_NO_DOMAIN_METADATA
        if not (gone and text is None):
            raise
