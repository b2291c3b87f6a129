"""`GraphCodec`: a topology with features, to a padded observation in stable slots, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike, NDArray

from graph_space.config import DynamicGraphConfig
from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGE_MASK,
    EDGES,
    ELAPSED_SECONDS,
    FLOAT,
    GLOBALS,
    INDEX,
    MASK,
    NODE_MASK,
    NODES,
    PREV_SLOT,
    GraphObservation,
    GraphSchema,
)
from graph_space.slots import CapacityError, SlotTable
from graph_space.topology import Topology, features_from_networkx

__all__ = ["EncodeInfo", "GraphCodec", "PaddedEdges", "array_layout", "empty_observation", "observation_to_networkx"]

LARGEST_FLOAT = float(np.finfo(FLOAT).max)

EncodeInfo = dict[str, int]
"""`nodes_left_out` and `edges_left_out`: what did not fit. Both 0 unless `overflow` is `drop_least_active`."""


class PaddedEdges(NamedTuple):
    """Edges in padded form."""

    edge_index: NDArray[np.int64]
    """[2, E], source and target slot."""
    edges: NDArray[np.float32]
    """[E, Fe]"""
    edge_mask: NDArray[np.int8]
    """[E]"""


def array_layout(config: DynamicGraphConfig) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of every array of an observation, by key."""
    n, e = config.max_nodes, config.max_edges
    return {
        NODES: ((n, config.node_feat_dim), FLOAT),
        EDGE_INDEX: ((2, e), INDEX),
        EDGES: ((e, config.edge_feat_dim), FLOAT),
        GLOBALS: ((config.global_feat_dim,), FLOAT),
        NODE_MASK: ((n,), MASK),
        EDGE_MASK: ((e,), MASK),
        PREV_SLOT: ((n,), INDEX),
        ELAPSED_SECONDS: ((), FLOAT),
        ACTION_MASK: ((n, config.num_moves), MASK),
    }


def empty_observation(config: DynamicGraphConfig, batch_shape: tuple[int, ...] = ()) -> GraphObservation:
    """Arrays of an observation without nodes: zeros, and -1 in `prev_slot`.

    Args:
        config: the sizes.
        batch_shape: leading axes, `(B,)` for a batch. `{key: array[b, ...]}` is then one observation's views.
    """
    observation: GraphObservation = {
        key: np.zeros(batch_shape + shape, dtype=dtype) for key, (shape, dtype) in array_layout(config).items()
    }
    observation[PREV_SLOT].fill(-1)
    return observation


def observation_to_networkx(
    observation: GraphObservation, names: Sequence[str | None], schema: GraphSchema | None = None
) -> nx.DiGraph:
    """The real nodes and edges of one observation as a networkx graph, nodes in the order of their slots.

    Args:
        observation: one observation, without batch axes.
        names: by slot, as `SlotTable.names` gives them; may end after the last real slot.
        schema: names the attributes; None = one attribute `features` each.

    Raises:
        ValueError: a real slot has no name.
    """
    live = np.flatnonzero(observation[NODE_MASK]).tolist()
    nameless = [slot for slot in live if slot >= len(names) or names[slot] is None]
    if nameless:
        raise ValueError(
            f"slots {nameless} are real (node_mask 1) but have no name; give names by slot, as SlotTable.names"
        )
    count = int(np.count_nonzero(observation[EDGE_MASK]))
    source, target = observation[EDGE_INDEX][:, :count].tolist()
    topology = Topology.of(
        (str(names[slot]) for slot in live), zip((names[s] for s in source), (names[t] for t in target), strict=True)
    )
    return topology.to_networkx(schema, observation[NODES][live], observation[EDGES][:count], observation[GLOBALS])


class GraphCodec:
    """Encodes topologies of one changing system into padded observations, keeping each node in its slot.

    One codec serves one system (one environment, one live mesh); its `table` is the only state.

    Args:
        config: the sizes, and what happens past capacity.
        table: the slots to use; None = a new table of `config.max_nodes`.

    Raises:
        ValueError: the table's capacity is not `config.max_nodes`.
    """

    def __init__(self, config: DynamicGraphConfig, table: SlotTable | None = None) -> None:
        if not isinstance(config, DynamicGraphConfig):
            raise ValueError(f"config is {config!r:.80}, not a DynamicGraphConfig")
        if table is not None and not isinstance(table, SlotTable):
            raise ValueError(f"table is {table!r:.80}, not a SlotTable")
        self.config = config
        self.table = SlotTable(config.max_nodes) if table is None else table
        if self.table.capacity != config.max_nodes:
            raise ValueError(
                f"the table has {self.table.capacity} slots, the configuration max_nodes {config.max_nodes}"
            )

    def encode(
        self,
        topology: Topology,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        global_features: ArrayLike,
        *,
        action_mask: ArrayLike | None = None,
        elapsed_seconds: float = 0.0,
        activity: ArrayLike | None = None,
        commit: bool = True,
        out: GraphObservation | None = None,
    ) -> tuple[GraphObservation, EncodeInfo]:
        """Pad and mask one observation.

        Args:
            topology: n nodes and m edges.
            node_features: [n, F], in the order of the topology, raw units.
            edge_features: [m, Fe].
            global_features: [G].
            action_mask: [n, K], 1 = legal; None = every move of every node is legal.
            elapsed_seconds: since the last consumed observation; 0 at the first.
            activity: [n], what `drop_least_active` ranks nodes by; None = the sum of the first edge column (by the
                schemas its traffic) over the edges that start or end at the node. Ties go to the node that has a slot
                already, then to the one listed first. Edges past `max_edges` are ranked by their first column.
            commit: the policy consumes this observation. False where it may be held back: call `table.commit()` once
                it has been consumed.
            out: arrays to write into, from `empty_observation` or an earlier call; only rows that were written before
                are cleared. None = new arrays.

        Returns:
            The observation (`out`, where given) and what was left out.

        Raises:
            ValueError: arrays of the wrong shape, features that are not finite, a node without a legal move,
                `elapsed_seconds` negative. Table and `out` are unchanged.
            CapacityError: more nodes or edges than slots and `overflow` is `error`. Table and `out` are unchanged.
        """
        config = self.config
        n, m = len(topology.nodes), len(topology.edges)
        nodes = _checked(NODES, node_features, (n, config.node_feat_dim))
        edges = _checked(EDGES, edge_features, (m, config.edge_feat_dim))
        global_row = _checked(GLOBALS, global_features, (config.global_feat_dim,))
        moves = _legal_moves(action_mask, topology, config.num_moves)
        number = np.asarray(elapsed_seconds)
        if number.shape != () or number.dtype.kind not in "iuf" or not 0.0 <= float(number) <= LARGEST_FLOAT:
            raise ValueError(f"elapsed_seconds: {elapsed_seconds!r} is not a finite number >= 0")
        if out is None:
            out = empty_observation(config)
        else:
            _check_out(out, config)

        names, ends = topology.nodes, topology.edge_positions
        if n > config.max_nodes or m > config.max_edges:
            kept_nodes, kept_edges = self._fit(topology, edges, activity)
            new_position = np.full(n, -1, dtype=np.int64)
            new_position[kept_nodes] = np.arange(len(kept_nodes))
            names = tuple(names[i] for i in kept_nodes)
            ends = new_position[ends[:, kept_edges]]
            nodes, moves, edges = nodes[kept_nodes], moves[kept_nodes], edges[kept_edges]

        slots, prev_slot = self.table.update(names)
        _clear(out)
        out[NODES][slots] = nodes
        out[NODE_MASK][slots] = 1
        out[ACTION_MASK][slots] = moves
        out[PREV_SLOT][:] = prev_slot
        out[EDGE_INDEX][:, : len(edges)] = slots[ends]
        out[EDGES][: len(edges)] = edges
        out[EDGE_MASK][: len(edges)] = 1
        out[GLOBALS][:] = global_row
        out[ELAPSED_SECONDS][...] = elapsed_seconds
        if commit:
            self.table.commit()
        return out, {"nodes_left_out": n - len(names), "edges_left_out": m - len(edges)}

    def encode_networkx(
        self, graph: nx.DiGraph, schema: GraphSchema, **options: object
    ) -> tuple[GraphObservation, EncodeInfo]:
        """`encode` of a networkx graph whose attributes carry the columns of `schema`.

        Args:
            graph: directed; attributes of nodes, edges and `graph.graph` named as the columns.
            schema: the columns, in order; as wide as the configuration says.
            **options: the keyword arguments of `encode`.

        Raises:
            TopologyError: attributes missing, or a graph that is no topology.
        """
        topology = Topology.from_networkx(graph)
        return self.encode(topology, *features_from_networkx(graph, schema), **options)  # type: ignore[arg-type]

    def pad_node_features(self, features: ArrayLike, names: Sequence[str] | None = None) -> NDArray[np.float32]:
        """[N, F]: each row in the slot of its node, 0 elsewhere.

        Args:
            features: [n, F].
            names: the node of each row; None = those of the last update, in its order.

        Raises:
            KeyError: a name that the last update did not have.
            ValueError: the shape does not match, or features that are not finite.
        """
        names = tuple(self.table.mapping) if names is None else names
        rows = _checked(NODES, features, (len(names), self.config.node_feat_dim))
        padded = np.zeros((self.config.max_nodes, self.config.node_feat_dim), dtype=FLOAT)
        padded[[self.table.slot_of(name) for name in names]] = rows
        return padded

    def pad_edge_features(self, edge_features: ArrayLike, edges: Sequence[tuple[str, str]]) -> PaddedEdges:
        """The edges between nodes of the last update, padded.

        Args:
            edge_features: [m, Fe].
            edges: [m] pairs of names.

        Raises:
            TopologyError: an edge to a node that the last update did not have, or a repeated edge.
            CapacityError: more edges than `max_edges`.
            ValueError: the shape does not match, or features that are not finite.
        """
        topology = Topology.of(self.table.mapping, edges)
        count = len(topology.edges)
        rows = _checked(EDGES, edge_features, (count, self.config.edge_feat_dim))
        if count > self.config.max_edges:
            raise CapacityError(_too_many("edges", count, self.config.max_edges, "max_edges"))
        slots = np.fromiter(self.table.mapping.values(), dtype=np.int64, count=len(self.table.mapping))
        padded = empty_observation(self.config)
        padded[EDGE_INDEX][:, :count] = slots[topology.edge_positions]
        padded[EDGES][:count] = rows
        padded[EDGE_MASK][:count] = 1
        return PaddedEdges(padded[EDGE_INDEX], padded[EDGES], padded[EDGE_MASK])  # type: ignore[arg-type]

    def to_networkx(
        self,
        observation: GraphObservation,
        names: Sequence[str | None] | None = None,
        schema: GraphSchema | None = None,
    ) -> nx.DiGraph:
        """`observation_to_networkx`; `names` None = those of the last update."""
        return observation_to_networkx(observation, self.table.names if names is None else names, schema)

    def _fit(
        self, topology: Topology, edges: NDArray[np.float32], activity: ArrayLike | None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Positions of the nodes and edges that stay, in the order of the topology."""
        config = self.config
        n, m = len(topology.nodes), len(topology.edges)
        if config.overflow == "error":
            problems = [_too_many("nodes", n, config.max_nodes, "max_nodes")] if n > config.max_nodes else []
            if m > config.max_edges:
                problems.append(_too_many("edges", m, config.max_edges, "max_edges"))
            raise CapacityError("; ".join(problems))
        traffic = edges[:, 0].astype(np.float64)
        ends = topology.edge_positions
        if activity is None:
            rank = np.bincount(ends.ravel(), weights=np.tile(traffic, 2), minlength=n)
        else:
            rank = _checked("activity", activity, (n,)).astype(np.float64)
        newcomer = np.array([name not in self.table.mapping for name in topology.nodes])
        kept_nodes = np.sort(np.lexsort((newcomer, -rank))[: config.max_nodes])
        stays = np.zeros(n, dtype=bool)
        stays[kept_nodes] = True
        candidates = np.flatnonzero(stays[ends].all(axis=0))
        busiest = np.argsort(-traffic[candidates], kind="stable")[: config.max_edges]
        return kept_nodes, np.sort(candidates[busiest])


def _too_many(what: str, count: int, capacity: int, field: str) -> str:
    return (
        f"{count} {what} do not fit in {field} = {capacity}; raise {field} to {count} or more, "
        "or set overflow = 'drop_least_active' to leave out those with the least traffic"
    )


def _checked(key: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    try:
        given = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{key}: rows of different lengths, expected {shape}") from error
    if given.size and given.dtype.kind not in "iufb":
        raise ValueError(f"{key}: dtype {given.dtype}, expected numbers")
    array = given.astype(FLOAT)
    if array.size == 0 and 0 in shape:
        array = array.reshape(shape)
    if array.shape != shape:
        raise ValueError(f"{key}: shape {array.shape}, expected {shape}")
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise ValueError(f"{key}{list(place)} is {array[place]}, not a finite number; fill missing measurements first")
    return array


def _legal_moves(action_mask: ArrayLike | None, topology: Topology, num_moves: int) -> NDArray[np.int8]:
    shape = (len(topology.nodes), num_moves)
    if action_mask is None:
        return np.ones(shape, dtype=MASK)
    moves = np.asarray(action_mask)
    if moves.dtype.kind not in "iufb":
        raise ValueError(f"{ACTION_MASK}: dtype {moves.dtype}, expected 0 and 1")
    if moves.shape != shape:
        raise ValueError(f"{ACTION_MASK}: shape {moves.shape}, expected {shape}")
    if not np.isin(moves, (0, 1)).all():
        raise ValueError(f"{ACTION_MASK}: values other than 0 and 1")
    stuck = [topology.nodes[i] for i in np.flatnonzero(~moves.astype(bool).any(axis=1))]
    if stuck:
        raise ValueError(
            f"{ACTION_MASK}: no legal move for {', '.join(map(repr, stuck))}; doing nothing must stay legal"
        )
    return moves.astype(MASK)


def _check_out(out: GraphObservation, config: DynamicGraphConfig) -> None:
    if not isinstance(out, dict):
        raise ValueError(
            f"out is a {type(out).__name__}, expected the arrays of an observation; see empty_observation()"
        )
    for key, (shape, dtype) in array_layout(config).items():
        array = out.get(key)
        if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != dtype:
            found = (
                "missing" if array is None else f"{type(array).__name__} {np.shape(array)} {np.asarray(array).dtype}"
            )
            raise ValueError(f"out[{key!r}]: {found}, expected an array {shape} {dtype}; see empty_observation()")


def _clear(out: GraphObservation) -> None:
    live = np.flatnonzero(out[NODE_MASK])
    out[NODES][live] = 0
    out[NODE_MASK][live] = 0
    out[ACTION_MASK][live] = 0
    count = int(np.count_nonzero(out[EDGE_MASK]))
    out[EDGE_INDEX][:, :count] = 0
    out[EDGES][:count] = 0
    out[EDGE_MASK][:count] = 0
