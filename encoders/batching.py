"""Padded observations `[T, B, ...]` -> `SequenceBatch`, compiled: only real nodes and edges reach the network.

Convolving 400 padded edges instead of 20 real ones costs about 20 times as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray
from torch import Tensor

from encoders.sequence import SequenceBatch
from graph_space.schema import EDGE_INDEX, EDGE_MASK, EDGES, ELAPSED_SECONDS, GLOBALS, NODE_MASK, NODES, PREV_SLOT

__all__ = ["SequenceBatch", "compact"]

Observation = Mapping[str, Any]

OK, BAD_ENDPOINT, BAD_PREV_SLOT, BAD_NODE, BAD_EDGE = 0, 1, 2, 3, 4


def compact(obs: Observation, episode_start: Any = None) -> SequenceBatch:
    """Build the disjoint graph of the real nodes and edges of padded observations.

    Args:
        obs: arrays or CPU tensors with leading axes [T, B] (or [B], taken as T = 1), keys of `graph_space.schema`.
        episode_start: [T, B] (or [B]) bool; where true no node has a past. None = nowhere.

    Returns:
        The sequence. Globals and times share memory with `obs`; the rest is new.

    Raises:
        KeyError: a key is missing.
        ValueError: an edge ends at an empty slot, `prev_slot` is out of range, shapes do not fit, indices or masks are not whole
            numbers, or a feature of a real node, a real edge or a graph is not finite.
    """
    node_mask = _array(obs, NODE_MASK, np.int8)
    if node_mask.ndim == 2:
        return _compact(obs, episode_start, node_mask[None], single_step=True)
    if node_mask.ndim != 3:
        raise ValueError(f"{NODE_MASK} has shape {node_mask.shape}; expected [T, B, N] or [B, N]")
    return _compact(obs, episode_start, node_mask, single_step=False)


def _compact(obs: Observation, episode_start: Any, node_mask: NDArray[np.int8], *, single_step: bool) -> SequenceBatch:
    steps, batch, max_nodes = node_mask.shape

    def leading(key: str, dtype: Any, *shape: int | None) -> NDArray[Any]:
        """An array [T, B, *shape]; None = any number."""
        array = _array(obs, key, dtype)
        if single_step:
            array = array[None]
        wanted = (steps, batch, *shape)
        if array.ndim != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, array.shape, strict=True)):
            told = ", ".join("any" if size is None else str(size) for size in wanted[single_step:])
            raise ValueError(f"{key} has shape {array.shape[single_step:]}; expected ({told})")
        return array

    nodes = leading(NODES, np.float32, max_nodes, None)
    edge_mask = leading(EDGE_MASK, np.int8, None)
    max_edges = edge_mask.shape[2]
    edges = leading(EDGES, np.float32, max_edges, None)
    edge_index = leading(EDGE_INDEX, np.int64, 2, max_edges)
    prev_slot = leading(PREV_SLOT, np.int64, max_nodes)
    graph_features = leading(GLOBALS, np.float32, None)
    elapsed = leading(ELAPSED_SECONDS, np.float32)
    start = _starts(episode_start, steps, batch)

    graphs = steps * batch
    graph_ptr = np.empty(graphs + 1, dtype=np.int64)
    graph_edge_ptr = np.empty(graphs + 1, dtype=np.int64)
    _count(node_mask, edge_mask, graph_ptr, graph_edge_ptr)
    rows, calls = int(graph_ptr[-1]), int(graph_edge_ptr[-1])

    row_nodes = np.empty((rows, nodes.shape[3]), dtype=np.float32)
    row_edges = np.empty((calls, edges.shape[3]), dtype=np.float32)
    row_index = np.empty((4, rows), dtype=np.int64)
    edge_rows = np.empty((2, calls), dtype=np.int64)
    adjacency_ptr = np.empty(rows + 1, dtype=np.int64)
    adjacency = np.empty((2, 2 * calls), dtype=np.int64)
    reverse = np.empty(2 * calls, dtype=np.int8)
    problem, t, b, item, column = _fill(
        nodes,
        edges,
        edge_index,
        node_mask,
        edge_mask,
        prev_slot,
        start,
        graph_ptr,
        graph_edge_ptr,
        row_nodes,
        row_edges,
        row_index,
        edge_rows,
        adjacency_ptr,
        adjacency,
        reverse,
    )
    if problem == BAD_ENDPOINT:
        raise ValueError(
            f"{EDGE_INDEX}: edge {item} of environment {b} at step {t} joins slots "
            f"{edge_index[t, b, :, item].tolist()}, of which at least one holds no node ({NODE_MASK}); "
            "mask the edge or add the node"
        )
    if problem == BAD_PREV_SLOT:
        raise ValueError(
            f"{PREV_SLOT}: slot {item} of environment {b} at step {t} points to {prev_slot[t, b, item]}; "
            f"expected -1 .. {max_nodes - 1}"
        )
    if problem in (BAD_NODE, BAD_EDGE):
        key, array, what = (NODES, nodes, "slot") if problem == BAD_NODE else (EDGES, edges, "edge")
        raise ValueError(
            f"{key}: {what} {item} of environment {b} at step {t}, column {column} is {array[t, b, item, column]}, not a finite "
            "number; fill missing measurements first"
        )
    _require_finite(GLOBALS, graph_features)
    _require_finite(ELAPSED_SECONDS, elapsed)
    if (elapsed < 0.0).any():
        raise ValueError(f"{ELAPSED_SECONDS}: {float(elapsed.min()):g} is before the last observation; it must be >= 0")
    prev_row = np.empty(rows, dtype=np.int64)
    link_rows(graph_ptr, row_index[2], row_index[3], steps, batch, max_nodes, prev_row)

    as_tensor = torch.from_numpy
    return SequenceBatch(
        num_steps=steps,
        batch_size=batch,
        max_nodes=max_nodes,
        nodes=as_tensor(row_nodes),
        edges=as_tensor(row_edges),
        globals=as_tensor(graph_features.reshape(graphs, graph_features.shape[2])),
        elapsed_seconds=as_tensor(elapsed.reshape(graphs)),
        episode_start=as_tensor(start.reshape(graphs)),
        row_time=as_tensor(row_index[0]),
        row_graph=as_tensor(row_index[1]),
        row_slot=as_tensor(row_index[2]),
        prev_slot=as_tensor(row_index[3]),
        prev_row=as_tensor(prev_row),
        graph_ptr=as_tensor(graph_ptr),
        graph_edge_ptr=as_tensor(graph_edge_ptr),
        edge_source=as_tensor(edge_rows[0]),
        edge_target=as_tensor(edge_rows[1]),
        adjacency_ptr=as_tensor(adjacency_ptr),
        adjacency_row=as_tensor(adjacency[0]),
        adjacency_edge=as_tensor(adjacency[1]),
        adjacency_reverse=as_tensor(reverse),
    )


def _array(obs: Observation, key: str, dtype: Any) -> NDArray[Any]:
    if key not in obs:
        raise KeyError(f"the observation has no {key!r}; it has {sorted(obs)}")
    value = obs[key]
    array = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
    if array.dtype.kind not in ("iufb" if np.dtype(dtype).kind == "f" else "iub"):
        right = "numbers" if np.dtype(dtype).kind == "f" else "whole numbers"
        raise ValueError(f"{key} is of dtype {array.dtype}; {right} are expected, {np.dtype(dtype)}")
    # A scalar per graph stays one: ascontiguousarray would give it an axis.
    return np.ascontiguousarray(array, dtype=dtype).reshape(array.shape)


def _starts(episode_start: Any, steps: int, batch: int) -> NDArray[np.bool_]:
    if episode_start is None:
        return np.zeros((steps, batch), dtype=np.bool_)
    start = episode_start.numpy() if isinstance(episode_start, Tensor) else np.asarray(episode_start)
    if start.dtype.kind not in "biu" or start.size != steps * batch:
        raise ValueError(
            f"episode_start has shape {start.shape}, dtype {start.dtype}; expected bool [T, B] = ({steps}, {batch})"
        )
    return np.ascontiguousarray(start, dtype=np.bool_).reshape(steps, batch)


def _require_finite(key: str, array: NDArray[np.float32]) -> None:
    if not np.isfinite(array).all():
        t, b, *column = np.argwhere(~np.isfinite(array))[0].tolist()
        where = f", column {column[0]}" if column else ""
        value = array[(t, b, *column)]
        raise ValueError(f"{key} of environment {b} at step {t}{where} is {value}, not a finite number")


@njit(cache=True, nogil=True)
def _count(node_mask, edge_mask, graph_ptr, graph_edge_ptr):  # type: ignore[no-untyped-def]
    steps, batch, max_nodes = node_mask.shape
    max_edges = edge_mask.shape[2]
    graph_ptr[0] = 0
    graph_edge_ptr[0] = 0
    for t in range(steps):
        for b in range(batch):
            g = t * batch + b
            count = 0
            for n in range(max_nodes):
                count += node_mask[t, b, n] != 0
            graph_ptr[g + 1] = graph_ptr[g] + count
            count = 0
            for e in range(max_edges):
                count += edge_mask[t, b, e] != 0
            graph_edge_ptr[g + 1] = graph_edge_ptr[g] + count


@njit(cache=True, nogil=True)
def _fill(  # type: ignore[no-untyped-def]
    nodes,
    edges,
    edge_index,
    node_mask,
    edge_mask,
    prev_slot,
    start,
    graph_ptr,
    graph_edge_ptr,
    row_nodes,
    row_edges,
    row_index,
    edge_rows,
    adjacency_ptr,
    adjacency,
    reverse,
):
    steps, batch, max_nodes = node_mask.shape
    node_dim, edge_dim = nodes.shape[3], edges.shape[3]
    slot_row = np.empty(max_nodes, dtype=np.int64)
    incoming = np.empty(max_nodes + 1, dtype=np.int64)
    heard = np.empty(max_nodes + 1, dtype=np.int64)
    adjacency_ptr[0] = 0
    for t in range(steps):
        for b in range(batch):
            g = t * batch + b
            row = graph_ptr[g]
            for n in range(max_nodes):
                slot_row[n] = -1
                if node_mask[t, b, n] == 0:
                    continue
                slot_row[n] = row
                row_index[0, row] = t
                row_index[1, row] = g
                row_index[2, row] = n
                past = prev_slot[t, b, n]
                if past < -1 or past >= max_nodes:
                    return BAD_PREV_SLOT, t, b, n, 0
                row_index[3, row] = -1 if start[t, b] else past
                for f in range(node_dim):
                    if not np.isfinite(nodes[t, b, n, f]):
                        return BAD_NODE, t, b, n, f
                    row_nodes[row, f] = nodes[t, b, n, f]
                row += 1

            first_row, rows = graph_ptr[g], graph_ptr[g + 1] - graph_ptr[g]
            first_edge, count = graph_edge_ptr[g], graph_edge_ptr[g + 1] - graph_edge_ptr[g]
            for i in range(rows + 1):
                incoming[i] = 0
                heard[i] = 0
            seen = 0
            e = 0
            while seen < count:
                if edge_mask[t, b, e] != 0:
                    source, target = edge_index[t, b, 0, e], edge_index[t, b, 1, e]
                    inside = source >= 0 and source < max_nodes and target >= 0 and target < max_nodes
                    if not inside or slot_row[source] < 0 or slot_row[target] < 0:
                        return BAD_ENDPOINT, t, b, e, 0
                    i, j = slot_row[target] - first_row, slot_row[source] - first_row
                    incoming[i + 1] += 1
                    heard[i + 1] += 1
                    heard[j + 1] += 1
                    seen += 1
                e += 1
            for i in range(rows):
                incoming[i + 1] += incoming[i]
                heard[i + 1] += heard[i]
                adjacency_ptr[first_row + i + 1] = 2 * first_edge + heard[i + 1]

            seen = 0
            e = 0
            while seen < count:
                if edge_mask[t, b, e] != 0:
                    source_row, target_row = slot_row[edge_index[t, b, 0, e]], slot_row[edge_index[t, b, 1, e]]
                    place = first_edge + incoming[target_row - first_row]
                    incoming[target_row - first_row] += 1
                    edge_rows[0, place] = source_row
                    edge_rows[1, place] = target_row
                    for f in range(edge_dim):
                        if not np.isfinite(edges[t, b, e, f]):
                            return BAD_EDGE, t, b, e, f
                        row_edges[place, f] = edges[t, b, e, f]
                    seen += 1
                e += 1
            for k in range(first_edge, first_edge + count):
                source_row, target_row = edge_rows[0, k], edge_rows[1, k]
                place = 2 * first_edge + heard[target_row - first_row]
                heard[target_row - first_row] += 1
                adjacency[0, place] = source_row
                adjacency[1, place] = k
                reverse[place] = 0
                place = 2 * first_edge + heard[source_row - first_row]
                heard[source_row - first_row] += 1
                adjacency[0, place] = target_row
                adjacency[1, place] = k
                reverse[place] = 1
    return OK, 0, 0, 0, 0


@njit(cache=True, nogil=True)
def link_rows(graph_ptr, row_slot, prev_slot, steps, batch, max_nodes, prev_row):  # type: ignore[no-untyped-def]
    """Fill `prev_row` [R] of time-major rows from their slots and previous slots."""
    slot_row = np.empty((2, batch, max_nodes), dtype=np.int64)
    slot_row.fill(-1)
    for t in range(steps):
        before, now = slot_row[(t + 1) % 2], slot_row[t % 2]
        now.fill(-1)
        for b in range(batch):
            g = t * batch + b
            for row in range(graph_ptr[g], graph_ptr[g + 1]):
                now[b, row_slot[row]] = row
                past = prev_slot[row]
                prev_row[row] = -1 if past < 0 else before[b, past]
