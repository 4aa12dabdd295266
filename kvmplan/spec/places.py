"""Places: where each field of a resource is written, looked up when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kvmplan.diagnostics import Place
from kvmplan.spec.node import Entry, Node

Path = tuple[str, ...]


class Places(Mapping[Path, Place]):
    """Path -> place, a view of a normalised resource.

    The place of a scalar is its value's, of a mapping or list its key's. Elements of lists have the
    index as the last part of their path. The empty path is the resource's own key.
    """

    __slots__ = ("_key", "_node")

    def __init__(self, key: Entry, node: Node) -> None:
        self._key, self._node = key, node

    def __getitem__(self, path: Path) -> Place:
        node, mark = self._node, self._key.mark
        for part in path:
            value = node.value
            if isinstance(value, dict):
                mark, node = value[part]
            elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
                node = value[int(part)]
                mark = node.mark
            else:
                raise KeyError(path)
        if not path or isinstance(node.value, dict | list):
            return Place(*mark)
        return node.place

    def __iter__(self) -> Iterator[Path]:
        yield ()
        yield from _paths(self._node, ())

    def __len__(self) -> int:
        return sum(1 for _ in self)


def nearest(places: Mapping[Path, Place], path: Path) -> Place | None:
    """The place of a path, or of what is around it."""
    found = (places.get(path[:length]) for length in range(len(path), -1, -1))
    return next((place for place in found if place is not None), None)


def _paths(node: Node, above: Path) -> Iterator[Path]:
    if isinstance(node.value, dict):
        below = [(name, entry.node) for name, entry in node.value.items()]
    elif isinstance(node.value, list):
        below = [(str(index), item) for index, item in enumerate(node.value)]
    else:
        return
    for name, item in below:
        yield (*above, name)
        yield from _paths(item, (*above, name))
