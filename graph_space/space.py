"""`DynamicGraphSpace`: graphs whose nodes come and go, as a Gymnasium space of fixed shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import networkx as nx
import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from graph_space.checks import ObservationError, check_observation
from graph_space.codec import EncodeInfo, GraphCodec, PaddedEdges, array_layout, empty_observation
from graph_space.config import DynamicGraphConfig
from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGE_MASK,
    EDGES,
    ELAPSED_SECONDS,
    FLOAT,
    GLOBALS,
    NODE_MASK,
    NODES,
    PREV_SLOT,
    GraphObservation,
    GraphSchema,
)
from graph_space.slots import Assignment
from graph_space.topology import Topology

__all__ = ["DynamicGraphConfig", "DynamicGraphSpace"]


class DynamicGraphSpace(spaces.Dict):
    """Padded, masked graphs: an immutable `gymnasium.spaces.Dict` with the keys of `graph_space.schema`.

    Every array has a fixed shape, so vector environments, replay buffers and libraries take it as any `Dict`.
    `contains` asks for all the invariants of `check_observation`, and `sample` draws random graphs that keep them.

    The space itself never changes. For use on its own, as in

        space = DynamicGraphSpace(DynamicGraphConfig(max_nodes=20))
        observation, info = space.encode(names, node_features, edges, edge_features, global_features)

    it holds a `GraphCodec` (with its `SlotTable`) of one system beside it, in `codec`, to which `encode`,
    `update_node_mapping` and the padding methods delegate. The codec is pickled and copied with the space, but takes
    no part in equality, `contains` or `sample`. Several systems of one shape, as in a vector environment, want a
    `GraphCodec(space.config)` each.

    Args:
        config: the sizes; None = the defaults of `DynamicGraphConfig`.
        seed: of `sample`.
    """

    def __init__(self, config: DynamicGraphConfig | None = None, seed: int | None = None) -> None:
        if config is not None and not isinstance(config, DynamicGraphConfig):
            raise ValueError(f"config is {config!r:.80}, not a DynamicGraphConfig")
        self.config = DynamicGraphConfig() if config is None else config
        self.codec = GraphCodec(self.config)
        layout = array_layout(self.config)
        # the largest float32 rather than infinity as a bound: a feature that is infinite is outside the space
        largest = float(np.finfo(FLOAT).max)
        bounds = {
            NODES: (-largest, largest),
            EDGES: (-largest, largest),
            GLOBALS: (-largest, largest),
            ELAPSED_SECONDS: (0.0, largest),
            EDGE_INDEX: (0, self.config.max_nodes - 1),
            PREV_SLOT: (-1, self.config.max_nodes - 1),
        }
        parts: dict[str, spaces.Space[Any]] = {
            key: spaces.Box(*bounds[key], shape=shape, dtype=dtype.type)
            if key in bounds
            else spaces.MultiBinary(shape if len(shape) > 1 else shape[0])
            for key, (shape, dtype) in layout.items()
        }
        super().__init__(parts, seed=seed)

    def __setitem__(self, key: str, value: spaces.Space[Any]) -> None:
        raise TypeError(
            f"a DynamicGraphSpace cannot be changed (key {key!r}); make one from another DynamicGraphConfig"
        )

    def __repr__(self) -> str:
        return f"DynamicGraphSpace({self.config})"

    def contains(self, x: Any) -> bool:
        """True where `check_observation` finds nothing wrong and every value is within its bounds."""
        if not isinstance(x, dict):
            return False
        try:
            check_observation(x, self.config)
        except ObservationError:
            return False
        return x[NODE_MASK].ndim == 1

    def sample(  # type: ignore[override]
        self, mask: dict[str, Any] | None = None, probability: dict[str, Any] | None = None
    ) -> GraphObservation:
        """A random graph that keeps every invariant: 1 to N nodes in random slots, at most E edges between them.

        Raises:
            ValueError: a `mask` or a `probability` is given: the keys depend on each other, so cannot be masked apart.
        """
        if mask is not None or probability is not None:
            raise ValueError(
                "DynamicGraphSpace.sample takes neither mask nor probability; the keys depend on each other"
            )
        # the generator of one part, since Dict.seed reaches the parts in each of its forms, and itself in only one
        rng = self[NODES].np_random
        config, observation = self.config, empty_observation(self.config)
        count = int(rng.integers(1, config.max_nodes + 1))
        live = np.sort(rng.choice(config.max_nodes, size=count, replace=False))
        observation[NODES][live] = rng.normal(size=(count, config.node_feat_dim))
        observation[NODE_MASK][live] = 1
        before = rng.choice(config.max_nodes, size=count, replace=False)
        observation[PREV_SLOT][live] = np.where(rng.random(count) < 0.8, before, -1)
        moves = rng.integers(0, 2, size=(count, config.num_moves))
        moves[:, 0] = 1
        observation[ACTION_MASK][live] = moves

        edge_count = int(rng.integers(0, min(config.max_edges, count * count) + 1))
        pairs = rng.choice(count * count, size=edge_count, replace=False)
        observation[EDGE_INDEX][:, :edge_count] = live[np.stack([pairs // count, pairs % count])]
        observation[EDGES][:edge_count] = rng.normal(size=(edge_count, config.edge_feat_dim))
        observation[EDGE_MASK][:edge_count] = 1
        observation[GLOBALS][:] = rng.normal(size=config.global_feat_dim)
        observation[ELAPSED_SECONDS][...] = rng.exponential(15.0)
        return observation

    def update_node_mapping(self, names: Iterable[str]) -> Assignment:
        """`SlotTable.update`: place the nodes of the next observation; `codec.table.commit()` once it is consumed."""
        return self.codec.table.update(names)

    def pad_node_features(self, features: ArrayLike, names: Sequence[str] | None = None) -> NDArray[np.float32]:
        """[N, F]: `GraphCodec.pad_node_features`."""
        return self.codec.pad_node_features(features, names)

    def pad_edge_features(self, edge_features: ArrayLike, edges: Sequence[tuple[str, str]]) -> PaddedEdges:
        """`edge_index` [2, E], `edges` [E, Fe], `edge_mask` [E]: `GraphCodec.pad_edge_features`."""
        return self.codec.pad_edge_features(edge_features, edges)

    def encode(
        self,
        names: Iterable[str],
        node_features: ArrayLike,
        edges: Iterable[tuple[str, str]],
        edge_features: ArrayLike,
        global_features: ArrayLike,
        **options: Any,
    ) -> tuple[GraphObservation, EncodeInfo]:
        """One observation from names and features: `GraphCodec.encode`, whose keyword arguments are `options`."""
        return self.codec.encode(Topology.of(names, edges), node_features, edge_features, global_features, **options)

    def encode_networkx(
        self, graph: nx.DiGraph, schema: GraphSchema, **options: Any
    ) -> tuple[GraphObservation, EncodeInfo]:
        """One observation from a networkx graph: `GraphCodec.encode_networkx`."""
        return self.codec.encode_networkx(graph, schema, **options)

    def to_networkx(
        self,
        observation: GraphObservation,
        names: Sequence[str | None] | None = None,
        schema: GraphSchema | None = None,
    ) -> nx.DiGraph:
        """The real part of an observation as a networkx graph: `GraphCodec.to_networkx`."""
        return self.codec.to_networkx(observation, names, schema)
