"""The tick: flows, backlogs and ages of the requests of a block of meshes, one second at a time.

The environments of a block stand innermost, `LANES` of them, and every statement below computes all at once (`lanes.py`). Rows are
services in the order in which a request first meets them. See `physics.py` for the model.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

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
    square_root,
    store,
    truncate,
)

__all__ = ["LANES", "advance_block"]

Floats = NDArray[np.float32]

# columns of `service` [row, column, lane]: constants, state, sums since the last scrape
RATE, TIMEOUT, FATAL, PODS, TABLE_ROW = 0, 1, 2, 3, 4
FREE, CALLS, DEMAND, AGE, VARIANCE, GIVE_UP = 5, 6, 7, 8, 9, 10
DONE, ARRIVED, LOAD, SOJOURN_SQUARED, LOST = 11, 12, 13, 14, 15
SERVICE_COLUMNS = 16
# columns of `element` [row, class, column, lane]
PROBABILITY, VISITS, SPREAD, PER_PHASE = 0, 1, 2, 3
ELEMENT_COLUMNS = 4
# columns of `phase` [row, class, phase, column, lane]: constants, state
SHARE, REMAINING, REQUESTS, AGES, AGES_SQUARED = 0, 1, 2, 3, 4
PHASE_COLUMNS = 5
# columns of `klass` [class, column, lane]: constants, state, sums (seconds under the SLO on average, then the others)
WEIGHT, BASE, LAST_MEAN, LAST_SQUARE, FLOW, LATENCY, LATENCY_SQUARED = 0, 1, 2, 3, 4, 5, 6
SLOW = 3
CLASS_COLUMNS = 10
# columns of `mesh` [column, lane]
SLO, CLOSED, MEAN_LATENCY, SECONDS, EXTERNAL, FAILED, VIOLATING = 0, 1, 2, 3, 4, 5, 6
MESH_COLUMNS = 7
# rows of the scratch arrays: [row, lane], and [class, row, lane]
RATE_ON, RATE_LOST, RATE_DONE, FAST, COMMON, WAIT_SQUARED, EXPIRED, BEFORE = 0, 1, 2, 3, 4, 5, 6, 7
SCRATCH_ROWS = 8
PASSING, PASSING_AGE, PASSING_AGE_SQUARED = 0, 1, 2

NO_POD_RATE = 1e4
"""Calls to a service without ready pods fail at this rate, that is at once."""
LONGEST = 1e6
"""Timeouts above this many seconds are none."""
EXCEEDING_SHARE = 0.05
FAILING_SHARE = 0.01
THINK_SECONDS = 5.5
REQUESTS_PER_TASK = 1.472
YOUNG = 0.08
"""Below this mean age, in request timeouts, nothing is old enough to expire."""


@njit(cache=True, nogil=True, fastmath=True)
def advance_block(
    service: Floats,
    element: Floats,
    phase: Floats,
    klass: Floats,
    mesh: Floats,
    tables: tuple[Floats, Floats, Floats],
    arriving: Floats,
    n_rows: int,
    n_classes: int,
    n_phases: NDArray[np.int32],
    request_timeout: float,
) -> None:
    """Advance one block by one tick; `arriving` [1, lane] is requests/s, or users where `mesh[CLOSED]` is 1."""
    scratch = np.empty((SCRATCH_ROWS, LANES), np.float32)
    passing = np.empty((n_classes, 3, LANES), np.float32)
    given = load(arriving, 0)
    closed = given * REQUESTS_PER_TASK / (load(mesh, MEAN_LATENCY) + THINK_SECONDS)
    rps = select(load(mesh, CLOSED) > 0.5, closed, given)
    store(mesh, SECONDS, load(mesh, SECONDS) + 1.0)
    store(mesh, EXTERNAL, load(mesh, EXTERNAL) + rps)
    for c in range(n_classes):
        store(passing, 3 * c + PASSING, rps * load(klass[c], WEIGHT))
        store(passing, 3 * c + PASSING_AGE, splat(0.0))
        store(passing, 3 * c + PASSING_AGE_SQUARED, splat(0.0))
    failed = splat(0.0)
    for r in range(n_rows):
        _expire(service[r], phase[r], scratch, tables[2], n_classes, n_phases[r], request_timeout)
        failed += load(scratch, EXPIRED)
        _find_rates(service[r], element[r], passing, scratch, tables[0], n_classes)
        failed += _move(service[r], element[r], phase[r], passing, scratch, n_classes, n_phases[r])
    _leave(klass, mesh, passing, tables[1], n_classes, failed)


@njit(cache=True, nogil=True, fastmath=True)
def _expire(
    sv: Floats, phase: Floats, scratch: Floats, expiry: Floats, n_classes: int, n_phases: int, request_timeout: float
) -> None:
    """Give up the requests that have waited for the whole request timeout.

    Their share a second follows from the mean age: an exponential law truncated at the timeout is taken for the ages.
    """
    calls, age = load(sv, CALLS), load(sv, AGE)
    store(scratch, EXPIRED, splat(0.0))
    store(scratch, BEFORE, calls)
    if not any_lane(age > calls * (YOUNG * request_timeout) + 1e-3):
        return
    relative = maximum(minimum(age / (calls * request_timeout + 1e-9), 0.999), 0.0) * float(len(expiry) - 2)
    cell = truncate(relative)
    low = gather(expiry, cell, 1, 0)
    density = low + (gather(expiry, cell, 1, 1) - low) * (relative - as_float(cell))
    share = minimum(density / request_timeout, 0.9)
    total = splat(0.0)
    for c in range(n_classes):
        for ph in range(n_phases):
            ps = phase[c, ph]
            gone = share * load(ps, REQUESTS)
            total += gone
            store(ps, REQUESTS, load(ps, REQUESTS) - gone)
            store(ps, AGES, maximum(load(ps, AGES) - gone * request_timeout, 0.0))
            left = load(ps, AGES_SQUARED) - gone * (request_timeout * request_timeout)
            store(ps, AGES_SQUARED, maximum(left, 0.0))
    store(sv, CALLS, calls - total)
    store(sv, DEMAND, load(sv, DEMAND) * (1.0 - share))
    # What leaves at one end takes its share of the fluctuation with it.
    store(sv, VARIANCE, load(sv, VARIANCE) / (1.0 + 4.0 * share))
    store(scratch, EXPIRED, total)


@njit(cache=True, nogil=True, fastmath=True)
def _find_rates(sv: Floats, element: Floats, passing: Floats, scratch: Floats, pods_table: Floats, n_classes: int) -> None:
    """The rates at which calls of this service end in this tick, and the law of their sojourn."""
    points = float(pods_table.shape[1])
    entering, demand = splat(0.0), splat(0.0)
    for c in range(n_classes):
        share = load(element[c], PROBABILITY) * load(passing, 3 * c + PASSING)
        entering += share
        demand += share * load(element[c], VISITS)
    calls, rate = load(sv, CALLS), load(sv, RATE)
    total = calls + entering
    visits = (load(sv, DEMAND) + demand + 1e-12) / (total + 1e-12)
    per_visit = 1.0 / visits
    served = load(sv, PODS)
    alive = served > 0.5
    give_up = select(alive, load(sv, GIVE_UP), NO_POD_RATE)
    # With p = 1 / (1 + calls per pod), backward Euler reads (1 / p - 1) e + beta G(p) = z; G is made linear around the last p.
    z = total / maximum(served, 1e-6)
    beta = rate * per_visit
    e = 1.0 + give_up * per_visit
    row = load(sv, TABLE_ROW) * points
    p = load(sv, FREE)
    for _ in range(3):
        q = 1.0 - p
        u = q * points
        cell = truncate(minimum(u, points - 1.0))
        at = as_float(cell)
        index = truncate(row + at)
        step = gather(pods_table, index, 6, 1)
        efficiency = gather(pods_table, index, 6, 0) + step * (u - at)
        slope = efficiency + q * step * points
        b = z + e - beta * (q * efficiency + slope * p)
        bend = beta * slope
        root = square_root(b * b + 4.0 * bend * e)
        positive = b > 0.0
        p = select(positive, 2.0 * e, root - b) / select(positive, b + root, 2.0 * bend)
        p = minimum(maximum(p, 1e-7), 1.0)
    store(sv, FREE, p)
    q = 1.0 - p
    u = q * points
    cell = truncate(minimum(u, points - 1.0))
    at = as_float(cell)
    part = u - at
    index = truncate(row + at)
    step = gather(pods_table, index, 6, 1)
    efficiency = gather(pods_table, index, 6, 0) + step * part
    done = select(alive, rate * p * efficiency, 0.0)
    if any_lane(load(sv, TIMEOUT) < LONGEST):
        store(scratch, RATE_DONE, done)
        for i in range(LANES):
            ratio = min(scratch[RATE_DONE, i] * sv[TIMEOUT, i], np.float32(80.0))
            # e^x - 1 >= x, which rounds to 0 in float32 first: the bound keeps the limit 1 / timeout of small rates.
            grown = max(np.float32(math.exp(ratio)) - np.float32(1.0), ratio, np.float32(1e-20))
            renege = scratch[RATE_DONE, i] / grown
            sv[GIVE_UP, i] = np.float32(0.5) * (sv[GIVE_UP, i] + renege)
        give_up = select(alive, load(sv, GIVE_UP), NO_POD_RATE)
    # The fluctuation of the number of calls: linear noise, stationary at served / drain, spreading like a walk in an overload.
    drain = rate * (efficiency + q * step * points) * p * p
    flow = done * calls
    variance = (load(sv, VARIANCE) + 2.0 * flow * per_visit) / (1.0 + 2.0 * drain * per_visit)
    store(sv, VARIANCE, variance)
    settled = minimum(variance * drain / (flow + 1e-6), 2.0)
    common = (gather(pods_table, index, 6, 4) + gather(pods_table, index, 6, 5) * part) * settled
    fast = (gather(pods_table, index, 6, 2) + gather(pods_table, index, 6, 3) * part) * (1.0 + common)
    fatal = load(sv, FATAL)
    on = done + (1.0 - fatal) * give_up
    store(scratch, RATE_ON, on)
    store(scratch, RATE_LOST, fatal * give_up)
    store(scratch, RATE_DONE, done)
    store(scratch, FAST, fast)
    store(scratch, COMMON, common)
    store(scratch, WAIT_SQUARED, 1.0 / (on * on + 1e-12))


@njit(cache=True, nogil=True, fastmath=True)
def _move(
    sv: Floats, element: Floats, phase: Floats, passing: Floats, scratch: Floats, n_classes: int, n_phases: int
) -> Any:
    """Move the requests of every class through their visits to this service; returns how many fail there."""
    on, lost = load(scratch, RATE_ON), load(scratch, RATE_LOST)
    fast, common, wait_squared = load(scratch, FAST), load(scratch, COMMON), load(scratch, WAIT_SQUARED)
    calls, demand, age = splat(0.0), splat(0.0), splat(0.0)
    for c in range(n_classes):
        flow, flow_age = load(passing, 3 * c + PASSING), load(passing, 3 * c + PASSING_AGE)
        flow_square = load(passing, 3 * c + PASSING_AGE_SQUARED)
        probability = load(element[c], PROBABILITY)
        enter, enter_age, enter_square = probability * flow, probability * flow_age, probability * flow_square
        flow -= enter
        flow_age -= enter_age
        flow_square -= enter_square
        for ph in range(n_phases):
            ps = phase[c, ph]
            share = load(ps, SHARE)
            hold = share / (share * (1.0 + lost) + on + 1e-20)
            requests = load(ps, REQUESTS) + enter
            held = requests * hold
            ages = load(ps, AGES) + enter_age + held
            held_age = ages * hold
            squares = load(ps, AGES_SQUARED) + enter_square + 2.0 * held_age
            held_square = squares * hold
            store(ps, REQUESTS, held)
            store(ps, AGES, held_age)
            store(ps, AGES_SQUARED, held_square)
            enter = requests - held - lost * held
            enter_age = ages - held_age - lost * held_age
            enter_square = squares - held_square - lost * held_square
            calls += held
            age += held_age
            demand += held * load(ps, REMAINING)
        visits = load(element[c], VISITS)
        excess = visits * fast + load(element[c], SPREAD) + visits * visits * (common - load(element[c], PER_PHASE))
        store(passing, 3 * c + PASSING, flow + enter)
        store(passing, 3 * c + PASSING_AGE, flow_age + enter_age)
        store(passing, 3 * c + PASSING_AGE_SQUARED, flow_square + enter_square + enter * wait_squared * excess)
    store(sv, CALLS, calls)
    store(sv, DEMAND, demand)
    store(sv, AGE, age)
    before, expired = load(scratch, BEFORE), load(scratch, EXPIRED)
    rate_done = load(scratch, RATE_DONE)
    done = rate_done * calls
    given_up = (lost + on - rate_done) * calls
    store(sv, DONE, load(sv, DONE) + done)
    store(sv, LOST, load(sv, LOST) + given_up + expired)
    store(sv, ARRIVED, load(sv, ARRIVED) + maximum(done + given_up + expired + calls - before, 0.0))
    store(sv, LOAD, load(sv, LOAD) + 0.5 * (before + calls))
    store(sv, SOJOURN_SQUARED, load(sv, SOJOURN_SQUARED) + (done + given_up) * wait_squared * (1.0 + fast + common))
    return lost * calls


@njit(cache=True, nogil=True, fastmath=True)
def _leave(klass: Floats, mesh: Floats, passing: Floats, tail_table: Floats, n_classes: int, failed: Any) -> None:
    """Latencies of the requests that leave in this tick, and whether it violates the SLO."""
    slo = load(mesh, SLO)
    total, latency, exceeding = splat(0.0), splat(0.0), splat(0.0)
    for c in range(n_classes):
        flow = maximum(load(passing, 3 * c + PASSING), 0.0)
        per_request = 1.0 / (flow + 1e-9)
        mean = load(passing, 3 * c + PASSING_AGE) * per_request + 1e-6
        square = load(passing, 3 * c + PASSING_AGE_SQUARED) * per_request
        # The ages are those at the end of the tick; what leaves in it is as old as in its middle.
        last_mean, last_square = load(klass[c], LAST_MEAN), load(klass[c], LAST_SQUARE)
        known = last_mean > 0.0
        store(klass[c], LAST_MEAN, mean)
        store(klass[c], LAST_SQUARE, square)
        mean = select(known, 0.5 * (mean + last_mean), mean)
        square = select(known, 0.5 * (square + last_square), square)
        base = load(klass[c], BASE)
        total += flow
        latency += flow * (mean + base)
        spread = maximum(square / (mean * mean) - 1.0, 0.0)
        exceeding += flow * _tail(tail_table, maximum(slo - base, 0.0) / mean, spread)
        store(passing, 3 * c + PASSING, flow)
        store(passing, 3 * c + PASSING_AGE, flow * mean)
        store(passing, 3 * c + PASSING_AGE_SQUARED, flow * square)
    some = total > 1e-6
    average = latency / (total + 1e-9)
    is_slow = select(average > slo, 1.0, 0.0)
    for c in range(n_classes):
        for k in range(3):
            value = load(passing, 3 * c + k)
            store(klass[c], FLOW + k, load(klass[c], FLOW + k) + value * (1.0 - is_slow))
            store(klass[c], FLOW + SLOW + k, load(klass[c], FLOW + SLOW + k) + value * is_slow)
    store(mesh, MEAN_LATENCY, select(some, average, load(mesh, MEAN_LATENCY)))
    store(mesh, FAILED, load(mesh, FAILED) + failed)
    finished = total + failed
    excess = maximum(exceeding - EXCEEDING_SHARE * finished, failed - FAILING_SHARE * finished)
    violating = select(finished > 1e-6, select(excess > 0.0, 1.0, 0.0), 0.0)
    store(mesh, VIOLATING, load(mesh, VIOLATING) + violating)


@njit(cache=True, nogil=True, fastmath=True, inline="always")
def _tail(table: Floats, x: Any, spread: Any) -> Any:
    """P(X > x) of a gamma variable of mean 1 and this squared coefficient of variation; `table` [h, y, 4] of bilinear cells."""
    rows, columns = float(table.shape[0]), float(table.shape[1])
    h = minimum(spread / (1.0 + spread), 0.9999) * rows
    y = minimum(x / (1.0 + x), 0.9999) * columns
    i, j = as_float(truncate(h)), as_float(truncate(y))
    cell = truncate(i * columns + j)
    h -= i
    y -= j
    low = gather(table, cell, 4, 0) + gather(table, cell, 4, 1) * y
    return low + (gather(table, cell, 4, 2) + gather(table, cell, 4, 3) * y) * h
