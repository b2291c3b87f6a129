"""What the reward has to look at requests one by one for: long waits, and what everything outstanding will still take.

The forecast, of what comes if nothing more arrives, knows true lengths and speeds. At a replica with n outstanding requests, R tokens still
to give out, S tokens in the KV caches once all prompts are done, P tokens to prefill, and time factor f,

    f (R t(n, S) + n P dL)

request-seconds are left: every request waits t for each of its tokens, and all of them for each token that is prefilled beside them.
Prompts are prefilled in their order, a chunk an iteration beside the decodes; a first token comes with the end of the last chunk.

That is `sarathi`; the other schedulers are forecast as if they were. Batch cap and KV memory are left out, and so are the decodes that the
prompts ahead will add: with more outstanding than memory holds, first tokens come later than forecast, and are charged when that shows.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.borrowing import borrow, borrow_timing
from gnnrl.domains.llm_routing.calibration import Timing
from gnnrl.domains.llm_routing.compilation import inner
from gnnrl.domains.llm_routing.schedulers import iteration_seconds

__all__ = ["AHEAD", "LATENCY_SQUARES", "TTFT_SQUARES", "outstanding_waits"]

AHEAD, TTFT_SQUARES, LATENCY_SQUARES = range(3)
"""Rows of what `outstanding_waits` fills."""
USUAL_DECODES = 64
"""Batch from which the time of a prefilled token is taken."""

Floats = NDArray[np.float64]


@njit(cache=True, nogil=True, error_model="numpy")
def outstanding_waits(s: c.Cluster, rules: c.Rules, timing: Timing, ahead: bool, out: Floats) -> None:
    """Fill `out` [3, B].

    AHEAD: request-seconds that everything sent to a replica and not done will still take; 0 unless `ahead`. TTFT_SQUARES, LATENCY_SQUARES:
    sums over all requests so far of the squared times to first and to last token, seconds^2; of those that still wait for it, the square of
    what they have waited, and with `ahead` of what they will have.
    """
    s, timing = borrow(s), borrow_timing(timing)
    for b in range(out.shape[1]):
        now = s.now[b, c.NOW]
        out[:, b] = 0.0
        i = np.int64(s.cluster[b, c.ROUTER_HEAD])
        while i != c.NOBODY:
            waited = now - s.time[b, i, c.ARRIVED]
            if np.isnan(s.time[b, i, c.FIRST_TOKEN]):
                out[TTFT_SQUARES, b] += waited * waited
            out[LATENCY_SQUARES, b] += waited * waited
            i = np.int64(s.request[b, i, c.NEXT])
        for r in range(s.cluster[b, c.N_REPLICAS]):
            out[TTFT_SQUARES, b] += s.clock[b, r, c.TTFT_SQUARES]
            out[LATENCY_SQUARES, b] += s.clock[b, r, c.LATENCY_SQUARES]
            if s.replica[b, r, c.OUTSTANDING] > 0:
                _replica_waits(s, b, r, rules, timing, ahead, out)


@inner
def _replica_waits(s: c.Cluster, b: int, r: int, rules: c.Rules, timing: Timing, ahead: bool, out: Floats) -> None:
    """Add what is outstanding at one replica."""
    none = int(np.int64(0))
    replica, factor, now = s.replica[b, r], s.clock[b, r, c.TIME_FACTOR], s.now[b, c.NOW]
    n = int(replica[c.OUTSTANDING])
    left, kept, decodes, decoding_kv, unread = none, none, none, none, none
    i = none
    for k in range(n):
        i = _outstanding(s, b, r, k, i)
        row = s.request[b, i]
        done = max(row[c.TARGET], row[c.PROCESSED])
        left += row[c.TOTAL] - done
        kept += done
        unread += _unread(row, k, replica)
        if row[c.PROCESSED] > row[c.TARGET]:
            decodes += 1
            decoding_kv += row[c.PROCESSED]
    chunk = min(max(rules.chunk_tokens, USUAL_DECODES + 1), timing.linear.shape[0] - 1)
    more = (timing.linear[chunk] - timing.linear[USUAL_DECODES]) / (chunk - USUAL_DECODES) + timing.prefill[1]
    token = iteration_seconds(timing, n, n, kept, none, none, none)
    prefill = replica[c.PENDING_PREFILL] * more
    if ahead:
        out[AHEAD, b] += factor * (left * token + n * prefill)
    room = max(chunk - decodes, none + 1)
    whole = iteration_seconds(timing, decodes + room, decodes, decoding_kv, none + 1, room * room, none)
    under_way = max(s.clock[b, r, c.END] - now, 0.0) if replica[c.BATCH] > 0 else 0.0
    before = none
    for k in range(n):
        i = _outstanding(s, b, r, k, i)
        row = s.request[b, i]
        waited = now - s.time[b, i, c.ARRIVED]
        before += _unread(row, k, replica)
        if np.isnan(s.time[b, i, c.FIRST_TOKEN]):
            still = 0.0
            if ahead:
                still = under_way
                if before > 0:
                    # The chunk that ends this prompt is filled up with the next one's tokens.
                    chunks = (before + room - 1) // room
                    last = min(room, unread - (chunks - 1) * room)
                    end = iteration_seconds(timing, decodes + last, decodes, decoding_kv, none + 1, last * last, none)
                    still += factor * ((chunks - 1) * whole + end)
            out[TTFT_SQUARES, b] += (waited + still) ** 2
        still = 0.0
        if ahead:
            still = factor * ((row[c.TOTAL] - max(row[c.TARGET], row[c.PROCESSED])) * token + prefill)
        out[LATENCY_SQUARES, b] += (waited + still) ** 2


@inner
def _unread(row: NDArray[np.int32], k: int, replica: NDArray[np.int64]) -> int:
    """Tokens of the k-th outstanding request's prompt that no batch holds yet."""
    todo = max(row[c.TARGET] - row[c.PROCESSED], 0)
    if k < replica[c.RESIDENTS] and replica[c.BATCH] > 0:
        return int(max(todo - row[c.CHUNK], 0))
    return int(todo)


@inner
def _outstanding(s: c.Cluster, b: int, r: int, k: int, last: int) -> int:
    """The k-th outstanding request of a replica, residents first; `last` is the one before it, or the head of the queue."""
    residents = s.replica[b, r, c.RESIDENTS]
    if k < residents:
        return int(s.resident[b, r, k])
    if k == residents:
        return int(s.replica[b, r, c.HEAD])
    return int(s.request[b, last, c.NEXT])
