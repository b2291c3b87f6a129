"""What a replica computes next: the four schedulers of Vidur, each of which forms one batch.

- `sarathi`: chunked prefill. All decodes, then the chunks of running prefills, then new requests, up to `chunk_tokens` in a batch.
- `vllm`: new requests are prefilled whole, in batches of their own and before any decode: at most `batch_tokens`, counted as the longest
  prompt times their number; a longer prompt goes alone.
- `orca`: decodes and whole new prompts in one batch; each request reserves the blocks of the longest one.
- `faster_transformer`: as orca, but a batch is closed: nobody joins it, and its memory is freed when its last request is done.

First come, first served, by arrival; residents are evicted, latest first, when `sarathi` or `vllm` needs a KV block and none is free.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.calibration import Timing
from gnnrl.domains.llm_routing.compilation import inner
from gnnrl.domains.llm_routing.waiting import admit, evict

__all__ = ["batch_seconds", "form_batch", "iteration_seconds"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Requests = NDArray[np.int32]


@inner
def iteration_seconds(
    timing: Timing, tokens: int, decodes: int, kv: int, prefills: int, squares: int, prefill_kv: int
) -> float:
    """Seconds of one iteration at time factor 1.

    Args:
        timing: the calibration.
        tokens: in the batch.
        decodes, kv: decoding requests, and tokens in their KV caches together.
        prefills, squares, prefill_kv: chunks, the sum of their squared lengths, and the tokens done before them together.
    """
    last = timing.linear.shape[0] - 1
    seconds = timing.linear[min(tokens, last)] + max(tokens - last, 0) * timing.slope
    if decodes > 0:
        a = timing.decode
        seconds += a[0] + a[1] * decodes + a[2] * kv + a[3] * math.sqrt(kv)
    if prefills > 0:
        a = timing.prefill
        chunk = math.sqrt(squares)
        seconds += a[0] + a[1] * chunk + a[2] * squares + a[3] * chunk * prefill_kv
    return seconds


@inner
def batch_seconds(timing: Timing, replica: Ints, time_factor: float) -> float:
    """Seconds of the batch that the replica has formed."""
    return time_factor * iteration_seconds(
        timing,
        replica[c.BATCH_TOKENS],
        replica[c.BATCH_DECODES],
        replica[c.BATCH_KV],
        replica[c.BATCH_PREFILLS],
        replica[c.BATCH_SQUARES],
        replica[c.BATCH_PREFILL_KV],
    )


@inner
def form_batch(request: Requests, time: Floats, replica: Ints, resident: Ints, rules: c.Rules, now: float) -> None:
    """Form the next batch: CHUNK of every request in it, memory, and the sums that its time depends on. BATCH = 0: nothing to do."""
    for column in range(c.BATCH, c.BATCH_PREFILL_KV + 1):
        replica[column] = 0
    if rules.scheduler == c.SARATHI:
        _take_decodes(request, replica, resident, rules)
        for k in range(replica[c.RESIDENTS]):
            if request[resident[k], c.PROCESSED] < request[resident[k], c.TARGET]:
                _take_prefill(request, replica, resident[k], rules.chunk_tokens - replica[c.BATCH_TOKENS])
        _take_new(request, time, replica, resident, rules, now)
    elif rules.scheduler == c.VLLM:
        _take_new(request, time, replica, resident, rules, now)
        if replica[c.BATCH] == 0:
            _take_decodes(request, replica, resident, rules)
        else:
            _rest_decodes(request, replica, resident)
    elif rules.scheduler == c.ORCA:
        _take_decodes(request, replica, resident, rules)
        _take_new(request, time, replica, resident, rules, now)
    elif replica[c.RESIDENTS] > 0:
        _take_decodes(request, replica, resident, rules)
    else:
        _take_new(request, time, replica, resident, rules, now)


@inner
def _take_decodes(request: Requests, replica: Ints, resident: Ints, rules: c.Rules) -> None:
    """One token of every decoding resident; for want of a block the latest resident makes room."""
    kv = 0
    decodes = 0
    k = 0
    while k < replica[c.RESIDENTS]:
        i = resident[k]
        k += 1
        if request[i, c.PROCESSED] <= request[i, c.TARGET]:
            continue
        if request[i, c.PROCESSED] > request[i, c.BLOCKS_HELD] * rules.block_tokens:
            while replica[c.FREE] == 0 and replica[c.RESIDENTS] >= k:
                evict(request, replica, resident)
            if replica[c.RESIDENTS] < k:
                break
            replica[c.FREE] -= 1
            request[i, c.BLOCKS_HELD] += 1
        request[i, c.CHUNK] = 1
        kv += request[i, c.PROCESSED]
        decodes += 1
    replica[c.BATCH] += decodes
    replica[c.BATCH_DECODES] = decodes
    replica[c.BATCH_TOKENS] += decodes
    replica[c.BATCH_KV] = kv


@inner
def _rest_decodes(request: Requests, replica: Ints, resident: Ints) -> None:
    for k in range(replica[c.RESIDENTS]):
        if request[resident[k], c.PROCESSED] > request[resident[k], c.TARGET]:
            request[resident[k], c.CHUNK] = 0


@inner
def _take_prefill(request: Requests, replica: Ints, i: int, most: int) -> None:
    """A chunk of at most `most` tokens of what request `i` has to prefill."""
    done = np.int64(request[i, c.PROCESSED])
    chunk = min(request[i, c.TARGET] - done, most)
    request[i, c.CHUNK] = max(chunk, 0)
    if chunk > 0:
        replica[c.BATCH] += 1
        replica[c.BATCH_TOKENS] += chunk
        replica[c.BATCH_PREFILLS] += 1
        replica[c.BATCH_SQUARES] += chunk * chunk
        replica[c.BATCH_PREFILL_KV] += done


@inner
def _take_new(request: Requests, time: Floats, replica: Ints, resident: Ints, rules: c.Rules, now: float) -> None:
    """Waiting requests, first come first served, while memory, batch cap and token budget allow."""
    longest = 0
    while replica[c.QUEUED] > 0 and replica[c.RESIDENTS] < replica[c.CAP]:
        target = int(request[replica[c.HEAD], c.TARGET])
        blocks = (target + rules.block_tokens - 1) // rules.block_tokens
        spare = int(replica[c.WATERMARK])
        if rules.reserve_blocks > 0:
            blocks = rules.reserve_blocks
            spare = 0
        if replica[c.FREE] - blocks < spare:
            return
        budget = target
        if rules.scheduler == c.SARATHI:
            budget = rules.chunk_tokens - int(replica[c.BATCH_TOKENS])
            if budget <= 0:
                return
        elif rules.scheduler == c.VLLM:
            longest = max(longest, target)
            if replica[c.BATCH] > 0 and (replica[c.BATCH] + 1) * longest > rules.batch_tokens:
                return
        i = admit(request, time, replica, resident, blocks, now)
        _take_prefill(request, replica, i, budget)
