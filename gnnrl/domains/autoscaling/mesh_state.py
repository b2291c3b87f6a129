"""The arrays behind a batch of meshes, and how a mesh is written into them, replaced by another one, or loses a pod."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling import kernel as k
from gnnrl.domains.autoscaling.kernel import MAX_PHASES
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.pods import DESIRED, DRAINING, READY, crash, make_pods, settle, want
from gnnrl.domains.autoscaling.queueing import request_walk
from gnnrl.domains.autoscaling.stepping import serve
from gnnrl.domains.autoscaling.telemetry import Columns

__all__ = ["MeshState"]

Floats = NDArray[np.float32]

_ARRAYS = ("service", "element", "phase", "klass", "mesh", "n_rows", "n_phases")


class MeshState:
    """State and constants of B meshes: blocks of `LANES` environments for the kernel, rows of an environment for everything else.

    Args:
        batch_size: B.
        max_services: S.
        max_calls: E.
        max_classes: C.
        ring_seconds: start-up and drain times are shorter than this.
        idle_memory_share: memory of a pod without calls, of its request.
    """

    def __init__(
        self,
        batch_size: int,
        max_services: int,
        max_calls: int,
        max_classes: int,
        ring_seconds: int,
        idle_memory_share: float,
    ) -> None:
        blocks = -(-batch_size // k.LANES)
        b, s, e, c, f32 = batch_size, max_services, max_calls, max_classes, np.float32
        self.service = np.zeros((blocks, s, k.SERVICE_COLUMNS, k.LANES), f32)
        self.element = np.zeros((blocks, s, c, k.ELEMENT_COLUMNS, k.LANES), f32)
        self.phase = np.zeros((blocks, s, c, MAX_PHASES, k.PHASE_COLUMNS, k.LANES), f32)
        self.klass = np.zeros((blocks, c, k.CLASS_COLUMNS, k.LANES), f32)
        self.mesh = np.zeros((blocks, k.MESH_COLUMNS, k.LANES), f32)
        self.n_rows = np.zeros(blocks, np.int64)
        self.n_phases = np.zeros((blocks, s, c), np.int32)
        self.pods = make_pods(b, s, ring_seconds)
        self.columns = Columns(
            row=np.zeros((b, s), np.int32),
            cpu_ms=np.zeros((b, s), f32),
            memory_base=np.zeros((b, s), f32),
            memory_limit=np.zeros((b, s), f32),
            base_ms=np.zeros((b, s), f32),
            source=np.zeros((b, e), np.int32),
            target=np.zeros((b, e), np.int32),
            share=np.zeros((b, e), f32),
            own_errors=np.zeros((b, e), f32),
            sidecar=np.zeros(b, f32),
            n_calls=np.zeros(b, np.int64),
            n_classes=np.zeros(b, np.int64),
        )
        self.stateful_mask = np.zeros((b, s), np.bool_)
        self.meshes: list[Mesh | None] = [None] * batch_size
        self._idle_memory_share = idle_memory_share
        # Lanes without a mesh must not divide by zero.
        self.service[:, :, (k.RATE, k.PODS, k.TABLE_ROW, k.FREE, k.MISFIT)] = 1.0
        self.service[:, :, k.TIMEOUT] = 1e30
        self.element[:, :, :, (k.VISITS, k.NATURAL)] = 1.0
        self.mesh[:, k.SLO] = 1.0

    def mesh_of(self, b: int) -> Mesh:
        """The mesh of environment `b`; `ValueError` if it has none."""
        mesh = self.meshes[b]
        if mesh is None:
            raise ValueError(f"environment {b} has no mesh; call load({b}, mesh) first")
        return mesh

    def reset(self, b: int, mesh: Mesh, slo_seconds: float) -> None:
        """Start environment `b` anew with this mesh, its replicas ready."""
        block, i = divmod(b, k.LANES)
        self._clear(b)
        self.mesh[block, :, i] = 0.0
        self.mesh[block, k.SLO, i] = slo_seconds
        pods = self.pods
        pods.clock[b] = pods.billed_until[b] = pods.changes[b] = 0
        self._install(b, mesh)
        desired = np.zeros(pods.counts.shape[1], np.int64)
        desired[: len(mesh.services)] = mesh.arrays().replicas
        startup = pods.startup[b].copy()
        pods.startup[b] = 0
        want(pods, b, desired, np.ones(len(desired), np.int32))
        pods.startup[b] = startup
        pods.changes[b] = 0
        serve(pods, b, self.service, self.columns.row)

    def _clear(self, b: int) -> None:
        block, i = divmod(b, k.LANES)
        for array in (self.service, self.element, self.phase, self.klass):
            array[block, ..., i] = 0.0
        pods = self.pods
        for field in (pods.counts, pods.starting, pods.draining, pods.billed, pods.waiting_since, pods.changed_at):
            field[b] = 0

    def replace(self, b: int, mesh: Mesh) -> None:
        """Put another mesh into environment `b`: what has the same name goes on, what waits elsewhere fails."""
        old = self.mesh_of(b)
        block, i = divmod(b, k.LANES)
        pods, row = self.pods, self.columns.row
        settle(pods, b)
        kept = [(old.index(name), s) for s, name in enumerate(mesh.names) if name in old.names]
        classes = {request.name: c for c, request in enumerate(old.classes)}
        kept_classes = [(classes[request.name], c) for c, request in enumerate(mesh.classes) if request.name in classes]
        service, phase = self.service[block, :, :, i].copy(), self.phase[block, :, :, :, :, i].copy()
        klass, old_row = self.klass[block, :, :, i].copy(), row[b].copy()
        of_service: tuple[NDArray[Any], ...] = (pods.counts, pods.billed, pods.waiting_since, pods.changed_at)
        before = [field[b].copy() for field in of_service]
        rings = [ring[b].copy() for ring in (pods.starting, pods.draining)]
        self._clear(b)
        self._install(b, mesh)
        desired = np.zeros(pods.counts.shape[1], np.int64)
        desired[: len(mesh.services)] = mesh.arrays().replicas
        for s_old, s in kept:
            self.service[block, row[b, s], k.FREE :, i] = service[old_row[s_old], k.FREE :]
            for c_old, c in kept_classes:
                self.phase[block, row[b, s], c, :, k.REQUESTS :, i] = phase[old_row[s_old], c_old, :, k.REQUESTS :]
            for field, values in zip(of_service, before, strict=True):
                field[b, s] = values[s_old]
            for ring, values in zip((pods.starting, pods.draining), rings, strict=True):
                ring[b, :, s] = values[:, s_old]
            desired[s] = pods.counts[b, s, DESIRED]
        for c_old, c in kept_classes:
            self.klass[block, c, k.LAST_MEAN :, i] = klass[c_old, k.LAST_MEAN :]
        waiting = float(phase[:, :, :, k.REQUESTS].sum())
        self._gather(b)
        self.mesh[block, k.FAILED, i] += max(waiting - float(self.service[block, :, k.CALLS, i].sum()), 0.0)
        # The pods of a new service are not a decision of the autoscaler.
        changes = pods.changes[b]
        want(pods, b, desired, np.ones(len(desired), np.int32))
        pods.changes[b] = changes
        pods.next_event[b] = pods.clock[b]
        serve(pods, b, self.service, row)

    def crash(self, b: int, service: str, count: int) -> int:
        """Kill up to `count` ready pods of a service with the calls in them; returns how many there were."""
        s = self.mesh_of(b).index(service)
        block, i = divmod(b, k.LANES)
        row = self.columns.row[b, s]
        serving = int(self.pods.counts[b, s, READY] + self.pods.counts[b, s, DRAINING])
        killed = int(crash(self.pods, b, s, count))
        if killed:
            gone = self.phase[block, row, :, :, k.REQUESTS :, i] * (killed / serving)
            self.phase[block, row, :, :, k.REQUESTS :, i] -= gone
            lost = float(gone[:, :, 0].sum())
            self.mesh[block, k.FAILED, i] += lost
            self.service[block, row, k.LOST, i] += lost
            self._gather(b)
        serve(self.pods, b, self.service, self.columns.row)
        return killed

    def _gather(self, b: int) -> None:
        """Move what waits in phases that a service no longer has into its last one, and sum up each row.

        Where a class no longer visits a service at all, what it had there is gone.
        """
        block, i = divmod(b, k.LANES)
        phase = self.phase[block, ..., i]  # [S, C, P, columns]
        share = phase[:, :, :, k.SHARE]
        for ph in range(MAX_PHASES - 1, 0, -1):
            stray = share[:, :, ph] == 0.0
            moved = np.where(stray[:, :, None], phase[:, :, ph, k.REQUESTS :], 0.0)
            phase[:, :, ph, k.REQUESTS :] -= moved
            phase[:, :, ph - 1, k.REQUESTS :] += moved
        phase[:, :, 0, k.REQUESTS :][share[:, :, 0] == 0.0] = 0.0
        requests = phase[:, :, :, k.REQUESTS]
        self.service[block, :, k.CALLS, i] = requests.sum((1, 2))
        self.service[block, :, k.DEMAND, i] = (requests * phase[:, :, :, k.REMAINING]).sum((1, 2))
        self.service[block, :, k.AGE, i] = phase[:, :, :, k.AGES].sum((1, 2))

    def _install(self, b: int, mesh: Mesh) -> None:
        """Write the constants of a mesh; state columns are left alone."""
        block, i = divmod(b, k.LANES)
        arrays, walk = mesh.arrays(), request_walk(mesh)
        n, n_classes, order = len(mesh.services), len(mesh.classes), walk.order
        columns, pods = self.columns, self.pods
        self.meshes[b] = mesh
        columns.row[b, order] = np.arange(n)
        service = self.service[block, :, :, i]  # [S, columns]
        service[:, k.RATE] = 1.0
        service[:, k.TIMEOUT] = 1e30
        service[:, k.PODS] = service[:, k.TABLE_ROW] = service[:, k.FREE] = service[:, k.MISFIT] = 1.0
        service[:n, k.RATE] = (arrays.cpu_limit / arrays.cpu_ms)[order]
        service[:n, k.TIMEOUT] = np.minimum(arrays.timeout_ms[order] / 1000.0, 1e30)
        service[:n, k.FATAL] = arrays.fatal[order]
        element = self.element[block, :, :, :, i]  # [S, C, columns]
        element[...] = 0.0
        element[:, :, k.VISITS] = element[:, :, k.NATURAL] = 1.0
        visits = walk.visits[:, order].T
        # A few visits are a phase each, the last one with the probability of the fractional part; many are lumped together.
        few = visits <= MAX_PHASES
        phases = np.where(few, np.ceil(visits - 1e-9), MAX_PHASES)
        part = visits - np.floor(visits - 1e-9)
        element[:n, :n_classes, k.PROBABILITY] = walk.probability[:, order].T
        element[:n, :n_classes, k.VISITS] = visits
        element[:n, :n_classes, k.SPREAD] = walk.spread[:, order].T
        element[:n, :n_classes, k.TOGETHER] = walk.together[:, order].T
        element[:n, :n_classes, k.NATURAL] = np.where(
            few, visits + np.clip(part * (1.0 - part), 0.0, 0.25), visits**2 / phases
        )
        phase = self.phase[block, :, :, :, :, i]  # [S, C, P, columns]
        phase[:, :, :, k.SHARE : k.REQUESTS] = 0.0
        visited = walk.probability[:, order].T > 0
        for ph in range(MAX_PHASES):
            here = visited & (ph < phases)
            last = ph == phases - 1
            share = np.where(few, 1.0, visits / phases)
            remaining = np.where(few, np.where(last, 1.0, visits - ph), visits * (phases - ph) / phases)
            going_on = np.where(last, 0.0, np.where(few & (ph == phases - 2), part, 1.0))
            for column, value in ((k.SHARE, share), (k.REMAINING, remaining), (k.CONTINUE, going_on)):
                phase[:n, :n_classes, ph, column] = np.where(here, value, 0.0)
        self.n_rows[block] = max(self._n_rows_of(block), n)
        self.n_phases[block] = (self.phase[block, :, :, :, k.SHARE] > 0).any(-1).sum(-1)
        klass = self.klass[block, :, :, i]
        klass[:, k.WEIGHT] = klass[:, k.BASE] = 0.0
        klass[:n_classes, k.WEIGHT] = arrays.class_weight / arrays.class_weight.sum()
        klass[:n_classes, k.BASE] = arrays.visits @ arrays.base_latency_ms / 1000.0
        columns.n_classes[b], columns.n_calls[b] = n_classes, len(mesh.calls)
        columns.cpu_ms[b, :n] = arrays.cpu_ms
        columns.memory_base[b, :n] = self._idle_memory_share * arrays.memory_request
        columns.memory_limit[b, :n] = arrays.memory_limit
        columns.base_ms[b, :n] = arrays.base_latency_ms
        calls = len(mesh.calls)
        columns.source[b, :calls], columns.target[b, :calls] = arrays.call_source, arrays.call_target
        columns.own_errors[b, :calls] = arrays.call_error_share
        columns.sidecar[b] = mesh.sidecar_millicores_per_rps
        columns.share[b, :calls] = arrays.mean_call_rates / np.maximum(arrays.mean_visits[arrays.call_target], 1e-12)
        pods.startup[b, :n] = np.rint(arrays.startup_seconds)
        pods.request[b] = 0.0
        pods.request[b, :n] = arrays.cpu_request
        pods.node_cpu[b] = np.inf if mesh.node_cpu_millicores is None else mesh.node_cpu_millicores
        pods.n_services[b] = n
        self.stateful_mask[b] = False
        self.stateful_mask[b, :n] = arrays.stateful

    def _n_rows_of(self, block: int) -> int:
        meshes = self.meshes[block * k.LANES : (block + 1) * k.LANES]
        return max((len(mesh.services) for mesh in meshes if mesh is not None), default=0)

    @contextmanager
    def standing_still(self, active: NDArray[np.bool_] | None) -> Iterator[None]:
        """Put the environments that are not in `active` [B] back to where they were; None = all are."""
        if active is None or active.all():
            yield
            return
        arrays = (self.service, self.phase, self.klass, self.mesh)
        still = np.zeros((len(self.service), k.LANES), np.bool_)
        still.flat[: len(active)] = ~active
        before = [array.copy() for array in arrays]
        yield
        for array, old in zip(arrays, before, strict=True):
            where = still.reshape(len(still), *[1] * (array.ndim - 2), k.LANES)
            np.copyto(array, old, where=where)

    def state_dict(self) -> dict[str, Any]:
        """Copies of everything that changes; the meshes are not part of it."""
        state: dict[str, Any] = {name: getattr(self, name).copy() for name in _ARRAYS}
        state["pods"] = {name: value.copy() for name, value in self.pods._asdict().items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` into a state of the same shape with the same meshes."""
        for name in _ARRAYS:
            getattr(self, name)[...] = np.asarray(state[name])
        for name, value in self.pods._asdict().items():
            value[...] = np.asarray(state["pods"][name])
