"""`Topology`: which named nodes there are and who calls whom, without features."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from graph_space.schema import EDGES, GLOBALS, NODES, GraphSchema

__all__ = ["Topology", "TopologyError", "features_from_networkx"]


class TopologyError(ValueError):
    """Nodes and edges that are no topology."""


@dataclass(frozen=True)
class Topology:
    """Named nodes and directed edges between them. Self-loops and cycles are legal, parallel edges are not.

    Raises:
        TopologyError: empty or repeated node names, repeated edges, edges to unknown nodes; all at once.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        problems = [
            f"{field} is a {type(value).__name__}, not a tuple; Topology.of takes any iterables"
            for field, value in (("nodes", self.nodes), ("edges", self.edges))
            if not isinstance(value, tuple)
        ]
        if problems:
            raise TopologyError("; ".join(problems))
        misnamed = [name for name in self.nodes if not isinstance(name, str) or not name]
        if misnamed:
            problems.append(f"node names must be non-empty strings, not {', '.join(map(repr, misnamed))}")
        unpaired = [edge for edge in self.edges if not _is_pair(edge)]
        if unpaired:
            problems.append(f"an edge is a pair (source, target) of names, not {unpaired[0]!r:.80}")
        if unpaired or not all(isinstance(name, str) for name in misnamed):  # the rest asks for texts
            raise TopologyError("; ".join(problems))
        known = set(self.nodes)
        if len(known) != len(self.nodes):
            problems.append(f"repeated nodes: {_repeated(self.nodes)}")
        if len(set(self.edges)) != len(self.edges):
            problems.append(f"repeated edges (merge the calls of one pair first): {_repeated(self.edges)}")
        unknown = sorted({repr(end) for edge in self.edges for end in edge if end not in known})
        if unknown:
            problems.append(f"edges to nodes that are not listed: {', '.join(unknown)}")
        if problems:
            raise TopologyError("; ".join(problems))

    @classmethod
    def of(cls, nodes: Iterable[str], edges: Iterable[Iterable[str]] = ()) -> Topology:
        """The same from any iterables.

        Raises:
            TopologyError: also where an edge is not a pair.
        """
        pairs = []
        for edge in _items(edges, "edges"):
            pair = tuple(_items(edge, "an edge"))
            if len(pair) != 2:
                raise TopologyError(f"an edge is a pair (source, target), not {pair!r}")
            pairs.append((pair[0], pair[1]))
        return cls(tuple(_items(nodes, "nodes")), tuple(pairs))

    @cached_property
    def edge_positions(self) -> NDArray[np.int64]:
        """int64 [2, m]: source and target of each edge as positions in `nodes`. Read-only."""
        position = {name: i for i, name in enumerate(self.nodes)}
        pairs = [(position[source], position[target]) for source, target in self.edges]
        positions = np.ascontiguousarray(np.array(pairs, dtype=np.int64).reshape(-1, 2).T)
        positions.setflags(write=False)
        return positions

    @classmethod
    def from_networkx(cls, graph: nx.DiGraph) -> Topology:
        """Nodes and edges of a directed networkx graph, in its order, without attributes.

        Raises:
            TopologyError: the graph is undirected, has parallel edges, or its nodes are not strings.
        """
        if not isinstance(graph, nx.Graph):
            raise TopologyError(f"{graph!r:.80} is not a networkx graph")
        if not graph.is_directed():
            raise TopologyError(
                "the networkx graph is undirected; give graph.to_directed(), or a DiGraph of who calls whom"
            )
        return cls.of(graph.nodes, (edge[:2] for edge in graph.edges))

    def to_networkx(
        self,
        schema: GraphSchema | None = None,
        node_features: ArrayLike | None = None,
        edge_features: ArrayLike | None = None,
        global_features: ArrayLike | None = None,
    ) -> nx.DiGraph:
        """A networkx graph with the same order of nodes and edges.

        Args:
            schema: names the columns: each becomes an attribute of that name (of nodes, edges and `graph.graph`).
                Without it a row becomes one attribute `features`, a float64 vector.
            node_features: [n, F]; None = no node attributes.
            edge_features: [m, Fe]; None = no edge attributes.
            global_features: [G]; None = no graph attributes.

        Raises:
            ValueError: an array whose shape does not match.
        """
        graph = nx.DiGraph()
        graph.add_nodes_from(self.nodes)
        graph.add_edges_from(self.edges)
        if node_features is not None:
            for name, row in zip(self.nodes, _rows(NODES, node_features, len(self.nodes), schema), strict=True):
                graph.nodes[name].update(_attributes(NODES, row, schema))
        if edge_features is not None:
            for edge, row in zip(self.edges, _rows(EDGES, edge_features, len(self.edges), schema), strict=True):
                graph.edges[edge].update(_attributes(EDGES, row, schema))
        if global_features is not None:
            row = _rows(GLOBALS, np.asarray(global_features, dtype=np.float64)[None], 1, schema)[0]
            graph.graph.update(_attributes(GLOBALS, row, schema))
        return graph


def features_from_networkx(
    graph: nx.DiGraph, schema: GraphSchema
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Read the attributes named by `schema` from nodes, edges and `graph.graph`.

    Returns:
        nodes [n, F], edges [m, Fe], globals [G], in the order of the graph.

    Raises:
        TopologyError: attributes that are missing, with the places (all at once).
    """
    missing: list[str] = []

    def read(key: str, place: str, attributes: dict[str, float]) -> list[float]:
        names = schema.names(key)
        missing.extend(f"{place} has no {name!r}" for name in names if name not in attributes)
        return [attributes.get(name, 0.0) for name in names]

    nodes = [read(NODES, f"node {name!r}", data) for name, data in graph.nodes(data=True)]
    edges = [read(EDGES, f"edge {source!r} -> {target!r}", data) for source, target, data in graph.edges(data=True)]
    global_row = read(GLOBALS, "graph.graph", graph.graph)
    if missing:
        shown = "; ".join(missing[:10]) + (f"; and {len(missing) - 10} more" if len(missing) > 10 else "")
        raise TopologyError(f"attributes missing from the networkx graph: {shown}")
    return (
        np.array(nodes, dtype=np.float32).reshape(-1, len(schema.nodes)),
        np.array(edges, dtype=np.float32).reshape(-1, len(schema.edges)),
        np.array(global_row, dtype=np.float32),
    )


def _is_pair(edge: Any) -> bool:
    return isinstance(edge, tuple) and len(edge) == 2 and isinstance(edge[0], str) and isinstance(edge[1], str)


def _items(values: Iterable[Any], what: str) -> Iterable[Any]:
    # A text is an iterable of its letters, which is never meant.
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TopologyError(f"{what}: {values!r:.80} is not a list")
    return values


def _repeated(items: tuple[object, ...]) -> str:
    seen: set[object] = set()
    twice = dict.fromkeys(item for item in items if item in seen or seen.add(item))  # type: ignore[func-returns-value]
    return ", ".join(map(repr, twice))


def _rows(key: str, features: ArrayLike, count: int, schema: GraphSchema | None) -> NDArray[np.float64]:
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or len(array) != count or (schema is not None and array.shape[1] != len(schema.names(key))):
        width = "any" if schema is None else str(len(schema.names(key)))
        raise ValueError(f"{key}: features of shape {array.shape}, expected ({count}, {width})")
    return array


def _attributes(key: str, row: NDArray[np.float64], schema: GraphSchema | None) -> dict[str, object]:
    if schema is None:
        return {"features": row.copy()}
    return dict(zip(schema.names(key), row.tolist(), strict=True))
