"""SequenceBatch: the real nodes and edges of `[T, B]` observations as one disjoint graph."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["SequenceBatch"]

VECTOR_LANES = 8
BLOCK_ROWS = 768


@dataclass(frozen=True)
class SequenceBatch:
    """R rows (real nodes), E edges (real calls) and A = 2E adjacency entries of T steps of B environments.

    Rows are in time-major order: by step, then environment, then slot. Edges are sorted by their target row. The
    adjacency lists the calls of each row in both directions: entry a of row i means "row i hears from
    `adjacency_row[a]` over edge `adjacency_edge[a]`", against the direction of the call where `adjacency_reverse[a]`
    is 1 (row i is the caller).
    All index tensors are int64; a graph g is `t * B + b`.
    """

    num_steps: int
    """T."""
    batch_size: int
    """B."""
    max_nodes: int
    """N, node slots of a padded observation."""
    nodes: Tensor
    """[R, F] float32."""
    edges: Tensor
    """[E, Fe] float32."""
    globals: Tensor
    """[T * B, G] float32."""
    elapsed_seconds: Tensor
    """[T * B] float32."""
    episode_start: Tensor
    """[T * B] bool, graphs without a past."""
    row_time: Tensor
    """[R], t."""
    row_graph: Tensor
    """[R], t * B + b."""
    row_slot: Tensor
    """[R], slot in the padded observation."""
    prev_slot: Tensor
    """[R], slot of the node at the step before (at t = 0: in the state handed in); -1 = new, or the episode starts."""
    prev_row: Tensor
    """[R], row of the node at the step before; -1 at t = 0, new, absent then, or the episode starts."""
    graph_ptr: Tensor
    """[T * B + 1], rows of graph g are graph_ptr[g]:graph_ptr[g + 1]."""
    graph_edge_ptr: Tensor
    """[T * B + 1], the same for edges."""
    edge_source: Tensor
    """[E], row of the caller."""
    edge_target: Tensor
    """[E], row of the callee; ascending."""
    adjacency_ptr: Tensor
    """[R + 1], entries of row i are adjacency_ptr[i]:adjacency_ptr[i + 1]."""
    adjacency_row: Tensor
    """[A]."""
    adjacency_edge: Tensor
    """[A]."""
    adjacency_reverse: Tensor
    """[A] int8."""

    @property
    def num_rows(self) -> int:
        """R."""
        return int(self.nodes.shape[0])

    @property
    def num_edges(self) -> int:
        """E."""
        return int(self.edges.shape[0])

    @property
    def num_graphs(self) -> int:
        """T * B."""
        return self.num_steps * self.batch_size

    @cached_property
    def step_ptr(self) -> list[int]:
        """[T + 1], rows of step t are step_ptr[t]:step_ptr[t + 1]."""
        pointers: list[int] = self.graph_ptr[:: self.batch_size].tolist()
        return pointers

    @cached_property
    def step_edge_ptr(self) -> list[int]:
        """[T + 1], edges of step t are step_edge_ptr[t]:step_edge_ptr[t + 1]."""
        pointers: list[int] = self.graph_edge_ptr[:: self.batch_size].tolist()
        return pointers

    @cached_property
    def flat_slot(self) -> Tensor:
        """[R], index of each row in a padded array flattened to [T * B * N]."""
        return self.row_graph * self.max_nodes + self.row_slot

    @cached_property
    def adjacency_target(self) -> Tensor:
        """[A], the row that hears; `adjacency_ptr` written out."""
        counts = self.adjacency_ptr[1:] - self.adjacency_ptr[:-1]
        return torch.repeat_interleave(torch.arange(self.num_rows, device=counts.device), counts)

    @cached_property
    def adjacency_arrays(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Pointers, rows, edges and directions of the adjacency as numpy arrays on the same memory (CPU)."""
        return (
            self.adjacency_ptr.numpy(),
            self.adjacency_row.numpy(),
            self.adjacency_edge.numpy(),
            self.adjacency_reverse.numpy(),
        )

    @cached_property
    def padded_edges(self) -> Tensor:
        """[E, W], edge features with a zero column for the direction flag, padded to a multiple of 8 columns."""
        features = self.edges.shape[1]
        padded = self.edges.new_zeros(self.num_edges, -(-(features + 1) // VECTOR_LANES) * VECTOR_LANES)
        padded[:, :features] = self.edges
        return padded

    @cached_property
    def row_blocks(self) -> list[tuple[int, int]]:
        """Ranges of whole graphs of about `BLOCK_ROWS` rows: what a kernel works on stays in the cache."""
        ends = self.graph_ptr.tolist()
        blocks, first = [], 0
        for before, end in pairwise(ends):
            if end - first > BLOCK_ROWS and before > first:
                blocks.append((first, before))
                first = before
        return [*blocks, (first, ends[-1])]

    def to_padded(self, values: Tensor) -> Tensor:
        """Rows [R, ...] -> padded [T, B, N, ...], zero where there is no node. Differentiable."""
        flat = values.new_zeros((self.num_graphs * self.max_nodes, *values.shape[1:])).index_copy(
            0, self.flat_slot, values
        )
        return flat.view(self.num_steps, self.batch_size, self.max_nodes, *values.shape[1:])

    def from_padded(self, values: Tensor) -> Tensor:
        """Padded [T, B, N, ...] -> rows [R, ...]; padding is never read."""
        lead = (self.num_steps, self.batch_size, self.max_nodes)
        if tuple(values.shape[:3]) != lead:
            raise ValueError(f"a padded array of this sequence starts with shape {lead}, got {tuple(values.shape)}")
        return values.reshape(self.num_graphs * self.max_nodes, *values.shape[3:]).index_select(0, self.flat_slot)

    def require_widths(self, rows: int, row_dim: int, edge_dim: int) -> None:
        """Raise ValueError where rows of features are not `row_dim` wide, or edges not `edge_dim`: kernels trust the widths of weights."""
        edges = self.edges.shape[1]
        if rows != row_dim or edges != edge_dim:
            raise ValueError(
                f"rows are {rows} wide (node and graph features, memory) and edges {edges}; this network was made for "
                f"{row_dim} and {edge_dim}"
            )

    def with_features(
        self, *, nodes: Tensor | None = None, edges: Tensor | None = None, globals: Tensor | None = None
    ) -> SequenceBatch:
        """The same graph with other features (as a normaliser makes them)."""
        return replace(
            self,
            nodes=self.nodes if nodes is None else nodes,
            edges=self.edges if edges is None else edges,
            globals=self.globals if globals is None else globals,
        )

    def without_edges(self, *, self_loops: bool = False) -> SequenceBatch:
        """The same nodes without a call; with `self_loops`, each row hears once from itself over a zero edge.

        The ablation "memory without graph" still has to update the memory, hence the self-message.
        """
        index = torch.arange(self.num_rows + 1, device=self.nodes.device)
        entries = index[:-1] if self_loops else index[:0]
        return replace(
            self,
            edges=self.edges.new_zeros((len(entries), self.edges.shape[1])),
            graph_edge_ptr=self.graph_ptr if self_loops else torch.zeros_like(self.graph_ptr),
            edge_source=entries,
            edge_target=entries,
            adjacency_ptr=index if self_loops else torch.zeros_like(index),
            adjacency_row=entries,
            adjacency_edge=entries,
            adjacency_reverse=torch.zeros_like(entries, dtype=torch.int8),
        )

    def to(self, device: torch.device | str) -> SequenceBatch:
        """The same sequence on another device."""
        moved: dict[str, Any] = {
            f.name: value.to(device) for f in fields(self) if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)
