"""What a plan says about the repository its specs come from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GitState:
    """The commit the specs were read at; `commit` and `branch` are empty where there is none."""

    commit: str = ""
    branch: str = ""
    dirty: bool = False

    def __str__(self) -> str:
        return f"{self.commit[:7] or 'no commit'} ({'dirty' if self.dirty else 'clean'})"
