"""From telemetry windows to padded observations, in place, for a batch of meshes.

What a window shows is `lag` seconds old when it is read; what the orchestrator knows (replica counts) is current. The history columns are
computed from the lagged windows alone, so that nothing reaches a policy that a live one would not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails.births import Births
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.observation_kernel import (
    HISTORY_COLUMNS,
    METRIC_COLUMNS,
    SEEN_BY_CALLS,
    push_window,
    write_observation,
)
from gnnrl.domains.autoscaling.observed import AnyMesh
from gnnrl.domains.autoscaling.telemetry import Telemetry
from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGE_MASK,
    EDGES,
    ELAPSED_SECONDS,
    GLOBALS,
    MOVES,
    NODE_MASK,
    NODES,
    PREV_SLOT,
    GraphObservation,
    GraphSchema,
    NodeColumns,
    autoscaling_schema,
)
from graph_space.slots import SlotTable

__all__ = ["ObservationBuilder"]

Floats = NDArray[np.float32]
BIRTH_GUARDS = GuardrailConfig()
"""Whose holds the action mask has, where it has any."""
HISTORY_SECONDS = 3600.0
"""Time constant of the decayed extremes."""
VOLATILITY_SECONDS = 300.0
"""Time constant of the volatility, and of the violating share's average."""
Reassemble = Callable[[Floats], Floats]
"""From a window of calls [E, 3] (rps, P95, error share) to the services' rps in, rps out, P95 and error share [S, 4]."""


class ObservationBuilder:
    """Writes the observations of B meshes into arrays it owns (`observation`), which stay valid until the next `write`.

    Life of one environment: `start(b, mesh, ...)`, then for every scrape `push(window, active)` and, when a decision is
    due, `write(window)`; `remesh(b, old, mesh)` when the topology changes in between.

    Args:
        batch_size: B.
        max_services: columns S of the telemetry.
        max_calls: columns E of the telemetry.
        max_nodes: node slots N of the observation.
        max_edges: edge slots of the observation.
        node_columns: column set, see `graph_space.schema.autoscaling_schema`.
        lag_windows: how many windows old the shown metrics are, at most.
        decision_seconds: seconds between observations.
        min_replicas, max_replicas: bounds of the action mask.
        hold_births: whether it forbids lowering what the guardrails for births hold.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        max_services: int,
        max_calls: int,
        max_nodes: int,
        max_edges: int,
        node_columns: NodeColumns,
        lag_windows: int,
        decision_seconds: float,
        min_replicas: int,
        max_replicas: int,
        hold_births: bool = False,
    ) -> None:
        self.schema: GraphSchema = autoscaling_schema(node_columns)
        self.max_nodes = max_nodes
        self.max_edges = max_edges
        self._decision_seconds = decision_seconds
        self._bounds = np.array([min_replicas, max_replicas], dtype=np.int64)
        self._column_level = {"basic": 0, "extended": 1, "history": 2, "dimensionless": 3}[node_columns]
        batch, windows = batch_size, lag_windows + 1
        self._head = np.zeros(batch, dtype=np.int64)
        self._longest_lag_windows = lag_windows
        self._lag = np.full(batch, lag_windows, dtype=np.int64)
        self._births = Births(batch, max_services)
        self._hold_births = hold_births
        self._nobody_mask = np.zeros((batch, max_services), dtype=np.bool_)
        self._metrics = np.zeros((windows, batch, max_services, METRIC_COLUMNS), dtype=np.float32)
        self._call_metrics = np.zeros((windows, batch, max_calls, 3), dtype=np.float32)
        self._mesh_metrics = np.zeros((windows, batch, 3), dtype=np.float32)
        self._history = np.zeros((batch, max_services, HISTORY_COLUMNS), dtype=np.float32)
        self._history_begun = np.zeros((batch, max_services), dtype=np.bool_)
        self._n_services = np.zeros(batch, dtype=np.int64)
        self._n_calls = np.zeros(batch, dtype=np.int64)
        self._fresh_topology = np.ones(batch, dtype=np.bool_)
        self._assigned_prev_slot = np.full((batch, max_nodes), -1, dtype=np.int64)
        self.slot_of_service = np.full((batch, max_services), -1, dtype=np.int64)
        self._request = np.zeros((batch, max_services), dtype=np.float32)
        self._limit = np.ones((batch, max_services), dtype=np.float32)
        self._scalable_mask = np.zeros((batch, max_services), dtype=np.bool_)
        self._mtls = np.zeros((batch, max_calls), dtype=np.float32)
        self._slo_ms = np.ones(batch, dtype=np.float32)
        self._violating_recent = np.zeros(batch, dtype=np.float32)
        self.violation_weight = np.ones(batch, dtype=np.float32)
        self._elapsed = np.zeros(batch, dtype=np.float32)
        self._tables = [SlotTable(max_nodes) for _ in range(batch)]
        schema = self.schema
        self.observation: GraphObservation = {
            NODES: np.zeros((batch, max_nodes, len(schema.nodes)), dtype=np.float32),
            EDGE_INDEX: np.zeros((batch, 2, max_edges), dtype=np.int64),
            EDGES: np.zeros((batch, max_edges, len(schema.edges)), dtype=np.float32),
            GLOBALS: np.zeros((batch, len(schema.globals)), dtype=np.float32),
            NODE_MASK: np.zeros((batch, max_nodes), dtype=np.int8),
            EDGE_MASK: np.zeros((batch, max_edges), dtype=np.int8),
            PREV_SLOT: np.full((batch, max_nodes), -1, dtype=np.int64),
            ELAPSED_SECONDS: np.zeros(batch, dtype=np.float32),
            ACTION_MASK: np.zeros((batch, max_nodes, len(MOVES)), dtype=np.int8),
        }

    @classmethod
    def of(cls, config: AutoscalingConfig, batch_size: int) -> ObservationBuilder:
        """The builder of an environment's configuration, for B meshes."""
        return cls(
            batch_size=batch_size,
            max_services=config.max_nodes,
            max_calls=config.max_edges,
            max_nodes=config.max_nodes,
            max_edges=config.max_edges,
            node_columns=config.node_columns,
            lag_windows=config.longest_lag_seconds // config.decision_seconds,
            decision_seconds=config.decision_seconds,
            min_replicas=config.min_replicas,
            max_replicas=config.max_replicas,
            hold_births=config.hold_births,
        )

    def start(
        self, b: int, mesh: AnyMesh, *, slo_ms: float, violation_weight: float, lag_seconds: float | None = None
    ) -> None:
        """Begin an episode of environment `b`: empty history, slots assigned anew, every service an hour old.

        Args:
            b: environment.
            mesh: as it is shown.
            slo_ms: objective of the 95th percentile end to end.
            violation_weight: what a violating decision costs, in replica-decisions.
            lag_seconds: how old the shown metrics are, in whole decisions; None = `lag_windows` of them.

        Raises:
            ValueError: the mesh has more services or calls than the observation has slots, or the metrics are older than `lag_windows`.
        """
        lag = self._longest_lag_windows if lag_seconds is None else round(lag_seconds / self._decision_seconds)
        if not 0 <= lag <= self._longest_lag_windows:
            raise ValueError(
                f"metrics {lag_seconds:g} s old: at most {self._longest_lag_windows * self._decision_seconds:g} s are remembered; raise "
                "environment.metrics_lag_seconds"
            )
        self._lag[b] = lag
        self._births.start(b)
        self._metrics[:, b] = 0.0
        self._call_metrics[:, b] = 0.0
        self._mesh_metrics[:, b] = 0.0
        self._history[b] = 0.0
        self._history_begun[b] = False
        self._elapsed[b] = 0.0
        self._violating_recent[b] = 0.0
        self._slo_ms[b] = slo_ms
        self.violation_weight[b] = violation_weight
        self._tables[b] = SlotTable(self.max_nodes)
        self._install(b, mesh)

    def remesh(self, b: int, old: AnyMesh, mesh: AnyMesh, reassemble: Reassemble | None = None) -> None:
        """The topology of `b` changed: what is known of a surviving service or call moves to its new column.

        `reassemble` says what services that are known by their calls alone look like without the calls that are gone.
        """
        column = {name: i for i, name in enumerate(old.names)}
        source = np.array([column.get(name, -1) for name in mesh.names], dtype=np.int64)
        self._births.remesh(b, source)
        for array in (self._history, self._history_begun):
            array[b, : len(source)] = _gathered(array[b], source)
        self._metrics[:, b, : len(source)] = np.stack([_gathered(window, source) for window in self._metrics[:, b]])
        call_column = {(call.source, call.target): i for i, call in enumerate(old.calls)}
        calls = np.array([call_column.get((call.source, call.target), -1) for call in mesh.calls], dtype=np.int64)
        self._call_metrics[:, b, : len(calls)] = np.stack(
            [_gathered(window, calls) for window in self._call_metrics[:, b]]
        )
        self._call_metrics[:, b, len(calls) :] = 0.0
        if reassemble is not None:
            for window, call_window in zip(self._metrics[:, b], self._call_metrics[:, b], strict=True):
                window[:, SEEN_BY_CALLS] = reassemble(call_window)
        self._install(b, mesh)

    def _install(self, b: int, mesh: AnyMesh) -> None:
        services, calls = len(mesh.services), len(mesh.calls)
        if services > self.max_nodes or calls > self.max_edges:
            raise ValueError(
                f"mesh {mesh.name!r} has {services} services and {calls} calls, the observation {self.max_nodes} node and "
                f"{self.max_edges} edge slots; raise environment.max_nodes / environment.max_edges"
            )
        names = mesh.names
        assignment = self._tables[b].update(names)
        self._tables[b].commit()
        slots = assignment.slots
        prev_slot = assignment.prev_slot
        if self._fresh_topology[b]:
            # a second change since the last observation: follow each node through the assignment nobody saw
            prev_slot = np.where(prev_slot >= 0, self._assigned_prev_slot[b][prev_slot], -1)
        self._assigned_prev_slot[b] = prev_slot
        self._fresh_topology[b] = True
        self._n_services[b], self._n_calls[b] = services, calls
        self.slot_of_service[b] = -1
        self.slot_of_service[b, :services] = slots
        self._request[b, :services] = [service.cpu_request_millicores for service in mesh.services]
        self._limit[b, :services] = [service.cpu_limit_millicores for service in mesh.services]
        self._scalable_mask[b, :services] = [not service.stateful for service in mesh.services]
        column = {name: i for i, name in enumerate(names)}
        self._mtls[b, :calls] = [call.mtls for call in mesh.calls]
        observation = self.observation
        for key in (NODES, EDGE_INDEX, EDGES, NODE_MASK, EDGE_MASK, ACTION_MASK):
            observation[key][b] = 0
        observation[NODE_MASK][b, slots] = 1
        observation[EDGE_MASK][b, :calls] = 1
        observation[EDGE_INDEX][b, 0, :calls] = [slots[column[call.source]] for call in mesh.calls]
        observation[EDGE_INDEX][b, 1, :calls] = [slots[column[call.target]] for call in mesh.calls]

    def push(self, window: Telemetry, active: NDArray[np.bool_]) -> None:
        """Record one window of the environments in `active` [B]; the one `lag_windows` back becomes visible."""
        push_window(
            self._head,
            self._lag,
            self._metrics,
            self._call_metrics,
            self._mesh_metrics,
            self._history,
            self._history_begun,
            self._violating_recent,
            self._n_services,
            self._n_calls,
            self._limit,
            self._slo_ms,
            active,
            window.cpu_millicores,
            window.memory_mib,
            window.rps_in,
            window.rps_out,
            window.p95_ms,
            window.error_share,
            window.call_rps,
            window.call_p95_ms,
            window.call_error_share,
            window.external_rps,
            window.latency_p95_ms,
            window.violating_seconds,
            window.seconds,
            math.exp(-self._decision_seconds / HISTORY_SECONDS),
            math.exp(-self._decision_seconds / VOLATILITY_SECONDS),
        )
        self._births.advance(self._decision_seconds, window.metric_ready, active)

    def write(self, window: Telemetry, elapsed_seconds: float | None = None) -> GraphObservation:
        """Write the observation of every environment; `window` gives the current replica counts.

        `elapsed_seconds` since the last one, where it is not the decision interval (a live loop that held).
        """
        observation = self.observation
        observation[ELAPSED_SECONDS][:] = self._elapsed if elapsed_seconds is None else elapsed_seconds
        self._elapsed[:] = self._decision_seconds
        write_observation(
            self._head,
            self._lag,
            self._births.age_seconds,
            self._metrics,
            self._call_metrics,
            self._mesh_metrics,
            self._history,
            self._n_services,
            self._n_calls,
            self.slot_of_service,
            self._request,
            self._limit,
            self._scalable_mask,
            self._held(),
            self._mtls,
            self._slo_ms,
            self.violation_weight,
            self._fresh_topology,
            self._assigned_prev_slot,
            self._bounds,
            MOVES,
            window.ready,
            window.starting,
            window.pending,
            window.desired,
            window.seconds_since_change,
            self._lag * self._decision_seconds + window.metrics_age_seconds,
            self._violating_recent,
            self._column_level,
            observation[NODES],
            observation[EDGES],
            observation[GLOBALS],
            observation[NODE_MASK],
            observation[PREV_SLOT],
            observation[ACTION_MASK],
        )
        return observation

    def _held(self) -> NDArray[np.bool_]:
        """[B, S] services that must not be lowered."""
        if self._hold_births:
            return self._births.held_mask(self.slot_of_service >= 0, BIRTH_GUARDS)
        return self._nobody_mask

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything, as arrays and plain values (a checkpoint in mid-episode)."""
        state: dict[str, Any] = {name: getattr(self, name).copy() for name in _STATE}
        state["births"] = self._births.state_dict()
        state["observation"] = {key: value.copy() for key, value in self.observation.items()}
        state["tables"] = [table.state_dict() for table in self._tables]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` into a builder of the same shape."""
        for name in _STATE:
            getattr(self, name)[...] = np.asarray(state[name])
        self._births.load_state_dict(state["births"])
        for key, value in self.observation.items():
            value[...] = np.asarray(state["observation"][key])
        for table, saved in zip(self._tables, state["tables"], strict=True):
            table.load_state_dict(saved)


_STATE = (
    "_head",
    "_lag",
    "_metrics",
    "_call_metrics",
    "_mesh_metrics",
    "_history",
    "_history_begun",
    "_n_services",
    "_n_calls",
    "_fresh_topology",
    "_assigned_prev_slot",
    "slot_of_service",
    "_request",
    "_limit",
    "_scalable_mask",
    "_mtls",
    "_slo_ms",
    "violation_weight",
    "_elapsed",
    "_violating_recent",
)


def _gathered(array: NDArray[Any], source: NDArray[np.int64]) -> NDArray[Any]:
    """Rows `source` of `array`, 0 where the source is -1."""
    rows = array[np.maximum(source, 0)]
    rows[source < 0] = 0
    return rows
