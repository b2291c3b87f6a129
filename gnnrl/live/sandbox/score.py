"""What the sandbox's world cost whoever scaled it: the sums of `gnnrl evaluate`, over the seconds played so far."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.objective import objective
from gnnrl.domains.autoscaling.telemetry import Telemetry
from gnnrl.evaluation.runner import histogram_quantile

__all__ = ["WorldScore"]

KEPT_WINDOWS = 20_000
"""The newest windows are kept one by one, 83 hours of 15 s; a world that repeats has no end."""


class WorldScore:
    """Sums over the scored windows of one world.

    Args:
        bins: of the latency histogram.
        violation_weight: of the objective, replica-seconds a violating second.
        change_weight_seconds: of the objective, replica-seconds a replica started or removed.
    """

    def __init__(self, bins: int, violation_weight: float, change_weight_seconds: float) -> None:
        self._violation_weight, self._change_weight_seconds = violation_weight, change_weight_seconds
        self._histogram = np.zeros((1, bins))
        self._sums = dict.fromkeys(
            (
                "seconds",
                "replica_seconds",
                "violating_seconds",
                "core_seconds",
                "used",
                "requests",
                "latency",
                "errors",
            ),
            0.0,
        )
        self._moves = self._changes = 0
        self.topology_changes = 0
        self.pod_crashes = 0
        self.windows: deque[tuple[float, float, float, float]] = deque(maxlen=KEPT_WINDOWS)
        """Mean billed replicas, external requests/s, P95 in ms and violating seconds of each window."""

    @property
    def histogram(self) -> NDArray[np.float64]:
        """Requests by end-to-end latency, [1, bins]."""
        return self._histogram

    def add(self, window: Telemetry) -> None:
        """Add one scraped window of a batch of one."""
        seconds = float(window.seconds[0])
        requests = float(window.external_rps[0]) * seconds
        for name, value in (
            ("seconds", seconds),
            ("replica_seconds", window.replica_seconds[0]),
            ("violating_seconds", window.violating_seconds[0]),
            ("core_seconds", window.core_seconds[0]),
            ("used", float(window.cpu_millicores.sum()) / 1000.0 * seconds),
            ("requests", requests),
            ("latency", float(window.latency_mean_ms[0]) * requests),
            ("errors", float(window.mesh_error_share[0]) * requests),
        ):
            self._sums[name] += float(value)
        self._histogram += window.latency_histogram
        self.windows.append(
            (
                float(window.replica_seconds[0]) / max(seconds, 1.0),
                float(window.external_rps[0]),
                float(window.latency_p95_ms[0]),
                float(window.violating_seconds[0]),
            )
        )

    def moved(self, services: int, replicas: int) -> None:
        """`services` services were changed, by `replicas` replicas in all."""
        self._moves += services
        self._changes += replicas

    def to_json(self) -> dict[str, Any]:
        """The score; None where nothing was measured yet."""
        sums = self._sums
        seconds, requests = sums["seconds"], sums["requests"]
        quantiles = {
            f"latency_p{q}_ms": _known(histogram_quantile(self._histogram, q / 100.0)[0]) for q in (50, 95, 99)
        }
        cost = objective(
            np.array(sums["replica_seconds"]),
            np.array(sums["violating_seconds"]),
            np.array(float(self._changes)),
            self._violation_weight,
            self._change_weight_seconds,
        )
        return {
            "seconds": seconds,
            "replica_seconds": sums["replica_seconds"],
            "mean_replicas": sums["replica_seconds"] / seconds if seconds else None,
            "violating_seconds": sums["violating_seconds"],
            "violating_share": sums["violating_seconds"] / seconds if seconds else None,
            "requests": requests,
            "latency_mean_ms": sums["latency"] / requests if requests else None,
            **quantiles,
            "error_share": sums["errors"] / requests if requests else None,
            "core_seconds": sums["core_seconds"],
            "utilisation": sums["used"] / sums["core_seconds"] if sums["core_seconds"] else None,
            "scale_moves": self._moves,
            "replica_changes": self._changes,
            "objective": float(cost),
            "topology_changes": self.topology_changes,
            "pod_crashes": self.pod_crashes,
        }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
