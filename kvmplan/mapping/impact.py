"""Impact: whom a change disturbs. The words, in the order of danger."""

from __future__ import annotations

from enum import StrEnum


class Impact(StrEnum):
    """Whom a change disturbs. The order of definition is the order of danger."""

    NONE = "none"
    CREATE = "create"
    START = "start"
    LIVE = "live"
    NEXT_BOOT = "next-boot"
    STOP = "stop"
    RESTART = "restart"
    DELETE = "delete"
    REPLACE = "replace"
    DATA_LOSS = "data-loss"

    @property
    def danger(self) -> int:
        """0 is harmless; higher is worse."""
        return _DANGERS[self]


_DANGERS = {impact: danger for danger, impact in enumerate(Impact)}


def worst(impacts: list[Impact]) -> Impact:
    """The most dangerous of several impacts; NONE of none."""
    return max(impacts, key=lambda impact: impact.danger, default=Impact.NONE)
