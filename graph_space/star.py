"""A request and those who may serve it, as a graph: the observation of every routing domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    GraphObservation,
    GraphSchema,
)

__all__ = ["StarGraph"]

Bools = NDArray[np.bool_]


class StarGraph:
    """B graphs in arrays it owns: slot c is candidate c, the last slot the request, which feeds every candidate that is present.

    A candidate that comes (back) is a new node: `prev_slot` is -1 where it was absent at the last observation. The request is new each
    time. The domain writes `nodes` of the candidates and `globals` itself.

    Args:
        schema: the domain's columns.
        batch_size: B.
        candidates: C, most of them in a graph.

    Attributes:
        arrays: the observation, [B, ...] each; N = C + 1, E = C.
        was_present: [B, C] who was there at the last observation.
        fresh: [B] whether none was made in this episode yet.
    """

    def __init__(self, schema: GraphSchema, batch_size: int, candidates: int) -> None:
        batch, slots = batch_size, candidates + 1
        self.was_present = np.zeros((batch, candidates), np.bool_)
        self.fresh = np.ones(batch, np.bool_)
        self._slots = np.arange(candidates)
        self.arrays: GraphObservation = {
            NODES: np.zeros((batch, slots, len(schema.nodes)), np.float32),
            EDGE_INDEX: np.zeros((batch, 2, candidates), np.int64),
            EDGES: np.zeros((batch, candidates, len(schema.edges)), np.float32),
            GLOBALS: np.zeros((batch, len(schema.globals)), np.float32),
            NODE_MASK: np.zeros((batch, slots), np.int8),
            EDGE_MASK: np.zeros((batch, candidates), np.int8),
            PREV_SLOT: np.full((batch, slots), -1, np.int64),
            ELAPSED_SECONDS: np.zeros(batch, np.float32),
            ACTION_MASK: np.zeros((batch, slots, 1), np.int8),
        }
        self.arrays[NODE_MASK][:, -1] = 1

    def begin(self, b: int) -> None:
        """An episode of graph `b` begins: nothing was there before."""
        self.was_present[b] = False
        self.fresh[b] = True

    def forget(self, b: int, candidate: int) -> None:
        """The candidate is another one than at the last observation: a new node."""
        self.was_present[b, candidate] = False

    def write(
        self, present: Bools, able: Bools, edges: NDArray[Any], elapsed_seconds: NDArray[Any], known: Bools
    ) -> GraphObservation:
        """Edges, masks and times of every graph; the arrays stay valid until the next call.

        Args:
            present: [B, C] who is there.
            able: [B, C] who may be chosen.
            edges: [B, C, Fe] columns of the edge to each candidate, in the order of candidates.
            elapsed_seconds: [B] since the last observation; 0 is written where there was none.
            known: [B, C] who is the same node as at the last observation, if it was there.
        """
        arrays, candidates = self.arrays, len(self._slots)
        # Real edges are a prefix: those to the present candidates first.
        order = np.argsort(~present, axis=1, kind="stable")
        there = np.take_along_axis(present, order, axis=1)
        arrays[EDGE_INDEX][:, 0] = np.where(there, candidates, 0)
        arrays[EDGE_INDEX][:, 1] = np.where(there, order, 0)
        arrays[EDGES][:] = np.where(there[:, :, None], np.take_along_axis(edges, order[:, :, None], axis=1), 0.0)
        arrays[EDGE_MASK][:] = there
        arrays[NODE_MASK][:, :candidates] = present
        arrays[PREV_SLOT][:, :candidates] = np.where(present & self.was_present & known, self._slots, -1)
        arrays[ELAPSED_SECONDS][:] = np.where(self.fresh, 0.0, elapsed_seconds)
        arrays[ACTION_MASK][:, :candidates, 0] = able
        self.was_present[:] = present
        self.fresh[:] = False
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """What the next observation needs to know of the last one."""
        return {"was_present": self.was_present.copy(), "fresh": self.fresh.copy()}

    def load_state_dict(self, saved: Mapping[str, Any], these: Any = slice(None)) -> None:
        """Go on from `state_dict`; in the graphs `these` (an index of the axis B) alone, where they are given."""
        self.was_present[these] = saved["was_present"][these]
        self.fresh[these] = saved["fresh"][these]
