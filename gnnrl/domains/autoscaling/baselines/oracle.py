"""The oracle: it knows the load to come and the true costs, and sizes every service for the most of it that its pods
could meet.

A bound, not a competitor: it shows what there is to be saved by knowing the future.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnnrl.domains.autoscaling.baselines.autoscaler import Baseline, ReplicaBounds, Replicas, Telemetry
from gnnrl.domains.autoscaling.observed import AnyMesh

__all__ = ["Oracle", "staffing"]

DEFAULT_SURPLUS = 1.0


def staffing(offered_pods: NDArray[Any], surplus: ArrayLike, utilisation: ArrayLike = 1.0) -> Replicas:
    """Pods for an offered load in pods' worth of work, at a utilisation, with a surplus in units of the load's square root.

    A fixed utilisation alone wastes pods where there are many and lacks them where there are few; the square root does
    neither (Halfin and Whitt 1981). A pod or two of a service of few need a little of both.
    """
    offered = np.asarray(offered_pods, dtype=np.float64)
    return np.ceil(offered / np.asarray(utilisation) + np.asarray(surplus) * np.sqrt(offered) - 1e-9).astype(np.int64)


class Oracle(Baseline):
    """Sizes each service for the largest load from now until a pod asked for at the next decision would be ready.

    Args:
        bounds, columns: as `Baseline`.
        rps: [B, T] the whole load, requests/s by second.
        surplus: square-root surplus, one number or one a mesh [B].
        utilisation: share of the limit to use besides, one number or one a mesh [B].
        name: as it is reported.
    """

    def __init__(
        self,
        bounds: ReplicaBounds,
        columns: int,
        rps: NDArray[Any],
        *,
        surplus: ArrayLike = DEFAULT_SURPLUS,
        utilisation: ArrayLike = 1.0,
        name: str = "oracle",
    ) -> None:
        super().__init__(name, bounds, columns)
        self.rps = np.asarray(rps, dtype=np.float64)
        self.surplus = np.asarray(surplus, dtype=np.float64).reshape(-1, 1)
        self.utilisation = np.asarray(utilisation, dtype=np.float64).reshape(-1, 1)

    def begin(self, meshes: Sequence[AnyMesh]) -> None:
        if len(meshes) != len(self.rps):
            raise ValueError(
                f"the oracle was given the load of {len(self.rps)} meshes and asked to scale {len(meshes)}"
            )

    def decide(self, telemetry: Telemetry, now_seconds: float) -> Replicas:
        seconds = np.ceil(self.table.startup_seconds).astype(np.int64) + self.period_seconds  # [B, S]
        now = min(int(now_seconds), self.rps.shape[1] - 1)
        ahead = np.maximum.accumulate(self.rps[:, now : now + int(seconds.max())], axis=1)
        column = np.minimum(seconds, ahead.shape[1]) - 1
        peak = np.take_along_axis(ahead, column, axis=1)
        wanted = staffing(
            peak * self.table.demand_millicores / self.table.limit_millicores, self.surplus, self.utilisation
        )
        return self.bounds.clip(wanted, self.table, telemetry.desired.astype(np.int64))
