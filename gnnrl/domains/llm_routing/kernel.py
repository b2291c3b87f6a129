"""One replica through time: iterations begin, end and are skipped ahead in runs.

At one instant iterations end first, then the router sees and decides, then the next batches are formed: requests that come at the instant
at which an iteration ends are in the running for the next one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.calibration import Timing
from gnnrl.domains.llm_routing.compilation import inner
from gnnrl.domains.llm_routing.schedulers import batch_seconds, form_batch, iteration_seconds

__all__ = ["advance_replica"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Requests = NDArray[np.int32]

STUCK = 1
"""A replica has requests and can do nothing for them: impossible as long as every request fits."""


@inner
def advance_replica(
    request: Requests, time: Floats, replica: Ints, clock: Floats, resident: Ints, rules: c.Rules, timing: Timing,
    until: float,
) -> int:  # fmt: skip
    """End the iterations that end by `until`, begin those that begin before it.

    Args:
        request, time: of one cluster, [N, columns].
        replica, clock, resident: of one replica, [columns] and [largest cap].
        until: seconds.

    Returns:
        0, or `STUCK`.
    """
    while replica[c.RESIDENTS] > 0 or replica[c.QUEUED] > 0:
        if replica[c.BATCH] > 0:
            if clock[c.END] > until:
                return 0
            clock[c.RESIDENT_SECONDS] += replica[c.RESIDENTS] * (clock[c.END] - clock[c.CLOCK])
            clock[c.CLOCK] = clock[c.END]
            _complete(request, time, replica, clock, resident, rules)
            continue
        if clock[c.CLOCK] >= until:
            return 0
        form_batch(request, time, replica, resident, rules, clock[c.CLOCK])
        if replica[c.BATCH] == 0:
            return STUCK
        seconds = batch_seconds(timing, replica, clock[c.TIME_FACTOR])
        clock[c.BUSY] += seconds
        clock[c.END] = clock[c.CLOCK] + seconds
        if rules.skip_ahead and replica[c.BATCH_DECODES] == replica[c.RESIDENTS] and clock[c.END] < until:
            _run_ahead(request, replica, clock, resident, rules, timing, until)
    if replica[c.STATE] == c.DRAINING:
        replica[c.STATE] = c.ABSENT
    return 0


@inner
def _complete(request: Requests, time: Floats, replica: Ints, clock: Floats, resident: Ints, rules: c.Rules) -> None:
    """The batch under way has ended: tokens are there, some requests are done."""
    now = clock[c.CLOCK]
    kept = 0
    for k in range(replica[c.RESIDENTS]):
        i = resident[k]
        chunk = request[i, c.CHUNK]
        if chunk > 0:
            if request[i, c.PROCESSED] < request[i, c.TARGET]:
                replica[c.PENDING_PREFILL] -= chunk
                replica[c.PREFILLED] += chunk
                request[i, c.PROCESSED] += chunk
                if request[i, c.PROCESSED] == request[i, c.TARGET]:
                    # The iteration that ends a prefill gives a token as well.
                    request[i, c.PROCESSED] += 1
                    replica[c.GENERATED] += 1
                    replica[c.PREFILLING] -= 1
                    if np.isnan(time[i, c.FIRST_TOKEN]):
                        time[i, c.FIRST_TOKEN] = now
                        replica[c.STARTED] += 1
                        clock[c.TTFT_SUM] += now - time[i, c.ARRIVED]
                        clock[c.TTFT_SQUARES] += (now - time[i, c.ARRIVED]) ** 2
                        clock[c.STARTED_ARRIVALS] += time[i, c.ARRIVED]
            else:
                request[i, c.PROCESSED] += 1
                replica[c.GENERATED] += 1
            if request[i, c.PROCESSED] == request[i, c.TOTAL]:
                time[i, c.COMPLETED] = now
                request[i, c.STATUS] = c.DONE
                replica[c.HELD] += request[i, c.BLOCKS_HELD]
                replica[c.FINISHED] += 1
                clock[c.LATENCY_SUM] += now - time[i, c.ARRIVED]
                clock[c.LATENCY_SQUARES] += (now - time[i, c.ARRIVED]) ** 2
                clock[c.FINISHED_ARRIVALS] += time[i, c.ARRIVED]
                replica[c.OUTSTANDING] -= 1
                continue
        resident[kept] = i
        kept += 1
    replica[c.RESIDENTS] = kept
    replica[c.ITERATIONS] += 1
    replica[c.BATCH] = 0
    if rules.scheduler != c.FASTER_TRANSFORMER or kept == 0:
        replica[c.FREE] += replica[c.HELD]
        replica[c.HELD] = 0


@inner
def _run_ahead(
    request: Requests, replica: Ints, clock: Floats, resident: Ints, rules: c.Rules, timing: Timing, until: float
) -> None:
    """Pass over iterations that change nothing but counters: all residents decode, none gets done, no block is wanting.

    Nobody can be admitted meanwhile: who waits was refused for this batch, and memory, places and budget only shrink until one is done.
    The times are summed in the same order as one by one, so they are the same to the last bit. The last iteration begun stays under way.
    """
    n = replica[c.RESIDENTS]
    most = np.int64(1) << 40
    for k in range(n):
        i = resident[k]
        most = min(most, np.int64(request[i, c.TOTAL] - request[i, c.PROCESSED] - 1))
    if n * (most // rules.block_tokens + 1) > replica[c.FREE] and rules.reserve_blocks == 0:
        most = min(most, replica[c.FREE] // n * rules.block_tokens)
    kv = replica[c.BATCH_KV]
    end = clock[c.END]
    busy = clock[c.BUSY]
    factor = clock[c.TIME_FACTOR]
    before = clock[c.CLOCK]
    passed = np.int64(0)
    none = replica[c.BATCH_PREFILLS]
    while passed < most and end < until:
        passed += 1
        kv += n
        seconds = factor * iteration_seconds(timing, n, n, kv, none, none, none)
        busy += seconds
        before = end
        end += seconds
    if passed == 0:
        return
    for k in range(n):
        i = resident[k]
        processed = request[i, c.PROCESSED] + passed
        request[i, c.PROCESSED] = processed
        while processed > request[i, c.BLOCKS_HELD] * rules.block_tokens:
            replica[c.FREE] -= 1
            request[i, c.BLOCKS_HELD] += 1
    replica[c.BATCH_KV] = kv
    replica[c.GENERATED] += passed * n
    replica[c.ITERATIONS] += passed
    clock[c.RESIDENT_SECONDS] += n * (before - clock[c.CLOCK])
    clock[c.CLOCK] = before
    clock[c.END] = end
    clock[c.BUSY] = busy
