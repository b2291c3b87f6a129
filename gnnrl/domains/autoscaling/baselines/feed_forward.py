"""Feed-forward on the call graph: the load at the root, times calls per request, times CPU per call, over the CPU a pod
should use.

    replicas = ceil(root rps x call ratio x CPU per call / (headroom x limit))

Told the true ratios and costs (`feed_forward`), or estimating them from CPU and traffic (`feed_forward_estimated`),
with a linear trend of the load carried over the blind time where asked (`feed_forward_trend`). `teacher` is the
estimating one as a function of an observation alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnnrl.domains.autoscaling.baselines.autoscaler import Baseline, ReplicaBounds, Replicas, Telemetry
from gnnrl.domains.autoscaling.observed import AnyMesh
from graph_space.schema import ACTION_MASK, GLOBALS, MOVES, NODES, GraphObservation, GraphSchema

__all__ = ["DEFAULT_HEADROOM", "FeedForward", "replicas_for", "teacher", "weighted_headroom"]

DEFAULT_HEADROOM = 0.7
"""Share of its CPU limit that a pod should use."""
TREND_HORIZON_SECONDS = 60.0
"""How far a trend of weight 1 is carried: the middle of the 45-75 s between a load and the pods that answer it."""
SLOPE_SECONDS = 30.0
"""Time constant of the slope's average."""
ESTIMATE_SECONDS = 600.0
"""Time constant of the estimated demand; a cost per call drifts far slower than the load."""


def replicas_for(demand_millicores: ArrayLike, limit_millicores: ArrayLike, headroom: ArrayLike) -> Replicas:
    """Pods that carry a CPU demand at `headroom` of their limit; 0 where there is no demand."""
    pods = np.asarray(demand_millicores, dtype=np.float64) / (np.asarray(headroom) * np.asarray(limit_millicores))
    return np.ceil(pods - 1e-9).astype(np.int64)


class FeedForward(Baseline):
    """One step from the root's load to every service's replicas, so that no service waits for its callers to be scaled
    first.

    Args:
        bounds, columns: as `Baseline`.
        headroom: share of the limit to use, one number or one a mesh [B].
        trend_weight: 0 = the load as it was seen, 1 = carried forward by `TREND_HORIZON_SECONDS`; one number or one a
            mesh [B].
        estimated: demand per external request is estimated from CPU and traffic instead of known.
        name: as it is reported.
    """

    def __init__(
        self,
        bounds: ReplicaBounds,
        columns: int,
        *,
        headroom: ArrayLike = DEFAULT_HEADROOM,
        trend_weight: ArrayLike = 0.0,
        estimated: bool = False,
        name: str = "feed_forward",
    ) -> None:
        super().__init__(name, bounds, columns)
        self.headroom = np.asarray(headroom, dtype=np.float64).reshape(-1, 1)
        self.trend_weight = np.asarray(trend_weight, dtype=np.float64).reshape(-1)
        self.estimated = estimated

    def begin(self, meshes: Sequence[AnyMesh]) -> None:
        """Forget the load's history and the estimates."""
        shape = (len(meshes), self.columns)
        self._calls, self._cpu, self._received, self._requests = (np.zeros(shape) for _ in range(4))
        self._previous_rps = np.zeros(len(meshes))
        self._slope = np.zeros(len(meshes))
        self._decisions = 0
        self._load_rps = np.zeros(len(meshes))
        self._demand_millicores = np.zeros(shape)

    def service_state(self) -> Sequence[NDArray[Any]]:
        return (self._calls, self._cpu, self._received, self._requests)

    def decide(self, telemetry: Telemetry, now_seconds: float) -> Replicas:  # noqa: ARG002
        rps = telemetry.external_rps.astype(np.float64)
        demand = self._estimate(telemetry) if self.estimated else self.table.demand_millicores
        self._load_rps, self._demand_millicores = self._forecast(rps), demand
        wanted = replicas_for(self._load_rps[:, None] * demand, self.table.limit_millicores, self.headroom)
        return self.bounds.clip(wanted, self.table, telemetry.desired.astype(np.int64))

    def grounds(self, b: int, column: int) -> tuple[str, ...]:
        """The load at the root, what of it comes to the service, and what a pod is meant to carry."""
        headroom = np.broadcast_to(self.headroom[:, 0], len(self._load_rps))[b]
        return (
            f"{self._load_rps[b]:.4g} requests/s enter the mesh, {self._demand_millicores[b, column]:.3g} millicores here for each",
            f"{100.0 * headroom:.0f} % of a limit of {self.table.limit_millicores[b, column]:.4g} to be used",
        )

    def _forecast(self, rps: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._decisions > 0:
            share = 1.0 - np.exp(-self.period_seconds / SLOPE_SECONDS)
            self._slope += share * ((rps - self._previous_rps) / self.period_seconds - self._slope)
        self._previous_rps[:] = rps
        self._decisions += 1
        return np.maximum(rps + self.trend_weight * TREND_HORIZON_SECONDS * self._slope, 0.0)

    def _estimate(self, telemetry: Telemetry) -> NDArray[np.float64]:
        """Millicores per external request/s: calls received per request x CPU per call, as ratios of decayed sums."""
        keep = np.exp(-self.period_seconds / ESTIMATE_SECONDS)
        for total, sample in (
            (self._calls, telemetry.rps_in),
            (self._requests, np.broadcast_to(telemetry.external_rps[:, None], telemetry.rps_in.shape)),
            (self._cpu, telemetry.cpu_millicores),
            (self._received, telemetry.rps_in),
        ):
            total *= keep
            total += sample
        return _ratio(self._calls, self._requests) * _ratio(self._cpu, self._received)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> NDArray[np.float64]:
    return np.where(denominator > 1e-9, numerator / np.maximum(denominator, 1e-9), 0.0)


def weighted_headroom(violation_weight: ArrayLike) -> NDArray[np.float64]:
    """Share of the limit to use where a wholly violating decision costs as much as `violation_weight` replicas.

    A line in the logarithm through what validation episodes favour: 0.7 at a weight of 40, 0.6 at 200, 0.5 at 1000 [cal].
    """
    return np.clip(0.6 - 0.062 * np.log(np.asarray(violation_weight, dtype=np.float64) / 200.0), 0.4, 0.78)


def teacher(observation: GraphObservation, schema: GraphSchema, *, headroom: float | None = None) -> NDArray[np.int64]:
    """Moves [B, N] of the estimating feed-forward rule, from what one observation shows.

    Over one window root rps x (calls / root rps) x (CPU / calls) is the CPU itself, so the rule reads CPU per service;
    where the schema has the trend of the load, a rising one is carried on by one window. Illegal moves are replaced by
    the nearest legal ones.

    Args:
        observation: padded arrays with a leading B.
        schema: names of the columns; any but `basic`, because the CPU limit must be known.
        headroom: share of the limit to use; None = `weighted_headroom` of the weight that the observation shows.

    Raises:
        KeyError: the schema has no `busy_replicas`.
    """
    nodes = np.asarray(observation[NODES], dtype=np.float64)
    busy = nodes[..., schema.index(NODES, "busy_replicas")]
    if "busy_trend" in schema.names(NODES):
        busy = busy + np.maximum(nodes[..., schema.index(NODES, "busy_trend")], 0.0)
    share: NDArray[np.float64] | float
    if headroom is None:
        shown = np.asarray(observation[GLOBALS], dtype=np.float64)
        share = weighted_headroom(np.exp(shown[..., schema.index(GLOBALS, "log_violation_weight")]))[..., None]
    else:
        share = headroom
    wanted = np.maximum(replicas_for(busy, np.ones_like(busy), share), 1)
    change = wanted - nodes[..., schema.index(NODES, "desired_replicas")].astype(np.int64)  # [B, N]
    distance = np.abs(MOVES - change[..., None])  # [B, N, K]
    legal_mask = observation[ACTION_MASK].astype(np.bool_)
    # Padding has no legal move; its move is 0, which nobody executes.
    return np.where(legal_mask.any(-1), np.where(legal_mask, distance, 1 << 30).argmin(-1), 0).astype(np.int64)
