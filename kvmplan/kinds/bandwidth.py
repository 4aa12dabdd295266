"""Bandwidth of NICs, in and out: the only place where its fields are declared.

https://libvirt.org/formatnetwork.html#quality-of-service. In KiB/s, as libvirt counts; its host
needs the kernel's htb and sfq queues, and libvirt says so where they are missing.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from kvmplan.mapping.markers import Group, NoDefault, Xml
from kvmplan.mapping.model import Mapped


class Rates(Mapped):
    """A direction's rates."""

    scalar: ClassVar[str] = "average"
    average: Annotated[
        int | None, Field(ge=1), Xml("./@average"), NoDefault("rates are around an average")
    ] = None
    """Kibibytes a second, on average."""
    peak: Annotated[int | None, Field(ge=1), Xml("./@peak")] = None
    """Kibibytes a second, at most."""
    burst: Annotated[int | None, Field(ge=1), Xml("./@burst")] = None
    """Kibibytes that may go at peak speed."""


class Bandwidth(Mapped):
    """How much may pass, as the guest sees it."""

    inbound: Annotated[Rates | None, Group("./inbound")] = None
    """To the guest."""
    outbound: Annotated[Rates | None, Group("./outbound")] = None
    """From the guest."""
