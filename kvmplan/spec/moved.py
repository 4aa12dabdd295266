"""The section ``moved``: which domains had another name before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kvmplan.address import Address, Kind, parse_address
from kvmplan.diagnostics import Diagnostics, Place
from kvmplan.spec import codes
from kvmplan.spec.names import Scope
from kvmplan.spec.node import BROKEN, Node, child, entries
from kvmplan.spec.render import Renderer, Unrendered
from kvmplan.spec.suggest import did_you_mean
from kvmplan.spec.validate import unknown_field, words

SHAPE = "write {from: domain.OLD, to: domain.NEW}"
FIELDS = ("from", "to")


@dataclass(frozen=True, slots=True)
class _Move:
    source: Address
    target: Address
    place: Place
    target_place: Place


class Moves:
    """Reads the section of every file and follows its lines.

    Args:
        declared: what the specs ask for.
        whole: whether that is all: else a name that is missing may be in what could not be read.
    """

    def __init__(
        self, declared: Iterable[Address], report: Diagnostics, *, several_hosts: bool, whole: bool
    ) -> None:
        self._declared, self._report = set(declared), report
        self._several_hosts, self._whole = several_hosts, whole

    def read(
        self, documents: Sequence[Node], renderer: Renderer, scope: Scope
    ) -> Mapping[Address, tuple[str, ...]]:
        """Address of a domain -> the names it had before, the last one first."""
        moves: dict[Address, _Move] = {}
        for item in self._items(documents, renderer, scope):
            move = self._move(item)
            if move is not None and self._is_new(move, moves):
                moves[move.target] = move
        found: dict[Address, tuple[str, ...]] = {}
        sources = {move.source for move in moves.values()}
        for target, move in moves.items():
            names = tuple(self._names(target, moves))
            if target not in sources and self._is_declared(move):
                found[target] = names
        return found

    def _items(self, documents: Sequence[Node], renderer: Renderer, scope: Scope) -> Iterator[Node]:
        for document in documents:
            node = child(document, "moved")
            if node is None:
                continue
            if not isinstance(node.value, list):
                self._error("'moved' needs a list", node.place, f"{SHAPE}, in a list")
                continue
            for item in node.value:
                try:
                    yield renderer.render(item, scope)
                except Unrendered:
                    continue

    def _move(self, item: Node) -> _Move | None:
        if not isinstance(item.value, dict):
            self._error(f"an entry of 'moved' is {words(item.value)}", item.place, SHAPE)
            return None
        for name, entry in entries(item).items():
            if name not in FIELDS:
                unknown_field(self._report, name, FIELDS, "'moved'", (), entry.mark)
        old, new = child(item, "from"), child(item, "to")
        if old is None or new is None:
            self._error("an entry of 'moved' lacks 'from' or 'to'", item.place, SHAPE)
            return None
        target = self._address(new, None)
        source = self._address(old, target) if target is not None else None
        if source is None or target is None:
            return None
        if source.host != target.host:
            summary = f"{source} cannot move to {target}: a domain is renamed on its host"
            self._error(summary, new.place, "migrate it, or name one host in both")
            return None
        return _Move(source, target, old.place, new.place)

    def _address(self, node: Node, target: Address | None) -> Address | None:
        if node.tag == BROKEN:
            return None
        if not isinstance(node.value, str):
            self._error(f"'moved' names {words(node.value)}", node.place, SHAPE)
            return None
        try:
            found = parse_address(node.value, target.host if target else "")
        except ValueError as error:
            self._error(f"moved: {error}", node.place, SHAPE)
            return None
        if found.kind is not Kind.DOMAIN:
            summary = f"{found.short} cannot move: libvirt renames domains only"
            self._error(summary, node.place, "make the new one, move what is on it, drop the old")
            return None
        return found if found.host else self._on_its_host(found, node)

    def _on_its_host(self, address: Address, node: Node) -> Address | None:
        """The address on the host where a domain of that name is declared."""
        hosts = sorted(a.host for a in self._declared if a.short == address.short)
        if hosts:
            return Address(hosts[0], address.kind, address.name)
        if not self._several_hosts:
            from kvmplan.address import LOCAL

            return Address(LOCAL, address.kind, address.name)
        summary = f"{address.short} is on no host of the specs"
        self._error(summary, node.place, f"write its host: HOST:{address.short}")
        return None

    def _is_new(self, move: _Move, moves: Mapping[Address, _Move]) -> bool:
        """Whether a line says something that can be, and no other line says against it."""
        source, target = move.source.short, move.target.short
        if move.source == move.target:
            self._error(f"{source} moves to itself", move.place, "take the line out")
        elif move.target in moves:
            first = f"the first is at {moves[move.target].place}"
            self._error(f"a second line moves something to {target}", move.target_place, first)
        elif any(other.source == move.source for other in moves.values()):
            self._error(f"a second line moves {source}", move.place, "keep one of them")
        elif move.source in self._declared:
            summary = f"{source} moves to {target} and is declared, too"
            self._error(summary, move.place, f"take the line or {source} out")
        elif move.target in self._before(move.source, moves):
            self._error(f"lines move {source} in a circle", move.place, "take one of them out")
        else:
            return True
        return False

    def _before(self, address: Address, moves: Mapping[Address, _Move]) -> Iterator[Address]:
        """What an address was before, step by step back."""
        while (move := moves.get(address)) is not None:
            address = move.source
            yield address

    def _names(self, address: Address, moves: Mapping[Address, _Move]) -> Iterator[str]:
        return (source.name for source in self._before(address, moves))

    def _is_declared(self, move: _Move) -> bool:
        if move.target in self._declared:
            return True
        if self._whole:
            known = [a.short for a in sorted(self._declared) if a.kind is Kind.DOMAIN]
            remedy = did_you_mean(move.target.short, known, "declared")
            summary = f"{move.source.short} moves to {move.target.short}, which is not declared"
            self._error(summary, move.target_place, remedy or "declare it")
        return False

    def _error(self, summary: str, place: Place, remedy: str) -> None:
        self._report.error(codes.MOVED, summary, place, remedy)
