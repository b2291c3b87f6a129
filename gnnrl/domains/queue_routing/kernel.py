"""The queues, request by request: what is due is finished, the next request arrives, it is put into a queue.

Service is first come, first served, so that a request's finish is known when it joins (Lindley 1952): the moment the one before it is
finished, or now, plus its own service time. Nothing is approximated and no time step is chosen. See `physics.py` for the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.queue_routing.baselines import NOWHERE
from gnnrl.domains.queue_routing.compilation import entry, inlined
from gnnrl.domains.queue_routing.layout import Arrays
from gnnrl.domains.queue_routing.router_kernel import choose, shortest_delay
from gnnrl.domains.queue_routing.streams import advance, exponential, uniform

__all__ = [
    "BINS_PER_OCTAVE",
    "FULL",
    "LATENCY_BINS",
    "LOWEST_LATENCY",
    "MOVED",
    "drain_all",
    "first_arrivals",
    "lose_replica",
    "peek_chance",
    "release_waiting",
    "route_all",
    "run_all",
    "step_all",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

UTILISATION_KEPT = 1.0 - 1.0 / 16.0
"""Weight of an interval in the utilisation, relative to the interval after it."""

MOVED, FULL = -1, -2

_MANTISSA_BITS = 6
BINS_PER_OCTAVE = 1 << _MANTISSA_BITS
LOWEST_LATENCY, _OCTAVES = 2.0**-30, 50
LATENCY_BINS = _OCTAVES * BINS_PER_OCTAVE
"""Latencies are counted in bins whose edges are floats with a short mantissa: 64 an octave, so that finding a bin takes no logarithm."""
_SHIFT = 52 - _MANTISSA_BITS
_LOWEST = int(np.float64(LOWEST_LATENCY).view(np.int64)) >> _SHIFT


@entry
def first_arrivals(state: Arrays, these: Ints) -> None:
    """The first request of the environments numbered `these`, whose queues are empty."""
    for b in these:
        _arrive(state, b)


@entry
def step_all(state: Arrays, actions: Ints) -> int:
    """Put the awaiting request of every environment into the queue `actions` [B] and go to the next arrival.

    Returns:
        `MOVED`, or `FULL` if a queue needs more room now, or the first environment whose action is not a present replica (nothing has
        moved then).
    """
    columns = state.replicas.shape[1] - 1
    for b in range(len(actions)):
        r = actions[b]
        legal = 0 <= r < columns and state.replicas[b, r].present
        if not legal and (r != NOWHERE or _any_present(state, b)):
            return b
    code = MOVED
    for b in range(len(actions)):
        _send(state, b, actions[b])
        _arrive(state, b)
        if state.environments[b].full:
            code = FULL
    return code


@entry
def run_all(state: Arrays, router: int, remaining: Ints) -> None:
    """Route `remaining` [B] requests of each environment with a router; what is left when a queue is full stays in `remaining`."""
    for b in range(len(remaining)):
        left = remaining[b]
        while left > 0 and not state.environments[b].full:
            _send(state, b, choose(state, b, router))
            _arrive(state, b)
            left -= 1
        remaining[b] = left


@entry
def route_all(state: Arrays, router: int, actions: Ints) -> None:
    """What a router would choose in every environment, into `actions` [B]; the chance streams move on if it uses them."""
    for b in range(len(actions)):
        actions[b] = choose(state, b, router)


@entry
def peek_chance(state: Arrays, drawn: Floats) -> None:
    """The next numbers of the chance streams, into `drawn` [B, n]; the streams stay where they are."""
    for b in range(len(drawn)):
        chance = state.environments[b].chance
        for i in range(drawn.shape[1]):
            chance = advance(chance)
            drawn[b, i] = uniform(chance)


@entry
def drain_all(state: Arrays) -> None:
    """Finish all that is in a queue; the requests that await a choice are left alone."""
    for b in range(len(state.environments)):
        environment = state.environments[b]
        for r in range(state.replicas.shape[1] - 1):
            environment.in_system_sum += _finish(state, b, r, environment.now, np.inf)


@entry
def lose_replica(state: Arrays, b: int, lost: int) -> None:
    """Put the requests of the replica `lost`, already marked absent, elsewhere in their order; see `QueueSimulation.lose`."""
    environment, replica = state.environments[b], state.replicas[b, lost]
    left, mask = replica.queue, state.rings.shape[2] - 1
    replica.queue = 0
    replica.work, replica.busy_until, replica.busy, replica.utilisation = 0.0, 0.0, 0.0, 0.0
    for i in range(left):
        moved = state.rings[b, lost, (replica.head + i) & mask]
        requirement = moved.requirement
        if i == 0:
            environment.chance = advance(environment.chance)
            requirement = exponential(environment.chance)
        r = shortest_delay(state, b, moved.type)
        _join(state, b, r, moved.arrival, requirement, moved.number, moved.type)


@entry
def release_waiting(state: Arrays, b: int) -> None:
    """Put the requests that waited for a replica into queues, in the order in which they came, each where it is served soonest."""
    line, mask = state.replicas.shape[1] - 1, state.rings.shape[2] - 1
    left, head = state.environments[b].waiting, state.replicas[b, line].head
    state.environments[b].waiting = 0
    state.replicas[b, line].queue = 0
    for i in range(left):
        moved = state.rings[b, line, (head + i) & mask]
        r = shortest_delay(state, b, moved.type)
        _join(state, b, r, moved.arrival, moved.requirement, moved.number, moved.type)


@inlined
def _any_present(state: Arrays, b: int) -> bool:
    for r in range(state.replicas.shape[1] - 1):  # noqa: SIM110 - numba compiles no any()
        if state.replicas[b, r].present:
            return True
    return False


@inlined
def _arrive(state: Arrays, b: int) -> None:
    """Draw the next request and go to its arrival."""
    environment = state.environments[b]
    stream = advance(environment.requests)
    gap = exponential(stream) * environment.mean_gap
    stream = advance(stream)
    chance, k = uniform(stream), 0
    while chance >= state.shares[b, k]:
        k += 1
    stream = advance(stream)
    requirement = exponential(stream)
    number, before = environment.number + 1, environment.now
    now = before + gap
    environment.requests = stream
    environment.requirement, environment.type, environment.number = requirement, k, number
    environment.now, environment.elapsed = now, gap
    environment.window = environment.window * UTILISATION_KEPT + gap
    per_second = 1.0 / environment.window
    integral = environment.waiting * gap
    for r in range(state.replicas.shape[1] - 1):
        replica = state.replicas[b, r]
        served = max(min(replica.busy_until, now) - before, 0.0)
        replica.busy = replica.busy * UTILISATION_KEPT + served
        replica.utilisation = replica.busy * per_second
        if replica.queue > 0:
            integral += _finish(state, b, r, before, now) + replica.queue * gap
    environment.integral = integral
    environment.in_system_sum += integral
    if number < state.tables.shape[1]:
        row = state.tables[b, number]
        row.arrival, row.finish, row.requirement = now, np.nan, requirement
        row.type, row.replica = k, NOWHERE


@inlined
def _finish(state: Arrays, b: int, r: int, before: float, until: float) -> float:
    """Finish what is due by `until` at one replica; returns the request-seconds that these spent in system since `before`."""
    replica = state.replicas[b, r]
    first = left = replica.queue
    head, mask = replica.head, state.rings.shape[2] - 1
    spent, latencies, work = 0.0, 0.0, replica.work
    while left > 0:
        queued = state.rings[b, r, head & mask]
        finish = queued.finish
        if finish > until:
            break
        latency = finish - queued.arrival
        spent += finish - before
        latencies += latency
        state.histograms[b, _bin(latency)] += 1
        work -= state.seconds[b, r, queued.type]
        if queued.number < state.tables.shape[1]:
            state.tables[b, queued.number].finish = finish
        head += 1
        left -= 1
    if left < first:
        environment = state.environments[b]
        environment.latency_sum += latencies
        environment.finished += first - left
        replica.head, replica.queue = head, left
        # An empty queue has no work; this also keeps rounding errors from adding up.
        replica.work = work if left > 0 else 0.0
    return spent


@inlined
def _bin(latency: Any) -> int:
    """The bin of the histogram: exponent and first bits of the mantissa of the float."""
    bits: Any = np.float64(latency).view(np.int64)
    return int(min(max((bits >> _SHIFT) - _LOWEST, 0), LATENCY_BINS - 1))


@inlined
def _send(state: Arrays, b: int, r: int) -> None:
    """Put the awaiting request into the queue of replica r."""
    environment = state.environments[b]
    k = environment.type
    fast = r != NOWHERE and state.seconds[b, r, k] <= state.fastest[b, k]
    environment.last_choice, environment.last_fast = r, fast
    environment.fast += fast
    environment.routed += 1
    _join(state, b, r, environment.now, environment.requirement, environment.number, k)


@inlined
def _join(state: Arrays, b: int, r: int, arrival: float, requirement: float, number: int, k: int) -> None:
    """Put a request at the end of a queue, or of the line of those that wait for a replica."""
    environment, place, finish = state.environments[b], r, np.inf
    if r == NOWHERE:
        place = state.replicas.shape[1] - 1
        environment.waiting += 1
    replica = state.replicas[b, place]
    if r != NOWHERE:
        finish = max(environment.now, replica.busy_until) + requirement * state.seconds[b, r, k]
        replica.busy_until = finish
        replica.work += state.seconds[b, r, k]
    queued = state.rings[b, place, (replica.head + replica.queue) & (state.rings.shape[2] - 1)]
    queued.finish, queued.arrival, queued.requirement = finish, arrival, requirement
    queued.number, queued.type = number, k
    replica.queue += 1
    if replica.queue == state.rings.shape[2]:
        environment.full = True
    if number < state.tables.shape[1]:
        state.tables[b, number].replica = r
