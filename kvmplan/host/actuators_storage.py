"""Verbs of pools and volumes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import libvirt

from kvmplan.host.streams import send
from kvmplan.host.verb import Target, code_of, verb, volume
from kvmplan.kinds.verbs import Verb


@verb(Verb.BUILD)
def build(target: Target, *, format: bool = False, again: bool = False) -> None:
    """Make a pool's directory; there already is as good. Format its devices, if they are empty.

    `again`: a run that was cut may have done it, so formatted already is as good. What was put
    there by others is never written over; the pool does not start from it then.
    """
    pool = target.find()
    if not format:
        pool.build(libvirt.VIR_STORAGE_POOL_BUILD_NEW)
        return
    try:
        pool.build(libvirt.VIR_STORAGE_POOL_BUILD_NO_OVERWRITE)
    except libvirt.libvirtError as error:
        if again and code_of(error) == libvirt.VIR_ERR_STORAGE_POOL_BUILT:
            return
        # ZFS knows no such flag, and refuses by itself what is in use.
        if code_of(error) != libvirt.VIR_ERR_INVALID_ARG:
            raise
        pool.build(libvirt.VIR_STORAGE_POOL_BUILD_NEW)


@verb(Verb.REFRESH)
def refresh(target: Target) -> None:
    """Read a pool's volumes again."""
    target.find().refresh(0)


@verb(Verb.CREATE_VOLUME)
def create_volume(target: Target, *, xml: str) -> None:
    """Create an empty volume, or an overlay."""
    target.pool().createXML(xml, 0)


@verb(Verb.CLONE_VOLUME)
def clone_volume(target: Target, *, xml: str, source: str) -> None:
    """Create a volume as a copy of another; returns when all is copied."""
    target.pool().createXMLFrom(xml, volume(target.connection, source), 0)


@verb(Verb.UPLOAD)
def upload(
    target: Target, *, data: Path | bytes, told: Callable[[int], None] | None = None
) -> None:
    """Write into a new volume; holes and zeros are not sent, and stay holes there."""
    send(target.connection, target.find(), data, told)


@verb(Verb.RESIZE_VOLUME)
def resize_volume(target: Target, *, bytes: int, shrink: bool = False) -> None:
    """Resize a volume that nothing uses."""
    target.find().resize(bytes, libvirt.VIR_STORAGE_VOL_RESIZE_SHRINK if shrink else 0)


@verb(Verb.DELETE_VOLUME)
def delete_volume(target: Target) -> None:
    """Delete a volume and its bytes; gone already is as good."""
    try:
        target.find().delete(0)
    except libvirt.libvirtError as error:
        if code_of(error) != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
