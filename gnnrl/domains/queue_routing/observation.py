"""From the state of the queues to padded observations, in place: the request feeds every replica that is present."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.queue_routing.physics import QueueState
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
    queue_routing_schema,
)

__all__ = ["RoutingObservation"]


class RoutingObservation:
    """Writes the observations of B systems into arrays it owns. Slot r is replica r, the last slot the request.

    A replica that comes back in its column is a new node: `prev_slot` is -1 where it was absent before. The request is new each time.

    Args:
        config: of the environment.
        batch_size: B.
    """

    def __init__(self, config: QueueRoutingConfig, batch_size: int) -> None:
        schema = queue_routing_schema(config.show_work)
        self._show_work = config.show_work
        self._columns = columns = config.max_replicas
        batch, slots = batch_size, columns + 1
        self._was_present = np.zeros((batch, columns), np.bool_)
        self._fresh = np.ones(batch, np.bool_)
        self._slots = np.arange(columns)
        self.arrays: GraphObservation = {
            NODES: np.zeros((batch, slots, len(schema.nodes)), np.float32),
            EDGE_INDEX: np.zeros((batch, 2, columns), np.int64),
            EDGES: np.zeros((batch, columns, len(schema.edges)), np.float32),
            GLOBALS: np.zeros((batch, len(schema.globals)), np.float32),
            NODE_MASK: np.zeros((batch, slots), np.int8),
            EDGE_MASK: np.zeros((batch, columns), np.int8),
            PREV_SLOT: np.full((batch, slots), -1, np.int64),
            ELAPSED_SECONDS: np.zeros(batch, np.float32),
            ACTION_MASK: np.zeros((batch, slots, 1), np.int8),
        }
        self.arrays[NODE_MASK][:, -1] = 1

    def begin(self, b: int) -> None:
        """An episode of system `b` begins: nothing was there before."""
        self._was_present[b] = False
        self._fresh[b] = True

    def state_dict(self) -> dict[str, Any]:
        """What the next observation needs to know of the last one."""
        return {"was_present": self._was_present.copy(), "fresh": self._fresh.copy()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._was_present[:] = saved["was_present"]
        self._fresh[:] = saved["fresh"]

    def write(self, state: QueueState) -> GraphObservation:
        """The observation of every system; the arrays stay valid until the next call."""
        arrays, columns, present = self.arrays, self._columns, state.present_mask
        nodes = arrays[NODES]
        nodes[:, :columns, 0] = present
        nodes[:, :columns, 1] = state.queue
        nodes[:, :columns, 2] = np.where(present, state.utilisation, 0.0)
        if self._show_work:
            nodes[:, :columns, 3] = np.where(present, state.work_seconds, 0.0)
        rates = np.take_along_axis(state.service_rates, state.request_type[:, None, None], axis=2)[:, :, 0]  # [B, R]
        # Real edges are a prefix: the columns of present replicas first.
        order = np.argsort(~present, axis=1, kind="stable")
        there = np.take_along_axis(present, order, axis=1)
        arrays[EDGE_INDEX][:, 0] = np.where(there, columns, 0)
        arrays[EDGE_INDEX][:, 1] = np.where(there, order, 0)
        arrays[EDGES][:, :, 0] = np.where(there, np.take_along_axis(rates, order, axis=1), 0.0)
        arrays[EDGE_MASK][:] = there
        arrays[GLOBALS][:, 0] = state.request_type
        arrays[GLOBALS][:, 1] = state.elapsed_seconds
        arrays[GLOBALS][:, 2] = state.queue.sum(axis=1)
        arrays[NODE_MASK][:, :columns] = present
        arrays[PREV_SLOT][:, :columns] = np.where(present & self._was_present, self._slots, -1)
        arrays[ELAPSED_SECONDS][:] = np.where(self._fresh, 0.0, state.elapsed_seconds)
        arrays[ACTION_MASK][:, :columns, 0] = present
        self._was_present[:] = present
        self._fresh[:] = False
        return arrays
