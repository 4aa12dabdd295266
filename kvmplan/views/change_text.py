"""One change as text: what happens, field by field, whom it disturbs, where it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kvmplan.mapping.impact import Impact, worst
from kvmplan.mapping.secrecy import SENSITIVE, Scrubber
from kvmplan.plan.change import Action, Change, FieldChange, Path, Reason
from kvmplan.views.layout import Layout
from kvmplan.views.redact import is_sensitive, sensitive_paths
from kvmplan.views.style import Meaning, printable
from kvmplan.views.values import Values

ACTION_MEANING = {
    Action.CREATE: Meaning.ADD,
    Action.UPDATE: Meaning.CHANGE,
    Action.REPLACE: Meaning.DANGER,
    Action.DELETE: Meaning.DELETE,
    Action.NOOP: Meaning.DIM,
}

_REASON_WORDS = {
    Reason.NONE: "",
    Reason.ADOPT: "adopted: it becomes this stack's",
    Reason.UNOWNED: "in sync, but not this stack's",
    Reason.NOT_IN_SPEC: "no longer in the specs",
    Reason.REQUESTED: "asked for with --replace",
    Reason.DESTROY: "asked for with destroy",
    Reason.TORN: "its creation was cut short before",
    Reason.RESEEDED: "its guest's seed was edited: the guest begins from nothing",
    Reason.HELD_BACK: "not among the targets",
    Reason.HELD: "held: every run leaves it alone",
    Reason.BLOCKED: "an error says why nothing is done",
}

_NAME_COLUMN = 30


def impact_meaning(impact: Impact) -> Meaning | None:
    """The look of an impact's word: red from the first guest that goes down."""
    if impact.danger >= Impact.STOP.danger:
        return Meaning.DANGER
    return Meaning.CHANGE if impact is Impact.NEXT_BOOT else None


def impact_words(impact: Impact, fallback: Impact | None = None) -> str:
    """``live, else next-boot``."""
    return f"{impact}, else {fallback}" if fallback and fallback is not impact else impact.value


def change_head(change: Change, layout: Layout) -> list[str]:
    """The line that names a change and its impact."""
    named = layout.address(change.address)
    if change.previous is not None:
        named = f"{layout.address(change.previous)} -> {named}"
    left = f"  {change.action.symbol} {named}"
    fallbacks = [field.fallback for field in change.fields if field.fallback]
    fallback = worst(fallbacks) if fallbacks else None
    stronger = fallback if fallback and fallback.danger > change.impact.danger else None
    words = impact_words(change.impact, stronger)
    meaning = impact_meaning(stronger or change.impact)
    return layout.row(left, words, ACTION_MEANING[change.action], meaning)


def change_lines(change: Change, layout: Layout, secrets: Scrubber) -> list[str]:
    """A change in full."""
    lines = change_head(change, layout)
    if words := _REASON_WORDS[change.reason]:
        lines += layout.wrap(words, 6)
    values = Values(change.address.kind, layout.describe, sensitive_paths(change))
    if change.action is Action.CREATE and change.after is not None:
        lines += birth_lines(change.after, values, layout)
    else:
        touched = {field.path for field in change.fields}
        pending = (field for field in change.pending if field.path not in touched)
        lines += field_lines((*change.fields, *pending), values, layout, secrets)
    for note in change.notes:
        lines += layout.wrap(secrets.text(note), 6, 8)
    if change.source:
        lines.append(" " * 6 + layout.style.paint(printable(str(change.source)), Meaning.DIM))
    return lines


def birth_lines(after: Mapping[str, Any], values: Values, layout: Layout) -> list[str]:
    """What a new object is made with: its scalars in a row, then a line for each collection."""
    scalars, rest = [], []
    for key, value in after.items():
        if value is None or value in ({}, [], ()):
            continue
        if isinstance(value, Mapping | list | tuple):
            rest += _member_lines((str(key),), value, values, layout)
        else:
            scalars.append(f"{printable(str(key))}: {values.text((str(key),), value)}")
    return layout.wrap(", ".join(scalars), 6, 8) + rest


def _member_lines(path: Path, value: Any, values: Values, layout: Layout) -> list[str]:
    whole = f"{path[-1]}: {values.text(path, value)}"
    keyed = isinstance(value, Mapping) and not is_sensitive(path, values.sensitive)
    fits = len(whole) + 6 <= layout.width
    if fits or not keyed:
        return layout.wrap(whole, 6, 8)
    return [
        line
        for key, member in value.items()
        for line in layout.wrap(f"{path[-1]}.{key}: {values.text((*path, str(key)), member)}", 6, 8)
    ]


def field_lines(
    fields: Iterable[FieldChange], values: Values, layout: Layout, secrets: Scrubber
) -> list[str]:
    """The changed fields, the most dangerous first, their values in one column."""
    ordered = sorted(fields, key=lambda field: (-field.impact.danger, field.path))
    longest = max((len(field.name) for field in ordered), default=0)
    column = min(longest, _NAME_COLUMN)
    return [line for field in ordered for line in _field(field, column, values, layout, secrets)]


def _field(
    field: FieldChange, column: int, values: Values, layout: Layout, secrets: Scrubber
) -> list[str]:
    name = printable(field.name)
    before, after = values.transition(field)
    change = f"{before} {after}".rstrip() if before in "+-" else f"{before} -> {after}"
    if before == after == SENSITIVE:
        change = f"{SENSITIVE} changes"
    tail = secrets.text(_consequence(field))
    shown = layout.style.paint(tail, impact_meaning(field.impact))
    left = f"      {name:<{column}}  {change}"
    start = max(len(left) + 2, layout.column - 6)
    if start + len(tail) <= layout.width:
        return [f"{left:<{start}}{shown}"]
    if len(left) + 3 + len(tail) <= layout.width:
        return [f"{left}   {shown}"]
    head = [left] if len(left) <= layout.width else _broken(name, before, after, layout)
    return [*head, *_painted(tail, layout, impact_meaning(field.impact))]


def _broken(name: str, before: str, after: str, layout: Layout) -> list[str]:
    """A transition that is too long for a line: the name, then what is, then what will be."""
    if before in "+-":
        return [f"      {name}", *layout.wrap(f"{before} {after}", 10, 12)]
    arrow = layout.wrap(f"-> {after}", 10, 13)
    return [f"      {name}", *layout.wrap(before, 13), *arrow]


def _painted(text: str, layout: Layout, meaning: Meaning | None) -> list[str]:
    """A consequence on lines of its own, as far right as its longest line allows."""
    margin = 10
    lines = replace(layout, width=layout.width - margin).wrap(text, 0)
    longest = max(map(len, lines), default=0)
    left = " " * max(margin, min(layout.column - 6, layout.width - longest))
    return [left + layout.style.paint(line, meaning) for line in lines]


def _consequence(field: FieldChange) -> str:
    """The end of a field's line: its impact, and what it forces and why."""
    if field.impact.danger < Impact.STOP.danger:
        words = impact_words(field.impact, field.fallback)
        return f"{words} ({field.reason})" if field.reason else words
    forced = f"<- forces {impact_words(field.impact, field.fallback)}"
    return f"{forced}: {field.reason}" if field.reason else forced
