"""What a started guest is waited for: for kvmplan only, in no document."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from kvmplan.mapping.markers import Policy
from kvmplan.mapping.model import Mapped
from kvmplan.mapping.types import Duration, Port

READY_TIMEOUT = "5m"
"""How long is waited where the spec does not say."""


class TcpWait(Mapped):
    """A port of the guest that must answer."""

    scalar: ClassVar[str] = "port"
    port: Annotated[Port, Policy()]
    """The port; tried from the machine that kvmplan runs on."""
    timeout: Annotated[Duration | None, Policy()] = None
    """How long after the guest's start. By default 5m."""


class WaitFor(Mapped):
    """What must be so before a started guest counts as ready, each within a time of its start."""

    address: Annotated[Duration | None, Policy()] = None
    """It has an address: a DHCP lease, or one that its agent tells."""
    agent: Annotated[Duration | None, Policy()] = None
    """Its agent answers."""
    tcp: Annotated[TcpWait | None, Policy()] = None
    """One of its ports answers."""
    cloud_init: Annotated[Duration | None, Policy()] = None
    """Its cloud-init has finished, as its agent tells, and without errors."""

    @classmethod
    def expand(cls, value: Any) -> Any:
        """``agent`` stands for ``{agent: 5m}``."""
        return {value: READY_TIMEOUT} if isinstance(value, str) else value
