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
    state = simulation.state_dict(); simulation.load_state_dict(state)

Telemetry of a window (a struct of arrays, owned by the simulation, valid until the next scrape); every rate is a mean over the window:
    per service [B, S]: ready, starting, pending, draining, desired (int32, at the end of the window), billed_replicas (mean),
        cpu_millicores (used, all pods), memory_mib, rps_in, rps_out, p95_ms, mean_ms, error_share, backlog (calls in system),
        queue_excess (share of the end-to-end latency above idle that this service causes), seconds_since_change
    per call [B, E]: call_rps, call_p95_ms, call_error_share
    per mesh [B]: seconds, external_rps, latency_mean_ms, latency_p50_ms, latency_p95_ms, latency_p99_ms, mesh_error_share,
        violating_seconds, replica_seconds (billed: ready + starting + draining), core_seconds (requested), replica_changes
    per mesh, with `PhysicsSettings.histogram`: latency_histogram [B, bins] of requests by end-to-end latency (`LATENCY_EDGES_MS`)

The rates given to `advance` are intensities: the randomness of arrivals and service within them is part of the model, so do not
draw Poisson counts first.

Model. Each service is n pods that share their calls by processor sharing, balanced by least-request-of-two. The requests of a class walk
through the services in the order in which they first meet them; at each they make their visits in a row, followed in up to four
phases. The state is how many requests stand in each phase, with the sum of their ages and of the ages' squares. A tick moves them on
implicitly (backward Euler, stable at any load): calls end at the rate n mu G(L / n), where G inverts the stationary mean number of calls
per pod, so the steady state is that of the queue and an overload is its fluid limit, ages included. Second moments in the steady state
are corrected to the measured law of the sojourn (`queueing.py`), weighted by how far the number of calls fluctuates at all. The latency
of a class is a gamma variable with the moments of the ages at the exit; percentiles are those of the mixture over classes and window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.autoscaling import kernel as k
from gnnrl.domains.autoscaling.idle_latency import idle_p95_ms, resolve_slo_ms
from gnnrl.domains.autoscaling.kernel import advance_block
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.pods import DRAINING, READY, Pods, crash, make_pods, settle, turn, want
from gnnrl.domains.autoscaling.queueing import MAX_PHASES, queue_tables, request_walk
from gnnrl.domains.autoscaling.telemetry import (
    LATENCY_EDGES_MS,
    Columns,
    Telemetry,
    copy_counts,
    make_telemetry,
    scrape_calls,
    scrape_mesh,
    scrape_services,
)

__all__ = ["LATENCY_EDGES_MS", "MeshSimulation", "PhysicsSettings", "Telemetry", "idle_p95_ms"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class PhysicsSettings:
    """What all meshes of a simulation share."""

    request_timeout_seconds: float = 10.0
    """A request that has waited this long fails, wherever it is [cal]."""
    longest_startup_seconds: int = 255
    """Start-up times above this are refused."""
    longest_drain_seconds: int = 30
    """A removed pod is killed after this long (Kubernetes' default grace period)."""
    sidecar_millicores_per_rps: float = 0.35
    """CPU of the proxy, counted as used by the service: 0.35 vCPU per 1000 requests/s (Istio's published figure)."""
    idle_memory_share: float = 0.7
    """Memory of a pod without calls, of its request [cal]."""
    memory_mib_per_call: float = 0.5
    """Memory of a call in system [cal]; a pod never takes more than its limit."""
    histogram: bool = False
    """Whether a scrape fills `latency_histogram`."""


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
        self.batch_size = batch_size
        self.max_services = max_services
        self.max_calls = max_calls
        self.max_classes = max_classes
        self.settings = settings or PhysicsSettings()
        blocks = -(-batch_size // k.LANES)
        lanes = (k.LANES,)
        f32 = np.float32
        self._service = np.zeros((blocks, max_services, k.SERVICE_COLUMNS, *lanes), f32)
        self._element = np.zeros((blocks, max_services, max_classes, k.ELEMENT_COLUMNS, *lanes), f32)
        self._phase = np.zeros((blocks, max_services, max_classes, MAX_PHASES, k.PHASE_COLUMNS, *lanes), f32)
        self._klass = np.zeros((blocks, max_classes, k.CLASS_COLUMNS, *lanes), f32)
        self._mesh = np.zeros((blocks, k.MESH_COLUMNS, *lanes), f32)
        self._n_rows = np.zeros(blocks, np.int32)
        self._n_phases = np.ones((blocks, max_services), np.int32)
        self._pods = make_pods(batch_size, max_services, self.settings.longest_startup_seconds + 1)
        b, s, e = batch_size, max_services, max_calls
        self._columns = Columns(
            row=np.zeros((b, s), np.int32),
            cpu_ms=np.zeros((b, s), f32),
            memory_base=np.zeros((b, s), f32),
            memory_limit=np.zeros((b, s), f32),
            base_ms=np.zeros((b, s), f32),
            source=np.zeros((b, e), np.int32),
            target=np.zeros((b, e), np.int32),
            share=np.zeros((b, e), f32),
            n_calls=np.zeros(b, np.int32),
            n_classes=np.zeros(b, np.int32),
        )
        self._stateful_mask = np.zeros((b, s), np.bool_)
        self._desired = np.zeros((b, s), np.int64)
        self._meshes: list[Mesh | None] = [None] * batch_size
        tables = queue_tables()
        self._tables = (tables.pods, tables.tail, tables.expiry)
        self._quantile95 = tables.quantile95
        self._everyone = np.ones(batch_size, np.bool_)
        self.window = make_telemetry(b, s, e, histogram=self.settings.histogram)
        self._reset_lanes()

    def _reset_lanes(self) -> None:
        # Lanes without a mesh must not divide by zero.
        self._service[:, :, k.RATE] = 1.0
        self._service[:, :, k.TIMEOUT] = 1e30
        self._service[:, :, k.PODS] = 1.0
        self._service[:, :, k.TABLE_ROW] = 1.0
        self._service[:, :, k.FREE] = 1.0
        self._element[:, :, :, k.VISITS] = 1.0
        self._element[:, :, :, k.PER_PHASE] = 1.0
        self._mesh[:, k.SLO] = 1.0

    def order(self, b: int) -> tuple[str, ...]:
        """Names of the services of environment `b`, in column order."""
        return self._of(b).names

    def _of(self, b: int) -> Mesh:
        mesh = self._meshes[b]
        if mesh is None:
            raise ValueError(f"environment {b} has no mesh; call load({b}, mesh) first")
        return mesh

    def load(self, b: int, mesh: Mesh, *, slo_ms: float | None = None) -> None:
        """Reset environment `b` with a mesh: its replicas ready, queues empty, clock at 0.

        Args:
            b: environment.
            mesh: at most S services, E calls and C classes.
            slo_ms: SLO that violating seconds are counted against; None = the mesh's own, or 2 x its idle P95.

        Raises:
            ValueError: the mesh is too large or a start-up time too long.
        """
        self._check(b, mesh)
        block, i = divmod(b, k.LANES)
        for array in (self._service, self._element, self._phase, self._klass, self._mesh):
            array[block, ..., i] = 0.0
        pods = self._pods
        for field in (pods.count, pods.starting, pods.draining, pods.billed, pods.waiting_since, pods.changed_at):
            field[b] = 0
        pods.clock[b] = pods.billed_until[b] = pods.changes[b] = 0
        self._install(b, mesh)
        self._mesh[block, k.SLO, i] = (resolve_slo_ms(mesh) if slo_ms is None else slo_ms) / 1000.0
        self._desired[b] = 0
        self._desired[b, : len(mesh.services)] = mesh.arrays().replicas
        startup = pods.startup[b].copy()
        pods.startup[b] = 0
        want(pods, b, self._desired[b], np.ones(self.max_services, np.int32))
        pods.startup[b] = startup
        pods.changes[b] = 0
        self._refresh(b)

    def change_mesh(self, b: int, mesh: Mesh) -> None:
        """Replace the mesh of environment `b` by a changed one. The SLO stays.

        Services of the same name keep their pods, queues and counters (classes are matched by name too); a new service starts
        its replicas now; what waits at a service or in a class that is gone fails.

        Raises:
            ValueError: as `load`.
        """
        self._check(b, mesh)
        old = self._of(b)
        block, i = divmod(b, k.LANES)
        settle(self._pods, b)
        kept = [(old.index(name), s) for s, name in enumerate(mesh.names) if name in old.names]
        old_classes = {request.name: c for c, request in enumerate(old.classes)}
        kept_classes = [(old_classes[r.name], c) for c, r in enumerate(mesh.classes) if r.name in old_classes]
        before = self._snapshot(b)
        old_row = self._columns.row[b].copy()
        slo, mean = self._mesh[block, k.SLO, i], self._mesh[block, k.MEAN_LATENCY, i]
        waiting = float(self._phase[block, :, :, :, k.REQUESTS, i].sum())
        for array in (self._service, self._element, self._phase):
            array[block, ..., i] = 0.0
        pods = self._pods
        for field in (pods.count, pods.starting, pods.draining, pods.billed, pods.waiting_since, pods.changed_at):
            field[b] = 0
        self._klass[block, :, :, i] = 0.0
        self._install(b, mesh)
        self._mesh[block, k.SLO, i], self._mesh[block, k.MEAN_LATENCY, i] = slo, mean
        state = slice(k.FREE, k.SERVICE_COLUMNS)
        phase_state = slice(k.REQUESTS, k.PHASE_COLUMNS)
        for s_old, s in kept:
            row, row_old = self._columns.row[b, s], old_row[s_old]
            self._service[block, row, state, i] = before["service"][row_old, state]
            for c_old, c in kept_classes:
                self._phase[block, row, c, :, phase_state, i] = before["phase"][row_old, c_old, :, phase_state]
            pods.count[b, s] = before["count"][s_old]
            pods.starting[b, :, s] = before["starting"][:, s_old]
            pods.draining[b, :, s] = before["draining"][:, s_old]
            pods.billed[b, s] = before["billed"][s_old]
            pods.waiting_since[b, s] = before["waiting_since"][s_old]
            pods.changed_at[b, s] = before["changed_at"][s_old]
        for c_old, c in kept_classes:
            self._klass[block, c, k.FLOW :, i] = before["klass"][c_old, k.FLOW :]
        self._gather_phases(b)
        lost = waiting - float(self._phase[block, :, :, :, k.REQUESTS, i].sum())
        self._mesh[block, k.FAILED, i] += max(lost, 0.0)
        self._desired[b] = 0
        replicas = mesh.arrays().replicas
        carried = {s for _, s in kept}
        for s in range(len(mesh.services)):
            self._desired[b, s] = pods.count[b, s, 4] if s in carried else replicas[s]
        changes = pods.changes[b]
        want(pods, b, self._desired[b], np.ones(self.max_services, np.int32))
        pods.changes[b] = changes
        pods.next_event[b] = pods.clock[b]
        self._refresh(b)

    def _snapshot(self, b: int) -> dict[str, Any]:
        block, i = divmod(b, k.LANES)
        pods = self._pods
        return {
            "service": self._service[block, :, :, i].copy(),
            "phase": self._phase[block, :, :, :, :, i].copy(),
            "klass": self._klass[block, :, :, i].copy(),
            "count": pods.count[b].copy(),
            "starting": pods.starting[b].copy(),
            "draining": pods.draining[b].copy(),
            "billed": pods.billed[b].copy(),
            "waiting_since": pods.waiting_since[b].copy(),
            "changed_at": pods.changed_at[b].copy(),
        }

    def _gather_phases(self, b: int) -> None:
        """Move what waits in phases that a service no longer has into its last one, and sum up each row."""
        block, i = divmod(b, k.LANES)
        phase = self._phase[block, ..., i]  # [S, C, P, columns]
        share = phase[:, :, :, k.SHARE]
        for ph in range(MAX_PHASES - 1, 0, -1):
            stray = share[:, :, ph] == 0.0
            moved = np.where(stray[:, :, None], phase[:, :, ph, k.REQUESTS :], 0.0)
            phase[:, :, ph, k.REQUESTS :] -= moved
            phase[:, :, ph - 1, k.REQUESTS :] += moved
        requests = phase[:, :, :, k.REQUESTS]
        self._service[block, :, k.CALLS, i] = requests.sum((1, 2))
        self._service[block, :, k.DEMAND, i] = (requests * phase[:, :, :, k.REMAINING]).sum((1, 2))
        self._service[block, :, k.AGE, i] = phase[:, :, :, k.AGES].sum((1, 2))

    def _check(self, b: int, mesh: Mesh) -> None:
        for what, count, most in (
            ("services", len(mesh.services), self.max_services),
            ("calls", len(mesh.calls), self.max_calls),
            ("request classes", len(mesh.classes), self.max_classes),
        ):
            if count > most:
                raise ValueError(f"mesh {mesh.name!r} has {count} {what}, environment {b} holds at most {most}")
        for service in mesh.services:
            if service.startup_seconds > self.settings.longest_startup_seconds:
                raise ValueError(
                    f"mesh {mesh.name!r}: service {service.name!r} takes {service.startup_seconds:g} s to start, more than "
                    f"longest_startup_seconds = {self.settings.longest_startup_seconds}"
                )

    def _install(self, b: int, mesh: Mesh) -> None:
        """Write the constants of a mesh; state columns are left alone."""
        block, i = divmod(b, k.LANES)
        arrays, walk = mesh.arrays(), request_walk(mesh)
        n, n_classes, order = len(mesh.services), len(mesh.classes), walk.order
        columns, pods = self._columns, self._pods
        self._meshes[b] = mesh
        columns.row[b, order] = np.arange(n)
        service = self._service[block, :, :, i]  # [S, columns]
        service[:, k.RATE] = 1.0
        service[:, k.TIMEOUT] = 1e30
        service[:, k.PODS] = service[:, k.TABLE_ROW] = service[:, k.FREE] = 1.0
        service[:n, k.RATE] = (arrays.cpu_limit / arrays.cpu_ms)[order]
        service[:n, k.TIMEOUT] = np.minimum(arrays.timeout_ms[order] / 1000.0, 1e30)
        service[:n, k.FATAL] = arrays.fatal[order]
        element = self._element[block, :, :, :, i]  # [S, C, columns]
        element[...] = 0.0
        element[:, :, k.VISITS] = element[:, :, k.PER_PHASE] = 1.0
        visits = walk.visits[:, order].T
        phases = np.clip(np.rint(visits), 1, MAX_PHASES)
        element[:n, :n_classes, k.PROBABILITY] = walk.probability[:, order].T
        element[:n, :n_classes, k.VISITS] = visits
        element[:n, :n_classes, k.SPREAD] = walk.spread[:, order].T
        element[:n, :n_classes, k.PER_PHASE] = 1.0 / phases
        phase = self._phase[block, :, :, :, :, i]  # [S, C, P, columns]
        phase[:, :, :, k.SHARE] = phase[:, :, :, k.REMAINING] = 0.0
        visited = walk.probability[:, order].T > 0
        for ph in range(MAX_PHASES):
            here = visited & (ph < phases)
            phase[:n, :n_classes, ph, k.SHARE] = np.where(here, visits / phases, 0.0)
            phase[:n, :n_classes, ph, k.REMAINING] = np.where(here, visits * (phases - ph) / phases, 0.0)
        self._n_rows[block] = max(self._n_rows_of(block), n)
        used = (self._phase[block, :, :, :, k.SHARE] > 0).any((1, 3))  # [S, P]
        self._n_phases[block] = np.maximum(used.sum(1), 1)
        klass = self._klass[block, :, :, i]
        klass[:, k.WEIGHT] = klass[:, k.BASE] = 0.0
        klass[:n_classes, k.WEIGHT] = arrays.class_weight / arrays.class_weight.sum()
        klass[:n_classes, k.BASE] = arrays.visits @ arrays.base_latency_ms / 1000.0
        columns.n_classes[b], columns.n_calls[b] = n_classes, len(mesh.calls)
        columns.cpu_ms[b, :n] = arrays.cpu_ms
        columns.memory_base[b, :n] = self.settings.idle_memory_share * arrays.memory_request
        columns.memory_limit[b, :n] = arrays.memory_limit
        columns.base_ms[b, :n] = arrays.base_latency_ms
        calls = len(mesh.calls)
        columns.source[b, :calls], columns.target[b, :calls] = arrays.call_source, arrays.call_target
        columns.share[b, :calls] = arrays.mean_call_rates / np.maximum(arrays.mean_visits[arrays.call_target], 1e-12)
        pods.startup[b, :n] = np.rint(arrays.startup_seconds)
        pods.request[b] = 0.0
        pods.request[b, :n] = arrays.cpu_request
        pods.node_cpu[b] = np.inf if mesh.node_cpu_millicores is None else mesh.node_cpu_millicores
        pods.n_services[b] = n
        self._stateful_mask[b] = False
        self._stateful_mask[b, :n] = arrays.stateful
        for array in vars(self.window).values():
            array[b] = 0

    def _n_rows_of(self, block: int) -> int:
        meshes = self._meshes[block * k.LANES : (block + 1) * k.LANES]
        return max((len(mesh.services) for mesh in meshes if mesh is not None), default=0)

    def _refresh(self, b: int) -> None:
        """Show the present counts to the kernel and in the window."""
        _serve(self._pods, b, self._service, self._columns.row)
        w = self.window
        copy_counts(self._pods, b, w.ready, w.starting, w.pending, w.draining, w.desired, w.seconds_since_change)

    def crash_pods(self, b: int, service: str, count: int) -> int:
        """Kill up to `count` ready pods of a service: the calls in them fail, and they start again.

        Returns:
            How many there were to kill.
        """
        s = self._of(b).index(service)
        block, i = divmod(b, k.LANES)
        serving = int(self._pods.count[b, s, READY] + self._pods.count[b, s, DRAINING])
        killed = int(crash(self._pods, b, s, count))
        if killed:
            row = self._columns.row[b, s]
            gone = self._phase[block, row, :, :, k.REQUESTS :, i] * (killed / serving)
            self._phase[block, row, :, :, k.REQUESTS :, i] -= gone
            lost = float(gone[:, :, 0].sum())
            self._mesh[block, k.FAILED, i] += lost
            self._service[block, row, k.LOST, i] += lost
            self._gather_phases(b)
        self._refresh(b)
        return killed

    def set_desired(self, desired: NDArray[Any]) -> None:
        """Set the desired replicas, int [B, S]; columns past the last service are ignored.

        Raises:
            ValueError: a negative count, or a change of a stateful service.
        """
        wanted = np.asarray(desired)
        if wanted.shape != (self.batch_size, self.max_services):
            raise ValueError(f"desired has shape {wanted.shape}, expected {(self.batch_size, self.max_services)}")
        count = self._pods.count[:, :, 4]
        real = np.arange(self.max_services) < self._pods.n_services[:, None]
        wrong = real & ((wanted < 0) | (self._stateful_mask & (wanted != count)))
        if wrong.any():
            b, s = (int(x) for x in np.argwhere(wrong)[0])
            name = self._of(b).names[s]
            reason = "is stateful and keeps" if self._stateful_mask[b, s] else "cannot have a negative count; it has"
            raise ValueError(f"environment {b}: {int(wanted[b, s])} replicas of {name!r}, which {reason} {count[b, s]}")
        self._desired[:] = wanted
        _want_all(self._pods, self._desired, self._service, self._columns.row, self.settings.longest_drain_seconds)

    def advance(self, rps: NDArray[Any], active: NDArray[np.bool_] | None = None) -> None:
        """Advance by k ticks.

        Args:
            rps: external requests/s in each tick, [B, k].
            active: environments that move on, bool [B]; the others stand still. None = all.
        """
        self._run(rps, active, closed=False)

    def advance_closed(self, users: NDArray[Any], active: NDArray[np.bool_] | None = None) -> None:
        """Advance by k ticks under a closed loop: U users [B, k] that think 5.5 s make 1.472 U / (5.5 + R) requests/s."""
        self._run(users, active, closed=True)

    def _run(self, load: NDArray[Any], active: NDArray[np.bool_] | None, *, closed: bool) -> None:
        load = np.ascontiguousarray(load, dtype=np.float32)
        if load.ndim != 2 or load.shape[0] != self.batch_size:
            raise ValueError(f"load has shape {load.shape}, expected ({self.batch_size}, ticks)")
        self._mesh[:, k.CLOSED] = closed
        active = self._everyone if active is None else active
        _advance(
            self._pods, load, active, self._service, self._element, self._phase, self._klass, self._mesh, self._columns.row,
            self._n_rows, self._columns.n_classes, self._n_phases, self._tables,
            self.settings.request_timeout_seconds,
        )  # fmt: skip

    def scrape(self) -> Telemetry:
        """The telemetry since the last scrape, in `window`; accumulation starts anew."""
        c, w = self._columns, self.window
        _scrape(
            self._pods, self._service, self._klass, self._mesh, self._tables[1], self._quantile95,
            self.settings.request_timeout_seconds,
            (c.row, c.cpu_ms, c.memory_base, c.memory_limit, c.base_ms, c.source, c.target, c.share, c.n_calls, c.n_classes),
            (w.ready, w.starting, w.pending, w.draining, w.desired, w.seconds_since_change),
            (
                w.billed_replicas, w.cpu_millicores, w.memory_mib, w.rps_in, w.p95_ms, w.mean_ms, w.error_share, w.backlog,
                w.queue_excess, w.replica_seconds, w.core_seconds, w.replica_changes,
            ),
            (w.rps_out, w.call_rps, w.call_p95_ms, w.call_error_share),
            (
                w.seconds, w.external_rps, w.latency_mean_ms, w.latency_p50_ms, w.latency_p95_ms, w.latency_p99_ms,
                w.mesh_error_share, w.violating_seconds, w.latency_histogram,
            ),
            LATENCY_EDGES_MS, self.settings.sidecar_millicores_per_rps, self.settings.memory_mib_per_call,
        )  # fmt: skip
        return self.window

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything that changes, as arrays; the meshes are not part of it."""
        state: dict[str, Any] = {name: getattr(self, name).copy() for name in _STATE}
        state["pods"] = {name: value.copy() for name, value in self._pods._asdict().items()}
        state["window"] = {name: value.copy() for name, value in vars(self.window).items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` into a simulation of the same shape with the same meshes loaded."""
        for name in _STATE:
            getattr(self, name)[...] = np.asarray(state[name])
        for name, value in self._pods._asdict().items():
            value[...] = np.asarray(state["pods"][name])
        for name, value in vars(self.window).items():
            value[...] = np.asarray(state["window"][name])


_STATE = ("_service", "_element", "_phase", "_klass", "_mesh", "_n_rows", "_n_phases", "_desired")


@njit(cache=True, nogil=True)
def _serve(pods: Pods, b: int, service: Floats, row: NDArray[np.int32]) -> None:
    """Tell the kernel how many pods serve: the ready ones, and the draining ones with what they still hold."""
    block, i = b // k.LANES, b % k.LANES
    for s in range(pods.n_services[b]):
        serving = pods.count[b, s, READY] + pods.count[b, s, DRAINING]
        service[block, row[b, s], k.PODS, i] = serving
        service[block, row[b, s], k.TABLE_ROW, i] = min(serving, 64)


@njit(cache=True, nogil=True)
def _want_all(
    pods: Pods, desired: NDArray[np.int64], service: Floats, row: NDArray[np.int32], longest_drain: int
) -> None:
    drain = np.ones(desired.shape[1], np.int32)
    for b in range(desired.shape[0]):
        block, i = b // k.LANES, b % k.LANES
        for s in range(pods.n_services[b]):
            sv = service[block, row[b, s]]
            seconds = sv[k.CALLS, i] / max(sv[k.PODS, i], np.float32(1.0)) / sv[k.RATE, i]
            drain[s] = min(max(1, int(np.ceil(seconds))), longest_drain)
        want(pods, b, desired[b], drain)
        _serve(pods, b, service, row)


@njit(cache=True, nogil=True)
def _advance(
    pods: Pods, load: Floats, active: NDArray[np.bool_], service: Floats, element: Floats, phase: Floats, klass: Floats,
    mesh: Floats, row: NDArray[np.int32], n_rows: NDArray[np.int32], n_classes: NDArray[np.int32],
    n_phases: NDArray[np.int32], tables: tuple[Floats, Floats, Floats], request_timeout: float,
) -> None:  # fmt: skip
    batch, ticks = load.shape
    lanes = np.zeros((1, k.LANES), np.float32)
    for block in range(service.shape[0]):
        first = block * k.LANES
        last = min(first + k.LANES, batch)
        moving = 0
        classes = 0
        for b in range(first, last):
            moving += active[b]
            classes = max(classes, n_classes[b])
        if moving == 0 or classes == 0:
            continue
        partial = moving < last - first
        if partial:
            kept_service, kept_phase = service[block].copy(), phase[block].copy()
            kept_klass, kept_mesh = klass[block].copy(), mesh[block].copy()
        for t in range(ticks):
            for b in range(first, last):
                lanes[0, b - first] = load[b, t] if active[b] else np.float32(0.0)
                if active[b]:
                    if pods.clock[b] >= pods.next_event[b]:
                        turn(pods, b)
                        _serve(pods, b, service, row)
                    pods.clock[b] += 1
            advance_block(
                service[block], element[block], phase[block], klass[block], mesh[block], tables, lanes,
                n_rows[block], classes, n_phases[block], request_timeout,
            )  # fmt: skip
        if partial:
            for b in range(first, last):
                if not active[b]:
                    i = b - first
                    service[block, :, :, i] = kept_service[:, :, i]
                    phase[block, :, :, :, :, i] = kept_phase[:, :, :, :, i]
                    klass[block, :, :, i] = kept_klass[:, :, i]
                    mesh[block, :, i] = kept_mesh[:, i]


@njit(cache=True, nogil=True)
def _scrape(
    pods: Pods, service: Floats, klass: Floats, mesh: Floats, tail_table: Floats, quantile95: Floats,
    request_timeout: float, columns: Any, counts: Any,
    services: Any, calls: Any, meshes: Any, edges_ms: NDArray[np.float64], sidecar: float, memory_per_call: float,
) -> None:  # fmt: skip
    row, cpu_ms, memory_base, memory_limit, base_ms, source, target, share, n_calls, n_classes = columns
    ready, starting, pending, draining, desired, since = counts
    billed, cpu, memory, rps_in, p95, mean, errors, backlog, excess, replica_seconds, core_seconds, changes = services
    rps_out, call_rps, call_p95, call_errors = calls
    seconds, external, e2e_mean, e2e_p50, e2e_p95, e2e_p99, mesh_errors, violating, histogram = meshes
    for b in range(len(n_calls)):
        scrape_mesh(
            b, n_classes[b], klass, mesh, tail_table, request_timeout, seconds, external, e2e_mean, e2e_p50, e2e_p95, e2e_p99, mesh_errors,
            violating, histogram, edges_ms,
        )  # fmt: skip
        scrape_services(
            pods, b, service, row, cpu_ms, memory_base, memory_limit, base_ms, quantile95, sidecar, memory_per_call, billed,
            cpu, memory, rps_in, p95, mean, errors, backlog, excess, replica_seconds, core_seconds, changes, seconds[b],
        )  # fmt: skip
        scrape_calls(
            b, n_calls[b], source, target, share, rps_in, p95, errors, rps_out, call_rps, call_p95, call_errors,
            pods.n_services[b],
        )  # fmt: skip
        copy_counts(pods, b, ready, starting, pending, draining, desired, since)
