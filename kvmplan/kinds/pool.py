"""Storage pools: the only place where their fields are declared.

https://libvirt.org/formatstorage.html#storage-pool-xml. Where a pool is and what it is made of are
facts of its birth: a redefine would be accepted, and its volumes would vanish from sight.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.markers import Birth, Group, On, Policy, Runtime, Same, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import born, live
from kvmplan.mapping.types import HostPath

BORN = On(born())


def same_path(live_value: Any, wanted: Any, _: Any) -> bool:
    """Paths are equal whatever slashes end them."""
    return str(live_value).rstrip("/") == str(wanted).rstrip("/")


def same_mode(live_value: Any, wanted: Any, _: Any) -> bool:
    """``755`` and ``0755`` are one mode."""
    try:
        return int(str(live_value), 8) == int(str(wanted), 8)
    except ValueError:
        return False


class Permissions(Mapped):
    """Who may do what with files, given at birth."""

    mode: Annotated[
        str | None, Field(pattern=r"^0?[0-7]{3,4}$"), Xml("./mode"), Same(same_mode)
    ] = None
    """Octal, such as ``0711``."""
    owner: Annotated[int | None, Xml("./owner")] = None
    """Numeric user id."""
    group: Annotated[int | None, Xml("./group")] = None
    """Numeric group id."""
    label: Annotated[str | None, Xml("./label")] = None
    """Security label."""


class PoolSource(Mapped):
    """What the pool is made of, for pools that are not directories."""

    hosts: Annotated[
        tuple[str, ...] | None, Field(strict=False), Xml("./host/@name", many=True)
    ] = None
    """Servers."""
    devices: Annotated[
        tuple[str, ...] | None, Field(strict=False), Xml("./device/@path", many=True)
    ] = None
    """Block devices or targets."""
    dir: Annotated[str | None, Xml("./dir/@path")] = None
    """The exported directory."""
    name: Annotated[str | None, Xml("./name")] = None
    """Volume group, RADOS pool or other name."""
    format: Annotated[str | None, Xml("./format/@type")] = None
    """File system or partition table."""


class Pool(Mapped):
    """A storage pool."""

    type: Annotated[
        Literal[
            "dir",
            "fs",
            "netfs",
            "logical",
            "disk",
            "iscsi",
            "iscsi-direct",
            "scsi",
            "mpath",
            "rbd",
            "gluster",
            "zfs",
        ]
        | None,
        Xml("./@type"),
        BORN,
    ] = None
    """What kind of storage it is. Born as ``dir``."""
    source: Annotated[PoolSource | None, Group("./source"), BORN] = None
    """What it is made of."""
    path: Annotated[HostPath | None, Xml("./target/path"), Same(same_path), BORN] = None
    """Its directory on the host."""
    permissions: Annotated[Permissions | None, Group("./target/permissions"), BORN] = None
    """Mode and owner that its directory is made with."""
    build: Annotated[bool | None, Policy(), Birth(True)] = None
    """Whether its directory is made at birth."""
    autostart: Annotated[
        bool | None, Runtime("autostart"), On(live(Verb.SET_AUTOSTART)), Birth(True)
    ] = None
    """Whether it starts with the host."""
    active: Annotated[bool | None, Runtime("active"), On(live(Verb.START)), Birth(True)] = None
    """Whether it is started. Enforced unless it says otherwise."""
