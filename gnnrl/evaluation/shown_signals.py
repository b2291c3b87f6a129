"""What guardrails go by in a comparison: figures of B meshes as a live loop would be shown them, as old as the metrics lag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails.births import Births
from gnnrl.cluster.guardrails.upstream import behind_errors_mask
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.monitoring import monitoring_of
from gnnrl.domains.autoscaling.observed import AnyMesh
from gnnrl.domains.autoscaling.telemetry import Telemetry
from gnnrl.evaluation.controllers import Watched, column_sources
from gnnrl.evaluation.lagged import Lagged

__all__ = ["ShownSignals"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Sample:
    """The figures of one window that guardrails read, copied: the monitoring writes over its own."""

    latency_p95_ms: Floats  # [B]
    violating_share: Floats  # [B]
    error_share: Floats  # [B, S]
    app_cpu_millicores: Floats  # [B, S]
    metric_ready: NDArray[np.int32]  # [B, S]

    @classmethod
    def of(cls, window: Telemetry) -> _Sample:
        seconds = window.seconds.astype(np.float64)
        unknown = np.full(len(seconds), np.nan)
        return cls(
            latency_p95_ms=window.latency_p95_ms.astype(np.float64),
            violating_share=np.divide(window.violating_seconds, seconds, out=unknown, where=seconds > 0.0),
            error_share=window.error_share.astype(np.float64),
            app_cpu_millicores=window.app_cpu_millicores.astype(np.float64),
            metric_ready=window.metric_ready.copy(),
        )

    def remesh(self, b: int, source: NDArray[np.int64]) -> None:
        kept = np.flatnonzero(source >= 0)
        arrays: tuple[NDArray[Any], ...] = (self.error_share, self.app_cpu_millicores, self.metric_ready)
        for array in arrays:
            moved = np.zeros_like(array[b])
            moved[kept] = array[b, source[kept]]
            array[b] = moved


class ShownSignals:
    """Watches B scenarios through their monitoring.

    Args:
        environment: of the scenarios: telemetry, metrics lag, capacities.
        batch_size: B.
        period_seconds: between two windows.

    Attributes:
        births: ages of the services.
    """

    def __init__(self, environment: AutoscalingConfig, batch_size: int, period_seconds: int) -> None:
        self._period_seconds = period_seconds
        self._monitoring = monitoring_of(environment, batch_size, period_seconds)
        self.births = Births(batch_size, environment.max_nodes)
        self._samples = Lagged[_Sample](environment.longest_lag_seconds, period_seconds)
        self._slo_ms = np.full(batch_size, np.inf)
        self._limit_millicores = np.full((batch_size, environment.max_nodes), np.inf)
        self._source, self._target = np.zeros((2, batch_size, environment.max_edges), dtype=np.int64)
        self._n_calls = np.zeros(batch_size, dtype=np.int64)

    def start(self, episodes: Sequence[Watched]) -> None:
        """Begin these B scenarios: nothing is shown, and nobody is young."""
        self._samples.start(episode.metrics_lag_seconds for episode in episodes)
        for b, episode in enumerate(episodes):
            self._monitoring.start(b, episode.mesh, episode.slo_ms)
            self.births.start(b)
            self._slo_ms[b] = episode.slo_ms
            self._install(b, episode.mesh)

    def observe(self, window: Telemetry) -> None:
        """A window of telemetry has been scraped."""
        self._samples.push(_Sample.of(self._monitoring.see(window)))
        self.births.advance(self._period_seconds, self._samples.shown().metric_ready)

    def remesh(self, b: int, old: AnyMesh, new: AnyMesh) -> None:
        """The topology of scenario `b` changed; a service under a new name is born."""
        source = column_sources(old, new)
        self._monitoring.remesh(b, old, new)
        self.births.remesh(b, source)
        for sample in self._samples:
            sample.remesh(b, source)
        self._install(b, new)

    def _install(self, b: int, mesh: AnyMesh) -> None:
        column = {name: i for i, name in enumerate(mesh.names)}
        self._limit_millicores[b] = np.inf
        self._limit_millicores[b, : len(mesh.services)] = [service.cpu_limit_millicores for service in mesh.services]
        calls = len(mesh.calls)
        self._source[b, :calls] = [column[call.source] for call in mesh.calls]
        self._target[b, :calls] = [column[call.target] for call in mesh.calls]
        self._n_calls[b] = calls

    def violated_mask(self, share: float) -> Bools:
        """[B] meshes whose P95 end to end is shown above this share of the objective; a share of 0 = none."""
        if not self._samples or share == 0.0:
            return np.zeros(len(self._slo_ms), dtype=np.bool_)
        return self._samples.shown().latency_p95_ms > share * self._slo_ms

    def behind_errors_mask(self, share: float) -> Bools:
        """[B, S] services that calls are shown to fail to, or on the way to, more than this share of them."""
        if not self._samples:
            return np.zeros_like(self.births.measured_mask)
        return behind_errors_mask(self._samples.shown().error_share, self._source, self._target, self._n_calls, share)

    def busy(self) -> Floats:
        """[B, S] replicas' worth of work, as shown; not-a-number for what was never measured."""
        if not self._samples:
            return np.full_like(self._limit_millicores, np.nan)
        return np.where(
            self.births.measured_mask, self._samples.shown().app_cpu_millicores / self._limit_millicores, np.nan
        )

    def violating_share(self) -> Floats:
        """[B] share of violating seconds, as shown; not-a-number before anything is."""
        return self._samples.shown().violating_share if self._samples else np.full(len(self._slo_ms), np.nan)
