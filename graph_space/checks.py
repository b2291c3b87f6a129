"""`check_observation`: the invariants of a padded graph observation, with errors that say where."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graph_space.codec import array_layout
from graph_space.config import DynamicGraphConfig
from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGE_MASK,
    EDGES,
    ELAPSED_SECONDS,
    GLOBALS,
    NODE_MASK,
    NODES,
    PREV_SLOT,
)

__all__ = ["ObservationError", "check_observation"]

_SHOWN = 5


class ObservationError(ValueError):
    """An observation that breaks an invariant. `problems` lists every one."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def check_observation(observation: Mapping[str, Any], config: DynamicGraphConfig) -> None:
    """Check one observation, or a batch of them with the same leading axes on every array.

    Keys, dtypes and shapes; masks are 0 and 1; real edges are a prefix, join real nodes and differ; `prev_slot` is
    injective, in range, and -1 in padding; features are finite where real and 0 in padding; a real node has a legal
    move (with one move, a choice among nodes, at least one node has) and padding has none.

    Raises:
        ObservationError: with every problem, each naming key, index and remedy.
    """
    problems = list(_layout_problems(observation, config))
    if problems:
        raise ObservationError(problems)
    batch_shape = np.shape(observation[NODE_MASK])[:-1]
    for index in np.ndindex(*batch_shape):
        row = {key: np.asarray(observation[key])[index] for key in observation}
        problems.extend(_value_problems(row, "".join(f"[{i}]" for i in index)))
    if problems:
        raise ObservationError(problems)


def _layout_problems(observation: Mapping[str, Any], config: DynamicGraphConfig) -> Iterator[str]:
    layout = array_layout(config)
    for key in observation:
        if key not in layout:
            yield f"{key!r}: not a key of a graph observation; those are {', '.join(layout)}"
    batch_shape = np.shape(observation[NODE_MASK])[:-1] if NODE_MASK in observation else ()
    for key, (shape, dtype) in layout.items():
        if key not in observation:
            yield f"{key}: missing; add an array {shape} {dtype}"
            continue
        array = observation[key]
        if not isinstance(array, np.ndarray | np.generic):
            yield f"{key}: is a {type(array).__name__}; make it a numpy array of {dtype}"
        elif array.dtype != dtype:
            yield f"{key}: dtype {array.dtype}; make it {dtype}"
        elif array.shape != batch_shape + shape:
            yield f"{key}: shape {array.shape}; the configuration says {batch_shape + shape}"


def _value_problems(row: Mapping[str, NDArray[Any]], at: str) -> Iterator[str]:
    for key in (NODE_MASK, EDGE_MASK, ACTION_MASK):
        yield from _places(key, at, ~np.isin(row[key], (0, 1)), row[key], "a mask is 1 where valid, else 0")
    live = row[NODE_MASK] == 1  # [N]
    yield from _node_problems(row, live, at)
    yield from _prev_slot_problems(row[PREV_SLOT], live, at)
    yield from _edge_problems(row, live, at)
    yield from _places(GLOBALS, at, ~np.isfinite(row[GLOBALS]), row[GLOBALS], "fill missing measurements first")
    elapsed = row[ELAPSED_SECONDS]
    if not (np.isfinite(elapsed) and elapsed >= 0):
        yield f"{ELAPSED_SECONDS}{at}: {elapsed}; seconds since the last observation are finite and >= 0"


def _node_problems(row: Mapping[str, NDArray[Any]], live: NDArray[np.bool_], at: str) -> Iterator[str]:
    nodes, moves = row[NODES], row[ACTION_MASK]
    yield from _places(NODES, at, ~np.isfinite(nodes) & live[:, None], nodes, "fill missing measurements first")
    yield from _places(NODES, at, (nodes != 0) & ~live[:, None], nodes, "padding is 0; clear the row or set node_mask")
    legal = (moves != 0).any(axis=1)
    if moves.shape[1] == 1:  # a pointer: one node is chosen, and not every node may be
        if live.any() and not (live & legal).any():
            yield f"{ACTION_MASK}{at}: no node may be chosen; do not ask for a choice until one may"
    else:
        for slot in np.flatnonzero(live & ~legal):
            yield f"{ACTION_MASK}{at}[{slot}]: a real node without a legal move; doing nothing must stay legal"
    for slot in np.flatnonzero(~live & (moves != 0).any(axis=1)):
        yield f"{ACTION_MASK}{at}[{slot}]: legal moves in padding; clear the row or set node_mask"


def _prev_slot_problems(prev_slot: NDArray[np.int64], live: NDArray[np.bool_], at: str) -> Iterator[str]:
    in_range = (prev_slot >= -1) & (prev_slot < len(prev_slot))
    yield from _places(
        PREV_SLOT, at, live & ~in_range, prev_slot, f"a slot is 0 .. {len(prev_slot) - 1}, or -1 for a new node"
    )
    yield from _places(PREV_SLOT, at, ~live & (prev_slot != -1), prev_slot, "padding is -1")
    carried = prev_slot[live & in_range & (prev_slot >= 0)]
    values, counts = np.unique(carried, return_counts=True)
    for value in values[counts > 1]:
        slots = np.flatnonzero(live & (prev_slot == value)).tolist()
        yield f"{PREV_SLOT}{at}{slots}: all {value}; a node stood in one slot, so at most one may come from it"


def _edge_problems(row: Mapping[str, NDArray[Any]], live: NDArray[np.bool_], at: str) -> Iterator[str]:
    real = row[EDGE_MASK] == 1  # [E]
    ends, edges = row[EDGE_INDEX], row[EDGES]
    count = int(real.sum())
    if not real[:count].all():
        hole = int(np.flatnonzero(~real)[0])
        yield f"{EDGE_MASK}{at}[{hole}]: 0 before the last real edge; real edges are a prefix, move them to the front"
    in_range = (ends >= 0) & (ends < len(live))
    yield from _places(EDGE_INDEX, at, ~in_range & real, ends, f"a slot is 0 .. {len(live) - 1}")
    dangling = in_range & real & ~live[np.where(in_range, ends, 0)]
    yield from _places(EDGE_INDEX, at, dangling, ends, "that slot is padding; drop the edge or set node_mask")
    yield from _places(EDGE_INDEX, at, (ends != 0) & ~real, ends, "padding is 0")
    pairs, counts = np.unique(ends[:, real], axis=1, return_counts=True)
    for source, target in pairs[:, counts > 1].T:
        yield f"{EDGE_INDEX}{at}: {source} -> {target} more than once; merge the calls of one pair into one edge"
    yield from _places(EDGES, at, ~np.isfinite(edges) & real[:, None], edges, "fill missing measurements first")
    yield from _places(EDGES, at, (edges != 0) & ~real[:, None], edges, "padding is 0; clear the row or set edge_mask")


def _places(key: str, at: str, wrong: NDArray[np.bool_], values: NDArray[Any], remedy: str) -> Iterator[str]:
    found = np.argwhere(wrong)
    if len(found):
        shown = ", ".join(f"{key}{at}{place.tolist()} = {values[tuple(place)]}" for place in found[:_SHOWN])
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        yield f"{shown}{more}: {remedy}"
