"""Random systems whose nodes come and go, for the property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from graph_space import DynamicGraphConfig, Topology

NAMES = tuple("abcdefghij")


@st.composite
def topologies(draw: st.DrawFn, max_nodes: int = 6, max_edges: int = 9) -> Topology:
    """Up to `max_nodes` of ten names in any order, with distinct edges, self-loops included."""
    nodes = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=max_nodes))
    if not nodes:
        return Topology(())
    ends = st.sampled_from(nodes)
    return Topology(tuple(nodes), tuple(draw(st.lists(st.tuples(ends, ends), unique=True, max_size=max_edges))))


def features(
    topology: Topology, config: DynamicGraphConfig, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Node, edge and global features without a zero, and an action mask with a legal move a node."""
    rng = np.random.default_rng(seed)
    moves = rng.integers(0, 2, size=(len(topology.nodes), config.num_moves))
    moves[:, 0] = 1
    return (
        rng.uniform(1, 2, size=(len(topology.nodes), config.node_feat_dim)).astype(np.float32),
        rng.uniform(1, 2, size=(len(topology.edges), config.edge_feat_dim)).astype(np.float32),
        rng.uniform(1, 2, size=config.global_feat_dim).astype(np.float32),
        moves,
    )
