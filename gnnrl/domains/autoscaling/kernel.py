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

__all__ = ["LANES", "MAX_PHASES", "advance_block"]

Floats = NDArray[np.float32]

MAX_PHASES = 8
"""Visits in a row to one service are followed in at most this many phases, so that an overload delays the later ones."""

# columns of `service` [row, column, lane]: constants, state, sums since the last scrape
RATE, TIMEOUT, FATAL, PODS, TABLE_ROW = 0, 1, 2, 3, 4
FREE, CALLS, DEMAND, AGE, VARIANCE, GIVE_UP, MISFIT = 5, 6, 7, 8, 9, 10, 11
DONE, ARRIVED, LOAD, SOJOURN_SQUARED, LOST = 12, 13, 14, 15, 16
SERVICE_COLUMNS = 17
# columns of `element` [row, class, column, lane]
PROBABILITY, VISITS, SPREAD, NATURAL, TOGETHER = 0, 1, 2, 3, 4
ELEMENT_COLUMNS = 5
# columns of `phase` [row, class, phase, column, lane]: constants, state
SHARE, REMAINING, CONTINUE, REQUESTS, AGES, AGES_SQUARED = 0, 1, 2, 3, 4, 5
PHASE_COLUMNS = 6
# columns of `klass` [class, column, lane]: constants, state, sums (seconds under the SLO on average, then the others)
WEIGHT, BASE, LAST_MEAN, LAST_SQUARE, FLOW, LATENCY, LATENCY_SQUARED = 0, 1, 2, 3, 4, 5, 6
SLOW = 3
CLASS_COLUMNS = 10
# columns of `mesh` [column, lane]
SLO, CLOSED, MEAN_LATENCY, SECONDS, EXTERNAL, FAILED, VIOLATING = 0, 1, 2, 3, 4, 5, 6
MESH_COLUMNS = 7
# rows of the scratch arrays: [row, lane], and [class, row, lane]
RATE_ON, RATE_LOST, RATE_DONE, FAST, COMMON, WAIT, EXPIRED, BEFORE, FORESEEN = 0, 1, 2, 3, 4, 5, 6, 7, 8
SCRATCH_ROWS = 9
PASSING, PASSING_AGE, PASSING_AGE_SQUARED, TOGETHER_SUM, TOGETHER_SQUARES = 0, 1, 2, 3, 4
PASSING_ROWS = 5

OLD_SHARE = 0.25
"""Weight of the tick's beginning in how many requests grow older during it. With 0 the ages of a growing backlog come out too high, with
0.5 those of requests that pass many phases in a tick come out too low."""
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


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
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
    """Advance one block by one tick; `arriving` [1, lane] is requests/s, or users where `mesh[CLOSED]` is 1.

    `n_phases` [row, class] is the largest of the block, 0 where no mesh of it has the class visit the row.
    """
    scratch = np.empty((SCRATCH_ROWS, LANES), np.float32)
    passing = np.empty((n_classes, PASSING_ROWS, LANES), np.float32)
    given = load(arriving, 0)
    closed = given * REQUESTS_PER_TASK / (load(mesh, MEAN_LATENCY) + THINK_SECONDS)
    rps = select(load(mesh, CLOSED) > 0.5, closed, given)
    store(mesh, SECONDS, load(mesh, SECONDS) + 1.0)
    store(mesh, EXTERNAL, load(mesh, EXTERNAL) + rps)
    for c in range(n_classes):
        store(passing, PASSING_ROWS * c + PASSING, rps * load(klass[c], WEIGHT))
        store(passing, PASSING_ROWS * c + PASSING_AGE, splat(0.0))
        store(passing, PASSING_ROWS * c + PASSING_AGE_SQUARED, splat(0.0))
        store(passing, PASSING_ROWS * c + TOGETHER_SUM, splat(0.0))
        store(passing, PASSING_ROWS * c + TOGETHER_SQUARES, splat(0.0))
    failed = splat(0.0)
    for r in range(n_rows):
        _expire(service[r], phase[r], scratch, tables[2], n_phases[r, :n_classes], request_timeout)
        failed += load(scratch, EXPIRED)
        _find_rates(service[r], element[r], passing, scratch, tables[0], n_phases[r, :n_classes])
        failed += _move(service[r], element[r], phase[r], passing, scratch, n_phases[r, :n_classes])
    _leave(klass, mesh, passing, tables[1], n_classes, failed)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _expire(
    sv: Floats, phase: Floats, scratch: Floats, expiry: Floats, n_phases: NDArray[np.int32], request_timeout: float
) -> None:
    """Give up the requests that have waited for the whole request timeout.

    Their share of a phase in this second follows from the mean and the variance of its ages (`queueing.expiry_table`).
    """
    calls, age = load(sv, CALLS), load(sv, AGE)
    store(scratch, EXPIRED, splat(0.0))
    store(scratch, BEFORE, calls)
    old = age > calls * (YOUNG * request_timeout) + 1e-3
    if not any_lane(old):
        return
    means, spreads = float(expiry.shape[0]), float(expiry.shape[1])
    per_timeout = 1.0 / request_timeout
    total, demand = splat(0.0), splat(0.0)
    for c in range(len(n_phases)):
        for ph in range(n_phases[c]):
            ps = phase[c, ph]
            requests, ages, squares = load(ps, REQUESTS), load(ps, AGES), load(ps, AGES_SQUARED)
            scale = per_timeout / (requests + 1e-9)
            mean = minimum(maximum(ages * scale, 0.0), 0.999)
            spread = (squares * scale * per_timeout - mean * mean) / (mean * (1.0 - mean) + 1e-6)
            m, v = mean * means, minimum(maximum(spread, 0.0), 0.999) * spreads
            i, j = as_float(truncate(m)), as_float(truncate(v))
            cell = truncate(i * spreads + j)
            low = gather(expiry, cell, 4, 0) + gather(expiry, cell, 4, 1) * (v - j)
            share = low + (gather(expiry, cell, 4, 2) + gather(expiry, cell, 4, 3) * (v - j)) * (m - i)
            gone = select(old, share * requests, 0.0)
            total += gone
            demand += gone * load(ps, REMAINING)
            store(ps, REQUESTS, requests - gone)
            left, left_square = ages - gone * request_timeout, squares - gone * (request_timeout * request_timeout)
            store(ps, AGES, select(old, maximum(left, 0.0), ages))
            store(ps, AGES_SQUARED, select(old, maximum(left_square, 0.0), squares))
    share = total / (calls + 1e-9)
    store(sv, CALLS, calls - total)
    store(sv, DEMAND, maximum(load(sv, DEMAND) - demand, 0.0))
    # What leaves at one end takes its share of the fluctuation with it.
    store(sv, VARIANCE, load(sv, VARIANCE) / (1.0 + 4.0 * share))
    store(scratch, EXPIRED, total)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _find_rates(
    sv: Floats, element: Floats, passing: Floats, scratch: Floats, pods_table: Floats, n_phases: NDArray[np.int32]
) -> None:
    """The rates at which calls of this service end in this tick, and the law of their sojourn."""
    points = float(pods_table.shape[1])
    entering, demand = splat(0.0), splat(0.0)
    for c in range(len(n_phases)):
        if n_phases[c] == 0:
            continue
        share = load(element[c], PROBABILITY) * load(passing, PASSING_ROWS * c + PASSING)
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
    z = load(sv, MISFIT) * total / maximum(served, 1e-6)
    beta = rate * per_visit
    e = 1.0 + give_up * per_visit
    row = load(sv, TABLE_ROW) * points
    p = load(sv, FREE)
    for _ in range(2):
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
            if sv[TIMEOUT, i] < LONGEST:
                ratio = min(scratch[RATE_DONE, i] * sv[TIMEOUT, i], np.float32(80.0))
                relative = ratio / (math.exp(ratio) - np.float32(1.0)) if ratio > np.float32(1e-3) else np.float32(1.0)
                renege = relative / sv[TIMEOUT, i]
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
    # Where no call ends, the wait has no meaning; a bound keeps its square from drowning everything else.
    store(scratch, WAIT, 1.0 / maximum(on, 0.01))
    store(scratch, FORESEEN, total / (1.0 + (done + give_up) * per_visit))


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _move(
    sv: Floats, element: Floats, phase: Floats, passing: Floats, scratch: Floats, n_phases: NDArray[np.int32]
) -> Any:
    """Move the requests of every class through their visits to this service; returns how many fail there."""
    on, lost = load(scratch, RATE_ON), load(scratch, RATE_LOST)
    fast, common, wait = load(scratch, FAST), load(scratch, COMMON), load(scratch, WAIT)
    wait_squared = wait * wait
    calls, demand, age = splat(0.0), splat(0.0), splat(0.0)
    for c in range(len(n_phases)):
        if n_phases[c] == 0:
            continue
        flow, flow_age = load(passing, PASSING_ROWS * c + PASSING), load(passing, PASSING_ROWS * c + PASSING_AGE)
        flow_square = load(passing, PASSING_ROWS * c + PASSING_AGE_SQUARED)
        probability = load(element[c], PROBABILITY)
        enter, enter_age, enter_square = probability * flow, probability * flow_age, probability * flow_square
        first, first_age, first_square = enter, enter_age, enter_square
        flow -= enter
        flow_age -= enter_age
        flow_square -= enter_square
        leave, leave_age, leave_square = splat(0.0), splat(0.0), splat(0.0)
        for ph in range(n_phases[c]):
            ps = phase[c, ph]
            share = load(ps, SHARE)
            scale = 1.0 / (share * (1.0 + lost) + on + 1e-20)
            hold, go = share * scale, on * scale
            waiting, waiting_age = load(ps, REQUESTS), load(ps, AGES)
            requests = waiting + enter
            held = requests * hold
            ages = waiting_age + enter_age + OLD_SHARE * waiting + (1.0 - OLD_SHARE) * held
            held_age = ages * hold
            squares = (
                load(ps, AGES_SQUARED) + enter_square + 2.0 * (OLD_SHARE * waiting_age + (1.0 - OLD_SHARE) * held_age)
            )
            held_square = squares * hold
            store(ps, REQUESTS, held)
            store(ps, AGES, held_age)
            store(ps, AGES_SQUARED, held_square)
            enter, enter_age, enter_square = requests * go, ages * go, squares * go
            calls += held
            age += held_age
            demand += held * load(ps, REMAINING)
            going_on = load(ps, CONTINUE)
            leave += (1.0 - going_on) * enter
            leave_age += (1.0 - going_on) * enter_age
            leave_square += (1.0 - going_on) * enter_square
            enter *= going_on
            enter_age *= going_on
            enter_square *= going_on
        visits, natural = load(element[c], VISITS), load(element[c], NATURAL)
        wanted = visits * fast + load(element[c], SPREAD) + visits * visits * common
        corrected = leave_square + leave * wait_squared * (wanted - natural)
        if n_phases[c] == phase.shape[1]:
            corrected = _rescaled(
                corrected, visits, wanted / natural, first, first_age, first_square, leave, leave_age, leave_square
            )
        store(passing, PASSING_ROWS * c + PASSING, flow + leave)
        store(passing, PASSING_ROWS * c + PASSING_AGE, flow_age + leave_age)
        store(passing, PASSING_ROWS * c + PASSING_AGE_SQUARED, flow_square + corrected)
        together = load(element[c], TOGETHER) * wait
        row = PASSING_ROWS * c + TOGETHER_SUM
        store(passing, row, load(passing, row) + together)
        store(passing, row + 1, load(passing, row + 1) + together * together)
    store(sv, CALLS, calls)
    store(sv, DEMAND, demand)
    store(sv, AGE, age)
    misfit = calls / (load(scratch, FORESEEN) + 1e-9)
    store(sv, MISFIT, select(calls > 1e-6, minimum(maximum(misfit, 0.25), 4.0), 1.0))
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


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _rescaled(
    corrected: Any, visits: Any, ratio: Any, first: Any, first_age: Any, first_square: Any, leave: Any, leave_age: Any,
    leave_square: Any,
) -> Any:  # fmt: skip
    """Sum of squared ages where visits are lumped into fewer phases: what the stage adds to the variance is scaled instead.

    An additive correction would be that of the present wait, which in an overload is much longer than it was.
    """
    per_entry, per_exit = 1.0 / (first + 1e-9), 1.0 / (leave + 1e-9)
    mean_in, mean_out = first_age * per_entry, leave_age * per_exit
    variance_in = maximum(first_square * per_entry - mean_in * mean_in, 0.0)
    added = leave_square * per_exit - mean_out * mean_out - variance_in
    scaled = leave * (mean_out * mean_out + variance_in + added * ratio)
    return select(visits > MAX_PHASES + 0.01, select(added > 0.0, scaled, leave_square), corrected)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _leave(klass: Floats, mesh: Floats, passing: Floats, tail_table: Floats, n_classes: int, failed: Any) -> None:
    """Latencies of the requests that leave in this tick, and whether it violates the SLO."""
    slo = load(mesh, SLO)
    total, latency, exceeding = splat(0.0), splat(0.0), splat(0.0)
    for c in range(n_classes):
        flow = maximum(load(passing, PASSING_ROWS * c + PASSING), 0.0)
        some = flow > 1e-6
        per_request = 1.0 / maximum(flow, 1e-6)
        last_mean, last_square = load(klass[c], LAST_MEAN), load(klass[c], LAST_SQUARE)
        mean = select(some, load(passing, PASSING_ROWS * c + PASSING_AGE) * per_request + 1e-6, last_mean)
        # Twice the covariances of the times at different services: the square of the sum less the squares.
        together = load(passing, PASSING_ROWS * c + TOGETHER_SUM)
        shared = maximum(together * together - load(passing, PASSING_ROWS * c + TOGETHER_SQUARES), 0.0)
        square = load(passing, PASSING_ROWS * c + PASSING_AGE_SQUARED) * per_request + shared
        square = select(some, square, last_square)
        # The ages are those at the end of the tick; what leaves in it is as old as in its middle.
        known = last_mean > 0.0
        store(klass[c], LAST_MEAN, mean)
        store(klass[c], LAST_SQUARE, square)
        mean = select(known, 0.5 * (mean + last_mean), mean)
        square = select(known, 0.5 * (square + last_square), square)
        base = load(klass[c], BASE)
        total += flow
        latency += flow * (mean + base)
        spread = maximum(square / (mean * mean + 1e-12) - 1.0, 0.0)
        exceeding += flow * _tail(tail_table, maximum(slo - base, 0.0) / (mean + 1e-6), spread)
        store(passing, PASSING_ROWS * c + PASSING, flow)
        store(passing, PASSING_ROWS * c + PASSING_AGE, flow * mean)
        store(passing, PASSING_ROWS * c + PASSING_AGE_SQUARED, flow * square)
    some = total > 1e-6
    average = latency / (total + 1e-9)
    is_slow = select(average > slo, 1.0, 0.0)
    for c in range(n_classes):
        for k in range(3):
            value = load(passing, PASSING_ROWS * c + k)
            store(klass[c], FLOW + k, load(klass[c], FLOW + k) + value * (1.0 - is_slow))
            store(klass[c], FLOW + SLOW + k, load(klass[c], FLOW + SLOW + k) + value * is_slow)
    store(mesh, MEAN_LATENCY, select(some, average, load(mesh, MEAN_LATENCY)))
    store(mesh, FAILED, load(mesh, FAILED) + failed)
    finished = total + failed
    excess = maximum(exceeding - EXCEEDING_SHARE * finished, failed - FAILING_SHARE * finished)
    violating = select(finished > 1e-6, select(excess > 0.0, 1.0, 0.0), 0.0)
    store(mesh, VIOLATING, load(mesh, VIOLATING) + violating)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
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
