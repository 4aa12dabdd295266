"""Volumes: the only place where their fields are declared.

https://libvirt.org/formatstorage.html#storage-volume-xml. libvirt has no redefine for volumes: they
can be resized; everything else is a fact of birth.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from lxml import etree
from lxml.etree import _Element as Element
from pydantic import Field

from kvmplan.kinds.context import host_context
from kvmplan.kinds.pool import Permissions, unchanging
from kvmplan.kinds.secretref import secret_reference
from kvmplan.kinds.source import Source
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.markers import (
    Group,
    NoDefault,
    NotRunning,
    On,
    Ref,
    Runtime,
    Same,
    Secret,
    Through,
    Xml,
)
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.strategy import Situation, born, data_loss, live, when
from kvmplan.mapping.types import HostPath, OpenText, Size, VolumeName

BORN = On(born())
SHORT = ("size", "pool", "backing", "clone", "source")
"""Fields of a disk that make it a volume of its own: `kvmplan.spec.shortdisks`."""
GRAIN = 1024
"""qcow2 capacities are rounded up to whole KiB at creation (and to 512 bytes at a resize)."""


def _same_capacity(live_value: Any, wanted: Any, _: Any) -> bool:
    return isinstance(live_value, int) and wanted <= live_value < wanted + GRAIN


def _grows(situation: Situation) -> bool:
    before = situation.before
    return not isinstance(before, int) or situation.after > before


def _read_format(volume: Element, _: Any) -> str:
    """Pools of devices name none: their volumes are raw."""
    node = volume.find("target/format")
    return "raw" if node is None else node.get("type", "raw")


def _write_format(volume: Element, value: str | None, _: Any) -> None:
    target = volume.find("target")
    if target is None:
        return
    node = target.find("format")
    if node is None:
        node = etree.Element("format")
        path = target.find("path")
        target.insert(0 if path is None else target.index(path) + 1, node)
    node.set("type", value or "raw")


def _read_backing(element: Element, context: Any) -> str | None:
    path = element.findtext("path")
    return None if path is None else host_context(context).volume_at(path)


def _write_backing(element: Element, value: str | None, context: Any) -> None:
    """The base by its path, always with its format: without one libvirt records ``raw``."""
    for old in (*element.findall("path"), *element.findall("format")):
        element.remove(old)
    if value is None:
        return
    facts = host_context(context).volume(value)
    if facts is None:
        raise LookupError(f"the backing volume {value} is not on the host")
    etree.SubElement(element, "path").text = facts.path
    etree.SubElement(element, "format").set("type", facts.format)


class Backing(Mapped):
    """The base that an overlay is written over."""

    scalar: ClassVar[str] = "volume"
    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (("volume", "path"),)
    volume: Annotated[
        VolumeName | None, Through(_read_backing, _write_backing, "./path"), Ref("volume")
    ] = None
    """The base: ``POOL/NAME``."""
    path: Annotated[HostPath | None, Xml("./path")] = None
    """The base's path, when it is no volume of an active pool."""
    format: Annotated[str | None, Xml("./format/@type")] = None
    """The base's format; of a volume it is known."""


class Encryption(Mapped):
    """How bytes are encrypted: the passphrase is in a libvirt secret."""

    scalar: ClassVar[str] = "secret"
    format: Annotated[Literal["luks"] | None, Xml("./@format")] = None
    """``luks``, by default."""
    secret: Annotated[str, secret_reference(type="passphrase"), Same(unchanging), NotRunning()]
    """The libvirt secret with the passphrase: its usage id, or its uuid. Not compared: libvirt
    forgets it of a volume when its pool is refreshed."""


class Volume(Mapped):
    """A storage volume."""

    exclusive: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("backing", "clone", "source", "content", "seed"),
    )
    capacity: Annotated[
        Size | None,
        Field(gt=0),
        Xml("./capacity", unit="bytes"),
        Same(_same_capacity),
        On(
            when(
                _grows,
                live(Verb.RESIZE_VOLUME, fallback=None),
                data_loss("a smaller volume loses what lies behind its new end"),
            )
        ),
        NoDefault("a new volume has the size that is written"),
    ] = None
    """Its size as a guest sees it. Grows in place, also while a guest uses it."""
    allocation: Annotated[
        Size | None, Xml("./allocation", unit="bytes"), Same(unchanging), BORN
    ] = None
    """How much of it is allocated at birth, what its guest writes later not compared. Born as 0
    (sparse) where its pool can; whole in ``logical`` and ``disk`` pools."""
    format: Annotated[
        str | None, Through(_read_format, _write_format, "./target/format/@type"), BORN
    ] = None
    """``qcow2``, ``raw`` …; by default qcow2 in pools of files, raw elsewhere."""
    permissions: Annotated[Permissions | None, Group("./target/permissions"), BORN] = None
    """Mode and owner that it is made with."""
    encryption: Annotated[
        Encryption | None, Group("./target/encryption", skeleton="devices/encryption"), BORN
    ] = None
    """How its bytes are encrypted; disks on it say the same."""
    backing: Annotated[Backing | None, Group("./backingStore"), BORN] = None
    """The base that it is an overlay of."""
    clone: Annotated[VolumeName | None, Runtime("clone"), Ref("volume"), BORN] = None
    """The volume that it is a full copy of: ``POOL/NAME``."""
    source: Annotated[Source | None, Group("."), BORN] = None
    """The image that it is made from, then grown to its capacity."""
    content: Annotated[OpenText | None, Runtime("content"), Secret(), BORN] = None
    """What it holds, as text (UTF-8). Its format is raw then."""
    seed: Annotated[OpenText | None, Runtime("seed"), Secret(), On(live(Verb.UPLOAD))] = None
    """What a guest's first boot reads of it, its files by name, as JSON: made of a domain's
    `cloud_init` or `ignition`."""
