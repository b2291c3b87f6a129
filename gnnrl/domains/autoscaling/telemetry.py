"""What a scrape of the mesh shows: accumulated per tick by the kernel, turned here into rates, shares and percentiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.kernel import (
    ARRIVED,
    CALLS,
    DONE,
    EXTERNAL,
    FAILED,
    FLOW,
    LANES,
    LOAD,
    LOST,
    RATE,
    SECONDS,
    SLOW,
    SOJOURN_SQUARED,
    VIOLATING,
)
from gnnrl.domains.autoscaling.percentiles import FINISHED, MEAN, P50, P95, P99, RESULT_ROWS, block_percentiles
from gnnrl.domains.autoscaling.pods import DESIRED, DRAINING, PENDING, READY, STARTING, Pods, settle

__all__ = [
    "LATENCY_EDGES_MS",
    "Columns",
    "Telemetry",
    "copy_counts",
    "make_telemetry",
    "scrape_meshes",
]

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

LATENCY_EDGES_MS = np.geomspace(1.0, 60_000.0, 97)
"""Bin edges of `latency_histogram`; the first bin starts at 0, the last has no end."""


@dataclass(frozen=True, eq=False)
class Telemetry:
    """One scrape window of B meshes, arrays owned by the simulation. See `physics.py` for the meaning of each."""

    ready: Ints
    starting: Ints
    pending: Ints
    draining: Ints
    desired: Ints
    metric_ready: Ints
    billed_replicas: Floats
    cpu_millicores: Floats
    app_cpu_millicores: Floats
    memory_mib: Floats
    rps_in: Floats
    rps_out: Floats
    p95_ms: Floats
    mean_ms: Floats
    error_share: Floats
    backlog: Floats
    queue_excess: Floats
    seconds_since_change: Floats
    call_rps: Floats
    call_p95_ms: Floats
    call_error_share: Floats
    seconds: Floats
    metrics_age_seconds: Floats
    external_rps: Floats
    latency_mean_ms: Floats
    latency_p50_ms: Floats
    latency_p95_ms: Floats
    latency_p99_ms: Floats
    mesh_error_share: Floats
    violating_seconds: Floats
    replica_seconds: Floats
    core_seconds: Floats
    replica_changes: Floats
    latency_histogram: Floats


def make_telemetry(batch_size: int, max_services: int, max_calls: int, *, histogram: bool) -> Telemetry:
    """A window of zeros."""
    sizes = {"call_rps": max_calls, "call_p95_ms": max_calls, "call_error_share": max_calls}
    integers = {"ready", "starting", "pending", "draining", "desired", "metric_ready"}
    names = list(Telemetry.__dataclass_fields__)
    first_of_mesh = names.index("seconds")
    arrays: dict[str, NDArray[Any]] = {}
    for position, name in enumerate(names):
        shape: tuple[int, ...] = (batch_size, sizes.get(name, max_services))
        if name == "latency_histogram":
            shape = (batch_size, len(LATENCY_EDGES_MS) + 1 if histogram else 0)
        elif position >= first_of_mesh:
            shape = (batch_size,)
        arrays[name] = np.zeros(shape, np.int32 if name in integers else np.float32)
    return Telemetry(**arrays)


@dataclass(frozen=True, eq=False)
class Columns:
    """What the scrape has to know about each mesh, by service column and call."""

    row: NDArray[np.int32]  # [B, S] kernel row of a service column
    cpu_ms: Floats  # [B, S]
    memory_base: Floats  # [B, S] MiB of a pod without calls
    memory_limit: Floats  # [B, S] MiB
    base_ms: Floats  # [B, S] latency of a call besides its processing
    source: Ints  # [B, E]
    target: Ints  # [B, E]
    share: Floats  # [B, E] of the target's calls that this call makes
    own_errors: Floats  # [B, E] share of the calls that fail for the application's own reasons
    sidecar: Floats  # [B] millicores of a proxy per request/s
    n_calls: NDArray[np.int64]  # [B]
    n_classes: NDArray[np.int64]  # [B]


@njit(cache=True, nogil=True, error_model="numpy")
def copy_counts(
    pods: Pods, b: int, ready: Ints, starting: Ints, pending: Ints, draining: Ints, desired: Ints, since: Floats
) -> None:
    """The counts as they stand now; columns past the last service are 0."""
    n = pods.n_services[b]
    for s in range(ready.shape[1]):
        count = pods.counts[b, s]
        ready[b, s] = count[READY]
        starting[b, s] = count[STARTING]
        pending[b, s] = count[PENDING]
        draining[b, s] = count[DRAINING]
        desired[b, s] = count[DESIRED]
        since[b, s] = pods.clock[b] - pods.changed_at[b, s] if s < n else 0.0


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def scrape_services(
    pods: Pods, b: int, service: Floats, row: Ints, cpu_ms: Floats, memory_base: Floats, memory_limit: Floats, base_ms: Floats,
    quantile95: Floats, sidecar: Floats, memory_per_call: float, billed: Floats, cpu: Floats, app_cpu: Floats, memory: Floats,
    rps_in: Floats,
    p95: Floats, mean: Floats, errors: Floats, backlog: Floats, excess: Floats, replica_seconds: Floats, core_seconds: Floats,
    changes: Floats, seconds: float,
) -> None:  # fmt: skip
    """Per service; resets what it read."""
    block, i = b // LANES, b % LANES
    settle(pods, b)
    per_second = 1.0 / max(seconds, 1.0)
    total_excess = 0.0
    replica_seconds[b] = 0.0
    core_seconds[b] = 0.0
    for s in range(pods.n_services[b]):
        sv = service[block, row[b, s]]
        done, lost, load = sv[DONE, i], sv[LOST, i], sv[LOAD, i]
        finished = done + lost
        billed[b, s] = pods.billed[b, s] * per_second
        replica_seconds[b] += pods.billed[b, s]
        core_seconds[b] += pods.billed[b, s] * pods.request[b, s] * 1e-3
        pods.billed[b, s] = 0.0
        app_cpu[b, s] = done * per_second * cpu_ms[b, s]
        cpu[b, s] = app_cpu[b, s] + sv[ARRIVED, i] * per_second * sidecar[b]
        rps_in[b, s] = sv[ARRIVED, i] * per_second
        count = pods.counts[b, s]
        alive = count[READY] + count[STARTING] + count[DRAINING]
        serving = max(count[READY] + count[DRAINING], 1)
        each = memory_base[b, s] + memory_per_call * sv[CALLS, i] / serving
        memory[b, s] = alive * min(each, memory_limit[b, s])
        errors[b, s] = lost / finished if finished > 1e-6 else 0.0
        backlog[b, s] = load * per_second
        if finished > 1e-6 and load > 0.0:  # calls lost in a crash have no sojourn
            m = load / finished
            spread = max(sv[SOJOURN_SQUARED, i] / finished / (m * m) - 1.0, 0.0)
            h = spread / (1.0 + spread) * (len(quantile95) - 1)
            k = min(int(h), len(quantile95) - 2)
            mean[b, s] = 1e3 * m + base_ms[b, s]
            p95[b, s] = 1e3 * m * (quantile95[k] + (quantile95[k + 1] - quantile95[k]) * (h - k)) + base_ms[b, s]
        else:
            mean[b, s] = 0.0
            p95[b, s] = 0.0
        excess[b, s] = max(load - done / sv[RATE, i], 0.0)
        total_excess += excess[b, s]
        for column in (DONE, ARRIVED, LOAD, SOJOURN_SQUARED, LOST):
            sv[column, i] = 0.0
    for s in range(pods.n_services[b]):
        excess[b, s] = excess[b, s] / total_excess if total_excess > 0 else 0.0
    changes[b] = pods.changes[b]
    pods.changes[b] = 0


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def scrape_calls(
    b: int, n_calls: int, source: Ints, target: Ints, share: Floats, own_errors: Floats, rps_in: Floats, p95: Floats,
    errors: Floats, rps_out: Floats, call_rps: Floats, call_p95: Floats, call_errors: Floats, n_services: int,
) -> None:  # fmt: skip
    """Per call, from its target; an error is one of the application's own or, independently, a simulated one."""
    for s in range(n_services):
        rps_out[b, s] = 0.0
    for e in range(n_calls):
        t = target[b, e]
        rate = rps_in[b, t] * share[b, e]
        call_rps[b, e] = rate
        rps_out[b, source[b, e]] += rate
        call_p95[b, e] = p95[b, t] if rate > 0 else 0.0
        call_errors[b, e] = errors[b, t] + own_errors[b, e] * (1.0 - errors[b, t]) if rate > 0 else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def scrape_mesh(
    b: int, n_classes: int, klass: Floats, mesh: Floats, latency: Floats, above: Floats, seconds: Floats, external: Floats,
    mean_ms: Floats, p50: Floats, p95: Floats, p99: Floats, errors: Floats, violating: Floats, histogram: Floats,
) -> None:  # fmt: skip
    """End to end, with the percentiles that were found for the block; resets what it read."""
    block, i = b // LANES, b % LANES
    total, failed = latency[FINISHED, i], mesh[block, FAILED, i]
    seconds[b] = mesh[block, SECONDS, i]
    external[b] = mesh[block, EXTERNAL, i] / max(seconds[b], np.float32(1.0))
    violating[b] = mesh[block, VIOLATING, i]
    errors[b] = failed / (total + failed) if total + failed > 1e-6 else 0.0
    some = np.float32(1e3) if total > 0.0 else np.float32(0.0)
    mean_ms[b], p50[b] = some * latency[MEAN, i], some * latency[P50, i]
    p95[b], p99[b] = some * latency[P95, i], some * latency[P99, i]
    if histogram.shape[1] > 0:
        previous = total
        for k in range(len(above)):
            histogram[b, k] = previous - above[k, i]
            previous = above[k, i]
        histogram[b, len(above)] = previous
    for column in (SECONDS, EXTERNAL, FAILED, VIOLATING):
        mesh[block, column, i] = 0.0
    for c in range(n_classes):
        for column in range(FLOW, FLOW + 2 * SLOW):
            klass[block, c, column, i] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def scrape_meshes(
    pods: Pods, service: Floats, klass: Floats, mesh: Floats, tail_table: Floats, quantile95: Floats,
    request_timeout: float, columns: Any, counts: Any,
    services: Any, calls: Any, meshes: Any, edges_ms: NDArray[np.float64], memory_per_call: float,
) -> None:  # fmt: skip
    row, cpu_ms, memory_base, memory_limit, base_ms, source, target, share, own_errors, sidecar, n_calls, n_classes = (
        columns
    )
    ready, starting, pending, draining, desired, since = counts
    billed, cpu, app_cpu, memory, rps_in, p95, mean, errors, backlog, excess, replica_seconds, core_seconds, changes = (
        services
    )
    rps_out, call_rps, call_p95, call_errors = calls
    seconds, external, e2e_mean, e2e_p50, e2e_p95, e2e_p99, mesh_errors, violating, histogram = meshes
    latency = np.zeros((RESULT_ROWS, LANES), np.float32)
    edges = (1e-3 * edges_ms[: max(histogram.shape[1] - 1, 0)]).astype(np.float32)
    above = np.zeros((len(edges), LANES), np.float32)
    for b in range(len(n_calls)):
        if b % LANES == 0:
            classes = n_classes[b : b + LANES].max()
            block_percentiles(klass[b // LANES], tail_table, request_timeout, classes, edges, latency, above)
        scrape_mesh(
            b, n_classes[b], klass, mesh, latency, above, seconds, external, e2e_mean, e2e_p50, e2e_p95, e2e_p99,
            mesh_errors, violating, histogram,
        )  # fmt: skip
        scrape_services(
            pods, b, service, row, cpu_ms, memory_base, memory_limit, base_ms, quantile95, sidecar, memory_per_call, billed,
            cpu, app_cpu, memory, rps_in, p95, mean, errors, backlog, excess, replica_seconds, core_seconds, changes, seconds[b],
        )  # fmt: skip
        scrape_calls(
            b, n_calls[b], source, target, share, own_errors, rps_in, p95, errors, rps_out, call_rps, call_p95,
            call_errors, pods.n_services[b],
        )  # fmt: skip
        copy_counts(pods, b, ready, starting, pending, draining, desired, since)
