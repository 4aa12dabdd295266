"""Redaction: sensitive values are replaced before anything is formatted or serialised.

Two nets: values at sensitive paths, and `SecretText` wherever it is, are never read out; and free
text (notes, arguments, messages) is searched for those same values.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any

from kvmplan.mapping.secrecy import SENSITIVE, Scrubber, scrubber_of
from kvmplan.plan.change import Action, Change, FieldChange, Path, Plan


def is_sensitive(path: Path, paths: Collection[Path]) -> bool:
    """Whether `path` is one of the sensitive `paths` or lies below one."""
    return bool(paths) and any(path[: len(secret)] == secret for secret in paths)


_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Types of values that are no secrets by themselves and have no members: nearly all."""


def is_secret(value: object) -> bool:
    """Whether `value` is a `SecretText`, told by its method: its module costs pydantic."""
    return callable(getattr(value, "reveal", None))


def children(value: Any) -> Iterator[tuple[str, Any]]:
    """The members of a mapping or list, by key or by index; nothing for a scalar."""
    if isinstance(value, Mapping):
        yield from ((str(key), member) for key, member in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from ((str(index), member) for index, member in enumerate(value))


def plain(value: Any, paths: Collection[Path] = (), path: Path = ()) -> Any:
    """`value` as JSON types, everything at a sensitive path replaced.

    Args:
        value: mappings, sequences and scalars; enums become their values.
        paths: the sensitive paths, counted from the resource.
        path: where `value` itself is.
    """
    if value is not None and (is_secret(value) or is_sensitive(path, paths)):
        return SENSITIVE
    if isinstance(value, Mapping):
        return {key: plain(member, paths, (*path, key)) for key, member in children(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, set | frozenset):
        return sorted(plain(member, paths, path) for member in value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(member, paths, (*path, key)) for key, member in children(value)]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def sensitive_map(value: Any, paths: Collection[Path], path: Path = ()) -> Any:
    """Terraform's ``before_sensitive``: True where a value is sensitive, nested as the value is.

    Mappings keep only the keys that lead to something sensitive; lists keep their length.
    """
    if value is None:
        return False
    if is_secret(value) or is_sensitive(path, paths):
        return True
    if isinstance(value, Mapping):
        marks = {key: sensitive_map(item, paths, (*path, key)) for key, item in children(value)}
        return {key: mark for key, mark in marks.items() if _marked(mark)}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [sensitive_map(item, paths, (*path, key)) for key, item in children(value)]
    return False


def _marked(mark: Any) -> bool:
    return any(_marked(item) for item in mark) if isinstance(mark, list) else bool(mark)


def sensitive_paths(change: Change) -> tuple[Path, ...]:
    """All sensitive paths of a change, those that only a field names included."""
    named = (field.path for field in change.fields if field.sensitive)
    return tuple(dict.fromkeys((*change.sensitive, *named)))


def _leaves(value: Any) -> Iterator[str]:
    for _, member in children(value):
        yield from _leaves(member)
    if is_secret(value):
        yield str(value.reveal())
    elif isinstance(value, str | int) and not isinstance(value, bool):
        yield str(value)


def _secrets_in(value: Any, paths: tuple[Path, ...], path: Path = ()) -> Iterator[str]:
    if is_secret(value) or is_sensitive(path, paths):
        yield from _leaves(value)
        return
    for key, member in children(value):
        yield from _secrets_in(member, paths, (*path, key))


def _is_plain(value: Any) -> bool:
    """Whether there is no `SecretText` in a tree, told by the types of what is in it."""
    if type(value) is dict:
        return all(type(member) in _PLAIN or _is_plain(member) for member in value.values())
    if type(value) in (list, tuple):
        return all(type(member) in _PLAIN or _is_plain(member) for member in value)
    return type(value) in _PLAIN


def _field_secrets(fields: Iterable[FieldChange], paths: tuple[Path, ...]) -> Iterator[str]:
    for field in fields:
        here = (*paths, field.path) if field.sensitive else paths
        yield from _secrets_in(field.before, here, field.path)
        yield from _secrets_in(field.after, here, field.path)


def scrubber(plan: Plan) -> Scrubber:
    """Knows every secret of a plan."""
    found: set[str] = set()
    by_address = {change.address: sensitive_paths(change) for change in plan.changes}
    for change in (*plan.changes, *plan.drift):
        if change.action is Action.NOOP and not sensitive_paths(change):
            # Most of a big plan: its values are in no text, and the specs make no secret of them.
            continue
        paths = (*sensitive_paths(change), *by_address.get(change.address, ()))
        for tree in (change.before, change.after):
            if paths or not _is_plain(tree):
                found.update(_secrets_in(tree, paths))
        found.update(_field_secrets(change.fields, paths))
    for pending in plan.pending:
        found.update(_field_secrets(pending.fields, by_address.get(pending.address, ())))
    return scrubber_of(found)
