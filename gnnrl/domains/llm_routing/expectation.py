"""What the reward has to look at requests one by one for: how long they have waited for a first token, and what they will still take.

The forecast of the request-seconds that what is outstanding will still take, if nothing more comes, knows true lengths and speeds.

At a replica with n outstanding requests, R tokens still to give out, S tokens in the KV caches once all prompts are done, P tokens to
prefill, and time factor f,

    f (R t(n, S) + n P dL)

seconds: every request waits t for each of its tokens, and all of them for each token that is prefilled beside them.
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

__all__ = ["expected_request_seconds", "squared_waits"]

USUAL_DECODES = 64
"""Batch from which the time of a prefilled token is taken."""


@njit(cache=True, nogil=True, error_model="numpy")
def expected_request_seconds(s: c.Cluster, rules: c.Rules, timing: Timing, out: NDArray[np.float64]) -> None:
    """Fill `out` [B] with the request-seconds of everything that has been sent to a replica and is not done."""
    s, timing = borrow(s), borrow_timing(timing)
    chunk = min(max(rules.chunk_tokens, USUAL_DECODES + 1), timing.linear.shape[0] - 1)
    more = (timing.linear[chunk] - timing.linear[USUAL_DECODES]) / (chunk - USUAL_DECODES) + timing.prefill[1]
    none = int(np.int64(0))
    for b in range(out.shape[0]):
        out[b] = 0.0
        for r in range(s.cluster[b, c.N_REPLICAS]):
            n = s.replica[b, r, c.OUTSTANDING]
            if n == 0:
                continue
            left, kept = np.int64(0), np.int64(0)
            for k in range(s.replica[b, r, c.RESIDENTS]):
                row = s.request[b, s.resident[b, r, k]]
                done = max(row[c.TARGET], row[c.PROCESSED])
                left += row[c.TOTAL] - done
                kept += done
            i = s.replica[b, r, c.HEAD]
            while i != c.NOBODY:
                row = s.request[b, i]
                left += row[c.TOTAL] - row[c.TARGET]
                kept += row[c.TARGET]
                i = np.int64(row[c.NEXT])
            token = iteration_seconds(timing, int(n), int(n), int(kept), none, none, none)
            prefill = s.replica[b, r, c.PENDING_PREFILL] * more
            out[b] += s.clock[b, r, c.TIME_FACTOR] * (left * token + n * prefill)


@njit(cache=True, nogil=True, error_model="numpy")
def squared_waits(s: c.Cluster, out: NDArray[np.float64]) -> None:
    """Fill `out` [B] with the sum of the squared times to first token so far, seconds^2, of those that still wait for it too."""
    s = borrow(s)
    for b in range(out.shape[0]):
        now = s.now[b, c.NOW]
        out[b] = _squares(s, b, s.cluster[b, c.ROUTER_HEAD], now)
        for r in range(s.cluster[b, c.N_REPLICAS]):
            out[b] += s.clock[b, r, c.TTFT_SQUARES] + _squares(s, b, s.replica[b, r, c.HEAD], now)
            for k in range(s.replica[b, r, c.RESIDENTS]):
                i = s.resident[b, r, k]
                if np.isnan(s.time[b, i, c.FIRST_TOKEN]):
                    out[b] += (now - s.time[b, i, c.ARRIVED]) ** 2


@inner
def _squares(s: c.Cluster, b: int, head: int, now: float) -> float:
    """The squared waits of a waiting list; one that was evicted or sent back may have its first token already."""
    total = 0.0
    i = np.int64(head)
    while i != c.NOBODY:
        if np.isnan(s.time[b, i, c.FIRST_TOKEN]):
            total += (now - s.time[b, i, c.ARRIVED]) ** 2
        i = np.int64(s.request[b, i, c.NEXT])
    return total
