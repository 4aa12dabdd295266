"""References: the fields of a resource that name other resources, and `depends_on`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from kvmplan.address import Address, Kind, parse_address
from kvmplan.diagnostics import Diagnostics
from kvmplan.mapping.markers import Items
from kvmplan.mapping.model import Binding, Mapped, leading
from kvmplan.spec import codes
from kvmplan.spec.desired import Reference
from kvmplan.spec.node import BROKEN, Entry, Node
from kvmplan.spec.places import Places
from kvmplan.spec.suggest import did_you_mean
from kvmplan.spec.validate import words

Path = tuple[str, ...]


@cache
def _with_references(model: type[Mapped]) -> Mapping[str, Binding]:
    """The fields of a model that are references or hold some further down."""
    return leading(model, lambda field: field.ref is not None)


def _values(
    model: type[Mapped], raw: Mapping[str, Any], path: Path
) -> Iterator[tuple[Path, str, str]]:
    """Path, kind and text of every reference in a resource's plain values."""
    for name, field in _with_references(model).items():
        value = raw.get(name)
        if value is None:
            continue
        below = (*path, name)
        if field.ref is not None:
            many = isinstance(value, tuple)
            for index, text in enumerate(value if many else (value,)):
                if isinstance(text, str):
                    yield (*below, str(index)) if many else below, field.ref.kind, text
        elif field.item is not None and isinstance(field.place, Items):
            for key, item in value.items():
                yield from _values(field.item, item, (*below, key))
        elif field.item is not None and isinstance(value, Mapping):
            yield from _values(field.item, value, below)


def references(
    address: Address,
    model: type[Mapped],
    raw: Mapping[str, Any],
    key: Entry,
    places: Places,
    report: Diagnostics,
) -> tuple[Reference, ...]:
    """What a resource refers to, the pool in a volume's name first."""
    found: list[Reference] = []
    if address.kind is Kind.VOLUME:
        pool = Address(address.host, Kind.POOL, address.pool)
        found.append(Reference(("pool",), pool, key.place))
    for path, kind, text in _values(model, raw, ()):
        reference = Reference(path, Address(address.host, Kind(kind), text), places.get(path))
        if reference.target == address:
            summary = f"{address.short} refers to itself in {'.'.join(path)}"
            report.error(codes.DEPENDENCY, summary, reference.place, "name another one", address)
        found.append(reference)
    return tuple(found)


def depends_on(
    address: Address, node: Node | None, hosts: tuple[str, ...] | None, report: Diagnostics
) -> tuple[Reference, ...]:
    """The addresses that a resource's `depends_on` names; `hosts` None: any host will do."""
    if node is None:
        return ()
    items = node.value if isinstance(node.value, list) else [node]
    found: list[Reference] = []
    for index, item in enumerate(items):
        if item.tag == BROKEN:
            continue
        if not isinstance(item.value, str):
            summary = f"depends_on of {address.short} is {words(item.value)}"
            remedy = "write a list of addresses, such as network.lan"
            report.error(codes.DEPENDENCY, summary, item.place, remedy, address)
            continue
        try:
            target = parse_address(item.value, address.host)
        except ValueError as error:
            summary = f"depends_on of {address.short}: {error}"
            report.error(codes.DEPENDENCY, summary, item.place, None, address)
            continue
        if target == address:
            summary = f"{address.short} depends on itself"
            report.error(codes.DEPENDENCY, summary, item.place, "take it out", address)
        elif hosts is not None and target.host not in hosts:
            summary = f"depends_on of {address.short}: unknown host '{target.host}'"
            hint = did_you_mean(target.host, hosts, "hosts of this stack")
            report.error(codes.DEPENDENCY, summary, item.place, hint, address)
        found.append(Reference(("depends_on", str(index)), target, item.place))
    return tuple(found)
