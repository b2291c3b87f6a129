"""Arrays of B simulated clusters of R replicas and N requests: what every kernel of this folder reads and writes.

Columns are named by the constants below. A request is one row of `request` and one of `time`; requests are numbered by arrival, so a
smaller number is an earlier arrival. A request that waits, at the router or at a replica, is a link of a list (`NEXT`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cluster", "Rules", "make_cluster"]

NOBODY = -1

# columns of `request` [B, N, column]
PROMPT, TOTAL, TARGET, PROCESSED, BLOCKS_HELD, CHUNK, NEXT, REPLICA, RESTARTS, STATUS, SHOWN_DECODE = range(11)
REQUEST_COLUMNS = 12
"""PROMPT and TOTAL (prompt + answer) stay; TARGET is what has to be prefilled before the next token comes: the prompt, and after a restart
all tokens known by then. PROCESSED > TARGET means decoding. CHUNK: tokens in the batch under way. SHOWN_DECODE: the answer's length as a
router is told it."""
# values of STATUS
FUTURE, AT_ROUTER, WAITING, RESIDENT, DONE, REJECTED = range(6)

# columns of `time` [B, N, column], seconds, NaN until it happens
ARRIVED, ROUTED, SCHEDULED, FIRST_TOKEN, COMPLETED = range(5)
TIME_COLUMNS = 5

# columns of `replica` [B, R, column]
STATE, BLOCKS, WATERMARK, CAP, FREE, HELD = range(6)
RESIDENTS, PREFILLING, QUEUED, HEAD, TAIL, OUTSTANDING, PENDING_PREFILL = range(6, 13)
BATCH, BATCH_TOKENS, BATCH_DECODES, BATCH_KV, BATCH_PREFILLS, BATCH_SQUARES, BATCH_PREFILL_KV = range(13, 20)
PREFILLED, GENERATED, ITERATIONS, STARTED, FINISHED, EVICTED, ROUTED_COUNT = range(20, 27)
REPLICA_COLUMNS = 27
"""HELD: blocks of requests that are done while their static batch goes on. OUTSTANDING: routed there and not done. PENDING_PREFILL: tokens
to prefill, waiting and resident. BATCH: requests in the batch under way, 0 = none. STARTED: requests that got their first token here."""
# values of STATE
ABSENT, UP, DRAINING = range(3)

# columns of `clock` [B, R, column], seconds
CLOCK, END, TIME_FACTOR, BUSY, WEIGHT, TTFT_SUM, LATENCY_SUM, STARTED_ARRIVALS, FINISHED_ARRIVALS = range(9)
TTFT_SQUARES, LATENCY_SQUARES, RESIDENT_SECONDS = range(9, 12)
CLOCK_COLUMNS = 12
"""CLOCK: end of the last iteration. END: of the one under way. TIME_FACTOR: an iteration takes this many times its calibrated time.
STARTED_ARRIVALS, FINISHED_ARRIVALS: sums of the arrival times of the requests that have their first token, their last. TTFT_SQUARES,
LATENCY_SQUARES: sums of the squared times to first and to last token, seconds^2. RESIDENT_SECONDS: of the iterations that have ended, times
the requests that held memory meanwhile."""

# columns of `cluster` [B, column]
N_REQUESTS, ARRIVALS, ROUTER_HEAD, ROUTER_TAIL, AT_ROUTER_COUNT, PENDING, CHANGES_DONE, N_CHANGES = range(8)
LAST_REPLICA, REJECTED_COUNT, DECISIONS, FAULT, FAULT_PLACE, N_REPLICAS = range(8, 14)
CLUSTER_COLUMNS = 14
"""ARRIVALS: how many have arrived. PENDING: the request to be routed now, or NOBODY. LAST_REPLICA: where round robin stands."""

# columns of `change` [B, C, column]
AT, KIND, WHERE, VALUE = range(4)
# values of KIND
JOIN, LEAVE, FAIL, SLOW = range(4)

# columns of `now` [B, column], seconds
NOW, NEXT_REPORT, ACCEPTED_ARRIVALS = range(3)
NOW_COLUMNS = 3
"""ACCEPTED_ARRIVALS: sum of the arrival times of all requests that were not turned away."""

# columns of `report` [B, R, column]: what a replica says of itself, base features first
(
    QUEUE_LENGTH, ALLOCATED_BLOCKS, TOTAL_BLOCKS, UTILIZATION, AVAILABLE, RUNNING_BATCHES, PREEMPTED, ALLOCATION_MAP, BATCH_CAPACITY,
    BLOCK_SIZE, NUM_STAGES, PENDING_PREFILL_TOKENS, PREFILLED_TOKENS, GENERATED_TOKENS, RESIDENT_SECONDS_TOLD, HEADS,
) = range(16)  # fmt: skip
HEAD_COLUMNS = 7

SARATHI, VLLM, ORCA, FASTER_TRANSFORMER = range(4)


class Cluster(NamedTuple):
    """The state of B clusters."""

    request: NDArray[np.int32]
    time: NDArray[np.float64]
    replica: NDArray[np.int64]
    clock: NDArray[np.float64]
    resident: NDArray[np.int64]  # [B, R, largest cap] requests that hold memory, by arrival
    cluster: NDArray[np.int64]
    change: NDArray[np.float64]
    now: NDArray[np.float64]
    report: NDArray[np.float64]
    random: NDArray[np.uint64]  # [B] state of each cluster's own generator


class Rules(NamedTuple):
    """What all clusters of a simulation share, as the kernel reads it."""

    scheduler: int
    chunk_tokens: int
    batch_tokens: int
    block_tokens: int
    reserve_blocks: int
    longest_tokens: int
    report_seconds: float
    heads: int
    skip_ahead: bool


def make_cluster(batch_size: int, replicas: int, requests: int, changes: int, largest_cap: int, heads: int) -> Cluster:
    """Clusters with nothing in them."""
    b, r = batch_size, replicas
    return Cluster(
        request=np.zeros((b, requests, REQUEST_COLUMNS), np.int32),
        time=np.full((b, requests, TIME_COLUMNS), np.nan),
        replica=np.zeros((b, r, REPLICA_COLUMNS), np.int64),
        clock=np.zeros((b, r, CLOCK_COLUMNS)),
        resident=np.zeros((b, r, largest_cap), np.int64),
        cluster=np.zeros((b, CLUSTER_COLUMNS), np.int64),
        change=np.zeros((b, max(changes, 1), 4)),
        now=np.zeros((b, NOW_COLUMNS)),
        report=np.zeros((b, r, HEADS + HEAD_COLUMNS * heads)),
        random=np.zeros(b, np.uint64),
    )
