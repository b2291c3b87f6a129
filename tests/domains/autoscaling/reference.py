"""An event-by-event simulation of a mesh, slow and from first principles: what the tick model is judged by.

Requests arrive as a Poisson process, draw the calls they will make (a fractional number is its whole part plus one more at random) and
make them one after the other, depth first. A call joins a pod and is served there; requirements are exponential, a pod shares its rate
equally among its calls, so that the next one to finish is any of them with equal probability, at the rate of the pod. Nothing here knows
of ticks, fluid limits or tables, and nothing is shared with the package but the mesh it is given.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.autoscaling.mesh import Mesh

TWO_CHOICES, SHORTEST, SHARED_QUEUE = 0, 1, 2
"""Balancing: two random pods (with replacement), all pods, or one queue in front of all pods, first come first served."""

LONGEST_WALK = 512


@dataclass(frozen=True)
class Outcome:
    """Everything that was measured."""

    finished_at: NDArray[np.float64]  # [requests] seconds
    latency: NDArray[np.float64]  # [requests] seconds, base latency included
    failed: NDArray[np.bool_]  # [requests]
    request_class: NDArray[np.int16]  # [requests]
    arrivals: int
    in_flight: int
    calls_area: NDArray[np.float64]  # [seconds, S] integral of the calls in system over each second
    calls_done: NDArray[np.int64]  # [seconds, S] calls served in each second
    calls_lost: NDArray[np.int64]  # [seconds, S]


def simulate(
    mesh: Mesh,
    rps: NDArray[np.float64],
    *,
    seed: int,
    replicas: NDArray[np.int64] | None = None,
    changes: list[tuple[float, str, int]] | None = None,
    crashes: list[tuple[float, str, int]] | None = None,
    request_timeout: float = np.inf,
    balancing: int = TWO_CHOICES,
) -> Outcome:
    """Simulate `len(rps)` seconds at the given external rates, from an empty mesh.

    Args:
        mesh: the mesh.
        rps: external requests/s in each second.
        seed: of everything random.
        replicas: ready pods at the start [S]; None = the mesh's own.
        changes: (second, service, ready pods from then on); removed pods finish what they hold.
        crashes: (second, service, pods that die then with what they hold, and come back at once).
        request_timeout: seconds after which a request is given up, wherever it is.
        balancing: how a call chooses its pod.
    """
    arrays = mesh.arrays()
    start = np.asarray(arrays.replicas if replicas is None else replicas, dtype=np.int64)
    events = [(t, 0, mesh.index(name), n) for t, name, n in changes or []]
    events += [(t, 1, mesh.index(name), n) for t, name, n in crashes or []]
    events.sort()
    most = max([int(start.max())] + [n for _, kind, _, n in events if kind == 0])
    order = np.argsort(arrays.call_source, kind="stable")  # keeps the order of the mesh within a source
    first = np.searchsorted(arrays.call_source[order], np.arange(len(mesh.services) + 1))
    result = _simulate(
        np.asarray(rps, dtype=np.float64),
        seed,
        arrays.cpu_limit / arrays.cpu_ms,
        arrays.timeout_ms / 1000.0,
        arrays.fatal,
        arrays.base_latency_ms / 1000.0,
        np.cumsum(arrays.class_weight) / arrays.class_weight.sum(),
        arrays.class_root.astype(np.int64),
        first.astype(np.int64),
        arrays.call_target[order].astype(np.int64),
        np.ascontiguousarray(arrays.call_ratio[:, order]),
        start,
        most,
        np.array([t for t, *_ in events], dtype=np.float64),
        np.array([rest for _, *rest in events], dtype=np.int64).reshape(-1, 3),
        float(request_timeout),
        balancing,
    )
    return Outcome(*result)


@njit(cache=True)
def _walk(cls, root, first, target, ratio, stack, walk):
    """Draw the services a request of this class visits, in order; returns how many."""
    n = 0
    depth = 1
    stack[0] = root[cls]
    while depth > 0:
        depth -= 1
        s = stack[depth]
        if n == LONGEST_WALK:
            raise ValueError("a request makes too many calls")
        walk[n] = s
        n += 1
        # Pushed in reverse, so that the first call is walked first, with all that it entails.
        for e in range(first[s + 1] - 1, first[s] - 1, -1):
            number = int(np.floor(ratio[cls, e]))
            if np.random.random() < ratio[cls, e] - number:
                number += 1
            for _ in range(number):
                if depth == LONGEST_WALK:
                    raise ValueError("a request makes too many calls")
                stack[depth] = target[e]
                depth += 1
    return n


@njit(cache=True)
def _grown(array):
    bigger = np.empty((2 * len(array), *array.shape[1:]), array.dtype)
    bigger[: len(array)] = array
    return bigger


@njit(cache=True)
def _simulate(
    rps, seed, rate, timeout, fatal, base, class_share, root, first, target, ratio, start, most, event_at, event, request_timeout,
    balancing,
):  # fmt: skip
    np.random.seed(seed)
    seconds, n_services = len(rps), len(rate)
    shared = balancing == SHARED_QUEUE
    # requests in flight, by slot
    slots = 4096
    walk = np.empty((slots, LONGEST_WALK), np.int16)
    length, position = np.empty(slots, np.int64), np.empty(slots, np.int64)
    arrived, joined = np.empty(slots), np.empty(slots)
    cls, serial = np.empty(slots, np.int16), np.zeros(slots, np.int64)
    pod_of, place_of = np.empty(slots, np.int64), np.empty(slots, np.int64)
    free = np.arange(slots)[::-1].copy()
    n_free = slots
    stack, scratch = np.empty(LONGEST_WALK, np.int64), np.empty(LONGEST_WALK, np.int16)
    # pods
    room = 64
    held = np.empty((n_services, most, room), np.int64)
    count = np.zeros((n_services, most), np.int64)
    active = start.copy()
    queue = np.empty((n_services, 1 << 16 if shared else 1), np.int64)
    head, back = np.zeros(n_services, np.int64), np.zeros(n_services, np.int64)
    # deadlines are constant after the start, so first in is first out
    patience, patience_serial = np.empty(1 << 16, np.int64), np.empty(1 << 16, np.int64)
    p_head, p_back = 0, 0
    waiting = np.empty((n_services, 1 << 14), np.int64)
    waiting_serial, waiting_position = (
        np.empty((n_services, 1 << 14), np.int64),
        np.empty((n_services, 1 << 14), np.int64),
    )
    w_head, w_back = np.zeros(n_services, np.int64), np.zeros(n_services, np.int64)
    # records
    size = 1 << 16
    out_time, out_latency = np.empty(size), np.empty(size)
    out_failed, out_class = np.empty(size, np.bool_), np.empty(size, np.int16)
    n_out = 0
    area = np.zeros((seconds, n_services))
    done, lost = np.zeros((seconds, n_services), np.int64), np.zeros((seconds, n_services), np.int64)
    present, since = np.zeros(n_services, np.int64), np.zeros(n_services)
    cumulative = np.zeros(n_services)
    now, arrivals, next_event, serials = 0.0, 0, 0, 0
    top = rps.max()
    ending = np.empty(slots * 8, np.int64)  # requests whose present call is over, and how: slot * 4 + reason
    while True:
        total = top
        for s in range(n_services):
            total += rate[s] * most
            cumulative[s] = total
        # What is due before the next random event comes first; that event is drawn anew then, having no memory.
        while p_head < p_back and serial[patience[p_head % len(patience)]] != patience_serial[p_head % len(patience)]:
            p_head += 1
        change_due = event_at[next_event] if next_event < len(event_at) else np.inf
        patience_due, call_due, impatient = np.inf, np.inf, -1
        if p_head < p_back:
            patience_due = arrived[patience[p_head % len(patience)]] + request_timeout
        for s in range(n_services):
            if timeout[s] == np.inf:
                continue
            while w_head[s] < w_back[s]:
                k = w_head[s] % waiting.shape[1]
                r = waiting[s, k]
                if serial[r] == waiting_serial[s, k] and position[r] == waiting_position[s, k]:
                    if joined[r] + timeout[s] < call_due:
                        call_due, impatient = joined[r] + timeout[s], s
                    break
                w_head[s] += 1
        due = min(change_due, patience_due, call_due)
        upcoming = now + np.random.exponential() / total
        random_event = upcoming < due
        now = min(upcoming, due)
        n_ending = 0
        if now >= seconds:
            break
        if not random_event:
            if due == change_due:
                kind, s, n = event[next_event]
                next_event += 1
                if kind == 0:
                    active[s] = n
                else:
                    for p in range(active[s] - 1, max(active[s] - n, 0) - 1, -1):
                        for j in range(count[s, p]):
                            if n_ending == len(ending):
                                ending = _grown(ending)
                            ending[n_ending] = held[s, p, j] * 4 + 2
                            n_ending += 1
            elif due == patience_due:
                ending[0] = patience[p_head % len(patience)] * 4 + 3
                n_ending = 1
                p_head += 1
            else:
                ending[0] = waiting[impatient, w_head[impatient] % waiting.shape[1]] * 4 + 1
                n_ending = 1
                w_head[impatient] += 1
        u = np.random.random() * total
        if random_event and u < top:
            if np.random.random() * top < rps[int(now)]:
                arrivals += 1
                if n_free == 0:
                    walk, length, position = _grown(walk), _grown(length), _grown(position)
                    arrived, joined, cls, serial = _grown(arrived), _grown(joined), _grown(cls), _grown(serial)
                    pod_of, place_of, ending = _grown(pod_of), _grown(place_of), _grown(ending)
                    free = np.empty(2 * slots, np.int64)
                    for j in range(slots):
                        free[j] = 2 * slots - 1 - j
                        serial[slots + j] = 0
                    n_free = slots
                    slots *= 2
                n_free -= 1
                r = free[n_free]
                c = np.searchsorted(class_share, np.random.random())
                n = _walk(c, root, first, target, ratio, stack, scratch)
                walk[r, :n] = scratch[:n]
                serials += 1
                length[r], position[r], arrived[r], cls[r], serial[r] = n, -1, now, c, serials
                if request_timeout < np.inf:
                    if p_back - p_head == len(patience):
                        raise ValueError("too many requests in flight")
                    patience[p_back % len(patience)] = r
                    patience_serial[p_back % len(patience)] = serials
                    p_back += 1
                pod_of[r] = -2
                ending[n_ending] = r * 4
                n_ending += 1
        elif random_event:
            s = np.searchsorted(cumulative, u, side="right")
            p = np.random.randint(most)
            if count[s, p] > 0:
                ending[n_ending] = held[s, p, np.random.randint(count[s, p])] * 4
                n_ending += 1
        for k in range(n_ending):
            r, reason = ending[k] // 4, ending[k] % 4
            if position[r] >= length[r]:
                continue  # ended twice in one moment
            failing = reason >= 2
            if position[r] >= 0:
                s = walk[r, position[r]]
                p = pod_of[r]
                second = int(now)
                _integrate(area, since, present, s, now)
                present[s] -= 1
                if reason == 0:
                    done[second, s] += 1
                else:
                    lost[second, s] += 1
                    failing = reason == 3 or fatal[s]
                if p >= 0:
                    last = count[s, p] - 1
                    moved = held[s, p, last]
                    held[s, p, place_of[r]] = moved
                    place_of[moved] = place_of[r]
                    count[s, p] = last
                    if shared and head[s] < back[s]:
                        other = queue[s, head[s] % queue.shape[1]]
                        head[s] += 1
                        held[s, p, 0] = other
                        pod_of[other], place_of[other] = p, 0
                        count[s, p] = 1
            while not failing:
                position[r] += 1
                if position[r] == length[r]:
                    break
                s = walk[r, position[r]]
                if active[s] == 0:
                    lost[int(now), s] += 1
                    failing = fatal[s]
                    continue
                _integrate(area, since, present, s, now)
                present[s] += 1
                joined[r] = now
                if timeout[s] < np.inf:
                    k2 = w_back[s] % waiting.shape[1]
                    if w_back[s] - w_head[s] == waiting.shape[1]:
                        raise ValueError("too many calls with a timeout in flight")
                    waiting[s, k2], waiting_serial[s, k2], waiting_position[s, k2] = r, serial[r], position[r]
                    w_back[s] += 1
                p = _choose(count[s], active[s], balancing)
                pod_of[r] = p
                if p < 0:
                    queue[s, back[s] % queue.shape[1]] = r
                    back[s] += 1
                    if back[s] - head[s] > queue.shape[1]:
                        raise ValueError("the shared queue is full")
                else:
                    if count[s, p] == held.shape[2]:
                        bigger = np.empty((n_services, most, 2 * held.shape[2]), np.int64)
                        bigger[:, :, : held.shape[2]] = held
                        held = bigger
                    held[s, p, count[s, p]] = r
                    place_of[r] = count[s, p]
                    count[s, p] += 1
                break
            if failing or position[r] == length[r]:
                if n_out == size:
                    out_time, out_latency = _grown(out_time), _grown(out_latency)
                    out_failed, out_class = _grown(out_failed), _grown(out_class)
                    size *= 2
                extra = 0.0
                for j in range(min(position[r] + 1, length[r])):
                    extra += base[walk[r, j]]
                out_time[n_out], out_latency[n_out] = now, now - arrived[r] + extra
                out_failed[n_out], out_class[n_out] = failing, cls[r]
                n_out += 1
                position[r] = length[r]
                serial[r] = 0
                free[n_free] = r
                n_free += 1
    for s in range(n_services):
        _integrate(area, since, present, s, float(seconds))
    return (
        out_time[:n_out], out_latency[:n_out], out_failed[:n_out], out_class[:n_out], arrivals, slots - n_free, area, done, lost
    )  # fmt: skip


@njit(cache=True)
def _integrate(area, since, present, s, now):
    """Add the calls present since the last change of service `s` to the seconds they were present in."""
    t = since[s]
    while t < now:
        second = int(t)
        until = min(now, second + 1.0)
        area[second, s] += present[s] * (until - t)
        t = until
    since[s] = now


@njit(cache=True)
def _choose(count, active, balancing):
    if balancing == SHORTEST:
        least = count[:active].min()
        ties = 0
        chosen = 0
        for p in range(active):
            if count[p] == least:
                ties += 1
                if np.random.random() * ties < 1.0:
                    chosen = p
        return chosen
    if balancing == SHARED_QUEUE:
        for p in range(active):
            if count[p] == 0:
                return p
        return -1
    a, b = np.random.randint(active), np.random.randint(active)
    return b if count[b] < count[a] else a
