"""Physics of a service mesh, batched: one numba kernel advances B meshes by k ticks of one second.

Interface (arrays are `[B, S]` by service, `[B, E]` by call, `[B]` by mesh; column s is `mesh.services[s]`, column e `mesh.calls[e]`):

    simulation = MeshSimulation(batch_size, max_services, max_calls, max_classes, settings)
    simulation.load(b, mesh, slo_ms=...)      # reset environment b with this mesh: initial replicas ready, queues empty
    simulation.change_mesh(b, mesh)           # churn: services matched by name keep pods, queues and counters
    simulation.crash_pods(b, service, count)
    simulation.set_desired(desired)           # int [B, S]; starts and removes pods
    simulation.advance(rps, active)           # float32 [B, k]: external requests/s in each of the next k ticks
    simulation.advance_closed(users, active)  # float32 [B, k]: closed loop, users instead of requests/s
    window = simulation.scrape()              # telemetry accumulated since the last scrape, then reset; also `simulation.window`
    simulation.order(b)                       # names of the services of b, in column order
    simulation.counts(b)                      # int32 [n, 5]: ready, starting, pending, draining, desired, now
    state = simulation.state_dict(); simulation.load_state_dict(state)

Telemetry of a window (a struct of arrays, owned by the simulation, valid until the next scrape); every rate is a mean over the window:
    per service [B, S]: ready, starting, pending, draining, desired (int32, now), metric_ready (int32, pods that were ready at the end of
        the window), billed_replicas (mean),
        cpu_millicores (used, all pods), app_cpu_millicores (of it, without the proxies), memory_mib, rps_in, rps_out, p95_ms,
        mean_ms, error_share, backlog (calls in system),
        queue_excess (share of the end-to-end latency above idle that this service causes), seconds_since_change
    per call [B, E]: call_rps, call_p95_ms, call_error_share (simulated errors and `Call.error_share`, the application's own)
    per mesh [B]: seconds, external_rps, latency_mean_ms, latency_p50_ms, latency_p95_ms, latency_p99_ms, mesh_error_share,
        violating_seconds, replica_seconds (billed: ready + starting + draining), core_seconds (requested), replica_changes
    per mesh, with `PhysicsSettings.histogram`: latency_histogram [B, bins] of requests by end-to-end latency (`LATENCY_EDGES_MS`)

The rates given to `advance` are intensities: the randomness of arrivals and service within them is part of the model, so do not
draw Poisson counts first.

Model. Each service is n pods that share their calls by processor sharing, balanced by least-request-of-two (two pods drawn with
replacement, as Envoy does). The requests of a class walk through the services in the order in which they first meet them, and at each
make their visits in a row; the first eight are followed one by one, more are lumped into eight phases. The state is how many requests
stand in each phase, and the sums of their ages and of the ages' squares.

- A tick moves them on implicitly (backward Euler, stable at any load): calls end at the rate n mu G(L / n), where G inverts the measured
  stationary mean number of calls per pod (`benchmarks/calibrate_queueing.py`). So the steady state is that of the queue, exactly so for
  one pod, and an overload is its fluid limit: the backlog is carried over, a slow service holds back what comes after it, and requests
  that leave are as old as they have become.
- Second moments are those of the stationary sojourn, weighted by the fluctuation of the number of calls (linear noise), which fades in an
  overload; visits of one request to one service share it, and visit counts at different services vary together where calls are optional.
- A request is given up when it has waited for the request timeout, by the law of the ages in each phase; calls to a service without ready
  pods fail at once; a call that is not fatal and times out lets its request go on.
- The latency of a class is a gamma law with the mean and the variance of the ages at the exit, shifted by the constant latencies of its
  calls. A window's percentiles are those of the mixture over classes, the seconds that missed the SLO on average apart from the others.
- A removed pod helps for the seconds that its calls need and is billed for them.

Error against the event-by-event reference of the tests (`python -m benchmarks.bench_fidelity`; Online Boutique with 1, 5 and 12 pods of
the hottest service, random meshes of 8, 20 and 60 services, one with cycles), loads 0.3 to 0.9: mean within 5 %, P95 within 8 %, P99 within
20 %. Through a minute of twice the capacity and the recovery, in windows of 15 s with a request timeout of 10 s: mean within 6 % in the
overload, 13 % in the first window of the recovery, P95 within 9 %, P99 within 15 %; failed shares within 3 points. The exception is the
window in which the backlog comes to its end: that happens 1 to 3 s too late, because the ages of what waits are followed by two moments
only, which lifts the mean of that one window by 6 to 270 %, its P95 by 76 to 700 % and its P99 by 85 to 1050 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling import kernel as k
from gnnrl.domains.autoscaling.idle_latency import idle_p95_ms, resolve_slo_ms
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.mesh_state import MeshState
from gnnrl.domains.autoscaling.pods import DESIRED
from gnnrl.domains.autoscaling.queueing import expiry_table, queue_tables
from gnnrl.domains.autoscaling.stepping import advance_meshes, want_all
from gnnrl.domains.autoscaling.telemetry import (
    LATENCY_EDGES_MS,
    Telemetry,
    copy_counts,
    make_telemetry,
    scrape_meshes,
)
from graph_space.arguments import mask_of, rates_of, whole_number, whole_numbers

__all__ = [
    "LARGEST_RATE",
    "LARGEST_REPLICAS",
    "LATENCY_EDGES_MS",
    "MeshSimulation",
    "PhysicsSettings",
    "Telemetry",
    "idle_p95_ms",
]


LARGEST_RATE = 1e9
"""Requests/s, or users, of a mesh: the formulas are those of float32, which hold no number twice."""
LARGEST_REPLICAS = 32_767
"""Of a service: pods that start in one second are counted in 16 bits."""


@dataclass(frozen=True, kw_only=True)
class PhysicsSettings:
    """What all meshes of a simulation share.

    Raises:
        ValueError: every field that holds what it may not, at once.
    """

    request_timeout_seconds: float = 10.0
    """A request that has waited this long fails, wherever it is [cal]."""
    longest_startup_seconds: int = 255
    """Start-up times above this are refused."""
    longest_drain_seconds: int = 30
    """A removed pod is killed after this long (Kubernetes' default grace period)."""
    idle_memory_share: float = 0.7
    """Memory of a pod without calls, of its request [cal]."""
    memory_mib_per_call: float = 0.5
    """Memory of a call in system [cal]; a pod never takes more than its limit."""
    histogram: bool = False
    """Whether a scrape fills `latency_histogram`."""

    def __post_init__(self) -> None:
        problems = []
        for name, (kind, least, most) in _RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
                right = f"an integer in [{least}, {most}]" if kind is int else f"a number in [{least:g}, {most:g}]"
                problems.append(f"PhysicsSettings: {name}: {value!r} is not {right}")
        if problems:
            raise ValueError("\n".join(problems))


_RANGES: dict[str, tuple[Any, float, float]] = {
    "request_timeout_seconds": (int | float, 1e-3, 1e6),
    "longest_startup_seconds": (int, 0, 86_400),
    "longest_drain_seconds": (int, 1, 86_400),
    "idle_memory_share": (int | float, 0.0, 1.0),
    "memory_mib_per_call": (int | float, 0.0, 1e6),
}
"""Kind, least and most of each field."""


class MeshSimulation:
    """B meshes of at most S services, E calls and C request classes each. See the module's docstring."""

    def __init__(
        self,
        batch_size: int,
        max_services: int,
        max_calls: int,
        max_classes: int,
        settings: PhysicsSettings | None = None,
    ) -> None:
        self.batch_size = batch_size = whole_number(batch_size, "MeshSimulation: batch_size", 1)
        self.max_services = max_services = whole_number(max_services, "MeshSimulation: max_services", 1)
        self.max_calls = max_calls = whole_number(max_calls, "MeshSimulation: max_calls")
        self.max_classes = max_classes = whole_number(max_classes, "MeshSimulation: max_classes", 1)
        self.settings = settings or PhysicsSettings()
        ring = max(self.settings.longest_startup_seconds, self.settings.longest_drain_seconds) + 1
        self._state = MeshState(batch_size, max_services, max_calls, max_classes, ring, self.settings.idle_memory_share)
        self._desired = np.zeros((batch_size, max_services), np.int64)
        tables = queue_tables()
        self._tables = (tables.pods, tables.tail, expiry_table(self.settings.request_timeout_seconds))
        self._quantile95 = tables.quantile95
        self._everyone = np.ones(batch_size, np.bool_)
        self.window = make_telemetry(batch_size, max_services, max_calls, histogram=self.settings.histogram)

    def order(self, b: int) -> tuple[str, ...]:
        """Names of the services of environment `b`, in column order."""
        return self._state.mesh_of(self._number(b)).names

    def load(self, b: int, mesh: Mesh, *, slo_ms: float | None = None) -> None:
        """Reset environment `b` with a mesh: its replicas ready, queues empty, clock at 0.

        Args:
            b: environment.
            mesh: at most S services, E calls and C classes.
            slo_ms: SLO that violating seconds are counted against; None = the mesh's own, or 2 x its idle P95.

        Raises:
            ValueError: the mesh is too large, a start-up time too long, or the SLO not a positive number.
        """
        self._check(b, mesh)
        slo = resolve_slo_ms(mesh) if slo_ms is None else slo_ms
        if not 0.0 < slo < np.inf:
            raise ValueError(f"environment {b}: slo_ms {slo} is not a positive number")
        self._state.reset(b, mesh, slo / 1000.0)
        self._forget_window(b)

    def change_mesh(self, b: int, mesh: Mesh) -> None:
        """Replace the mesh of environment `b` by a changed one. The SLO stays.

        Services of the same name keep their pods, queues and counters (classes are matched by name too); a new service starts
        its replicas now; what waits at a service or in a class that is gone fails. The window shows the new columns, with
        nothing measured yet.

        Raises:
            ValueError: as `load`.
        """
        self._check(b, mesh)
        self._state.replace(b, mesh)
        self._forget_window(b)

    def _number(self, b: int) -> int:
        return whole_number(b, "environment", 0, self.batch_size - 1)

    def _check(self, b: int, mesh: Mesh) -> None:
        self._number(b)
        if not isinstance(mesh, Mesh):
            raise ValueError(f"environment {b}: {mesh!r:.60} is not a Mesh")
        for what, count, most in (
            ("services", len(mesh.services), self.max_services),
            ("calls", len(mesh.calls), self.max_calls),
            ("request classes", len(mesh.classes), self.max_classes),
        ):
            if count > most:
                raise ValueError(f"mesh {mesh.name!r} has {count} {what}, environment {b} holds at most {most}")
        for service in mesh.services:
            if service.replicas > LARGEST_REPLICAS:
                raise ValueError(
                    f"mesh {mesh.name!r}: service {service.name!r} has {service.replicas} replicas, more than {LARGEST_REPLICAS}"
                )
            if service.startup_seconds > self.settings.longest_startup_seconds:
                raise ValueError(
                    f"mesh {mesh.name!r}: service {service.name!r} takes {service.startup_seconds:g} s to start, more than "
                    f"longest_startup_seconds = {self.settings.longest_startup_seconds}"
                )

    def _forget_window(self, b: int) -> None:
        for array in vars(self.window).values():
            array[b] = 0
        self._show_counts(b)

    def _show_counts(self, b: int) -> None:
        w = self.window
        copy_counts(self._state.pods, b, w.ready, w.starting, w.pending, w.draining, w.desired, w.seconds_since_change)

    def crash_pods(self, b: int, service: str, count: int) -> int:
        """Kill up to `count` ready pods of a service: the calls in them fail, and they start again.

        Returns:
            How many there were to kill.

        Raises:
            ValueError: a count that is not an integer >= 0, or a service that is not there.
        """
        if service not in self.order(b):
            raise ValueError(f"environment {b}: there is no service {service!r}; there are {', '.join(self.order(b))}")
        count = min(whole_number(count, "crash_pods: count"), LARGEST_REPLICAS)
        killed = self._state.crash(b, service, count)
        self._show_counts(b)
        return killed

    def counts(self, b: int) -> NDArray[np.int32]:
        """Pods of each service of environment `b` as they stand now: ready, starting, pending, draining, desired; [n, 5], a copy."""
        return self._state.pods.counts[b, : len(self.order(b))].copy()

    def set_desired(self, desired: NDArray[Any]) -> None:
        """Set the desired replicas, int [B, S]; columns past the last service are ignored.

        Raises:
            ValueError: not integers, another shape, a count that is negative or too large, or a change of a stateful service; nothing
                is set then.
        """
        wanted = whole_numbers(desired, (self.batch_size, self.max_services), "desired")
        if wanted.max() > LARGEST_REPLICAS:
            b, s = divmod(int(wanted.argmax()), self.max_services)
            raise ValueError(f"environment {b}: {wanted[b, s]} replicas of service {s}, more than {LARGEST_REPLICAS}")
        self._desired[:] = wanted
        state = self._state
        wrong = want_all(
            state.pods,
            self._desired,
            state.stateful_mask,
            state.service,
            state.columns.row,
            self.settings.longest_drain_seconds,
        )
        if wrong >= 0:
            b, s = divmod(wrong, self.max_services)
            name, count = self.order(b)[s], int(state.pods.counts[b, s, DESIRED])
            reason = "is stateful and keeps" if state.stateful_mask[b, s] else "cannot have a negative count; it has"
            raise ValueError(f"environment {b}: {int(wanted[b, s])} replicas of {name!r}, which {reason} {count}")

    def advance(self, rps: NDArray[Any], active: NDArray[np.bool_] | None = None) -> None:
        """Advance by k ticks.

        Args:
            rps: external requests/s in each tick, [B, k].
            active: environments that move on, bool [B]; the others stand still. None = all.

        Raises:
            ValueError: a rate that is not in [0, `LARGEST_RATE`], or arrays of another shape or kind; nothing has moved then.
        """
        self._run(rps, active, closed=False)

    def advance_closed(self, users: NDArray[Any], active: NDArray[np.bool_] | None = None) -> None:
        """Advance by k ticks under a closed loop: U users [B, k] that think 5.5 s make 1.472 U / (5.5 + R) requests/s."""
        self._run(users, active, closed=True)

    def _run(self, load: NDArray[Any], active: NDArray[np.bool_] | None, *, closed: bool) -> None:
        load = rates_of(load, self.batch_size, LARGEST_RATE, "users" if closed else "rps")
        if active is not None:
            active = mask_of(active, (self.batch_size,), "active")
        state = self._state
        state.mesh[:, k.CLOSED] = closed
        with state.standing_still(active):
            advance_meshes(
                state.pods, load, self._everyone if active is None else active, state.service, state.element,
                state.phase, state.klass, state.mesh, state.columns.row, state.n_rows, state.columns.n_classes,
                state.n_phases, self._tables, self.settings.request_timeout_seconds,
            )  # fmt: skip

    def scrape(self) -> Telemetry:
        """The telemetry since the last scrape, in `window`; accumulation starts anew."""
        state, c, w = self._state, self._state.columns, self.window
        scrape_meshes(
            state.pods, state.service, state.klass, state.mesh, self._tables[1], self._quantile95,
            self.settings.request_timeout_seconds,
            (
                c.row, c.cpu_ms, c.memory_base, c.memory_limit, c.base_ms, c.source, c.target, c.share, c.own_errors,
                c.sidecar, c.n_calls, c.n_classes,
            ),
            (w.ready, w.starting, w.pending, w.draining, w.desired, w.seconds_since_change),
            (
                w.billed_replicas, w.cpu_millicores, w.app_cpu_millicores, w.memory_mib, w.rps_in, w.p95_ms,
                w.mean_ms, w.error_share, w.backlog, w.queue_excess, w.replica_seconds, w.core_seconds, w.replica_changes,
            ),
            (w.rps_out, w.call_rps, w.call_p95_ms, w.call_error_share),
            (
                w.seconds, w.external_rps, w.latency_mean_ms, w.latency_p50_ms, w.latency_p95_ms, w.latency_p99_ms,
                w.mesh_error_share, w.violating_seconds, w.latency_histogram,
            ),
            LATENCY_EDGES_MS, self.settings.memory_mib_per_call,
        )  # fmt: skip
        w.metric_ready[:] = w.ready
        return self.window

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything that changes, as arrays; the meshes are not part of it."""
        state = self._state.state_dict()
        state["window"] = {name: value.copy() for name, value in vars(self.window).items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` into a simulation of the same shape with the same meshes loaded."""
        self._state.load_state_dict(state)
        for name, value in vars(self.window).items():
            value[...] = np.asarray(state["window"][name])
