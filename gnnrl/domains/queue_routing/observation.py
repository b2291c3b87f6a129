"""From the state of the queues to padded observations, in place: the request feeds every replica that is present."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.queue_routing.physics import QueueState
from graph_space.schema import GLOBALS, NODES, GraphObservation, queue_routing_schema
from graph_space.star import StarGraph

__all__ = ["RoutingObservation"]


class RoutingObservation:
    """Writes the observations of B systems, see `StarGraph`: candidate r is replica r.

    Args:
        config: of the environment.
        batch_size: B.
    """

    def __init__(self, config: QueueRoutingConfig, batch_size: int) -> None:
        schema = queue_routing_schema(config.show_work)
        self._columns = config.max_replicas
        self._star = StarGraph(schema, batch_size, config.max_replicas)
        self.arrays = self._star.arrays
        self.begin = self._star.begin
        self._node = {name: column for column, name in enumerate(schema.names(NODES))}
        self._global = {name: column for column, name in enumerate(schema.names(GLOBALS))}

    def state_dict(self) -> dict[str, Any]:
        """What the next observation needs to know of the last one."""
        return self._star.state_dict()

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self._star.load_state_dict(saved)

    def write(self, state: QueueState) -> GraphObservation:
        """The observation of every system; the arrays stay valid until the next call."""
        present = state.present_mask
        nodes, node = self.arrays[NODES][:, : self._columns], self._node
        nodes[:, :, node["is_replica"]] = present
        nodes[:, :, node["queue"]] = state.queue
        nodes[:, :, node["utilisation"]] = np.where(present, state.utilisation, 0.0)
        if "work_seconds" in node:
            nodes[:, :, node["work_seconds"]] = np.where(present, state.work_seconds, 0.0)
        whole, told = self.arrays[GLOBALS], self._global
        whole[:, told["request_type"]] = state.request_type
        whole[:, told["interarrival_seconds"]] = state.elapsed_seconds
        whole[:, told["in_system"]] = state.queue.sum(axis=1)
        # Of the replica's rates that for the type of the request: [B, R, 1].
        rates = np.take_along_axis(state.service_rates, state.request_type[:, None, None], axis=2)
        return self._star.write(present, present, rates, state.elapsed_seconds, known=present)
