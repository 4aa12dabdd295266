"""Likenesses: what libvirt keeps of filled moulds, compared with what it kept of others.

Two documents of one mould were read, each found to be as wanted, and differ in nothing but their
free texts, wherever these are: then a third that differs in nothing else is as wanted, too, and is
not taken apart. A text has to differ between the two to be found, or has to be the same again.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

ATTEMPTS = 3
"""Pairs that may be unlike before no more are looked at."""


@dataclass(frozen=True, slots=True)
class Filling:
    """What a mould was filled with.

    Attributes:
        mould: which it was.
        texts: the free ones.
        volumes: of those the names of volumes, and where they are.
    """

    mould: Hashable
    texts: tuple[str, ...]
    volumes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class _Likeness:
    """Two documents' common text.

    Attributes:
        pieces: the text between the gaps, one more than these.
        gaps: places of the texts that stand in them.
        same: texts that were the same in both, by their places.
    """

    pieces: tuple[str, ...]
    gaps: tuple[int, ...]
    same: tuple[tuple[int, str], ...]

    def holds(self, texts: Sequence[str], document: str) -> bool:
        if any(texts[place] != text for place, text in self.same):
            return False
        parts = [""] * (2 * len(self.gaps) + 1)
        parts[::2] = self.pieces
        parts[1::2] = [texts[place] for place in self.gaps]
        return "".join(parts) == document


@dataclass(slots=True)
class _First:
    """A document that waits for another one like it."""

    texts: tuple[str, ...]
    document: str
    attempts: int = 0


class Likenesses:
    """What is known of one host's documents. Any thread may call any method."""

    def __init__(self) -> None:
        self._known: dict[Hashable, _Likeness | _First] = {}

    def holds(self, filling: Filling, document: str) -> bool:
        """Whether a document is known to be what was wanted; False: it has to be read."""
        known = self._known.get(filling.mould)
        return isinstance(known, _Likeness) and known.holds(filling.texts, document)

    def learn(self, filling: Filling, document: str) -> None:
        """Learn from a document that was read and is what was wanted."""
        known = self._known.get(filling.mould)
        if isinstance(known, _Likeness) or (known is not None and known.attempts >= ATTEMPTS):
            return
        made = None if known is None else _likeness(known, filling.texts, document)
        attempts = 0 if known is None else known.attempts + 1
        self._known[filling.mould] = made or _First(filling.texts, document, attempts)


def _likeness(first: _First, texts: tuple[str, ...], document: str) -> _Likeness | None:
    """What two documents have in common; None if they differ in more than their texts."""
    pairs = list(enumerate(zip(first.texts, texts, strict=True)))
    same = tuple((place, text) for place, (text, other) in pairs if text == other)
    places = {text: place for place, (text, other) in pairs if text != other}
    if not places:
        return None
    longest = sorted(places, key=len, reverse=True)
    find = re.compile("|".join(map(re.escape, longest)))
    gaps = tuple(places[text] for text in find.findall(first.document))
    made = _Likeness(tuple(find.split(first.document)), gaps, same)
    return made if made.holds(texts, document) else None
