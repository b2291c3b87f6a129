"""The life of pods: pending while the cluster has no room, starting, ready, draining.

Whatever happens to pods happens at few moments, which are kept in rings of one row a second; `next_event` lets a tick pass them by.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "DESIRED",
    "DRAINING",
    "PENDING",
    "READY",
    "STARTING",
    "Pods",
    "crash",
    "make_pods",
    "settle",
    "turn",
    "want",
]

READY, STARTING, PENDING, DRAINING, DESIRED = 0, 1, 2, 3, 4
NEVER = 1 << 62


class Pods(NamedTuple):
    """Pods of B meshes by service column."""

    counts: NDArray[np.int32]  # [B, S, 5] ready, starting, pending, draining, desired
    starting: NDArray[np.int16]  # [B, R, S] pods that become ready in second `t % R`
    draining: NDArray[np.int16]  # [B, R, S] pods that are gone in second `t % R`
    clock: NDArray[np.int64]  # [B] seconds since the mesh was loaded
    next_event: NDArray[np.int64]  # [B] first second whose rings are not empty
    billed: NDArray[np.float64]  # [B, S] replica-seconds since the last scrape, up to `billed_until`
    billed_until: NDArray[np.int64]  # [B]
    waiting_since: NDArray[np.int64]  # [B, S] when the service's oldest pending pod was asked for
    changed_at: NDArray[np.int64]  # [B, S] when the desired count last changed
    changes: NDArray[np.int64]  # [B] sum of |changes of desired| since the last scrape
    startup: NDArray[np.int32]  # [B, S] seconds
    request: NDArray[np.float32]  # [B, S] millicores
    node_cpu: NDArray[np.float64]  # [B] millicores
    n_services: NDArray[np.int32]  # [B]


def make_pods(batch_size: int, max_services: int, ring_seconds: int) -> Pods:
    """Empty meshes; the rings reach `ring_seconds` - 1 seconds ahead."""
    b, s, r = batch_size, max_services, ring_seconds
    return Pods(
        counts=np.zeros((b, s, 5), np.int32),
        starting=np.zeros((b, r, s), np.int16),
        draining=np.zeros((b, r, s), np.int16),
        clock=np.zeros(b, np.int64),
        next_event=np.full(b, NEVER, np.int64),
        billed=np.zeros((b, s)),
        billed_until=np.zeros(b, np.int64),
        waiting_since=np.zeros((b, s), np.int64),
        changed_at=np.zeros((b, s), np.int64),
        changes=np.zeros(b, np.int64),
        startup=np.zeros((b, s), np.int32),
        request=np.zeros((b, s), np.float32),
        node_cpu=np.full(b, np.inf),
        n_services=np.zeros(b, np.int32),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def settle(pods: Pods, b: int) -> None:
    """Bring the bill of mesh `b` up to its clock; call it before any count changes."""
    seconds = pods.clock[b] - pods.billed_until[b]
    if seconds > 0:
        for s in range(pods.n_services[b]):
            count = pods.counts[b, s]
            pods.billed[b, s] += seconds * (count[READY] + count[STARTING] + count[DRAINING])
    pods.billed_until[b] = pods.clock[b]


@njit(cache=True, nogil=True, error_model="numpy")
def turn(pods: Pods, b: int) -> None:
    """The events of the present second of mesh `b`: pods become ready, drained pods go, pending pods find room."""
    settle(pods, b)
    slot = pods.clock[b] % pods.starting.shape[1]
    for s in range(pods.n_services[b]):
        count = pods.counts[b, s]
        started, gone = pods.starting[b, slot, s], pods.draining[b, slot, s]
        count[READY] += started
        count[STARTING] -= started
        count[DRAINING] -= gone
        pods.starting[b, slot, s] = 0
        pods.draining[b, slot, s] = 0
    _admit(pods, b)


@njit(cache=True, nogil=True, error_model="numpy")
def _admit(pods: Pods, b: int) -> None:
    """Start pending pods, the service that has waited longest first; one that does not fit lets smaller ones pass."""
    n = pods.n_services[b]
    ring = pods.starting.shape[1]
    used = 0.0
    waiting = 0
    for s in range(n):
        count = pods.counts[b, s]
        used += pods.request[b, s] * (count[READY] + count[STARTING] + count[DRAINING])
        waiting += count[PENDING]
    if waiting > 0:
        tried = np.zeros(n, np.bool_)
        for _ in range(n):
            first = -1
            for s in range(n):
                waits = not tried[s] and pods.counts[b, s, PENDING] > 0
                if waits and (first < 0 or pods.waiting_since[b, s] < pods.waiting_since[b, first]):
                    first = s
            if first < 0:
                break
            tried[first] = True
            count = pods.counts[b, first]
            while count[PENDING] > 0 and used + pods.request[b, first] <= pods.node_cpu[b]:
                used += pods.request[b, first]
                count[PENDING] -= 1
                if pods.startup[b, first] == 0:
                    count[READY] += 1
                else:
                    count[STARTING] += 1
                    pods.starting[b, (pods.clock[b] + pods.startup[b, first]) % ring, first] += 1
    pods.next_event[b] = NEVER
    for ahead in range(1, ring):
        slot = (pods.clock[b] + ahead) % ring
        for s in range(n):
            if pods.starting[b, slot, s] > 0 or pods.draining[b, slot, s] > 0:
                pods.next_event[b] = pods.clock[b] + ahead
                return


@njit(cache=True, nogil=True, error_model="numpy")
def want(pods: Pods, b: int, desired: NDArray[np.int64], drain_seconds: NDArray[np.int32]) -> None:
    """Set the desired counts [S] of mesh `b`. Pods that serve least go first: pending, then the youngest starting, then ready.

    A removed ready pod takes no new work and is billed for `drain_seconds` [S] more.
    """
    n, ring = pods.n_services[b], pods.starting.shape[1]
    changed = False
    for s in range(n):
        changed = changed or desired[s] != pods.counts[b, s, DESIRED]
    if not changed:
        return
    settle(pods, b)
    if pods.clock[b] >= pods.next_event[b]:
        # What is due this very second comes first: `_admit` looks for events of later seconds only.
        turn(pods, b)
    now = pods.clock[b]
    for s in range(n):
        count = pods.counts[b, s]
        step = desired[s] - count[DESIRED]
        if step == 0:
            continue
        count[DESIRED] = desired[s]
        pods.changes[b] += abs(step)
        pods.changed_at[b, s] = now
        if step > 0:
            if count[PENDING] == 0:
                pods.waiting_since[b, s] = now
            count[PENDING] += step
            continue
        surplus = -step
        taken = min(surplus, count[PENDING])
        count[PENDING] -= taken
        surplus -= taken
        for ahead in range(ring - 1, 0, -1):
            slot = (now + ahead) % ring
            taken = min(surplus, pods.starting[b, slot, s])
            pods.starting[b, slot, s] -= taken
            count[STARTING] -= taken
            surplus -= taken
        taken = min(surplus, count[READY])
        count[READY] -= taken
        count[DRAINING] += taken
        pods.draining[b, (now + drain_seconds[s]) % ring, s] += taken
    _admit(pods, b)


@njit(cache=True, nogil=True, error_model="numpy")
def crash(pods: Pods, b: int, s: int, number: int) -> int:
    """Kill ready pods of service `s`; they start again. Returns how many there were to kill."""
    settle(pods, b)
    count = pods.counts[b, s]
    killed = min(number, count[READY])
    count[READY] -= killed
    if pods.startup[b, s] == 0:
        count[READY] += killed
    elif killed > 0:
        count[STARTING] += killed
        ready_at = pods.clock[b] + pods.startup[b, s]
        pods.starting[b, ready_at % pods.starting.shape[1], s] += killed
        pods.next_event[b] = min(pods.next_event[b], ready_at)
    return killed
