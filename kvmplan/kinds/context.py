"""What the kinds' readers and writers ask of a host: where a volume is, and whose a path is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kvmplan.mapping.lens import Context


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """Where a volume's bytes are.

    Attributes:
        type: ``file``, ``block`` or ``network``: how a disk on it is written.
        path: its path on the host.
        format: its format, such as ``qcow2``.
    """

    type: str
    path: str
    format: str


def _no_volume(_: str) -> Any:
    return None


@dataclass(frozen=True)
class HostContext(Context):
    """A `Context` that knows volumes.

    Attributes:
        volume: the facts of ``POOL/NAME``; None if there is no such volume.
        volume_at: the ``POOL/NAME`` of a path; None if no active pool has it.
        overlays: path of a snapshot's overlay -> path of the declared volume that it is over: a
            disk there counts as being on that volume.
    """

    volume: Callable[[str], VolumeFacts | None] = _no_volume
    volume_at: Callable[[str], str | None] = _no_volume
    overlays: Mapping[str, str] = field(default_factory=dict)


def host_context(context: Any) -> HostContext:
    """The context as the kinds need it. Raises TypeError for one that knows no volumes."""
    if not isinstance(context, HostContext):
        raise TypeError("the kinds' fields are read and written with a HostContext")
    return context
