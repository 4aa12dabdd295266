"""Contents: the bytes that a new volume is born with, and how they get there.

They are had before anything is done for a volume, so that what cannot be had destroys nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmplan.address import Address, Kind
from kvmplan.apply.port import HostError
from kvmplan.apply.seedimage import filled, seed_image
from kvmplan.apply.site import Site
from kvmplan.images.errors import UNFIT, UNREACHABLE, UNUSABLE, ImageError
from kvmplan.kinds.pooltypes import pool_type
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.document import parse_to_read
from kvmplan.mapping.types import SecretText
from kvmplan.mapping.units import format_size
from kvmplan.plan.change import Step
from kvmplan.plan.intent import Intent

if TYPE_CHECKING:
    from kvmplan.apply.work import Task


@dataclass(frozen=True, slots=True)
class Content:
    """What a volume holds when it is new.

    Attributes:
        data: a file of this machine, or the bytes themselves; None where the host has them.
        format: such as ``raw`` and ``qcow2``.
        capacity: bytes, as a guest sees it.
        volume: the volume of the host that it is copied from, ``POOL/NAME``.
    """

    data: Path | bytes | None
    format: str
    capacity: int
    volume: str = ""

    def birth(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that a volume is created with: as big as this, to be grown afterwards."""
        return {**tree, "format": self.format, "capacity": self.capacity}


def prepare(site: Site, task: Task) -> None:
    """Have the content of the volume that a change makes, if it is made with any.

    Raises:
        ImageError: it cannot be had, or does not suit what is wanted.
        HostError: the host did not answer.
    """
    if task.change.address.kind is not Kind.VOLUME or not task.creates:
        return
    intent = task.wanted
    if "seed" in intent.tree:
        data = seed_image(intent.tree["seed"])
        task.content = Content(data, "raw", len(data))
        return
    text, source = intent.tree.get("content"), intent.tree.get("source")
    if text is not None:
        data = (text.reveal() if isinstance(text, SecretText) else text).encode()
        task.content = Content(data, "raw", len(data))
    elif source is not None:
        task.content = _on_host(site, source) if "host_path" in source else _here(site, intent)
        _check(site, intent, task.content)


def _here(site: Site, intent: Intent) -> Content:
    """An image that is fetched to this machine."""
    from kvmplan.images.fetch import Wanted

    model: Any = intent.resource.model
    source = {**intent.tree["source"], "max_size": model.source.max_size}
    tree = intent.tree
    wanted = Wanted(source, tree.get("format"), tree.get("capacity"))
    image = site.images.get(wanted, site.transfers.told(intent.address))
    return Content(image.path, image.format, image.capacity)


def _on_host(site: Site, source: Mapping[str, Any]) -> Content:
    """An image that the host copies by itself; it must be a volume there, and whole."""
    path = source["host_path"]
    name = site.volume_at(path)
    found = site.host.record(Address(site.inventory.host, Kind.VOLUME, name)) if name else None
    if name is None or found is None:
        summary = f"{path} is no volume of an active pool of the host, and nothing else is copied"
        remedy = "declare a pool of its directory and apply that first, or use file or url"
        raise ImageError(UNREACHABLE, summary, remedy)
    root = parse_to_read(found.document)
    base = root.findtext("backingStore/path")
    if base:
        summary = f"{path} is written over another file, '{base}', which is not followed"
        raise ImageError(UNUSABLE, summary, f"use clone: {name} if that is meant")
    facts = site.learn(found)
    return Content(None, facts.format, int(root.findtext("capacity") or 0), name)


def _check(site: Site, intent: Intent, content: Content) -> None:
    """Raise ImageError where the image does not suit the volume."""
    tree, address = intent.tree, intent.address
    formats = pool_type(site.births.pool_type(address, site.inventory)).formats
    format_ = tree.get("format") or (None if content.format in formats else "raw")
    if format_ is not None and format_ != content.format:
        summary = f"its image is {content.format}, and its format is to be {format_}"
        remedy = f"convert the image: qemu-img convert -O {format_}"
        if content.format in formats:
            remedy = f"write format: {content.format}, or {remedy}"
        raise ImageError(UNFIT, summary, remedy)
    capacity = tree.get("capacity")
    if capacity is not None and capacity < content.capacity:
        size = format_size(content.capacity)
        summary = f"its image has {size}, more than its capacity of {format_size(capacity)}"
        raise ImageError(UNFIT, summary, f"write capacity: {size}, or more")


def fill(site: Site, task: Task, step: Step) -> None:
    """Write its content into a new volume. One that could not be filled is removed again.

    Raises:
        HostError: it is not done. What cannot be removed stays claimed as unfinished.
    """
    if not task.creates:
        _reseed(site, task, step)
        return
    assert task.content is not None
    data = task.content.data
    told = site.transfers.told(step.address)
    total = len(data) if isinstance(data, bytes) else data.stat().st_size if data else 0
    arguments = {"data": data, "told": lambda done: told("upload", done, total)}
    try:
        site.host.perform(Verb.UPLOAD, step.address, arguments)
    except (HostError, OSError) as error:
        with suppress(HostError):
            site.host.perform(Verb.DELETE_VOLUME, step.address, {})
        if isinstance(error, OSError):
            summary = f"its image cannot be read: {error.strerror or error}"
            raise ImageError(UNREACHABLE, summary, "apply again") from error
        raise


def _reseed(site: Site, task: Task, step: Step) -> None:
    """Write another seed over the one there is, all of it. Raises HostError."""
    record = task.fresh or site.host.record(step.address)
    size = int(parse_to_read(record.document).findtext("capacity") or 0) if record else 0
    data = filled(task.wanted.tree["seed"], size)
    if len(data) > size:
        arguments = {"bytes": len(data), "shrink": False}
        site.host.perform(Verb.RESIZE_VOLUME, step.address, arguments)
    told = {"data": data, "told": lambda done: None}
    site.host.perform(Verb.UPLOAD, step.address, told)
