"""What a scrape of the mesh shows: accumulated per tick by the kernel, turned here into rates, shares and percentiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.kernel import (
    ARRIVED,
    BASE,
    CALLS,
    DONE,
    EXTERNAL,
    FAILED,
    FLOW,
    LANES,
    LATENCY,
    LATENCY_SQUARED,
    LOAD,
    LOST,
    RATE,
    SECONDS,
    SLOW,
    SOJOURN_SQUARED,
    VIOLATING,
)
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
    billed_replicas: Floats
    cpu_millicores: Floats
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
    integers = {"ready", "starting", "pending", "draining", "desired"}
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
    quantile95: Floats, sidecar: float, memory_per_call: float, billed: Floats, cpu: Floats, memory: Floats, rps_in: Floats,
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
        cpu[b, s] = done * per_second * cpu_ms[b, s] + sv[ARRIVED, i] * per_second * sidecar
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


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _exceeding(table: Floats, n: int, parts: Floats, x: float) -> float:
    """Requests slower than x seconds in a mixture of gamma laws, `parts` [n, 4]: weight, mean, spread, shift."""
    total = 0.0
    for k in range(n):
        ratio = max(x - parts[k, 3], 0.0) / parts[k, 1]
        total += parts[k, 0] * _tail(table, ratio, parts[k, 2])
    return total


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _tail(table: Floats, x: float, spread: float) -> float:
    """P(X > x) of a gamma variable of mean 1; as in the kernel, for one number."""
    h = min(spread / (1.0 + spread), 0.9999) * table.shape[0]
    y = min(x / (1.0 + x), 0.9999) * table.shape[1]
    i, j = int(h), int(y)
    cell = table[i, j]
    y -= j
    return cell[0] + cell[1] * y + (cell[2] + cell[3] * y) * (h - i)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _time_exceeded(table: Floats, n: int, parts: Floats, number: float, low: float, high: float) -> float:
    """The time that `number` requests exceed, by bisection and a last linear step."""
    for _ in range(12):
        middle = 0.5 * (low + high)
        if _exceeding(table, n, parts, middle) > number:
            low = middle
        else:
            high = middle
    above, below = _exceeding(table, n, parts, low), _exceeding(table, n, parts, high)
    return low + (high - low) * min(max((above - number) / max(above - below, 1e-9), 0.0), 1.0)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def scrape_mesh(
    b: int, n_classes: int, klass: Floats, mesh: Floats, table: Floats, request_timeout: float, seconds: Floats,
    external: Floats, mean_ms: Floats, p50: Floats, p95: Floats, p99: Floats, errors: Floats, violating: Floats,
    histogram: Floats, edges_ms: NDArray[np.float64],
) -> None:  # fmt: skip
    """End to end: moments and percentiles of the window's mixture; resets what it read.

    Each class is one gamma law for the seconds that met the SLO on average and one for the others; nothing is slower
    than the request timeout.
    """
    block, i = b // LANES, b % LANES
    parts = np.zeros((2 * n_classes, 4), np.float32)
    n = 0
    total = 0.0
    sum_latency = 0.0
    high = 0.0
    for c in range(n_classes):
        for first in (FLOW, FLOW + SLOW):
            flow = klass[block, c, first, i]
            if flow > 1e-6:
                part = parts[n]
                n += 1
                part[0] = flow
                part[1] = klass[block, c, first + LATENCY - FLOW, i] / flow + 1e-6
                part[2] = max(
                    klass[block, c, first + LATENCY_SQUARED - FLOW, i] / flow / (part[1] * part[1]) - 1.0, 1e-4
                )
                part[3] = klass[block, c, BASE, i]
                total += flow
                sum_latency += flow * (part[1] + part[3])
                longest = min(part[1] * (1.0 + 12.0 * np.sqrt(part[2]) + 12.0 * part[2]), request_timeout)
                high = max(high, part[3] + longest)
            for column in range(3):
                klass[block, c, first + column, i] = 0.0
    failed = mesh[block, FAILED, i]
    seconds[b] = mesh[block, SECONDS, i]
    external[b] = mesh[block, EXTERNAL, i] / max(seconds[b], 1.0)
    violating[b] = mesh[block, VIOLATING, i]
    errors[b] = failed / (total + failed) if total + failed > 1e-6 else 0.0
    for column in (SECONDS, EXTERNAL, FAILED, VIOLATING):
        mesh[block, column, i] = 0.0
    mean_ms[b] = 1e3 * sum_latency / total if total > 0 else 0.0
    p50[b] = 1e3 * _time_exceeded(table, n, parts, 0.5 * total, 0.0, high)
    p95[b] = 1e3 * _time_exceeded(table, n, parts, 0.05 * total, 1e-3 * p50[b], high)
    p99[b] = 1e3 * _time_exceeded(table, n, parts, 0.01 * total, 1e-3 * p95[b], high)
    if histogram.shape[1] > 0:
        previous = total
        for k in range(len(edges_ms)):
            now = _exceeding(table, n, parts, 1e-3 * edges_ms[k])
            histogram[b, k] = previous - now
            previous = now
        histogram[b, len(edges_ms)] = previous


@njit(cache=True, nogil=True, error_model="numpy")
def scrape_meshes(
    pods: Pods, service: Floats, klass: Floats, mesh: Floats, tail_table: Floats, quantile95: Floats,
    request_timeout: float, columns: Any, counts: Any,
    services: Any, calls: Any, meshes: Any, edges_ms: NDArray[np.float64], sidecar: float, memory_per_call: float,
) -> None:  # fmt: skip
    row, cpu_ms, memory_base, memory_limit, base_ms, source, target, share, own_errors, n_calls, n_classes = columns
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
            b, n_calls[b], source, target, share, own_errors, rps_in, p95, errors, rps_out, call_rps, call_p95,
            call_errors, pods.n_services[b],
        )  # fmt: skip
        copy_counts(pods, b, ready, starting, pending, draining, desired, since)
