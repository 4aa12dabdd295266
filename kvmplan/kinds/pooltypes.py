"""Types of storage pools: what each needs, and what libvirt can do in it. The only place for that.

https://libvirt.org/storage.html and libvirt's storage backends; the formats are those that libvirt
itself names (``virsh pool-capabilities``), which the integration tests compare.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Build(StrEnum):
    """What building a pool of a type is."""

    DIRECTORY = "directory"
    """Its directory or mount point is made; nothing is lost."""
    FORMAT = "format"
    """Its devices are formatted: their bytes are lost."""
    NOTHING = "nothing"
    """libvirt cannot build it."""


@dataclass(frozen=True, slots=True)
class PoolType:
    """What one type of pools needs and can.

    Attributes:
        needs: fields without which it cannot be made; of a source as ``source.devices``.
        takes: fields of `source` that it may have beside those that it needs.
        build: what building is.
        builds: whether a new one is built unless its spec says otherwise.
        formats: formats that its volumes may have; the first is what new ones are born with.
            A volume without one is ``raw``.
        makes: formats that it can make volumes in; none: it holds what there is.
        clones, resizes: whether its volumes can be copies, and get another size.
        overlays: formats of volumes that can be written over a base.
        sparse: whether new volumes take up space only as they are written.
        encrypts: whether its volumes can be encrypted.
    """

    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()
    build: Build = Build.NOTHING
    builds: bool = False
    formats: tuple[str, ...] = ("raw",)
    makes: tuple[str, ...] = ()
    clones: bool = False
    resizes: bool = False
    overlays: tuple[str, ...] = ()
    sparse: bool = False
    encrypts: bool = False


MADE = ("qcow2", "raw", "qcow", "qed", "vmdk", "vdi", "vpc", "dir")
"""What qemu-img makes on behalf of libvirt (and directories)."""
OVERLAYS = ("qcow2", "qcow", "qed", "vmdk")
FOUND = ("none", "bochs", "cloop", "dmg", "iso", "fat", "vhd", "ploop", "cow")
"""What libvirt knows when it sees it."""


def _files(needs: tuple[str, ...], takes: tuple[str, ...] = (), *, build: Build) -> PoolType:
    return PoolType(
        needs=needs,
        takes=takes,
        build=build,
        builds=build is Build.DIRECTORY,
        formats=(*MADE, *FOUND),
        makes=MADE,
        clones=True,
        resizes=True,
        overlays=OVERLAYS,
        sparse=True,
        encrypts=True,
    )


POOL_TYPES: Mapping[str, PoolType] = {
    "dir": _files(("path",), build=Build.DIRECTORY),
    "fs": _files(("path", "source.devices"), ("format",), build=Build.FORMAT),
    "netfs": _files(("path", "source.hosts", "source.dir"), ("format",), build=Build.DIRECTORY),
    "logical": PoolType(
        needs=(),
        takes=("name", "devices", "format"),
        build=Build.FORMAT,
        makes=("raw",),
        clones=True,
        overlays=("raw",),
        encrypts=True,
    ),
    "disk": PoolType(
        needs=("path", "source.devices"),
        takes=("format",),
        build=Build.FORMAT,
        formats=(
            "none",
            "linux",
            "fat16",
            "fat32",
            "linux-swap",
            "linux-lvm",
            "linux-raid",
            "extended",
        ),
        makes=(
            "none",
            "linux",
            "fat16",
            "fat32",
            "linux-swap",
            "linux-lvm",
            "linux-raid",
            "extended",
        ),
        clones=True,
        encrypts=True,
    ),
    "iscsi": PoolType(
        needs=("path", "source.hosts", "source.devices"), takes=("initiator", "auth")
    ),
    "iscsi-direct": PoolType(
        needs=("source.hosts", "source.devices", "source.initiator"), takes=("auth",)
    ),
    "scsi": PoolType(needs=("path", "source.adapter")),
    "mpath": PoolType(needs=("path",)),
    "rbd": PoolType(
        needs=("source.hosts", "source.name"),
        takes=("auth",),
        makes=("raw",),
        clones=True,
        resizes=True,
        sparse=True,
    ),
    "gluster": PoolType(
        needs=("source.hosts", "source.name"), takes=("dir",), formats=("raw", *MADE, *FOUND)
    ),
    "zfs": PoolType(
        needs=("source.name",),
        takes=("devices",),
        build=Build.FORMAT,
        makes=("raw",),
        sparse=True,
    ),
}
"""Each type of the contract."""

UNKNOWN = _files((), build=Build.NOTHING)
"""A type that only newer versions of libvirt have: it is left to libvirt what it can."""


def pool_type(name: str | None) -> PoolType:
    """What a type needs and can; no name is ``dir``, the birth default."""
    return POOL_TYPES.get(name or "dir", UNKNOWN)
