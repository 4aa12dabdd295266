"""What a running guest was started with, of fields that its running document cannot tell.

The boot note says it: where it differs from what is defined, the field waits for the next boot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kvmplan.diff import Difference, at, diff
from kvmplan.inventory import Record
from kvmplan.kinds.bootnote import NOTHING, Notes, read_notes
from kvmplan.mapping.model import Mapped, chain
from kvmplan.plan.change import FieldChange, Path, Tree


def boot_notes(record: Record | None) -> Notes:
    """What is noted of the guest that runs, or is in a managed save image.

    A definition that holds a note, too, is a running document that somebody wrote back: nobody
    knows which boot that note is of, so it counts for nothing.
    """
    if record is None:
        return NOTHING
    notes = read_notes(record.running if record.active else record.saved)
    copied = notes and record.persistent and read_notes(record.document)
    return NOTHING if copied else notes


def is_told(model: type[Mapped], path: Path) -> bool:
    """Whether a running document tells what a field is."""
    return all(link.compared_running for link in chain(model, path))


def _is_known(model: type[Mapped], path: Path) -> bool:
    """Whether it is a field that may be noted; another kvmplan's may be none of ours."""
    try:
        return not is_told(model, path)
    except KeyError:
        return False


def differences(model: type[Mapped], notes: Notes, live: Tree) -> list[Difference]:
    """Where the guest was started with something else than what is defined by now."""
    started: dict[str, Any] = {}
    defined: dict[str, Any] = {}
    for path in sorted(path for path in notes if _is_known(model, path)):
        put(started, path, notes[path])
        put(defined, path, at(live, path))
    return diff(started, defined)


def noted(model: type[Mapped], notes: Notes, changes: Iterable[FieldChange]) -> Notes:
    """The notes once more fields are redefined: of each its first value in this boot counts."""
    kept = dict(notes)
    for change in changes:
        path = change.path
        known = any(path[: len(prefix)] == prefix for prefix in kept)
        if known or change.sensitive or is_told(model, path):
            continue
        below = {inner: kept.pop(inner) for inner in tuple(kept) if inner[: len(path)] == path}
        holder: dict[str, Any] = {}
        put(holder, path, change.before)
        for inner in sorted(below):
            put(holder, inner, below[inner])
        kept[path] = at(holder, path)
    return kept


def without_member(notes: Notes, member: Path) -> Notes:
    """The notes once a member was plugged in or out: what it was started with is gone."""
    return {path: value for path, value in notes.items() if path[: len(member)] != member}


def put(tree: dict[str, Any], path: Path, value: Any) -> None:
    """Set a value, and copy the mappings on the way, which are others'."""
    *above, name = path
    for step in above:
        inner = tree.get(step)
        tree[step] = tree = dict(inner) if isinstance(inner, dict) else {}
    tree[name] = value
