"""Contents: the bytes that a new volume is born with, and how they get there.

They are had before anything is done for a volume, so that what cannot be had destroys nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kvmplan.apply.port import HostError
from kvmplan.apply.site import Site
from kvmplan.kinds.verbs import Verb
from kvmplan.mapping.types import SecretText

if TYPE_CHECKING:
    from kvmplan.apply.work import Task
    from kvmplan.plan.change import Step


@dataclass(frozen=True, slots=True)
class Content:
    """What a volume holds when it is new.

    Attributes:
        data: a file of this machine, or the bytes themselves.
        format: such as ``raw`` and ``qcow2``.
        capacity: bytes, as a guest sees it.
    """

    data: Path | bytes
    format: str
    capacity: int

    def birth(self, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The fields that a volume is created with: as big as this, to be grown afterwards."""
        return {**tree, "format": self.format, "capacity": self.capacity}


def prepare(site: Site, task: Task) -> None:
    """Have the content of the volume that a change makes, if it is made with any.

    Raises:
        ValueError: it does not suit what is wanted.
    """
    if any(step.verb is Verb.UPLOAD for step in task.change.steps):
        task.content = _content_of(task.wanted.tree)


def _content_of(tree: Mapping[str, Any]) -> Content:
    text = tree["content"]
    data = (text.reveal() if isinstance(text, SecretText) else text).encode()
    return Content(data, "raw", len(data))


def fill(site: Site, task: Task, step: Step) -> None:
    """Write its content into a new volume. One that could not be filled is removed again.

    Raises:
        HostError: it is not done. What cannot be removed stays claimed as unfinished.
    """
    assert task.content is not None
    arguments = {"data": task.content.data}
    try:
        site.host.perform(Verb.UPLOAD, step.address, arguments)
    except HostError:
        with suppress(HostError):
            site.host.perform(Verb.DELETE_VOLUME, step.address, {})
        raise
