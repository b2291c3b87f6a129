"""The routers' rules, compiled: which replica a request goes to. `baselines.py` names and explains them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.borrowing import borrow, borrow_timing
from gnnrl.domains.llm_routing.calibration import Timing
from gnnrl.domains.llm_routing.compilation import inner
from gnnrl.domains.llm_routing.events import assign, can_take, next_decision, write_report

__all__ = ["choose", "choose_all", "play"]

Floats = NDArray[np.float64]

(
    RANDOM, ROUND_ROBIN, WEIGHTED_ROUND_ROBIN, LEAST_OUTSTANDING, VIDUR_LOR, JSQ, POWER_OF_TWO, LEAST_PREFILL, SPEED_OUTSTANDING,
    SPEED_PREFILL, MULTIPLICATIVE, PACED_MULTIPLICATIVE, KNOWN_LENGTH,
) = range(13)  # fmt: skip

OUTSIDE = -1
"""Not a router: decisions come from outside."""
SHARING_DECODES = 32
"""The known-length router counts a decoded token's share of the linear layers as in a batch of this many."""


@inner
def _random(s: c.Cluster, b: int) -> np.uint64:
    """64 random bits of cluster `b`'s own generator (splitmix64; Steele, Lea and Flood 2014)."""
    s.random[b] += np.uint64(0x9E3779B97F4A7C15)
    z = s.random[b]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@inner
def _below(s: c.Cluster, b: int, n: int) -> int:
    """A random whole number in 0..n-1."""
    return np.int64((_random(s, b) >> np.uint64(32)) * np.uint64(n) >> np.uint64(32))  # type: ignore[return-value]


@inner
def _work_seconds(s: c.Cluster, rules: c.Rules, timing: Timing, b: int, i: int) -> float:
    """Device time that request `i` still needs at time factor 1: its chunks, and its share of the iterations that decode it."""
    row = s.request[b, i]
    prefill = max(row[c.TARGET] - row[c.PROCESSED], 0)
    decode = row[c.TOTAL] - max(row[c.TARGET], row[c.PROCESSED])
    kept = (row[c.TOTAL] + max(row[c.TARGET], row[c.PROCESSED])) / 2.0
    full = min(rules.chunk_tokens, timing.linear.shape[0] - 1)
    token = timing.linear[full] / full
    share = timing.linear[SHARING_DECODES] / SHARING_DECODES
    return prefill * token + decode * (share + timing.decode[1] + timing.decode[2] * kept)


@inner
def _outstanding_seconds(s: c.Cluster, rules: c.Rules, timing: Timing, b: int, r: int) -> float:
    """Device time that everything at replica `r` still needs, at time factor 1."""
    seconds = 0.0
    for k in range(s.replica[b, r, c.RESIDENTS]):
        seconds += _work_seconds(s, rules, timing, b, s.resident[b, r, k])
    i = s.replica[b, r, c.HEAD]
    while i != c.NOBODY:
        seconds += _work_seconds(s, rules, timing, b, i)
        i = np.int64(s.request[b, i, c.NEXT])
    return seconds


@inner
def _usual_pace(s: c.Cluster, b: int) -> float:
    """Resident-seconds a token given out, over all replicas that are up; 1 before there is any."""
    seconds, tokens = 0.0, 0.0
    for r in range(s.cluster[b, c.N_REPLICAS]):
        if s.replica[b, r, c.STATE] == c.UP:
            seconds += s.report[b, r, c.RESIDENT_SECONDS_TOLD]
            tokens += s.report[b, r, c.GENERATED_TOKENS]
    return seconds / tokens if tokens > 0.0 else 1.0


@inner
def _pace(report: Floats, usual: float) -> float:
    """Resident-seconds a token given out, of one replica as it reports itself; the usual pace counts as one token more, so that a replica
    that has just joined is taken to be like the others."""
    return (report[c.RESIDENT_SECONDS_TOLD] + usual) / (report[c.GENERATED_TOKENS] + 1.0)


@inner
def _score(s: c.Cluster, rules: c.Rules, timing: Timing, b: int, r: int, router: int, usual: float) -> float:
    """What the router makes small."""
    replica, report = s.replica[b, r], s.report[b, r]
    factor = s.clock[b, r, c.TIME_FACTOR]
    prompt = s.request[b, s.cluster[b, c.PENDING], c.TARGET]
    if router in (LEAST_OUTSTANDING, POWER_OF_TWO):
        return float(replica[c.OUTSTANDING])
    if router in (VIDUR_LOR, JSQ):
        return report[c.QUEUE_LENGTH]
    if router == LEAST_PREFILL:
        return report[c.PENDING_PREFILL_TOKENS]
    if router == SPEED_OUTSTANDING:
        return (replica[c.OUTSTANDING] + 1) * factor
    if router == SPEED_PREFILL:
        return (report[c.PENDING_PREFILL_TOKENS] + prompt) * factor
    if router == MULTIPLICATIVE:
        return (report[c.PENDING_PREFILL_TOKENS] + prompt) * (replica[c.OUTSTANDING] + 1)
    if router == PACED_MULTIPLICATIVE:
        pace = _pace(report, usual)
        return (report[c.PENDING_PREFILL_TOKENS] + prompt) * (replica[c.OUTSTANDING] + 1) * pace * pace
    own = _work_seconds(s, rules, timing, b, s.cluster[b, c.PENDING])
    return (_outstanding_seconds(s, rules, timing, b, r) + own) * factor


@inner
def choose(s: c.Cluster, rules: c.Rules, timing: Timing, b: int, router: int) -> int:
    """The replica that a router sends the pending request of cluster `b` to."""
    n = int(s.cluster[b, c.N_REPLICAS])
    i = s.cluster[b, c.PENDING]
    count = 0
    reads_reports = rules.report_seconds == 0.0 and router in (
        VIDUR_LOR,
        JSQ,
        LEAST_PREFILL,
        SPEED_PREFILL,
        MULTIPLICATIVE,
        PACED_MULTIPLICATIVE,
    )
    for r in range(n):
        if can_take(s, rules, b, r, i):
            count += 1
            if reads_reports:
                write_report(s, rules, b, r)
    if router == RANDOM:
        return _nth_able(s, rules, b, _below(s, b, count))
    if router == ROUND_ROBIN:
        r = int(s.cluster[b, c.LAST_REPLICA])
        for _ in range(n):
            r = (r + 1) % n
            if can_take(s, rules, b, r, i):
                break
        return r
    if router == WEIGHTED_ROUND_ROBIN:
        return _smooth_round_robin(s, rules, b)
    first, second = -1, -1
    if router == POWER_OF_TWO and count > 2:
        x = _below(s, b, count)
        y = _below(s, b, count - 1)
        first, second = _nth_able(s, rules, b, x), _nth_able(s, rules, b, y + 1 if y >= x else y)
    usual = _usual_pace(s, b) if router == PACED_MULTIPLICATIVE else 1.0
    best, ties = -1, 0
    lowest = np.inf
    for r in range(n):
        if not can_take(s, rules, b, r, i) or (first >= 0 and r != first and r != second):
            continue
        score = _score(s, rules, timing, b, r, router, usual)
        if best < 0 or score < lowest:
            best, lowest, ties = r, score, 1
        elif score == lowest and router != VIDUR_LOR:
            ties += 1
            if _below(s, b, ties) == 0:
                best = r
    return best


@inner
def _nth_able(s: c.Cluster, rules: c.Rules, b: int, nth: int) -> int:
    r = -1
    for _ in range(nth + 1):
        r += 1
        while not can_take(s, rules, b, r, s.cluster[b, c.PENDING]):
            r += 1
    return r


@inner
def _smooth_round_robin(s: c.Cluster, rules: c.Rules, b: int) -> int:
    """Turns in proportion to speed, spread evenly: everybody earns its speed, the richest is taken and pays what all earned."""
    best, ties = -1, 0
    earned = 0.0
    for r in range(s.cluster[b, c.N_REPLICAS]):
        if can_take(s, rules, b, r, s.cluster[b, c.PENDING]):
            speed = 1.0 / s.clock[b, r, c.TIME_FACTOR]
            s.clock[b, r, c.WEIGHT] += speed
            earned += speed
            if best < 0 or s.clock[b, r, c.WEIGHT] > s.clock[b, best, c.WEIGHT]:
                best, ties = r, 1
            elif s.clock[b, r, c.WEIGHT] == s.clock[b, best, c.WEIGHT]:
                ties += 1
                if _below(s, b, ties) == 0:
                    best = r
    s.clock[b, best, c.WEIGHT] -= earned
    return best


@njit(cache=True, nogil=True, error_model="numpy")
def choose_all(
    s: c.Cluster, rules: c.Rules, timing: Timing, router: int, deciding: NDArray[np.bool_], chosen: NDArray[np.int64]
) -> None:
    """`choose` for every cluster in `deciding` [B]; -1 for the others."""
    s, timing = borrow(s), borrow_timing(timing)
    for b in range(chosen.shape[0]):
        chosen[b] = choose(s, rules, timing, b, router) if deciding[b] else -1


@njit(cache=True, nogil=True, error_model="numpy")
def play(
    s: c.Cluster,
    rules: c.Rules,
    timing: Timing,
    router: int,
    chosen: NDArray[np.int64],
    deciding: NDArray[np.bool_],
    most: int,
) -> None:
    """Play every cluster in `deciding` on, up to `most` decisions each or to its end; `deciding` is brought up to date.

    The one door to the event loop, so that it is compiled once. Decisions are `chosen` [B], or a router's where `router` is not `OUTSIDE`;
    a cluster without a pending request is played up to its first one.
    """
    s, timing = borrow(s), borrow_timing(timing)
    for b in range(deciding.shape[0]):
        for _ in range(most):
            if not deciding[b]:
                break
            if s.cluster[b, c.PENDING] != c.NOBODY:
                assign(s, rules, b, chosen[b] if router == OUTSIDE else choose(s, rules, timing, b, router))
            deciding[b] = next_decision(s, rules, timing, b)
