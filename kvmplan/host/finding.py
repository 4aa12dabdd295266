"""What an examination of a host finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Layer = Literal["KVM", "QEMU", "libvirt"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found out.

    Attributes:
        layer: where.
        ok: whether it is as it should be; None where that cannot be said, or does not matter.
        summary: one sentence.
        remedy: what to do about it, None if there is nothing to be done.
    """

    layer: Layer
    ok: bool | None
    summary: str
    remedy: str | None = None
