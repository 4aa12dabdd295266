"""How a value reads: sizes as they are written in specs, secrets not at all, long texts in short.

The words of a field (``8GiB``) come from `kvmplan.kinds.describe`; shape and length from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kvmplan.address import Kind
from kvmplan.mapping.secrecy import SENSITIVE
from kvmplan.plan.change import FieldChange, Path
from kvmplan.views.redact import children, is_secret, is_sensitive
from kvmplan.views.style import printable

Describe = Callable[[Kind, Path, object], str]
"""One scalar of a field as a spec would write it: ``describe(kind, path, value)``."""

NONE = "(none)"
_LONGEST = 60
_CONTEXT = 12


@cache
def _words() -> tuple[Describe, Callable[[Kind, Path], frozenset[str]]]:
    from kvmplan.kinds import describe, key_fields

    return describe, key_fields


def describe_field(kind: Kind, path: Path, value: object) -> str:
    """`kvmplan.kinds.describe`, loaded when the first value is shown."""
    return _words()[0](kind, path, value)


def _key_fields(kind: Kind, path: Path) -> frozenset[str]:
    return _words()[1](kind, path)


def shorten(text: str) -> str:
    """One printable line: the first line of a long text and how much more there is."""
    if len(text) <= _LONGEST and text.isprintable():
        return text
    lines = text.splitlines()
    if len(lines) > 1:
        return f"{_cut(lines[0])} … ({len(lines)} lines)"
    return _cut(text.rstrip("\n"))


def _cut(line: str) -> str:
    line = printable(line)
    if len(line) <= _LONGEST:
        return line
    return f"{line[: _LONGEST - 1]}… ({len(line)} characters)"


@dataclass(frozen=True, slots=True)
class Values:
    """Formats the values of one resource.

    Attributes:
        kind: of the resource; tells `describe` what the paths mean.
        describe: the words of a scalar.
        sensitive: the paths whose values are never shown.
    """

    kind: Kind
    describe: Describe = describe_field
    sensitive: tuple[Path, ...] = ()

    def scalar(self, path: Path, value: object) -> str:
        """A scalar in full; line breaks and all. A text is its own words, whatever it is of."""
        if value is None:
            return NONE
        if is_secret(value) or is_sensitive(path, self.sensitive):
            return SENSITIVE
        if isinstance(value, bool):
            return "true" if value else "false"
        return self.describe(self.kind, path, value)

    def text(self, path: Path, value: object) -> str:
        """Any value on one line; collections in YAML's flow style."""
        if type(value) is str and not self.sensitive:
            return shorten(value)
        if value is not None and is_sensitive(path, self.sensitive):
            return SENSITIVE
        if isinstance(value, (str, int)):
            return shorten(self.scalar(path, value))
        if isinstance(value, Mapping):
            return self._mapping(path, value)
        members = [(key, self.text((*path, key), member)) for key, member in children(value)]
        if members or isinstance(value, list | tuple):
            return f"[{', '.join(text for _, text in members)}]"
        return shorten(self.scalar(path, value))

    def _mapping(self, path: Path, value: Mapping[str, Any]) -> str:
        """A mapping in flow style, as a spec would say it.

        A member does not repeat its own key, and members that say nothing else are a list.
        """
        own = self._said_by_name(path, value)
        said = {str(key): member for key, member in value.items() if str(key) not in own}
        if said and all(self._is_name(path, *item) for item in said.items()):
            return f"[{', '.join(printable(key) for key in said)}]"
        texts = (f"{printable(key)}: {self.text((*path, key), said[key])}" for key in said)
        return f"{{{', '.join(texts)}}}"

    def _said_by_name(self, path: Path, value: Mapping[str, Any]) -> set[str]:
        """The fields of a member that say no more than its name does."""
        fields = _key_fields(self.kind, path) if path else frozenset()
        return {name for name in fields if str(value.get(name)) == path[-1]}

    def _is_name(self, path: Path, key: str, member: Any) -> bool:
        """Whether it is a member of a collection that is no more than its name."""
        there = isinstance(member, Mapping) and bool(member)
        return there and set(member) == self._said_by_name((*path, key), member)

    def transition(self, field: FieldChange) -> tuple[str, str]:
        """What a field has and gets, as two texts; ``+`` or ``-`` first for a whole member."""
        before, after = field.before, field.after
        if isinstance(after, Mapping) and before is None:
            return "+", self._member(field, after)
        if isinstance(before, Mapping) and after is None:
            # A member that goes is read whole: switches that are off say nothing about it.
            said = {name: value for name, value in before.items() if value is not False}
            return "-", self._member(field, said)
        if self._is_text(field, before) and self._is_text(field, after):
            return text_change(before, after)
        return self._of(field, before), self._of(field, after)

    def _member(self, field: FieldChange, value: Mapping[str, Any]) -> str:
        """A whole member; one that is no more than its key has nothing to add to its name."""
        text = self._of(field, value)
        return "" if text == "{}" else text

    def _of(self, field: FieldChange, value: object) -> str:
        return SENSITIVE if field.sensitive and value is not None else self.text(field.path, value)

    def _is_text(self, field: FieldChange, value: Any) -> bool:
        hidden = field.sensitive or is_sensitive(field.path, self.sensitive)
        return isinstance(value, str) and not hidden and ("\n" in value or len(value) > _LONGEST)


def text_change(before: str, after: str) -> tuple[str, str]:
    """Two long texts, each from where they part: their beginnings are usually the same."""
    old, new = before.splitlines(), after.splitlines()
    same = sum(1 for _ in _common(old, new))
    if len(old) <= 1 and len(new) <= 1:
        start = max(0, sum(1 for _ in _common(before, after)) - _CONTEXT)
        lead = "…" if start else ""
        return lead + _cut(before[start:]), lead + _cut(after[start:])
    left, right = (lines[same] if same < len(lines) else NONE for lines in (old, new))
    return (
        f"line {same + 1} of {len(old)}: {_cut(left)}",
        f"line {same + 1} of {len(new)}: {_cut(right)}",
    )


def _common(left: Any, right: Any) -> list[Any]:
    shared = []
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        shared.append(one)
    return shared
