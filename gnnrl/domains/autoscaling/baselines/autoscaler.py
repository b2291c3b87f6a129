"""What an autoscaler is shown and what it answers, for a batch of meshes.

Every autoscaler sees what the policy sees: metrics as old as the metrics lag, replica counts as the orchestrator knows
    them now. All arrays
are `[B, S]` by service, `[B, E]` by call or `[B]` by mesh; columns past a mesh's services are padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.observed import AnyMesh

__all__ = ["Autoscaler", "Baseline", "MeshTable", "ReplicaBounds", "Telemetry"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Replicas = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """What is known at a decision. Arrays are read-only to the autoscaler and valid until its next decision."""

    desired: Ints
    """[B, S] replicas asked for, now."""
    ready: Ints
    """[B, S] pods that take traffic, now."""
    metric_ready_start: Ints
    """[B, S] pods that were ready when the metrics window began; 0 where the service did not exist."""
    metric_ready: Ints
    """[B, S] pods that were ready when it ended."""
    cpu_millicores: Floats
    """[B, S] CPU used by all pods of the service, mean over the metrics window."""
    rps_in: Floats
    """[B, S] calls received per second, mean over the window."""
    concurrency: Floats
    """[B, S] calls in the service, mean over the window."""
    external_rps: Floats
    """[B] requests entering the mesh per second, mean over the window."""
    window_seconds: float
    """Length of the metrics window."""


@dataclass(frozen=True, kw_only=True)
class ReplicaBounds:
    """Replicas a service may have; the same for every autoscaler and the policy."""

    min_replicas: int
    max_replicas: int

    def clip(self, desired: NDArray[Any], table: MeshTable, current: Ints) -> Replicas:
        """Whole replicas within the bounds; stateful services and padding keep what they have. [B, S]."""
        bounded = np.clip(desired, self.min_replicas, self.max_replicas).astype(np.int64)
        return np.where(table.scalable_mask, bounded, current)


class Autoscaler(Protocol):
    """Decides replicas for B meshes at once."""

    name: str
    period_seconds: int
    """Seconds between two decisions."""

    def reset(self, meshes: Sequence[AnyMesh]) -> None:
        """Begin one episode with each of these B meshes."""

    def decide(self, telemetry: Telemetry, now_seconds: float) -> Replicas:
        """Replicas wanted, int64 [B, S]; `now_seconds` counts from the first second of the load, warm-up included."""

    def remesh(self, b: int, mesh: AnyMesh, source: NDArray[np.int64]) -> None:
        """Mesh `b` changed: column `i` of its new mesh was column `source[i]` before, -1 = a new service."""

    def grounds(self, b: int, column: int) -> tuple[str, ...]:
        """What the last decision for a service rests on, in words and with units, the weightiest first: what was read, and no more."""


@dataclass(eq=False)
class MeshTable:
    """What is written in the manifests (and, for those told so, in the code) of B meshes, padded to S services."""

    mask: NDArray[np.bool_]  # [B, S]
    scalable_mask: NDArray[np.bool_]  # [B, S]
    request_millicores: NDArray[np.float64]  # [B, S], 1 in padding
    limit_millicores: NDArray[np.float64]  # [B, S], 1 in padding
    startup_seconds: NDArray[np.float64]  # [B, S]
    demand_millicores: NDArray[np.float64]  # [B, S] CPU per external request/s: true visits x true CPU cost

    @classmethod
    def of(cls, meshes: Sequence[AnyMesh], columns: int) -> MeshTable:
        """The table of these meshes, with `columns` services."""
        shape = (len(meshes), columns)
        table = cls(
            mask=np.zeros(shape, dtype=np.bool_),
            scalable_mask=np.zeros(shape, dtype=np.bool_),
            request_millicores=np.ones(shape),
            limit_millicores=np.ones(shape),
            startup_seconds=np.zeros(shape),
            demand_millicores=np.zeros(shape),
        )
        for b, mesh in enumerate(meshes):
            table.install(b, mesh)
        return table

    def install(self, b: int, mesh: AnyMesh) -> None:
        """Replace row `b`."""
        arrays = mesh.arrays()
        n = len(mesh.services)
        self.mask[b] = np.arange(self.mask.shape[1]) < n
        self.scalable_mask[b] = False
        self.scalable_mask[b, :n] = ~arrays.stateful
        for column, values, padding in (
            (self.request_millicores, arrays.cpu_request, 1.0),
            (self.limit_millicores, arrays.cpu_limit, 1.0),
            (self.startup_seconds, arrays.startup_seconds, 0.0),
            (self.demand_millicores, arrays.mean_visits * arrays.cpu_ms, 0.0),
        ):
            column[b] = padding
            column[b, :n] = values


class Baseline:
    """What all baselines share: bounds, the table of their meshes, and state by service that follows a service to its
    new column.

    Args:
        name: as it is reported.
        bounds: replicas a service may have.
        columns: S, the service columns of the telemetry.
        period_seconds: seconds between two decisions.
    """

    table: MeshTable

    def __init__(self, name: str, bounds: ReplicaBounds, columns: int, *, period_seconds: int = 15) -> None:
        self.name = name
        self.bounds = bounds
        self.columns = columns
        self.period_seconds = period_seconds

    def reset(self, meshes: Sequence[AnyMesh]) -> None:
        """Begin one episode with each of these meshes."""
        self.table = MeshTable.of(meshes, self.columns)
        self.begin(meshes)

    def begin(self, meshes: Sequence[AnyMesh]) -> None:
        """Clear the state of the last episode; a baseline without state has none to clear."""

    def grounds(self, b: int, column: int) -> tuple[str, ...]:  # noqa: ARG002
        """Of a baseline that reads nothing."""
        return ()

    def service_state(self) -> Sequence[NDArray[Any]]:
        """Arrays `[..., B, S]` of what is remembered by service; 0 means nothing is."""
        return ()

    def remesh(self, b: int, mesh: AnyMesh, source: NDArray[np.int64]) -> None:
        """Move what is remembered to the new columns; a new service starts with nothing."""
        self.table.install(b, mesh)
        for array in self.service_state():
            row = array[..., b, :]
            moved = np.zeros_like(row)
            kept = np.flatnonzero(source >= 0)
            moved[..., kept] = row[..., source[kept]]
            array[..., b, :] = moved
