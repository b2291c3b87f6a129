"""What the monitoring of the sandbox has measured in the last minutes, by name: a service that came or went since is no obstacle."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.monitoring import KialiMonitoring
from gnnrl.domains.autoscaling.observed import GATEWAY, observe
from gnnrl.domains.autoscaling.telemetry import Telemetry
from gnnrl.live.sandbox.views import CallView

__all__ = ["MetricsHistory", "PodFigures"]

KEPT_SECONDS = 1200
"""Scraped windows are kept for this long: Kiali's default duration of 10 minutes, asked for up to 10 minutes ago."""


@dataclass(frozen=True)
class PodFigures:
    """What the metrics API measured of the pods of a service; they share their load, so that one is like the other."""

    app_nanocores: int
    proxy_nanocores: int
    memory_bytes: int
    pods: tuple[str, ...]
    """Names of those that were ready when the window ended."""


@dataclass(frozen=True)
class _Scrape:
    """One scraped window, and what was shown once it was there."""

    end_second: int
    mesh: Mesh
    window: Telemetry
    calls: Mapping[tuple[str, str], CallView]
    pods: Mapping[str, PodFigures]


class MetricsHistory:
    """Prometheus and metrics-server in one, for one mesh.

    The figures over the configured window are those of one `KialiMonitoring` that sees every scrape, exactly as in training with
    `telemetry: kiali`; other windows are computed from the scrapes when they are asked for.

    Args:
        max_services: columns of the telemetry, the gateway included.
        max_calls: columns of the telemetry, the gateway's included.
        scrape_seconds: length of a scraped window.
        graph_window_seconds: the configured window.
        mesh: at the start.
        slo_ms: of the mesh.
    """

    def __init__(
        self,
        *,
        max_services: int,
        max_calls: int,
        scrape_seconds: int,
        graph_window_seconds: int,
        mesh: Mesh,
        slo_ms: float,
    ) -> None:
        self._sizes = (max_services, max_calls)
        self._scrape_seconds = scrape_seconds
        self._windows = -(-graph_window_seconds // scrape_seconds)
        self._slo_ms = slo_ms
        self._mesh = mesh
        self._monitoring = KialiMonitoring(1, max_services, max_calls, self._windows)
        self._monitoring.start(0, mesh, slo_ms)
        self._scrapes: deque[_Scrape] = deque(maxlen=max(1, KEPT_SECONDS // scrape_seconds))

    def push(self, end_second: int, window: Telemetry, ready_pods: Mapping[str, tuple[str, ...]]) -> None:
        """Record a scraped window.

        Args:
            end_second: of the simulation, when it ended.
            window: of a batch of one; copied.
            ready_pods: names of the ready pods by service.
        """
        seen, mesh = self._monitoring, self._mesh
        seen.see(window)
        pods = {
            name: PodFigures(
                int(seen.app_nanocores[0, s]),
                int(seen.proxy_nanocores[0, s]),
                int(seen.memory_bytes[0, s]),
                ready_pods[name],
            )
            for s, name in enumerate(mesh.names)
        }
        self._scrapes.append(_Scrape(end_second, mesh, copy.deepcopy(window), _calls_of(seen, mesh), pods))

    def remesh(self, new: Mesh) -> None:
        """The topology changed."""
        self._monitoring.remesh(0, self._mesh, new)
        self._mesh = new

    def calls(self, end_second: int, window_seconds: int) -> tuple[CallView, ...]:
        """Every call of the present mesh, with its figures over the window that ended at `end_second` or just before; 0 without any."""
        known: Mapping[tuple[str, str], CallView] = {}
        past = [scrape for scrape in self._scrapes if scrape.end_second <= end_second]
        if past:
            windows = -(-window_seconds // self._scrape_seconds)
            known = past[-1].calls if windows == self._windows else self._replayed(past[-windows:])
        return tuple(
            replace(silent, **_figures(known[key])) if key in known else silent
            for key, silent in _silent_calls(self._mesh).items()
        )

    def latest_calls(self) -> Mapping[tuple[str, str], CallView]:
        """The figures of the newest scraped window alone."""
        return self._replayed([self._scrapes[-1]])

    def _replayed(self, scrapes: list[_Scrape]) -> Mapping[tuple[str, str], CallView]:
        """The figures over these scrapes."""
        monitoring = KialiMonitoring(1, *self._sizes, len(scrapes))
        mesh = scrapes[0].mesh
        monitoring.start(0, mesh, self._slo_ms)
        for scrape in scrapes:
            if scrape.mesh is not mesh:
                monitoring.remesh(0, mesh, scrape.mesh)
                mesh = scrape.mesh
            monitoring.see(scrape.window)
        return _calls_of(monitoring, mesh)

    def pods(self, end_second: int) -> Mapping[str, PodFigures]:
        """By service of the present mesh, what was measured in the window that ended at `end_second` or just before."""
        past = [scrape for scrape in self._scrapes if scrape.end_second <= end_second]
        if not past:
            return {}
        return {name: figures for name, figures in past[-1].pods.items() if name in self._mesh.names}


def _silent_calls(mesh: Mesh) -> dict[tuple[str, str], CallView]:
    """All calls, without traffic."""
    stateful = {service.name for service in mesh.services if service.stateful}
    return {
        (call.source, call.target): CallView(
            source=call.source,
            target=call.target,
            protocol="tcp" if call.target in stateful else "http" if call.source == GATEWAY else "grpc",
            rps=0.0,
            bytes_per_second=0.0,
            p95_ms=0.0,
            error_share=0.0,
            mtls_share=call.mtls,
        )
        for call in observe(mesh).calls
    }


def _calls_of(monitoring: KialiMonitoring, mesh: Mesh) -> dict[tuple[str, str], CallView]:
    return {
        key: replace(
            silent,
            rps=float(monitoring.call_rps[0, e]),
            bytes_per_second=float(monitoring.call_bytes[0, e]),
            p95_ms=float(monitoring.call_p95_ms[0, e]),
            error_share=float(monitoring.call_error_share[0, e]),
        )
        for e, (key, silent) in enumerate(_silent_calls(mesh).items())
    }


def _figures(call: CallView) -> dict[str, Any]:
    """What is measured of a call."""
    return {name: getattr(call, name) for name in ("rps", "bytes_per_second", "p95_ms", "error_share")}
