"""What the user allows and asks of a plan, beyond the specs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kvmplan.address import Address

ALL = "all"
"""What ``--allow-restart`` takes beside addresses."""


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """Flags that change a plan. Patterns are shell globs over addresses."""

    destroy: bool = False
    targets: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    adopt: bool = False
    allow_data_loss: tuple[str, ...] = ()
    allow_restart: tuple[str, ...] = ()
    """``all``, or patterns."""
    max_restarts: int | None = None
    """How many guests this run may restart; None: all that need it."""
    prune: bool = False
    max_delete: int | None = None
    allow_empty: bool = False
    partial: bool = False
    """A host of the stack was left out because it does not answer."""
    same_stack: bool = False
    """The user says that these are the specs of the stack that the claims speak of."""
    origin: str = ""
    """The git origin of the specs, without credentials; empty: not known."""
    drift: str = "revert"
    """``revert``: what was changed by hand goes back; ``keep``: it stays."""
    only: frozenset[Address] | None = None
    """A saved plan's own addresses: whatever else has changed since is not its business."""

    def allows_data_loss(self, address: Address) -> bool:
        """Whether the user wrote that this object's bytes may be lost."""
        return named(address, self.allow_data_loss)

    def allows_restart(self, address: Address) -> bool:
        """Whether the user wrote that this guest may go down and up."""
        return ALL in self.allow_restart or named(address, self.allow_restart)

    def names_restart(self, address: Address) -> bool:
        """Whether the user wrote so of this object, and not of all: then that asks for it, too."""
        return named(address, self.allow_restart)

    def replaces(self, address: Address) -> bool:
        """Whether the user asked for a replacement."""
        return named(address, self.replace)


def named(address: Address, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns names the address."""
    return any(address.matches(pattern) for pattern in patterns)
