"""The section ``lifecycle`` of a resource."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from kvmplan.address import Address
from kvmplan.diagnostics import Diagnostics
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import Mapped, bindings
from kvmplan.spec import codes
from kvmplan.spec.desired import Lifecycle
from kvmplan.spec.node import Entry, Node, child, lift, plain
from kvmplan.spec.suggest import closest, did_you_mean
from kvmplan.spec.validate import validate

UNCHANGED = Lifecycle()


class LifecycleSection(BaseModel):
    """What may be written under ``lifecycle``."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    prevent_destroy: bool = False
    ignore_changes: tuple[str | tuple[str, ...], ...] = ()
    unlisted: Literal["keep", "remove"] = "keep"


class UnknownPath(Exception):
    """A path that leads nowhere: the name, and the names known there."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.name, self.known = name, known
        super().__init__(name)


def read_lifecycle(
    address: Address, model: type[Mapped], node: Node | None, report: Diagnostics
) -> Lifecycle:
    """A resource's lifecycle; the usual one where it is absent, or wrong and reported."""
    if node is None:
        return UNCHANGED
    subject = f"lifecycle of {address.short}"
    node = _listed(node)
    raw = plain(node)
    if isinstance(raw, dict):
        raw = {name: _tuples(value) for name, value in raw.items() if value is not None}
    section = validate(LifecycleSection, raw, node, subject, report, address)
    if section is None:
        return UNCHANGED
    places = child(node, "ignore_changes")
    ignored: list[tuple[str, ...]] = []
    for index, written in enumerate(section.ignore_changes):
        try:
            ignored.append(_path(model, written))
        except UnknownPath as error:
            items = places.value if places is not None else None
            spot = items[index] if isinstance(items, list) else node
            summary = f"ignore_changes of {address.short}: unknown field '{error.name}'"
            remedy = did_you_mean(error.name, error.known, "fields there")
            report.error(codes.UNKNOWN_FIELD, summary, spot.place, remedy, address)
    return Lifecycle(section.prevent_destroy, tuple(ignored), section.unlisted)


def _listed(node: Node) -> Node:
    """``ignore_changes: PATH`` as a list of one."""
    paths = child(node, "ignore_changes")
    if paths is None or not isinstance(paths.value, str) or not isinstance(node.value, dict):
        return node
    entry = Entry(node.value["ignore_changes"].mark, lift([paths], paths.mark))
    return node._replace(value={**node.value, "ignore_changes": entry})


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if type(value) is list else value


def _path(model: type[Mapped], written: str | tuple[str, ...]) -> tuple[str, ...]:
    """A path in parts. Keys of collections may hold dots: the shortest that leads on is meant.

    Raises:
        UnknownPath: it names a field that nobody knows.
    """
    parts = written.split(".") if isinstance(written, str) else list(written)
    found: list[str] = []
    current: type[Mapped] | None = model
    while parts:
        if current is None:
            raise UnknownPath(parts[0], ())
        table = bindings(current)
        name = parts.pop(0)
        if name not in table:
            raise UnknownPath(name, tuple(table))
        found.append(name)
        current = table[name].item
        if isinstance(table[name].place, Items) and parts and current is not None:
            size = _key_size(parts, current) if isinstance(written, str) else 1
            found.append(".".join(parts[:size]))
            parts = parts[size:]
    return tuple(found)


def _key_size(parts: list[str], item: type[Mapped]) -> int:
    """How many of the parts between dots are an item's key."""
    table = bindings(item)
    for size in range(1, len(parts)):
        if parts[size] in table:
            return size
    if len(parts) > 1 and closest(parts[-1], table) is not None:
        raise UnknownPath(parts[-1], tuple(table))
    return len(parts)
