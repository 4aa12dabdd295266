"""The graph: in which order things happen. The one user of networkx.

Nodes are (address, part): what makes or changes an object goes forward, what removes it backward.
What a change gives up for another one to take is a part of its own, before the rest.
Edges come from references: of the specs for what is made, of the live documents for what goes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kvmplan.address import Address, Kind

FORWARD, RELEASE, REMOVE = "forward", "release", "remove"
_KINDS = tuple(Kind)
Node = tuple[Address, str]


@dataclass(frozen=True, slots=True)
class Order:
    """An order of nodes, and for each the nodes that must be over before it begins."""

    nodes: tuple[Node, ...]
    before: Mapping[Node, tuple[Node, ...]]


class Cycle(Exception):
    """References that lead back to where they started: no order exists.

    `addresses` is the cycle, its first member repeated at the end.
    """

    def __init__(self, addresses: tuple[Address, ...]) -> None:
        self.addresses = addresses
        super().__init__(" -> ".join(address.short for address in addresses))


def order(nodes: Iterable[Node], edges: Iterable[tuple[Node, Node]]) -> Order:
    """A deterministic topological order.

    Args:
        nodes: all that will be done.
        edges: (first, then) pairs; those that name other nodes are ignored.

    Raises:
        Cycle: there is no order.
    """
    import networkx as nx

    ranked = sorted(nodes, key=_rank)
    place = {node: number for number, node in enumerate(ranked)}
    # Numbers are hashed and compared faster than nodes are.
    graph: nx.DiGraph[int] = nx.DiGraph()
    graph.add_nodes_from(range(len(ranked)))
    graph.add_edges_from(
        (place[first], place[then]) for first, then in edges if first in place and then in place
    )
    try:
        ordered = list(nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible as error:
        links = nx.find_cycle(graph)
        raise Cycle(tuple(ranked[link[0]][0] for link in (*links, links[0]))) from error
    return Order(
        tuple(ranked[number] for number in ordered),
        {ranked[n]: tuple(sorted(ranked[m] for m in graph.predecessors(n))) for n in ordered},
    )


def _rank(node: Node) -> tuple[int, str, str, str, str]:
    """Kinds one after the other, where nothing else says the order; what is removed in reverse.

    All volumes are whole before the first guest starts: one write of claims notes that for all.
    """
    address, part = node
    rank = _KINDS.index(address.kind)
    own = (address.host, address.kind, address.name, part)
    return (-rank if part == REMOVE else rank), *own


def cycles(references: Mapping[Address, Iterable[Address]]) -> list[tuple[Address, ...]]:
    """Every independent cycle among references, for `validate`; cheap when there is none."""
    edges = {
        source: [t for t in targets if t in references] for source, targets in references.items()
    }
    edges = {source: targets for source, targets in edges.items() if targets}
    if not edges or not _might_cycle(edges):
        return []
    import networkx as nx

    graph: nx.DiGraph[Address] = nx.DiGraph(edges)
    return [
        _circle(sorted(part), graph)
        for part in nx.strongly_connected_components(graph)
        if _loops(part, graph)
    ]


def _might_cycle(edges: Mapping[Address, list[Address]]) -> bool:
    """Whether peeling off what leads nowhere leaves anything."""
    rest = dict(edges)
    while True:
        kept = {source: [t for t in targets if t in rest] for source, targets in rest.items()}
        kept = {source: targets for source, targets in kept.items() if targets}
        if len(kept) == len(rest):
            return bool(kept)
        rest = kept


def _loops(part: set[Address], graph: object) -> bool:
    node = next(iter(part))
    return len(part) > 1 or graph.has_edge(node, node)  # type: ignore[attr-defined]


def _circle(part: list[Address], graph: object) -> tuple[Address, ...]:
    import networkx as nx

    links = nx.find_cycle(graph.subgraph(part), part[0])  # type: ignore[attr-defined]
    return (*(link[0] for link in links), links[0][0])
