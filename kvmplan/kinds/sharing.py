"""What a guest shares with its host: directories, and how its memory is backed.

The only place where their fields are declared.

https://libvirt.org/formatdomain.html, "Filesystems" and "Memory Backing". virtiofs asks for memory
that is shared with its daemon; a guest that gets such a directory gets it too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds.plug import Hot, plug
from kvmplan.mapping.codecs import factor
from kvmplan.mapping.markers import Companion, NoDefault, Presence, Through, Xml
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import Situation
from kvmplan.mapping.types import HostPath, Size

PageSize = Annotated[Size, Field(gt=0)]
SHARED_MEMORY = Companion(
    ("./driver/@type", "virtiofs"), "./memoryBacking/access", "devices/shared-memory"
)


class Filesystem(Mapped):
    """A directory of the host, known by the tag that the guest mounts it by."""

    tag: Annotated[str, Field(min_length=1), Xml("./target/@dir")]
    """Its tag: ``mount -t virtiofs TAG DIRECTORY`` in the guest."""
    source: Annotated[
        HostPath | None, Xml("./source/@dir"), NoDefault("something of the host is shared")
    ] = None
    """The directory on the host."""
    driver: Annotated[
        Literal["virtiofs", "path"] | None,
        Xml("./driver/@type", omitted="path", clears=("./@accessmode", "./binary")),
    ] = None
    """How the guest reaches it: ``path`` is 9p. Born as ``path``."""
    accessmode: Annotated[
        Literal["passthrough", "mapped", "squash"] | None, Xml("./@accessmode")
    ] = None
    """Whose the files are; virtiofs knows ``passthrough`` alone. Born as ``passthrough``."""
    readonly: Annotated[bool | None, Presence("./readonly")] = None
    """Whether the guest may only read. With virtiofs since libvirt 11.0."""


def _read_hugepages(backing: Element, _: Any) -> bool | int:
    node = backing.find("hugepages")
    if node is None:
        return False
    sizes = [page for page in node.findall("page") if page.get("nodeset") is None]
    size = sizes[0].get("size", "") if len(sizes) == 1 else ""
    scale = factor(sizes[0].get("unit", "KiB")) if size.isdecimal() else None
    return True if scale is None else int(size) * scale


def _write_hugepages(backing: Element, value: bool | int | None, _: Any) -> None:
    for node in backing.findall("hugepages"):
        backing.remove(node)
    if value is None or value is False:
        return
    node = etree.SubElement(backing, "hugepages")
    if value is not True:
        etree.SubElement(node, "page", {"size": str(value), "unit": "b"})


class MemoryBacking(Mapped):
    """What the guest's memory is on the host."""

    hugepages: Annotated[
        bool | PageSize | None,
        Through(_read_hugepages, _write_hugepages, "./hugepages", omitted=False),
    ] = None
    """Whether it is of huge pages; or the size of those, as the host has them: ``2MiB``."""
    source: Annotated[Literal["anonymous", "file", "memfd"] | None, Xml("./source/@type")] = None
    """What it is made of."""
    access: Annotated[Literal["shared", "private"] | None, Xml("./access/@mode")] = None
    """Whether others on the host, such as the daemon of virtiofs, may share it."""
    allocation: Annotated[Literal["immediate", "ondemand"] | None, Xml("./allocation/@mode")] = None
    """When the host gives it."""
    nosharepages: Annotated[bool | None, Presence("./nosharepages")] = None
    """Its pages are not merged with like ones."""
    locked: Annotated[bool | None, Presence("./locked")] = None
    """It is never swapped out; wants a hard limit in `memtune`."""
    discard: Annotated[bool | None, Presence("./discard")] = None
    """Its contents are thrown away when the guest ends."""


def _can_be_plugged(situation: Situation) -> bool:
    """Whether a directory joins a running guest: by virtiofs, and where memory is shared."""
    item = situation.after or {}
    access = situation.at(situation.running, "memory_backing", "access")
    return item.get("driver") == "virtiofs" and access == "shared"


def _can_be_unplugged(situation: Situation) -> bool:
    item = situation.at(situation.running, *situation.path) or {}
    return item.get("driver") == "virtiofs"


PLUG = plug(
    Hot(_can_be_plugged, "a running guest takes virtiofs alone, and with shared memory"),
    Hot(_can_be_unplugged, "a running guest keeps what is not virtiofs"),
)
