"""The tick: flows, backlogs and ages of the requests of a block of meshes, one second at a time.

State is float32 with the environments of a block (`LANES` of them) innermost, so that every statement below is one vector operation.
Rows are services in the order in which a request first meets them. See `physics.py` for the model.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["LANES", "advance_block"]

Floats = NDArray[np.float32]

LANES = 16

# columns of `service` [row, column, lane]
RATE, TIMEOUT, FATAL, PODS, TABLE_ROW = 0, 1, 2, 3, 4
FREE, CALLS, DEMAND, AGE, VARIANCE, GIVE_UP = 5, 6, 7, 8, 9, 10
DONE, ARRIVED, LOAD, SOJOURN, SOJOURN_SQUARED, LOST = 11, 12, 13, 14, 15, 16
SERVICE_COLUMNS = 17
# columns of `element` [row, class, column, lane]
PROBABILITY, VISITS, SPREAD, PER_PHASE = 0, 1, 2, 3
ELEMENT_COLUMNS = 4
# columns of `phase` [row, class, phase, column, lane]
SHARE, REMAINING, REQUESTS, AGES, AGES_SQUARED = 0, 1, 2, 3, 4
PHASE_COLUMNS = 5
# columns of `klass` [class, column, lane]
WEIGHT, BASE, FLOW, LATENCY, LATENCY_SQUARED = 0, 1, 2, 3, 4
CLASS_COLUMNS = 5
# columns of `mesh` [column, lane]
SLO, CLOSED, MEAN_LATENCY, SECONDS, EXTERNAL, FAILED, VIOLATING = 0, 1, 2, 3, 4, 5, 6
MESH_COLUMNS = 7

NO_POD_RATE = 1e4
TINY = 1e-12
EXCEEDING_SHARE = 0.05
FAILING_SHARE = 0.01
THINK_SECONDS = 5.5
REQUESTS_PER_TASK = 1.472


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def advance_block(
    service: Floats,
    element: Floats,
    phase: Floats,
    klass: Floats,
    mesh: Floats,
    pods_table: Floats,
    tail_table: Floats,
    load: Floats,
    n_rows: int,
    n_classes: int,
    n_phases: NDArray[np.int32],
    request_timeout: float,
) -> None:
    """Advance one block by one tick; `load` [lane] is requests/s, or users where `mesh[CLOSED]` is 1."""
    points = pods_table.shape[1] - 1
    flow = np.zeros((n_classes, LANES), np.float32)
    age = np.zeros((n_classes, LANES), np.float32)
    age2 = np.zeros((n_classes, LANES), np.float32)
    rate_on = np.empty(LANES, np.float32)
    rate_lost = np.empty(LANES, np.float32)
    fast = np.empty(LANES, np.float32)
    slow = np.empty(LANES, np.float32)
    wait2 = np.empty(LANES, np.float32)
    kappas = np.empty(LANES, np.float32)
    for i in range(LANES):
        rps = load[i]
        if mesh[CLOSED, i] > 0:
            rps = np.float32(REQUESTS_PER_TASK) * rps / (np.float32(THINK_SECONDS) + mesh[MEAN_LATENCY, i])
        mesh[SECONDS, i] += np.float32(1.0)
        mesh[EXTERNAL, i] += rps
        for c in range(n_classes):
            flow[c, i] = rps * klass[c, WEIGHT, i]
    failed = np.zeros(LANES, np.float32)
    for r in range(n_rows):
        sv = service[r]
        for i in range(LANES):
            entering = np.float32(0.0)
            demand = np.float32(0.0)
            for c in range(n_classes):
                share = element[r, c, PROBABILITY, i] * flow[c, i]
                entering += share
                demand += share * element[r, c, VISITS, i]
            total = sv[CALLS, i] + entering
            mean_visits = (sv[DEMAND, i] + demand + np.float32(TINY)) / (total + np.float32(TINY))
            n = sv[PODS, i]
            give_up = sv[GIVE_UP, i]
            if n < np.float32(0.5):
                n = np.float32(1e-6)
                give_up = np.float32(NO_POD_RATE)
            z = total / n
            beta = sv[RATE, i] / mean_visits
            e_factor = np.float32(1.0) + give_up / mean_visits
            p = sv[FREE, i]
            row = int(sv[TABLE_ROW, i])
            for _ in range(3):
                q = np.float32(1.0) - p
                u = q * np.float32(points)
                k = min(int(u), points - 1)
                left = pods_table[row, k, 0]
                step = pods_table[row, k + 1, 0] - left
                e = left + step * (u - np.float32(k))
                gain = q * e
                slope = e + q * step * np.float32(points)
                b = z + e_factor - beta * (gain + slope * p)
                a4 = np.float32(4.0) * beta * slope * e_factor
                root = math.sqrt(b * b + a4)
                if b > 0:
                    p = np.float32(2.0) * e_factor / (b + root)
                else:
                    p = (root - b) / (np.float32(2.0) * beta * slope)
                p = min(max(p, np.float32(1e-7)), np.float32(1.0))
            sv[FREE, i] = p
            q = np.float32(1.0) - p
            u = q * np.float32(points)
            k = min(int(u), points - 1)
            part = u - np.float32(k)
            left = pods_table[row, k, 0]
            step = pods_table[row, k + 1, 0] - left
            e = left + step * part
            slope = e + q * step * np.float32(points)
            kappa = sv[RATE, i] * p * e
            if sv[PODS, i] < np.float32(0.5):
                kappa = np.float32(0.0)
            elif sv[TIMEOUT, i] < np.float32(1e6):
                w = min(kappa * sv[TIMEOUT, i], np.float32(80.0))
                give_up = np.float32(0.5) * (give_up + kappa / (math.exp(w) - np.float32(1.0) + np.float32(TINY)))
                sv[GIVE_UP, i] = give_up
            kappas[i] = kappa
            # Fluctuation of the number of calls: a linear noise approximation, stationary where dD/dL > 0.
            drain = sv[RATE, i] * slope * p * p
            served = kappa * sv[CALLS, i]
            variance = (sv[VARIANCE, i] + np.float32(2.0) * served / mean_visits) / (
                np.float32(1.0) + np.float32(2.0) * drain / mean_visits
            )
            sv[VARIANCE, i] = variance
            ratio = min(variance * drain / (served + np.float32(1e-6)), np.float32(2.0))
            slow[i] = (pods_table[row, k, 2] + (pods_table[row, k + 1, 2] - pods_table[row, k, 2]) * part) * ratio
            fast[i] = (pods_table[row, k, 1] + (pods_table[row, k + 1, 1] - pods_table[row, k, 1]) * part) * (
                np.float32(1.0) + slow[i]
            )
            out = kappa + (np.float32(1.0) - sv[FATAL, i]) * give_up
            rate_on[i] = out
            rate_lost[i] = sv[FATAL, i] * give_up
            wait2[i] = np.float32(1.0) / (out * out + np.float32(TINY))
            # Requests that have waited for the whole request timeout are given up.
            expired = np.float32(0.0)
            if sv[AGE, i] > np.float32(0.08 * request_timeout) * sv[CALLS, i]:
                expired = _expiring(sv[AGE, i] / (sv[CALLS, i] + np.float32(TINY)) / np.float32(request_timeout))
                expired = min(expired / np.float32(request_timeout), np.float32(0.9))
            if expired > 0:
                for c in range(n_classes):
                    for ph in range(n_phases[r]):
                        gone = expired * phase[r, c, ph, REQUESTS, i]
                        failed[i] += gone
                        sv[LOST, i] += gone
                        phase[r, c, ph, REQUESTS, i] -= gone
                        phase[r, c, ph, AGES, i] = max(
                            phase[r, c, ph, AGES, i] - gone * np.float32(request_timeout), np.float32(0.0)
                        )
                        phase[r, c, ph, AGES_SQUARED, i] = max(
                            phase[r, c, ph, AGES_SQUARED, i] - gone * np.float32(request_timeout * request_timeout),
                            np.float32(0.0),
                        )
        before = sv[CALLS].copy()
        for i in range(LANES):
            sv[CALLS, i] = 0.0
            sv[DEMAND, i] = 0.0
            sv[AGE, i] = 0.0
        for c in range(n_classes):
            el = element[r, c]
            for i in range(LANES):
                v = el[PROBABILITY, i]
                enter = v * flow[c, i]
                enter_age = v * age[c, i]
                enter_age2 = v * age2[c, i]
                flow[c, i] -= enter
                age[c, i] -= enter_age
                age2[c, i] -= enter_age2
                on = rate_on[i]
                lost_rate = rate_lost[i]
                for ph in range(n_phases[r]):
                    share = phase[r, c, ph, SHARE, i]
                    h = share / (share + on + share * lost_rate + np.float32(1e-20))
                    x = phase[r, c, ph, REQUESTS, i] + enter
                    y = x * h
                    a = phase[r, c, ph, AGES, i] + enter_age + y
                    a_new = a * h
                    b2 = phase[r, c, ph, AGES_SQUARED, i] + enter_age2 + np.float32(2.0) * a_new
                    b_new = b2 * h
                    phase[r, c, ph, REQUESTS, i] = y
                    phase[r, c, ph, AGES, i] = a_new
                    phase[r, c, ph, AGES_SQUARED, i] = b_new
                    lost = lost_rate * y
                    failed[i] += lost
                    enter = x - y - lost
                    enter_age = a - a_new - lost_rate * a_new
                    enter_age2 = b2 - b_new - lost_rate * b_new
                    sv[CALLS, i] += y
                    sv[AGE, i] += a_new
                    sv[DEMAND, i] += y * phase[r, c, ph, REMAINING, i]
                m = el[VISITS, i]
                excess = m * fast[i] + el[SPREAD, i] + m * m * (slow[i] - el[PER_PHASE, i])
                flow[c, i] += enter
                age[c, i] += enter_age
                age2[c, i] += enter_age2 + enter * wait2[i] * excess
        for i in range(LANES):
            calls = sv[CALLS, i]
            done = kappas[i] * calls
            lost = (rate_lost[i] + rate_on[i] - kappas[i]) * calls
            sv[DONE, i] += done
            sv[LOST, i] += lost
            sv[ARRIVED, i] += max(done + lost + calls - before[i], np.float32(0.0))
            sv[LOAD, i] += calls
            sv[SOJOURN, i] += calls
            sv[SOJOURN_SQUARED, i] += (done + lost) * wait2[i] * (np.float32(1.0) + fast[i] + slow[i])
    for i in range(LANES):
        total = np.float32(0.0)
        exceeding = np.float32(0.0)
        latency = np.float32(0.0)
        for c in range(n_classes):
            f = max(flow[c, i], np.float32(0.0))
            klass[c, FLOW, i] += f
            klass[c, LATENCY, i] += age[c, i]
            klass[c, LATENCY_SQUARED, i] += age2[c, i]
            mean = age[c, i] / (f + np.float32(1e-9)) + np.float32(1e-6)
            square = age2[c, i] / (f + np.float32(1e-9))
            spread = max(square / (mean * mean) - np.float32(1.0), np.float32(0.0))
            total += f
            latency += f * (mean + klass[c, BASE, i])
            exceeding += f * tail(tail_table, (mesh[SLO, i] - klass[c, BASE, i]) / mean, spread)
        if total > np.float32(1e-6):
            mesh[MEAN_LATENCY, i] = latency / total
        mesh[FAILED, i] += failed[i]
        if exceeding > np.float32(EXCEEDING_SHARE) * (total + failed[i]) or failed[i] > np.float32(FAILING_SHARE) * (
            total + failed[i]
        ):
            mesh[VIOLATING, i] += np.float32(1.0)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy", inline="always")
def tail(table: Floats, x: float, spread: float) -> float:
    """P(X > x) of a gamma variable of mean 1 and squared coefficient of variation `spread`, bilinear in the table."""
    rows, columns = table.shape[0] - 1, table.shape[1] - 1
    x = max(x, np.float32(0.0))
    h = spread / (np.float32(1.0) + spread) * np.float32(rows)
    y = x / (np.float32(1.0) + x) * np.float32(columns)
    i = min(int(h), rows - 1)
    j = min(int(y), columns - 1)
    h -= np.float32(i)
    y -= np.float32(j)
    low = table[i, j] + (table[i, j + 1] - table[i, j]) * y
    high = table[i + 1, j] + (table[i + 1, j + 1] - table[i + 1, j]) * y
    return low + (high - low) * h


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _expiring(mean_share: float) -> float:
    """Density at 1 of an exponential law truncated to [0, 1] with this mean (rate of expiry times the timeout)."""
    if mean_share >= 0.98:
        return np.float32(50.0)
    low, high = -60.0, 60.0
    for _ in range(30):
        k = 0.5 * (low + high)
        mean = 0.5 if abs(k) < 1e-6 else 1.0 / k - 1.0 / (math.exp(k) - 1.0)
        if mean > mean_share:
            low = k
        else:
            high = k
    return np.float32(1.0 if abs(k) < 1e-6 else k / (math.exp(k) - 1.0))
