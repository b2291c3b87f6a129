"""The guardrails of the live loop around any controller of a comparison, and how often each of them acted."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails import GUARDRAILS, Guardrails, Proposal
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.monitoring import monitoring_of
from gnnrl.domains.autoscaling.telemetry import Telemetry
from gnnrl.evaluation.controllers import Watched, column_sources
from gnnrl.evaluation.lagged import lag_windows

__all__ = ["Guard", "replica_limits"]

Replicas = NDArray[np.int64]
Bools = NDArray[np.bool_]


def replica_limits(guardrails: GuardrailConfig, environment: AutoscalingConfig) -> tuple[int, int]:
    """What both allow a service: (fewest, most).

    Raises:
        ValueError: no number of replicas is allowed by both.
    """
    low = max(guardrails.min_replicas, environment.min_replicas)
    high = min(guardrails.max_replicas, environment.max_replicas)
    if low > high:
        raise ValueError(
            f"guardrails allow {guardrails.min_replicas} to {guardrails.max_replicas} replicas, the environment "
            f"{environment.min_replicas} to {environment.max_replicas}: change guardrails.min_replicas or max_replicas"
        )
    return low, high


class Guard:
    """Passes the wishes for B scenarios through `cluster.guardrails`, on data that are always good.

    Args:
        config: the guardrails.
        environment: whose limits hold as well, and whose `max_nodes` is the number of columns.
        batch_size: B.
        period_seconds: between two decisions of the controller; an interval, to the guardrails.

    Raises:
        ValueError: no number of replicas is within both limits.
    """

    def __init__(
        self, config: GuardrailConfig, environment: AutoscalingConfig, batch_size: int, period_seconds: int
    ) -> None:
        self._low, self._high = replica_limits(config, environment)
        self._guardrails = Guardrails(config, batch_size, environment.max_nodes, float(period_seconds))
        self._environment, self._period_seconds = environment, period_seconds
        self._hold_share = config.violation_hold_share
        self._slo_ms = np.full(batch_size, np.inf)
        self._p95_ms: deque[NDArray[np.float32]] = deque(
            maxlen=lag_windows(environment.longest_lag_seconds, period_seconds) + 1
        )
        self.acted: Mapping[str, NDArray[np.float64]] = {name: np.zeros(batch_size) for name in GUARDRAILS}
        """Name -> [B] decisions for a service that the guardrail changed."""

    def start(self, episodes: Sequence[Watched]) -> None:
        """Begin these B scenarios: their objectives, and what is shown of their latency, as old as the metrics lag."""
        self._monitoring = monitoring_of(self._environment, len(episodes), self._period_seconds)
        for b, episode in enumerate(episodes):
            self._monitoring.start(b, episode.mesh, episode.slo_ms)
            self._slo_ms[b] = episode.slo_ms
        self._p95_ms.clear()
        self._lag_windows = np.array([lag_windows(e.metrics_lag_seconds, self._period_seconds) for e in episodes])

    def observe(self, window: Telemetry) -> None:
        """A window of telemetry has been scraped."""
        if self._hold_share > 0.0:
            self._p95_ms.append(self._monitoring.see(window).latency_p95_ms.copy())

    def _violated_mask(self, shape: tuple[int, ...]) -> Bools:
        """[B, S] all services of the meshes whose objective is shown violated."""
        mask = np.zeros(shape, dtype=np.bool_)
        if self._p95_ms:
            position = np.maximum(len(self._p95_ms) - 1 - self._lag_windows, 0)
            shown = np.stack(list(self._p95_ms))[position, np.arange(len(position))]
            mask[shown > self._hold_share * self._slo_ms] = True
        return mask

    def apply(self, current: Replicas, wish: Replicas, mask: Bools, scalable_mask: Bools) -> Replicas:
        """What is done of what is wanted, [B, S]."""
        proposal = Proposal.trusted(current, wish, mask, scalable_mask, self._low, self._high)
        verdict = self._guardrails.apply(replace(proposal, violated_mask=self._violated_mask(current.shape)))
        for name, hit in verdict.hits.items():
            self.acted[name][:] += hit.sum(axis=1)
        return verdict.final

    def remesh(self, b: int, old: Mesh, new: Mesh) -> None:
        """The topology of scenario `b` changed."""
        self._monitoring.remesh(b, old, new)
        self._guardrails.remesh(b, column_sources(old, new))
