"""What happens to a cluster from outside its replicas: arrivals, routing, reports, and replicas that join, leave, fail or slow down.

At one instant reports are written first, then changes take place, then requests arrive.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.calibration import Timing
from gnnrl.domains.llm_routing.compilation import inner
from gnnrl.domains.llm_routing.kernel import advance_replica
from gnnrl.domains.llm_routing.waiting import fits, insert_by_arrival, pop_front, push_back, restart, unlink

__all__ = ["assign", "can_take", "next_decision", "write_report"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Requests = NDArray[np.int32]


@inner
def can_take(s: c.Cluster, rules: c.Rules, b: int, r: int, i: int) -> bool:
    """Whether replica `r` may be chosen for request `i`: it is up, and the request fits its memory."""
    return s.replica[b, r, c.STATE] == c.UP and fits(s.request[b], s.replica[b, r], rules, i)


@inner
def next_decision(s: c.Cluster, rules: c.Rules, timing: Timing, b: int) -> bool:
    """Simulate cluster `b` up to its next routing decision; the request stands in PENDING.

    Returns:
        False where no decision is left: everything that could be served has been, FAULT says whether all went well.
    """
    row = s.cluster[b]
    while True:
        row[c.PENDING] = _routable(s, rules, b)
        if row[c.PENDING] != c.NOBODY:
            row[c.DECISIONS] += 1
            return True
        arrival = s.time[b, row[c.ARRIVALS], c.ARRIVED] if row[c.ARRIVALS] < row[c.N_REQUESTS] else np.inf
        change = s.change[b, row[c.CHANGES_DONE], c.AT] if row[c.CHANGES_DONE] < row[c.N_CHANGES] else np.inf
        report = s.now[b, c.NEXT_REPORT]
        until = min(arrival, change)
        reporting = until < np.inf and report <= until
        if reporting:
            until = report
        for r in range(row[c.N_REPLICAS]):
            fault = advance_replica(
                s.request[b], s.time[b], s.replica[b, r], s.clock[b, r], s.resident[b, r], rules, timing, until
            )
            if fault != 0:
                row[c.FAULT] = fault
                row[c.FAULT_PLACE] = r
                return False
        if until == np.inf:
            for r in range(row[c.N_REPLICAS]):
                s.now[b, c.NOW] = max(s.now[b, c.NOW], s.clock[b, r, c.CLOCK])
            return False
        s.now[b, c.NOW] = until
        if reporting:
            for r in range(row[c.N_REPLICAS]):
                write_report(s, rules, b, r)
            s.now[b, c.NEXT_REPORT] = report + rules.report_seconds
        elif change <= arrival:
            _change(s, rules, b, s.change[b, row[c.CHANGES_DONE]])
            row[c.CHANGES_DONE] += 1
        else:
            _arrive(s, rules, b, row[c.ARRIVALS])
            row[c.ARRIVALS] += 1


@inner
def _routable(s: c.Cluster, rules: c.Rules, b: int) -> int:
    """The first request at the router that some replica may take."""
    row = s.cluster[b]
    if row[c.AT_ROUTER_COUNT] == 0:
        return c.NOBODY
    anybody = False
    for r in range(row[c.N_REPLICAS]):
        anybody |= s.replica[b, r, c.STATE] == c.UP
    if not anybody:
        return c.NOBODY
    i = row[c.ROUTER_HEAD]
    while i != c.NOBODY:
        for r in range(row[c.N_REPLICAS]):
            if can_take(s, rules, b, r, i):
                return int(i)
        i = np.int64(s.request[b, i, c.NEXT])
    return c.NOBODY


@inner
def _arrive(s: c.Cluster, rules: c.Rules, b: int, i: int) -> None:
    """Request `i` comes to the router; one that is longer than any replica's memory is turned away."""
    row = s.cluster[b]
    for r in range(row[c.N_REPLICAS]):
        if fits(s.request[b], s.replica[b, r], rules, i):
            s.request[b, i, c.STATUS] = c.AT_ROUTER
            push_back(s.request[b], row, c.ROUTER_HEAD, c.ROUTER_TAIL, i)
            row[c.AT_ROUTER_COUNT] += 1
            s.now[b, c.ACCEPTED_ARRIVALS] += s.time[b, i, c.ARRIVED]
            return
    s.request[b, i, c.STATUS] = c.REJECTED
    row[c.REJECTED_COUNT] += 1


@inner
def assign(s: c.Cluster, rules: c.Rules, b: int, r: int) -> bool:
    """Send the pending request of cluster `b` to replica `r`.

    Returns:
        False, with nothing done, where no request is pending or the replica may not take it.
    """
    row = s.cluster[b]
    i = row[c.PENDING]
    if i == c.NOBODY or r < 0 or r >= row[c.N_REPLICAS] or not can_take(s, rules, b, r, i):
        return False
    request, replica = s.request[b], s.replica[b, r]
    unlink(request, row, c.ROUTER_HEAD, c.ROUTER_TAIL, i)
    row[c.AT_ROUTER_COUNT] -= 1
    row[c.PENDING] = c.NOBODY
    row[c.LAST_REPLICA] = r
    if replica[c.RESIDENTS] == 0 and replica[c.QUEUED] == 0:
        s.clock[b, r, c.CLOCK] = s.now[b, c.NOW]
    push_back(request, replica, c.HEAD, c.TAIL, i)
    replica[c.QUEUED] += 1
    replica[c.OUTSTANDING] += 1
    replica[c.ROUTED_COUNT] += 1
    replica[c.PENDING_PREFILL] += request[i, c.TARGET]
    request[i, c.STATUS] = c.WAITING
    request[i, c.REPLICA] = r
    s.time[b, i, c.ROUTED] = s.now[b, c.NOW]
    return True


@inner
def _change(s: c.Cluster, rules: c.Rules, b: int, change: Floats) -> None:
    r = int(change[c.WHERE])
    replica = s.replica[b, r]
    kind = int(change[c.KIND])
    if kind == c.JOIN:
        replica[c.STATE] = c.UP
        s.clock[b, r, c.WEIGHT] = 0.0
        write_report(s, rules, b, r)
    elif kind == c.SLOW:
        s.clock[b, r, c.TIME_FACTOR] = change[c.VALUE]
    elif kind == c.LEAVE:
        if replica[c.STATE] == c.UP:
            replica[c.STATE] = c.ABSENT if replica[c.OUTSTANDING] == 0 else c.DRAINING
    else:
        _fail(s, b, r)


@inner
def _fail(s: c.Cluster, b: int, r: int) -> None:
    """Replica `r` is gone with its memory; whatever it had waits at the router again, by arrival."""
    row, replica, request, clock = s.cluster[b], s.replica[b, r], s.request[b], s.clock[b, r]
    while replica[c.QUEUED] > 0:
        _send_back(request, row, pop_front(request, replica, c.HEAD, c.TAIL))
        replica[c.QUEUED] -= 1
    for k in range(replica[c.RESIDENTS]):
        i = s.resident[b, r, k]
        restart(request, i)
        _send_back(request, row, i)
    if replica[c.BATCH] > 0:
        clock[c.BUSY] -= clock[c.END] - s.now[b, c.NOW]
    replica[c.STATE] = c.ABSENT
    replica[c.FREE] = replica[c.BLOCKS]
    for column in (c.HELD, c.RESIDENTS, c.PREFILLING, c.OUTSTANDING, c.PENDING_PREFILL, c.BATCH):
        replica[column] = 0


@inner
def _send_back(request: Requests, row: Ints, i: int) -> None:
    request[i, c.STATUS] = c.AT_ROUTER
    request[i, c.REPLICA] = c.NOBODY
    insert_by_arrival(request, row, c.ROUTER_HEAD, c.ROUTER_TAIL, i)
    row[c.AT_ROUTER_COUNT] += 1


@inner
def write_report(s: c.Cluster, rules: c.Rules, b: int, r: int) -> None:
    """What replica `r` says of itself now: base features, tokens done since it began, the first requests of its queue."""
    replica, out = s.replica[b, r], s.report[b, r]
    used = replica[c.BLOCKS] - replica[c.FREE]
    out[c.QUEUE_LENGTH] = replica[c.QUEUED]
    out[c.ALLOCATED_BLOCKS] = used
    out[c.TOTAL_BLOCKS] = replica[c.BLOCKS]
    out[c.UTILIZATION] = used / replica[c.BLOCKS]
    out[c.AVAILABLE] = 1.0 - out[c.UTILIZATION]
    out[c.RUNNING_BATCHES] = 1.0 if replica[c.BATCH] > 0 else 0.0
    out[c.PREEMPTED] = replica[c.RESIDENTS] - replica[c.BATCH]
    out[c.ALLOCATION_MAP] = replica[c.RESIDENTS]
    out[c.BATCH_CAPACITY] = replica[c.CAP]
    out[c.BLOCK_SIZE] = rules.block_tokens
    out[c.NUM_STAGES] = 1.0
    out[c.PENDING_PREFILL_TOKENS] = replica[c.PENDING_PREFILL]
    out[c.PREFILLED_TOKENS] = replica[c.PREFILLED]
    out[c.GENERATED_TOKENS] = replica[c.GENERATED]
    out[c.RESIDENT_SECONDS_TOLD] = s.clock[b, r, c.RESIDENT_SECONDS]
    i = replica[c.HEAD]
    for k in range(rules.heads):
        first = c.HEADS + k * c.HEAD_COLUMNS
        for column in range(first, first + c.HEAD_COLUMNS):
            out[column] = 0.0
        if i == c.NOBODY:
            continue
        row = s.request[b, i]
        out[first] = s.now[b, c.NOW] - s.time[b, i, c.ARRIVED]
        out[first + 1] = row[c.TARGET]
        out[first + 2] = row[c.PROCESSED]
        out[first + 3] = row[c.TARGET] - row[c.PROCESSED]
        out[first + 5] = row[c.SHOWN_DECODE]
        i = np.int64(row[c.NEXT])
