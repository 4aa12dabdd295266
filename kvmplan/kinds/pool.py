"""Storage pools: the only place where their fields are declared.

https://libvirt.org/formatstorage.html#storage-pool-xml. Where a pool is and what it is made of are
facts of its birth: a redefine would be accepted, and its volumes would vanish from sight.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds.secretref import secret_reference
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.markers import Birth, Group, On, Policy, Runtime, Same, Through, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import born, live
from kvmplan.mapping.types import HostPath, Server, split_server

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


def unchanging(_: Any, __: Any, ___: Any) -> bool:
    """What follows from use, such as the owner of a running guest's disk, is no difference."""
    return True


class Permissions(Mapped):
    """Who may do what with files, given at birth."""

    mode: Annotated[
        str | None, Field(pattern=r"^0?[0-7]{3,4}$"), Xml("./mode"), Same(same_mode)
    ] = None
    """Octal, such as ``0711``."""
    owner: Annotated[int | None, Xml("./owner"), Same(unchanging)] = None
    """Numeric user id. libvirt gives a running guest's disks to another: not compared."""
    group: Annotated[int | None, Xml("./group"), Same(unchanging)] = None
    """Numeric group id; not compared either."""
    label: Annotated[str | None, Xml("./label"), Same(unchanging)] = None
    """Security label; not compared either."""


def _read_servers(source: Element, _: Any) -> tuple[str, ...] | None:
    found = []
    for host in source.findall("host"):
        name, port = host.get("name", ""), host.get("port")
        shown = f"[{name}]" if ":" in name and port else name
        found.append(f"{shown}:{port}" if port else name)
    return tuple(found) or None


def _write_servers(source: Element, value: tuple[str, ...] | None, _: Any) -> None:
    for old in source.findall("host"):
        source.remove(old)
    for place, server in enumerate(value or ()):
        name, port = split_server(server)
        host = etree.Element("host", {"name": name})
        if port is not None:
            host.set("port", port)
        source.insert(place, host)


class Adapter(Mapped):
    """A SCSI host bus adapter."""

    scalar: ClassVar[str] = "name"
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("name", "wwnn"), ("name", "wwpn"))
    type: Annotated[Literal["scsi_host", "fc_host"] | None, Xml("./@type", omitted="scsi_host")] = (
        None
    )
    """``scsi_host`` or ``fc_host``."""
    name: Annotated[str | None, Field(pattern=r"^(scsi_)?host\d+$"), Xml("./@name")] = None
    """The adapter of a ``scsi_host``: ``scsi_host3``."""
    parent: Annotated[str | None, Xml("./@parent")] = None
    """The adapter that a virtual ``fc_host`` is made under."""
    wwnn: Annotated[str | None, Field(pattern=r"^[0-9a-f]{16}$"), Xml("./@wwnn")] = None
    """World wide node name of an ``fc_host``."""
    wwpn: Annotated[str | None, Field(pattern=r"^[0-9a-f]{16}$"), Xml("./@wwpn")] = None
    """World wide port name of an ``fc_host``."""


class PoolAuth(Mapped):
    """How the host shows the server who it is."""

    type: Annotated[Literal["chap", "ceph"], Xml("./@type")]
    """``chap`` for iSCSI, ``ceph`` for RBD."""
    username: Annotated[str, Xml("./@username")]
    """The name it goes by."""
    secret: Annotated[str, secret_reference()]
    """The libvirt secret that holds the password: its usage id, or its uuid."""


class PoolSource(Mapped):
    """What the pool is made of, for pools that are not directories."""

    hosts: Annotated[
        tuple[Server, ...] | None,
        Field(strict=False),
        Through(_read_servers, _write_servers, "./host"),
    ] = None
    """Servers: ``NAME`` or ``NAME:PORT``."""
    devices: Annotated[
        tuple[str, ...] | None, Field(strict=False), Xml("./device/@path", many=True)
    ] = None
    """Block devices or targets."""
    dir: Annotated[str | None, Xml("./dir/@path")] = None
    """The exported directory."""
    adapter: Annotated[Adapter | None, Group("./adapter")] = None
    """The SCSI adapter whose units it holds."""
    name: Annotated[str | None, Xml("./name")] = None
    """Volume group, RADOS pool or other name."""
    initiator: Annotated[str | None, Xml("./initiator/iqn/@name")] = None
    """The IQN that the host shows an iSCSI target."""
    auth: Annotated[PoolAuth | None, Group("./auth")] = None
    """How the host shows the server who it is."""
    format: Annotated[str | None, Xml("./format/@type")] = None
    """File system, partition table or protocol."""


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
    """Whether it is built at birth: a ``dir`` or ``netfs`` pool's directory is made, which is so
    unless this says false; ``fs``, ``disk``, ``logical`` and ``zfs`` pools are formatted, which
    needs this and `--allow-data-loss`, and is refused where something is on the device."""
    autostart: Annotated[
        bool | None, Runtime("autostart"), On(live(Verb.SET_AUTOSTART)), Birth(True)
    ] = None
    """Whether it starts with the host."""
    active: Annotated[bool | None, Runtime("active"), On(live(Verb.START)), Birth(True)] = None
    """Whether it is started. Enforced unless it says otherwise."""
