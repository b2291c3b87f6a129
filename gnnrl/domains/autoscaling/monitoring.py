"""What monitoring makes of a mesh: the exact telemetry of the simulation, or what Kiali and the metrics API would show of it.

Kiali's figures are means over a window that is longer than a scrape (Prometheus' `rate()[60s]`), rounded to what it writes: rates to
0.01/s, response times to whole milliseconds, error shares to 0.1 %. Its response times include the calls made downstream; calls over tcp
have no request rate; requests enter through a gateway, which is a node of the graph. The metrics API measures pods: CPU in whole
nanocores and memory in bytes per container, over the last scrape. End to end, a violation can be told from the window's 95th
percentile only.

The live reader computes a window by the same `assemble_calls` and `pod_sums`, so that a policy trained under `telemetry: kiali` is shown
the same numbers by a cluster. Not modelled: the steps of Istio's latency histogram, and the minute in which a call that has ended
still shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.monitoring_kernel import (
    RING_CALL,
    RING_MESH,
    RING_SERVICE,
    assemble_calls,
    measure_pods,
    pod_sums,
    smooth_calls,
    store_window,
)
from gnnrl.domains.autoscaling.observation import Reassemble
from gnnrl.domains.autoscaling.observed import AnyMesh, ObservedMesh, observe
from gnnrl.domains.autoscaling.telemetry import Telemetry, make_telemetry

__all__ = ["ExactMonitoring", "KialiMonitoring", "Monitoring", "monitoring_of"]


class Monitoring(Protocol):
    """Stands between the simulation and whoever decides, for B meshes."""

    def observed(self, mesh: AnyMesh) -> AnyMesh:
        """The mesh as it is shown; its first services are those of `mesh`, in their order."""

    def start(self, b: int, mesh: AnyMesh, slo_ms: float) -> None:
        """Begin an episode of mesh `b`: nothing has been measured."""

    def remesh(self, b: int, old: AnyMesh, new: AnyMesh) -> None:
        """The topology of `b` changed: what is known of services and calls that are still there is kept."""

    def reassembler(self, b: int) -> Reassemble | None:
        """How the services of `b` follow from its calls, as they are now; None where they are measured by themselves."""

    def see(self, window: Telemetry, active: NDArray[np.bool_] | None = None) -> Telemetry:
        """What is shown once this window has been scraped; meshes not in `active` [B] keep what they show.

        Counts of pods are the window's own. Valid until the next call.
        """

    def state_dict(self) -> dict[str, Any]:
        """Copies of what is remembered."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`; the meshes must have been started."""


class ExactMonitoring:
    """Shows each window as it is."""

    def observed(self, mesh: AnyMesh) -> AnyMesh:
        return mesh

    def start(self, b: int, mesh: AnyMesh, slo_ms: float) -> None:
        pass

    def remesh(self, b: int, old: AnyMesh, new: AnyMesh) -> None:
        pass

    def reassembler(self, b: int) -> None:  # noqa: ARG002
        return None

    def see(self, window: Telemetry, active: NDArray[np.bool_] | None = None) -> Telemetry:  # noqa: ARG002
        return window

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class KialiMonitoring:
    """Shows what Kiali and the metrics API would.

    Args:
        batch_size: B.
        max_services: columns S of the telemetry; the gateway takes one.
        max_calls: columns E of the telemetry; each entry of the gateway takes one.
        windows: scraped windows that one of Kiali's spans.

    Attributes:
        app_nanocores, proxy_nanocores, memory_bytes: int64 [B, S], of one ready pod in the newest window.
        metric_ready: int64 [B, S], pods that were ready when it ended.
        call_rps, call_p95_ms, call_error_share: float64 [B, E], rounded as Kiali writes them.
        call_bytes: float64 [B, E], bytes/s of calls over tcp.
    """

    def __init__(self, batch_size: int, max_services: int, max_calls: int, windows: int) -> None:
        batch = batch_size
        self.seen = make_telemetry(batch, max_services, max_calls, histogram=False)
        self.app_nanocores, self.proxy_nanocores, self.memory_bytes, self.metric_ready = (
            np.zeros((batch, max_services), np.int64) for _ in range(4)
        )
        self.call_rps, self.call_p95_ms, self.call_error_share, self.call_bytes = (
            np.zeros((batch, max_calls)) for _ in range(4)
        )
        self._head = np.zeros(batch, np.int64)
        self._count = np.zeros(batch, np.int64)
        self._service_ring = np.zeros((windows, batch, max_services, RING_SERVICE), np.float32)
        self._call_ring = np.zeros((windows, batch, max_calls, RING_CALL), np.float32)
        self._mesh_ring = np.zeros((windows, batch, RING_MESH), np.float32)
        self._n_services = np.zeros(batch, np.int64)
        """Of the simulated mesh, without the gateway."""
        self._n_calls = np.zeros(batch, np.int64)
        self._n_entries = np.zeros(batch, np.int64)
        self._source = np.zeros((batch, max_calls), np.int64)
        self._target = np.zeros((batch, max_calls), np.int64)
        self._entry_share = np.zeros((batch, max_calls))
        self._tcp_mask = np.zeros((batch, max_calls), np.bool_)
        self._outside_mask = np.zeros((batch, max_services), np.bool_)
        self._inclusive = np.zeros((batch, max_services, max_services))
        """Calls of each service that one call of a service leads to, itself included: (I - R)^-1."""
        self._slo_ms = np.ones(batch)
        self._everyone = np.ones(batch, np.bool_)

    def observed(self, mesh: AnyMesh) -> ObservedMesh:
        return observe(_simulated(mesh))

    def start(self, b: int, mesh: AnyMesh, slo_ms: float) -> None:
        self._count[b] = 0
        self._slo_ms[b] = slo_ms
        self._install(b, _simulated(mesh))

    def _install(self, b: int, mesh: Mesh) -> None:
        shown, arrays = observe(mesh), mesh.arrays()
        services, calls, inner = len(shown.services), len(shown.calls), len(mesh.calls)
        if services > self.seen.cpu_millicores.shape[1] or calls > self._source.shape[1]:
            raise ValueError(
                f"mesh {mesh.name!r} has {services} services and {calls} calls with the gateway, more than "
                f"max_nodes = {self.seen.cpu_millicores.shape[1]} or max_edges = {self._source.shape[1]}; raise them"
            )
        column = {service.name: i for i, service in enumerate(shown.services)}
        self._n_services[b], self._n_calls[b], self._n_entries[b] = len(mesh.services), inner, calls - inner
        self._source[b, :calls] = [column[call.source] for call in shown.calls]
        self._target[b, :calls] = [column[call.target] for call in shown.calls]
        self._tcp_mask[b] = False
        self._tcp_mask[b, :inner] = arrays.stateful[arrays.call_target]
        self._outside_mask[b] = False
        self._outside_mask[b, :services] = [service.outside for service in shown.services]
        roots = np.array([column[request.root] for request in mesh.classes])
        self._entry_share[b] = 0.0
        for e in range(inner, calls):
            self._entry_share[b, e] = arrays.class_weight[roots == self._target[b, e]].sum()
        n = len(mesh.services)
        made = np.zeros((n, n))
        visits = np.where(arrays.mean_visits > 0, arrays.mean_visits, 1.0)
        np.add.at(made, (arrays.call_source, arrays.call_target), arrays.mean_call_rates / visits[arrays.call_source])
        self._inclusive[b] = 0.0
        self._inclusive[b, :n, :n] = np.linalg.inv(np.eye(n) - made)

    def remesh(self, b: int, old: AnyMesh, new: AnyMesh) -> None:
        was, now = observe(_simulated(old)), observe(_simulated(new))
        services = _sources(was.names, now.names)
        calls = _sources([(c.source, c.target) for c in was.calls], [(c.source, c.target) for c in now.calls])
        per_service = (self.app_nanocores, self.proxy_nanocores, self.memory_bytes, self.metric_ready)
        for array in (*per_service, *self._service_ring):
            array[b] = _moved(array[b], services)
        for array in (self.call_rps, self.call_p95_ms, self.call_error_share, self.call_bytes, *self._call_ring):
            array[b] = _moved(array[b], calls)
        self._install(b, _simulated(new))

    def reassembler(self, b: int) -> Reassemble:
        def reassemble(calls: NDArray[np.float32]) -> NDArray[np.float32]:
            # float32 holds what was rounded exactly enough to be rounded back: the sums come out as from the text.
            rps, p95, errors = calls[None].astype(np.float64).transpose(2, 0, 1)
            window = make_telemetry(1, self._outside_mask.shape[1], calls.shape[0], histogram=False)
            one = slice(b, b + 1)
            assemble_calls(
                self._everyone[one], (self._n_calls + self._n_entries)[one], self._source[one], self._target[one],
                self._outside_mask[one], self._slo_ms[one], np.rint(rps * 100.0) / 100.0, p95,
                np.rint(errors * 1000.0) / 1000.0, window.call_rps, window.call_p95_ms, window.call_error_share,
                window.rps_in, window.rps_out, window.p95_ms, window.error_share, window.external_rps,
                window.latency_p95_ms, window.violating_seconds, window.seconds, window.seconds,
            )  # fmt: skip
            return np.stack([window.rps_in[0], window.rps_out[0], window.p95_ms[0], window.error_share[0]], axis=1)

        return reassemble

    def see(self, window: Telemetry, active: NDArray[np.bool_] | None = None) -> Telemetry:
        chosen = self._everyone if active is None else active
        seen = self.seen
        store_window(
            self._head, self._count, chosen, self._n_services, self._n_calls, self._service_ring, self._call_ring,
            self._mesh_ring, window.rps_in, window.mean_ms, window.p95_ms, window.call_rps, window.call_error_share,
            window.external_rps, window.seconds, window.latency_p50_ms, window.latency_p95_ms, window.latency_p99_ms,
            window.mesh_error_share,
        )  # fmt: skip
        smooth_calls(
            self._head, self._count, chosen, self._n_services, self._n_calls, self._n_entries, self._target,
            self._entry_share, self._tcp_mask, self._inclusive, self._service_ring, self._call_ring, self._mesh_ring,
            self.call_rps, self.call_p95_ms, self.call_error_share, self.call_bytes,
        )  # fmt: skip
        measure_pods(
            chosen, self._n_services, window.cpu_millicores, window.app_cpu_millicores, window.memory_mib, window.ready,
            window.starting, window.draining, self.app_nanocores, self.proxy_nanocores, self.memory_bytes,
            self.metric_ready,
        )  # fmt: skip
        pod_sums(
            chosen, self.app_nanocores, self.proxy_nanocores, self.memory_bytes, self.metric_ready,
            seen.app_cpu_millicores, seen.cpu_millicores, seen.memory_mib,
        )  # fmt: skip
        assemble_calls(
            chosen, self._n_calls + self._n_entries, self._source, self._target, self._outside_mask, self._slo_ms,
            self.call_rps, self.call_p95_ms, self.call_error_share, seen.call_rps, seen.call_p95_ms,
            seen.call_error_share, seen.rps_in, seen.rps_out, seen.p95_ms, seen.error_share, seen.external_rps,
            seen.latency_p95_ms, seen.violating_seconds, seen.seconds, window.seconds,
        )  # fmt: skip
        for name in (
            "ready",
            "starting",
            "pending",
            "draining",
            "desired",
            "metric_ready",
            "seconds_since_change",
            "backlog",
        ):
            getattr(seen, name)[...] = getattr(window, name)
        return seen

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).copy() for name in _STATE}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in _STATE:
            getattr(self, name)[...] = np.asarray(state[name])


_STATE = ("_head", "_count", "_service_ring", "_call_ring", "_mesh_ring")


def monitoring_of(config: AutoscalingConfig, batch_size: int, period_seconds: int | None = None) -> Monitoring:
    """The monitoring of an environment's configuration, for scrapes every `period_seconds` (None = every decision)."""
    if config.telemetry == "exact":
        return ExactMonitoring()
    windows = -(-config.graph_window_seconds // (period_seconds or config.decision_seconds))
    return KialiMonitoring(batch_size, config.max_nodes, config.max_edges, windows)


def _simulated(mesh: AnyMesh) -> Mesh:
    if not isinstance(mesh, Mesh):
        raise TypeError(f"mesh {mesh.name!r} was seen in a cluster, which is monitored already; use telemetry: exact")
    return mesh


def _sources(old: Sequence[Any], new: Sequence[Any]) -> NDArray[np.int64]:
    place = {name: i for i, name in enumerate(old)}
    return np.array([place.get(name, -1) for name in new], dtype=np.int64)


def _moved(row: NDArray[Any], source: NDArray[np.int64]) -> NDArray[Any]:
    """`row` [n, ...] with entry i taken from `source[i]`, 0 where that is -1 and past its end."""
    out = np.zeros_like(row)
    kept = np.flatnonzero(source >= 0)
    out[kept] = row[source[kept]]
    return out
