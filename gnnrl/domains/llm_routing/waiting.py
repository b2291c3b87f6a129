"""Requests that wait: linked lists at the router and at each replica, and the memory of those that wait no more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.compilation import inner

__all__ = ["admit", "evict", "fits", "insert_by_arrival", "pop_front", "push_back", "restart", "unlink"]

Ints = NDArray[np.int64]
Requests = NDArray[np.int32]


@inner
def fits(request: Requests, replica: Ints, rules: c.Rules, i: int) -> bool:
    """Whether request `i` can ever be finished by this replica: alone, above the watermark, restarts included."""
    total = np.int64(request[i, c.TOTAL])
    if rules.reserve_blocks > 0:
        return bool(total <= rules.longest_tokens and rules.reserve_blocks <= replica[c.BLOCKS])
    # The last token is sent, never kept.
    kept = max(total - 1, np.int64(request[i, c.PROMPT]))
    return bool((kept + rules.block_tokens - 1) // rules.block_tokens + replica[c.WATERMARK] <= replica[c.BLOCKS])


@inner
def push_back(request: Requests, row: Ints, head: int, tail: int, i: int) -> None:
    """Append request `i` to the list whose ends stand in `row[head]` and `row[tail]`."""
    request[i, c.NEXT] = c.NOBODY
    if row[head] == c.NOBODY:
        row[head] = i
    else:
        request[row[tail], c.NEXT] = i
    row[tail] = i


@inner
def pop_front(request: Requests, row: Ints, head: int, tail: int) -> int:
    """Take the first request off a list that is not empty."""
    i = row[head]
    row[head] = request[i, c.NEXT]
    if row[head] == c.NOBODY:
        row[tail] = c.NOBODY
    return int(i)


@inner
def insert_by_arrival(request: Requests, row: Ints, head: int, tail: int, i: int) -> None:
    """Put request `i` into a list that is ordered by arrival."""
    if row[head] == c.NOBODY or row[tail] < i:
        push_back(request, row, head, tail, i)
        return
    if i < row[head]:
        request[i, c.NEXT] = row[head]
        row[head] = i
        return
    before = row[head]
    while request[before, c.NEXT] < i:
        before = request[before, c.NEXT]
    request[i, c.NEXT] = request[before, c.NEXT]
    request[before, c.NEXT] = i


@inner
def unlink(request: Requests, row: Ints, head: int, tail: int, i: int) -> None:
    """Take request `i` out of the list it is in."""
    if row[head] == i:
        pop_front(request, row, head, tail)
        return
    before = row[head]
    while request[before, c.NEXT] != i:
        before = request[before, c.NEXT]
    request[before, c.NEXT] = request[i, c.NEXT]
    if row[tail] == i:
        row[tail] = before


@inner
def admit(request: Requests, time: NDArray[np.float64], replica: Ints, resident: Ints, blocks: int, now: float) -> int:
    """Give the first waiting request `blocks` and a place among the residents, which stay ordered by arrival; returns it."""
    i = pop_front(request, replica, c.HEAD, c.TAIL)
    replica[c.QUEUED] -= 1
    replica[c.FREE] -= blocks
    request[i, c.BLOCKS_HELD] = blocks
    request[i, c.STATUS] = c.RESIDENT
    if np.isnan(time[i, c.SCHEDULED]):
        time[i, c.SCHEDULED] = now
    k = replica[c.RESIDENTS]
    while k > 0 and resident[k - 1] > i:
        resident[k] = resident[k - 1]
        k -= 1
    resident[k] = i
    replica[c.RESIDENTS] += 1
    replica[c.PREFILLING] += 1
    return i


@inner
def restart(request: Requests, i: int) -> int:
    """Forget the KV cache of request `i`. What it has said so far is prefilled with its prompt next time, all at once.

    Returns:
        Tokens to prefill that this adds.
    """
    processed, target = request[i, c.PROCESSED], request[i, c.TARGET]
    request[i, c.PROCESSED] = 0
    request[i, c.CHUNK] = 0
    request[i, c.BLOCKS_HELD] = 0
    request[i, c.RESTARTS] += 1
    if processed > target:
        request[i, c.TARGET] = processed
    return int(processed)


@inner
def evict(request: Requests, replica: Ints, resident: Ints) -> None:
    """Throw the latest resident out: its memory is freed, it waits in front of the others."""
    replica[c.RESIDENTS] -= 1
    i = resident[replica[c.RESIDENTS]]
    if request[i, c.PROCESSED] < request[i, c.TARGET]:
        replica[c.PREFILLING] -= 1
    replica[c.FREE] += request[i, c.BLOCKS_HELD]
    replica[c.EVICTED] += 1
    replica[c.PENDING_PREFILL] += restart(request, i)
    request[i, c.STATUS] = c.WAITING
    request[i, c.NEXT] = replica[c.HEAD]
    if replica[c.HEAD] == c.NOBODY:
        replica[c.TAIL] = i
    replica[c.HEAD] = i
    replica[c.QUEUED] += 1
