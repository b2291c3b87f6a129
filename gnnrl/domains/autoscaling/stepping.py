"""What turns a batch of meshes by k seconds: the events of their pods, then the tick of every block."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.autoscaling import kernel as k
from gnnrl.domains.autoscaling.kernel import advance_block
from gnnrl.domains.autoscaling.pods import DESIRED, DRAINING, READY, Pods, turn, want

__all__ = ["advance_meshes", "serve", "want_all"]

Floats = NDArray[np.float32]


@njit(cache=True, nogil=True, error_model="numpy")
def serve(pods: Pods, b: int, service: Floats, row: NDArray[np.int32]) -> None:
    """Tell the kernel how many pods serve: the ready ones, and the draining ones with what they still hold."""
    block, i = b // k.LANES, b % k.LANES
    for s in range(pods.n_services[b]):
        serving = pods.counts[b, s, READY] + pods.counts[b, s, DRAINING]
        service[block, row[b, s], k.PODS, i] = serving
        service[block, row[b, s], k.TABLE_ROW, i] = min(serving, 64)


@njit(cache=True, nogil=True, error_model="numpy")
def want_all(
    pods: Pods,
    desired: NDArray[np.int64],
    stateful_mask: NDArray[np.bool_],
    service: Floats,
    row: NDArray[np.int32],
    longest_drain: int,
) -> int:
    """Set the desired counts of all meshes; returns -1, or b * S + s of a count that cannot be, and then nothing is set."""
    for b in range(desired.shape[0]):
        for s in range(pods.n_services[b]):
            wanted = desired[b, s]
            if wanted < 0 or (stateful_mask[b, s] and wanted != pods.counts[b, s, DESIRED]):
                return int(b * desired.shape[1] + s)
    drain = np.ones(desired.shape[1], np.int32)
    for b in range(desired.shape[0]):
        block, i = b // k.LANES, b % k.LANES
        for s in range(pods.n_services[b]):
            sv = service[block, row[b, s]]
            seconds = sv[k.CALLS, i] / max(sv[k.PODS, i], np.float32(1.0)) / sv[k.RATE, i]
            drain[s] = min(max(1, int(np.ceil(seconds))), longest_drain)
        want(pods, b, desired[b], drain)
        serve(pods, b, service, row)
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def advance_meshes(
    pods: Pods, load: Floats, active: NDArray[np.bool_], service: Floats, element: Floats, phase: Floats, klass: Floats,
    mesh: Floats, row: NDArray[np.int32], n_rows: NDArray[np.int64], n_classes: NDArray[np.int64],
    n_phases: NDArray[np.int32], tables: tuple[Floats, Floats, Floats], request_timeout: float,
) -> None:  # fmt: skip
    """Advance the environments in `active`; those that share a block with one must be put back by the caller."""
    batch, ticks = load.shape
    lanes = np.zeros((1, k.LANES), np.float32)
    for block in range(service.shape[0]):
        first = block * k.LANES
        last = min(first + k.LANES, batch)
        moving = 0
        classes = 0
        for b in range(first, last):
            moving += int(active[b])
            classes = max(classes, n_classes[b])
        if moving == 0 or classes == 0:
            continue
        for t in range(ticks):
            for b in range(first, last):
                lanes[0, b - first] = load[b, t] if active[b] else np.float32(0.0)
                if active[b]:
                    if pods.clock[b] >= pods.next_event[b]:
                        turn(pods, b)
                        serve(pods, b, service, row)
                    pods.clock[b] += 1
            advance_block(
                service[block], element[block], phase[block], klass[block], mesh[block], tables, lanes,
                n_rows[block], classes, n_phases[block], request_timeout,
            )  # fmt: skip
