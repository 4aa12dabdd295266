"""What fields say against each other, or against what they are kept in."""

from __future__ import annotations

from dataclasses import dataclass

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Fields that cannot both be meant: where, in one sentence, and the way out.

    Attributes:
        warns: whether a plan with it may be read all the same, and applied for what else is in it.
    """

    path: Path
    summary: str
    remedy: str
    warns: bool = False
