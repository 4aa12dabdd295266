"""Jobs: what others do to a domain, or write to a volume, right now. Nothing here ends any."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import libvirt
from lxml import etree

from kvmplan.address import Address, Kind
from kvmplan.host.domains import look_up
from kvmplan.host.errors import MISSING
from kvmplan.host.verb import volume
from kvmplan.plan.busy import block_job

_JOBS = {
    libvirt.VIR_DOMAIN_JOB_OPERATION_START: "its start",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SAVE: "a save",
    libvirt.VIR_DOMAIN_JOB_OPERATION_RESTORE: "a restore",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN: "a migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT: "a migration",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT: "a snapshot",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT: "a snapshot being reverted to",
    libvirt.VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE: "a snapshot being deleted",
    libvirt.VIR_DOMAIN_JOB_OPERATION_DUMP: "a core dump",
    libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP: "a backup",
}
_BLOCK_JOBS = {
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL: "pull",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY: "copy",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT: "commit",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT: "active-commit",
    libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP: "backup",
}
_NOTHING = frozenset({libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_SUPPORT, *MISSING}) | {
    libvirt.VIR_ERR_INVALID_ARG
}
"""Not running, gone, a disk that has left; a driver without jobs."""
_LOCKED = "another change"
"""What holds a domain that does not even answer which job that is."""

SECONDS_A_LOOK_HOLDS = 1.0
"""For who writes to which volume: every running guest is asked."""


class Jobs:
    """The jobs of one host. Any thread may ask."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._looked = float("-inf")
        self._writers: dict[str, tuple[str, ...]] = {}

    def of(self, connection: Any, address: Address) -> tuple[str, ...]:
        """What is at work on a domain, or writes to a volume, in words.

        Raises:
            libvirtError: the host did not answer.
        """
        match address.kind:
            case Kind.DOMAIN:
                domain = look_up(connection, address.name)
                return () if domain is None else domain_jobs(domain)
            case Kind.VOLUME:
                return self._on_volume(connection, address.name)
        return ()

    def _on_volume(self, connection: Any, name: str) -> tuple[str, ...]:
        try:
            path: str = volume(connection, name).path()
        except libvirt.libvirtError as error:
            if error.get_error_code() not in MISSING:
                raise
            return ()
        with self._guard:
            if time.monotonic() - self._looked >= SECONDS_A_LOOK_HOLDS:
                self._writers = _writers(connection)
                self._looked = time.monotonic()
            return self._writers.get(path, ()) or self._writers.get(name, ())


def domain_jobs(domain: Any) -> tuple[str, ...]:
    """What is at work on a domain, in words.

    Raises:
        libvirtError: the host did not answer.
    """
    try:
        stats = domain.jobStats()
        if stats.get("type", libvirt.VIR_DOMAIN_JOB_NONE) != libvirt.VIR_DOMAIN_JOB_NONE:
            return (_JOBS.get(stats.get("operation"), "a job"),)
        return tuple(_block_jobs(domain))
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_TIMEOUT:
            return (_LOCKED,)
        if error.get_error_code() not in _NOTHING:
            raise
        return ()


def _block_jobs(domain: Any) -> Iterator[str]:
    root = etree.fromstring(domain.XMLDesc(0).encode())
    for disk in root.iterfind("devices/disk[source]"):
        target = next((node.get("dev", "") for node in disk.iterfind("target")), "")
        try:
            info = domain.blockJobInfo(target, 0)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _NOTHING:
                raise
            continue
        if info:
            yield block_job(_BLOCK_JOBS.get(info.get("type"), ""), target)


def _writers(connection: Any) -> dict[str, tuple[str, ...]]:
    """Path or ``POOL/NAME`` -> the jobs of running guests that write there beside their disks."""
    found: dict[str, tuple[str, ...]] = {}
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        try:
            for place, job in _targets(domain):
                words = f"{job} of domain.{domain.name()}"
                found[place] = (*found.get(place, ()), words)
        except libvirt.libvirtError as error:
            if error.get_error_code() not in _NOTHING:
                raise
    return found


def _targets(domain: Any) -> Iterator[tuple[str, str]]:
    """Where a guest's block copies and its backup write, and which of them it is."""
    text = domain.XMLDesc(0)
    if "<mirror" in text:
        for source in etree.fromstring(text.encode()).iterfind("devices/disk/mirror/source"):
            yield from _places(source, "a block copy")
    operation = domain.jobStats().get("operation")
    if operation == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
        backup = etree.fromstring(domain.backupGetXMLDesc(0).encode())
        for name in ("target", "scratch"):
            for node in backup.iterfind(f"disks/disk/{name}"):
                yield from _places(node, "a backup")


def _places(node: Any, job: str) -> Iterator[tuple[str, str]]:
    for place in (node.get("file"), node.get("dev")):
        if place:
            yield place, job
    if node.get("pool"):
        yield f"{node.get('pool')}/{node.get('volume')}", job
