"""Two yardsticks: enough replicas for the peak, for ever; and legal moves at random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.baselines.autoscaler import Baseline, ReplicaBounds, Replicas, Telemetry
from gnnrl.domains.autoscaling.baselines.feed_forward import DEFAULT_HEADROOM, replicas_for
from gnnrl.domains.autoscaling.observed import AnyMesh
from graph_space.schema import MOVES

__all__ = ["RandomMoves", "StaticPeak"]


class StaticPeak(Baseline):
    """Peak provisioning by somebody who knows the peak: never scales, except to follow the topology.

    Args:
        bounds, columns: as `Baseline`.
        rps: [B, T] the whole load; its maximum is provisioned at `DEFAULT_HEADROOM` of the limit.
        name: as it is reported.
    """

    def __init__(self, bounds: ReplicaBounds, columns: int, rps: NDArray[Any], *, name: str = "static") -> None:
        super().__init__(name, bounds, columns)
        self.peak_rps = np.asarray(rps, dtype=np.float64).max(axis=1)

    def decide(self, telemetry: Telemetry, now_seconds: float) -> Replicas:  # noqa: ARG002
        demand = self.peak_rps[:, None] * self.table.demand_millicores
        wanted = replicas_for(demand, self.table.limit_millicores, DEFAULT_HEADROOM)
        return self.bounds.clip(wanted, self.table, telemetry.desired.astype(np.int64))


class RandomMoves(Baseline):
    """A move drawn uniformly from the legal ones, for every service and decision.

    Args:
        bounds, columns: as `Baseline`.
        seed: of the draws.
        name: as it is reported.
    """

    def __init__(self, bounds: ReplicaBounds, columns: int, *, seed: int = 0, name: str = "random") -> None:
        super().__init__(name, bounds, columns)
        self.seed = seed

    def begin(self, meshes: Sequence[AnyMesh]) -> None:
        self._generator = np.random.default_rng([self.seed, len(meshes)])

    def decide(self, telemetry: Telemetry, now_seconds: float) -> Replicas:  # noqa: ARG002
        current = telemetry.desired.astype(np.int64)
        target = current[..., None] + MOVES
        legal_mask = (target >= self.bounds.min_replicas) & (target <= self.bounds.max_replicas)
        chosen = np.where(legal_mask, self._generator.random(target.shape), -1.0).argmax(-1)
        return self.bounds.clip(current + MOVES[chosen], self.table, current)
