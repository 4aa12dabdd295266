"""Did you mean: the remedy for a name that nobody knows."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 16


def closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was most likely meant."""
    import difflib

    choices = {choice.lower(): choice for choice in known}
    found = difflib.get_close_matches(name.lower(), list(choices), n=1, cutoff=0.6)
    return choices[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "known here") -> str | None:
    """A remedy: the closest name, else the first known ones, else None."""
    names = list(known)
    near = closest(name, names)
    if near is not None:
        return f"did you mean '{near}'?"
    if not names:
        return None
    more = ", …" if len(names) > SHOWN else ""
    return f"{otherwise}: {', '.join(names[:SHOWN])}{more}"
