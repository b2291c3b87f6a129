"""Conservation laws of a simulated cluster, checked where debugging asks for it: nothing is lost, doubled or over-committed."""

from __future__ import annotations

import numpy as np
from numba import njit

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.events import can_take

__all__ = ["BROKEN_LAWS", "ConservationError", "broken_law"]

BROKEN_LAWS = (
    "",
    "blocks free, held and used do not add up to the replica's memory",
    "a replica has more blocks free than it owns, or less than none",
    "more requests are resident than the batch cap allows, or they are not in order of arrival",
    "a request is resident in two places, or not where it was sent",
    "a waiting list and its count differ",
    "tokens still to prefill do not add up",
    "a request has processed more tokens than it has, or holds too few blocks for what it keeps",
    "the requests that have arrived are not all at the router, waiting, resident, done or turned away",
    "tokens given out do not add up to those of the requests",
    "a request is done without all its tokens, its times or its turn",
    "outstanding requests do not add up",
    "a request waits at the router although a replica can take it, after the last decision",
)


class ConservationError(AssertionError):
    """The simulator broke one of its own laws: a fault of the program, never of its input."""


@njit(cache=True, nogil=True, error_model="numpy")
def broken_law(s: c.Cluster, rules: c.Rules, b: int) -> int:
    """Index into `BROKEN_LAWS` of the first law that cluster `b` breaks, 0 where all hold."""
    row, request, time = s.cluster[b], s.request[b], s.time[b]
    waiting, residents, generated = np.int64(0), np.int64(0), np.int64(0)
    seen = np.zeros(request.shape[0], np.bool_)
    for r in range(row[c.N_REPLICAS]):
        replica = s.replica[b, r]
        used, pending = np.int64(0), np.int64(0)
        if replica[c.RESIDENTS] > replica[c.CAP]:
            return 3
        for k in range(replica[c.RESIDENTS]):
            i = s.resident[b, r, k]
            if k > 0 and s.resident[b, r, k - 1] >= i:
                return 3
            if seen[i] or request[i, c.REPLICA] != r or request[i, c.STATUS] != c.RESIDENT:
                return 4
            seen[i] = True
            used += request[i, c.BLOCKS_HELD]
            kept = request[i, c.PROCESSED] - (1 if request[i, c.PROCESSED] > request[i, c.TARGET] else 0)
            if request[i, c.PROCESSED] >= request[i, c.TOTAL] or request[i, c.BLOCKS_HELD] * rules.block_tokens < kept:
                return 7
            pending += max(request[i, c.TARGET] - request[i, c.PROCESSED], 0)
        if used + replica[c.HELD] + replica[c.FREE] != replica[c.BLOCKS]:
            return 1
        if replica[c.FREE] < 0 or replica[c.FREE] > replica[c.BLOCKS]:
            return 2
        count = np.int64(0)
        i = replica[c.HEAD]
        while i != c.NOBODY:
            if seen[i] or request[i, c.REPLICA] != r or request[i, c.STATUS] != c.WAITING:
                return 4
            seen[i] = True
            count += 1
            pending += request[i, c.TARGET] - request[i, c.PROCESSED]
            i = np.int64(request[i, c.NEXT])
        if count != replica[c.QUEUED]:
            return 5
        if pending != replica[c.PENDING_PREFILL]:
            return 6
        if replica[c.OUTSTANDING] != count + replica[c.RESIDENTS]:
            return 11
        waiting += count
        residents += replica[c.RESIDENTS]
        generated += replica[c.GENERATED]
    count = np.int64(0)
    i = row[c.ROUTER_HEAD]
    while i != c.NOBODY:
        if seen[i] or request[i, c.STATUS] != c.AT_ROUTER:
            return 4
        seen[i] = True
        count += 1
        if row[c.PENDING] == c.NOBODY:
            for r in range(row[c.N_REPLICAS]):
                if can_take(s, rules, b, r, i):
                    return 12
        i = np.int64(request[i, c.NEXT])
    if count != row[c.AT_ROUTER_COUNT]:
        return 5
    done, known = np.int64(0), np.int64(0)
    for i in range(row[c.ARRIVALS]):
        status = request[i, c.STATUS]
        if status == c.REJECTED:
            continue
        reached = max(request[i, c.PROCESSED], request[i, c.TARGET])
        known += reached - request[i, c.PROMPT]
        if status == c.DONE:
            done += 1
            in_turn = (
                time[i, c.ARRIVED] <= time[i, c.SCHEDULED]
                and time[i, c.SCHEDULED] < time[i, c.FIRST_TOKEN]
                and time[i, c.FIRST_TOKEN] <= time[i, c.COMPLETED]
                and time[i, c.ROUTED] >= time[i, c.ARRIVED]
            )
            if request[i, c.PROCESSED] != request[i, c.TOTAL] or not in_turn:
                return 10
    if done + waiting + residents + row[c.AT_ROUTER_COUNT] + row[c.REJECTED_COUNT] != row[c.ARRIVALS]:
        return 8
    if known != generated:
        return 9
    return 0
