"""Sequences out of sequences: steps joined along time, and chunks `[length]` of some environments cut out again.

A trainer keeps the compact steps it acted on, joins them once a rollout, and cuts each minibatch of whole chunks out of
the result; nothing is sorted or counted twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from encoders.batching import link_rows
from encoders.sequence import SequenceBatch

__all__ = ["concatenate", "cut_chunks"]


def concatenate(parts: Sequence[SequenceBatch]) -> SequenceBatch:
    """Join sequences of the same environments along time (on the CPU).

    `prev_row` is linked anew across the seams. A part made with `episode_start` keeps its cut.

    Raises:
        ValueError: no parts, or parts of different batch size or capacity.
    """
    if not parts:
        raise ValueError("concatenate: no parts")
    first = parts[0]
    if any((p.batch_size, p.max_nodes) != (first.batch_size, first.max_nodes) for p in parts):
        shapes = sorted({(p.batch_size, p.max_nodes) for p in parts})
        raise ValueError(f"concatenate: parts of different (batch_size, max_nodes): {shapes}")
    row_offset = np.cumsum([0] + [p.num_rows for p in parts]).tolist()
    edge_offset = np.cumsum([0] + [p.num_edges for p in parts]).tolist()
    step_offset = np.cumsum([0] + [p.num_steps for p in parts]).tolist()

    def joined(name: str, offset: list[int] | None = None) -> Tensor:
        values = [getattr(p, name) for p in parts]
        if offset is not None:
            values = [value + shift for value, shift in zip(values, offset, strict=False)]
        return torch.cat(values)

    def pointers(name: str, offset: list[int]) -> Tensor:
        starts = [getattr(p, name)[:-1] + shift for p, shift in zip(parts, offset, strict=False)]
        return torch.cat([*starts, torch.tensor([offset[-1]])])

    steps = step_offset[-1]
    graph_ptr = pointers("graph_ptr", row_offset)
    row_slot, prev_slot = joined("row_slot"), joined("prev_slot")
    prev_row = torch.empty_like(prev_slot)
    link_rows(
        graph_ptr.numpy(),
        row_slot.numpy(),
        prev_slot.numpy(),
        steps,
        first.batch_size,
        first.max_nodes,
        prev_row.numpy(),
    )
    return SequenceBatch(
        num_steps=steps,
        batch_size=first.batch_size,
        max_nodes=first.max_nodes,
        nodes=joined("nodes"),
        edges=joined("edges"),
        globals=joined("globals"),
        elapsed_seconds=joined("elapsed_seconds"),
        row_time=joined("row_time", step_offset),
        row_graph=joined("row_graph", [s * first.batch_size for s in step_offset]),
        row_slot=row_slot,
        prev_slot=prev_slot,
        prev_row=prev_row,
        graph_ptr=graph_ptr,
        graph_edge_ptr=pointers("graph_edge_ptr", edge_offset),
        edge_source=joined("edge_source", row_offset),
        edge_target=joined("edge_target", row_offset),
        adjacency_ptr=pointers("adjacency_ptr", [2 * e for e in edge_offset]),
        adjacency_row=joined("adjacency_row", row_offset),
        adjacency_edge=joined("adjacency_edge", edge_offset),
        adjacency_reverse=joined("adjacency_reverse"),
    )


def cut_chunks(
    sequence: SequenceBatch, first_step: NDArray[np.int64], environment: NDArray[np.int64], length: int
) -> SequenceBatch:
    """Cut chunk c = steps `first_step[c] : first_step[c] + length` of `environment[c]`; -> [length, C] graphs.

    The rows of the first step take their memory from the state handed in with the chunk, by `prev_slot`.

    Raises:
        ValueError: a chunk reaches past the sequence.
    """
    first_step = np.ascontiguousarray(first_step, dtype=np.int64)
    environment = np.ascontiguousarray(environment, dtype=np.int64)
    inside = (first_step >= 0) & (first_step + length <= sequence.num_steps)
    inside &= (environment >= 0) & (environment < sequence.batch_size)
    if not inside.all():
        c = int(np.argmin(inside))
        raise ValueError(
            f"chunk {c}: steps {first_step[c]}..{first_step[c] + length} of environment {environment[c]} are not in a "
            f"sequence of {sequence.num_steps} steps and {sequence.batch_size} environments"
        )
    chunks = len(first_step)
    graph = ((first_step + np.arange(length)[:, None]) * sequence.batch_size + environment).reshape(-1)
    old_row, old_edge = sequence.graph_ptr.numpy(), sequence.graph_edge_ptr.numpy()
    row_ptr = np.concatenate([[0], np.cumsum(old_row[graph + 1] - old_row[graph])])
    edge_ptr = np.concatenate([[0], np.cumsum(old_edge[graph + 1] - old_edge[graph])])
    rows, calls = int(row_ptr[-1]), int(edge_ptr[-1])

    nodes = torch.empty(rows, sequence.nodes.shape[1])
    edges = torch.empty(calls, sequence.edges.shape[1])
    row_index = torch.empty(5, rows, dtype=torch.int64)
    edge_rows = torch.empty(2, calls, dtype=torch.int64)
    adjacency_ptr = torch.zeros(rows + 1, dtype=torch.int64)
    adjacency = torch.empty(2, 2 * calls, dtype=torch.int64)
    reverse = torch.empty(2 * calls, dtype=torch.int8)
    old_index = (sequence.row_slot.numpy(), sequence.prev_slot.numpy(), sequence.prev_row.numpy())
    _copy_rows(graph, chunks, old_row, row_ptr, sequence.nodes.numpy(), *old_index, nodes.numpy(), row_index.numpy())
    _copy_edges(
        graph,
        (old_row, row_ptr),
        (old_edge, edge_ptr),
        sequence.edges.numpy(),
        (sequence.edge_source.numpy(), sequence.edge_target.numpy(), sequence.adjacency_ptr.numpy()),
        (sequence.adjacency_row.numpy(), sequence.adjacency_edge.numpy(), sequence.adjacency_reverse.numpy()),
        edges.numpy(),
        edge_rows.numpy(),
        adjacency_ptr.numpy(),
        adjacency.numpy(),
        reverse.numpy(),
    )
    chosen = torch.from_numpy(graph)
    return SequenceBatch(
        num_steps=length,
        batch_size=chunks,
        max_nodes=sequence.max_nodes,
        nodes=nodes,
        edges=edges,
        globals=sequence.globals.index_select(0, chosen),
        elapsed_seconds=sequence.elapsed_seconds.index_select(0, chosen),
        row_time=row_index[0],
        row_graph=row_index[1],
        row_slot=row_index[2],
        prev_slot=row_index[3],
        prev_row=row_index[4],
        graph_ptr=torch.from_numpy(row_ptr),
        graph_edge_ptr=torch.from_numpy(edge_ptr),
        edge_source=edge_rows[0],
        edge_target=edge_rows[1],
        adjacency_ptr=adjacency_ptr,
        adjacency_row=adjacency[0],
        adjacency_edge=adjacency[1],
        adjacency_reverse=reverse,
    )


@njit(cache=True, nogil=True)
def _copy_rows(graph, chunks, old_row, row_ptr, nodes, row_slot, prev_slot, prev_row, new_nodes, row_index):  # type: ignore[no-untyped-def]
    width = nodes.shape[1]
    for g in range(len(graph)):
        old, new = old_row[graph[g]], row_ptr[g]
        # A chunk keeps one environment, so the row before lies in the chunk's own graph one step earlier.
        before = row_ptr[g - chunks] - old_row[graph[g - chunks]] if g >= chunks else 0
        for i in range(row_ptr[g + 1] - new):
            for f in range(width):
                new_nodes[new + i, f] = nodes[old + i, f]
            past = prev_row[old + i]
            row_index[0, new + i] = g // chunks
            row_index[1, new + i] = g
            row_index[2, new + i] = row_slot[old + i]
            row_index[3, new + i] = prev_slot[old + i]
            row_index[4, new + i] = -1 if g < chunks or past < 0 else past + before


@njit(cache=True, nogil=True)
def _copy_edges(  # type: ignore[no-untyped-def]
    graph, row_ptrs, edge_ptrs, edges, ends, entries, new_edges, edge_rows, adjacency_ptr, adjacency, reverse
):
    old_row, row_ptr = row_ptrs
    old_edge, edge_ptr = edge_ptrs
    source, target, old_adjacency_ptr = ends
    adjacency_row, adjacency_edge, adjacency_reverse = entries
    width = edges.shape[1]
    for g in range(len(graph)):
        row_shift = row_ptr[g] - old_row[graph[g]]
        edge_shift = edge_ptr[g] - old_edge[graph[g]]
        for k in range(edge_ptr[g], edge_ptr[g + 1]):
            edge_rows[0, k] = source[k - edge_shift] + row_shift
            edge_rows[1, k] = target[k - edge_shift] + row_shift
            for f in range(width):
                new_edges[k, f] = edges[k - edge_shift, f]
        for a in range(2 * edge_ptr[g], 2 * edge_ptr[g + 1]):
            adjacency[0, a] = adjacency_row[a - 2 * edge_shift] + row_shift
            adjacency[1, a] = adjacency_edge[a - 2 * edge_shift] + edge_shift
            reverse[a] = adjacency_reverse[a - 2 * edge_shift]
        for i in range(row_ptr[g], row_ptr[g + 1]):
            adjacency_ptr[i + 1] = old_adjacency_ptr[i - row_shift + 1] + 2 * edge_shift
