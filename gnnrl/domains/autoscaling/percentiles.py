"""End-to-end latency of a window, for a block of meshes at once: a mixture of gamma laws, and the times it rarely exceeds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.kernel import BASE, FLOW, LATENCY, LATENCY_SQUARED, SLOW
from gnnrl.domains.autoscaling.lanes import (
    LANES,
    any_lane,
    as_float,
    gather,
    load,
    maximum,
    minimum,
    select,
    splat,
    store,
    truncate,
)

__all__ = ["FINISHED", "MEAN", "P50", "P95", "P99", "RESULT_ROWS", "block_percentiles"]

Floats = NDArray[np.float32]

# rows of the result [row, lane]: requests, and seconds
FINISHED, MEAN, P50, P95, P99 = 0, 1, 2, 3, 4
RESULT_ROWS = 5
# rows of a part of the mixture [part, row, lane]
_WEIGHT, _PER_MEAN, _TABLE_ROW, _ROW_PART, _SHIFT = 0, 1, 2, 3, 4
_PART_ROWS = 5
_HALVINGS, _STEPS = 3, 8


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def block_percentiles(
    klass: Floats, table: Floats, request_timeout: float, n_classes: int, edges: Floats, result: Floats, above: Floats
) -> None:
    """Mean and percentiles of the requests that left since the last scrape.

    Each class is one gamma law for the seconds that met the SLO on average and one for the others, shifted by its constant
    latency; nothing is slower than the request timeout.

    Args:
        klass: [C, columns, lane].
        table: [h, y, 4], `QueueTables.tail`.
        request_timeout: seconds.
        n_classes: C of the block.
        edges: seconds [bins].
        result: [RESULT_ROWS, lane], written.
        above: [bins, lane], written: requests slower than each edge.
    """
    parts = np.empty((2 * n_classes, _PART_ROWS, LANES), np.float32)
    rows, columns = float(table.shape[0]), float(table.shape[1])
    n = 0
    total, latency, longest = splat(0.0), splat(0.0), splat(0.0)
    for c in range(n_classes):
        shift = load(klass[c], BASE)
        for first in (FLOW, FLOW + SLOW):
            flow = maximum(load(klass[c], first), 0.0)
            some = flow > 1e-6
            if not any_lane(some):
                continue
            flow = select(some, flow, 0.0)
            per_request = 1.0 / maximum(flow, 1e-6)
            mean = load(klass[c], first + LATENCY - FLOW) * per_request + 1e-6
            spread = load(klass[c], first + LATENCY_SQUARED - FLOW) * per_request / (mean * mean) - 1.0
            h = minimum(maximum(spread, 1e-4) / (1.0 + maximum(spread, 1e-4)), 0.9999) * rows
            i = as_float(truncate(h))
            part = parts[n]
            store(part, _WEIGHT, flow)
            store(part, _PER_MEAN, 1.0 / mean)
            store(part, _TABLE_ROW, i * columns)
            store(part, _ROW_PART, h - i)
            store(part, _SHIFT, shift)
            total += flow
            latency += flow * (mean + shift)
            longest = maximum(longest, select(some, shift + request_timeout, 0.0))
            n += 1
    mean = latency / maximum(total, 1e-6)
    store(result, FINISHED, total)
    store(result, MEAN, mean)
    scale = maximum(mean, 1e-6)
    p50 = _exceeded_by(parts, n, table, scale, total * 0.5, splat(0.0), longest)
    p95 = _exceeded_by(parts, n, table, scale, total * 0.05, p50, longest)
    store(result, P50, p50)
    store(result, P95, p95)
    store(result, P99, _exceeded_by(parts, n, table, scale, total * 0.01, p95, longest))
    for k in range(len(edges)):
        slower = _exceeding(parts, n, table, splat(edges[k]))
        store(above, k, select(longest > edges[k], slower, 0.0))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _exceeded_by(parts: Floats, n: int, table: Floats, scale: Any, number: Any, low: Any, longest: Any) -> Any:
    """The time, not below `low`, that `number` requests exceed: three bisections, then the Illinois method.

    The unknown is z = x / (x + scale), in which the tail is a gentle slope to nothing at 1.
    """
    left, right = low / (low + scale), splat(1.0)
    at_left, at_right = maximum(_exceeding(parts, n, table, low) - number, 1e-9), -1.0 * number - 1e-9
    side = splat(0.0)
    z = left
    for step in range(_STEPS):
        z = (left * at_right - right * at_left) / (at_right - at_left)
        if step < _HALVINGS:
            z = 0.5 * (left + right)
        value = _exceeding(parts, n, table, scale * z / (1.0 - minimum(z, 0.9999))) - number
        above = value > 0.0
        # An end that stays twice counts half, so that it is left sooner.
        kept_right = select(side > 0.5, 0.5 * at_right, at_right)
        kept_left = select(side < -0.5, 0.5 * at_left, at_left)
        left, right = select(above, z, left), select(above, right, z)
        at_left, at_right = select(above, value, kept_left), select(above, kept_right, minimum(value, -1e-9))
        side = select(above, 1.0, -1.0)
    return minimum(scale * z / (1.0 - minimum(z, 0.9999)), longest)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _exceeding(parts: Floats, n: int, table: Floats, x: Any) -> Any:
    """Requests slower than x seconds."""
    columns = float(table.shape[1])
    total = splat(0.0)
    for k in range(n):
        part = parts[k]
        ratio = maximum(x - load(part, _SHIFT), 0.0) * load(part, _PER_MEAN)
        y = minimum(ratio / (1.0 + ratio), 0.9999) * columns
        j = as_float(truncate(y))
        cell = truncate(load(part, _TABLE_ROW) + j)
        y -= j
        low = gather(table, cell, 4, 0) + gather(table, cell, 4, 1) * y
        high = gather(table, cell, 4, 2) + gather(table, cell, 4, 3) * y
        total += load(part, _WEIGHT) * (low + high * load(part, _ROW_PART))
    return total
