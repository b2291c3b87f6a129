"""DynamicTGNEncoder: temporal memory per node over a graph whose nodes come and go, then attention."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from encoders.attention import GraphAttention
from encoders.base import GraphEncoder, Kernel
from encoders.features import node_features
from encoders.memory import TemporalMemory
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState
from graph_space import schema
from graph_space.slots import Assignment, SlotTable

__all__ = ["DynamicTGNEncoder"]


class DynamicTGNEncoder(GraphEncoder):
    """Memory (`TemporalMemory`), then attention over [memory, features] (`GraphAttention`).

    Order of one step: memory and age are gathered by `prev_slot` (zero where -1 or the episode starts), the age
    advances by `elapsed_seconds`, messages run along the calls both ways, a GRU updates the nodes that have a call (the
    others keep their memory bit for bit), attention embeds. No weight depends on the number of slots.

    The state is an argument and a result. `update_node_mapping` and `update_memory` are a stateful face over the same
    functions for live use, one system at a time; what they hold is in no `state_dict`.

    Args:
        max_nodes: slots of the live face; `step` and `unroll` take any number.
        in_dim: F, node features.
        memory_dim: M.
        msg_dim: width of a message.
        heads: attention heads.
        edge_dim: Fe, edge features.
        global_dim: G, graph features, given to every node.
        hidden: D, width of the embedding.
        time_dim: width of the time encoding.
        use_edges: False removes every edge; each node then hears once from itself, so that its memory still updates.
        kernel: which implementation; see `base.Kernel`.
    """

    def __init__(
        self,
        max_nodes: int = 20,
        in_dim: int = 6,
        memory_dim: int = 32,
        msg_dim: int = 32,
        heads: int = 2,
        edge_dim: int = 7,
        global_dim: int = 4,
        hidden: int = 64,
        time_dim: int = 8,
        *,
        use_edges: bool = True,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__()
        self.out_dim = hidden
        self.memory_dim = memory_dim
        self.use_edges = use_edges
        features = in_dim + global_dim
        self.memory = TemporalMemory(features, edge_dim, memory_dim, msg_dim, time_dim, kernel)
        self.attention = GraphAttention(memory_dim + features, edge_dim, hidden, heads, kernel)
        self._table = SlotTable(max_nodes)
        self._assignment: Assignment | None = None
        self._live_state: EncoderState | None = None

    def forward_compact(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        return self.embed(node_features(sequence), sequence, state)

    def embed(self, features: Tensor, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Features [R, F + G] -> [R, D], and the state after the last step."""
        heard = sequence if self.use_edges else sequence.without_edges(self_loops=True)
        memory, state = self.memory(features, heard, state)
        graph = sequence if self.use_edges else sequence.without_edges()
        return self.attention(graph, memory, features), state

    def update_node_mapping(self, names: Iterable[str]) -> NDArray[np.int64]:
        """Say which nodes the system has now; survivors keep slot and memory, newcomers start from zero.

        Returns:
            Slots [n], in the order of the names.

        Raises:
            CapacityError: more names than `max_nodes`.
        """
        self._assignment = self._table.update(names)
        return self._assignment.slots

    def update_memory(
        self,
        node_features: ArrayLike,
        edge_index: ArrayLike,
        edge_features: ArrayLike,
        global_features: ArrayLike,
        elapsed_seconds: float,
    ) -> Tensor:
        """Advance the memory of the live system by one observation and embed it, without gradient.

        Args:
            node_features: [n, F], in the order of the names given to `update_node_mapping`.
            edge_index: [2, m], source and target as positions in that order.
            edge_features: [m, Fe].
            global_features: [G].
            elapsed_seconds: since the last call; 0 at the first.

        Returns:
            Embeddings [n, D].

        Raises:
            RuntimeError: the nodes were never named.
            ValueError: the number of rows is not the number of names, or an edge has no such node.
        """
        if self._assignment is None:
            raise RuntimeError("update_memory before update_node_mapping: name the nodes first")
        slots, prev_slot = self._assignment
        nodes = np.asarray(node_features, dtype=np.float32)
        if len(nodes) != len(slots):
            raise ValueError(f"{len(nodes)} rows of node features for {len(slots)} named nodes")
        ends = np.asarray(edge_index, dtype=np.int64).reshape(2, -1)
        if ends.size and not 0 <= ends.min() <= ends.max() < len(slots):
            raise ValueError(f"edge_index: positions {ends.min()} .. {ends.max()} for {len(slots)} named nodes")
        capacity = self._table.capacity
        padded = np.zeros((capacity, nodes.shape[1]), dtype=np.float32)
        padded[slots] = nodes
        mask = np.zeros(capacity, dtype=np.int8)
        mask[slots] = 1
        obs: dict[str, NDArray[Any]] = {
            schema.NODES: padded,
            schema.NODE_MASK: mask,
            schema.PREV_SLOT: prev_slot,
            schema.EDGE_INDEX: slots[ends],
            schema.EDGES: np.asarray(edge_features, dtype=np.float32).reshape(ends.shape[1], -1),
            schema.EDGE_MASK: np.ones(ends.shape[1], dtype=np.int8),
            schema.GLOBALS: np.asarray(global_features, dtype=np.float32),
            schema.ELAPSED_SECONDS: np.asarray(elapsed_seconds, dtype=np.float32),
        }
        state = self._live_state if self._live_state is not None else self.initial_state(1, capacity)
        with torch.no_grad():
            batch = {key: value[None] for key, value in obs.items()}
            embeddings, self._live_state = self.step(batch, state, np.zeros(1, dtype=np.bool_))
        self._table.commit()
        self._assignment = self._table.update(self._table.mapping)
        return embeddings[0, torch.tensor(slots)]

    def reset_memory(self) -> None:
        """Forget the live system: its nodes, their slots and memory."""
        self._table.reset()
        self._assignment = None
        self._live_state = None
