"""What a router can see at a decision, as arrays: features of replicas, of the pending request, of the whole cluster.

    watch = Watch(simulation, HistoryWindows())
    watch.observe()                 # after each `load` and `step`: fills the arrays below for the deciding clusters
    watch.replicas                  # float32 [B, R, F], columns `watch.replica_names`
    watch.requests                  # float32 [B, 3], columns REQUEST_FEATURES
    watch.globals                   # float32 [B, 12], columns GLOBAL_FEATURES
    watch.able                      # bool [B, R]: replicas that may be chosen
    watch.present                   # bool [B, R]: replicas that are up

What replicas report of themselves (base, temporal and head features, tokens done) is as old as the simulation's reports; what the router
counts itself (outstanding requests, arrivals, finished requests and their latencies) is as it is now.

Base, per replica (11), as the documents list them; `preempted_requests` are resident and not in the batch under way.
Temporal, per replica (8), over the replica's last decisions: the changes of queue length and blocks since the last one; an exponential
average of load = (waiting + resident) / batch capacity; slope (least squares, per decision) and variance of the queue length in the
window; its largest and smallest value since the replica came, and the seconds since it was largest.
Heads (7 each): the first requests of the waiting queue.
Own (5): tokens still to prefill; tokens prefilled and tokens given out since the last decision, from which a hidden speed can be inferred;
outstanding requests; the time factor, 0 unless told.
Global (3 + 7 + 2): requests waiting anywhere besides the pending one; completions a second and mean latency over the window; rate of
arrivals over the window, its average, slope and variance; coefficient of variation of the queue lengths; change of the requests waiting;
completions over arrivals in the window; seconds since the last decision; replicas that are up.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.borrowing import borrow
from gnnrl.domains.llm_routing.calibration import Timing
from gnnrl.domains.llm_routing.compilation import inner
from gnnrl.domains.llm_routing.events import can_take, write_report
from gnnrl.domains.llm_routing.model import ModelError
from gnnrl.domains.llm_routing.physics import PhysicsSettings

__all__ = [
    "BASE_FEATURES",
    "GLOBAL_FEATURES",
    "HEAD_FEATURES",
    "OWN_FEATURES",
    "REQUEST_FEATURES",
    "TEMPORAL_FEATURES",
    "HistoryWindows",
    "ObservedClusters",
    "Watch",
    "get_state_dimension",
]

BASE_FEATURES = (
    "queue_length", "allocated_blocks", "total_blocks", "utilization_fraction", "available_fraction", "running_batches",
    "preempted_requests", "allocation_map_size", "batch_capacity", "block_size", "num_stages",
)  # fmt: skip
TEMPORAL_FEATURES = (
    "queue_delta", "allocation_delta", "load_ema", "queue_trend", "queue_variance", "historical_peak", "historical_low",
    "time_since_peak",
)  # fmt: skip
HEAD_FEATURES = (
    "age", "num_prefill_tokens", "num_processed_tokens", "remaining_prefill", "completed", "num_decode_tokens", "priority",
)  # fmt: skip
OWN_FEATURES = ("pending_prefill_tokens", "prefilled_tokens", "generated_tokens", "outstanding", "time_factor")
REQUEST_FEATURES = ("num_prefill_tokens", "num_decode_tokens", "age")
GLOBAL_FEATURES = (
    "queue_length", "throughput", "mean_latency", "qps_current", "qps_ema", "qps_trend", "qps_variance",
    "system_load_balance", "global_queue_delta", "completion_rate", "seconds_since_decision", "replicas_up",
)  # fmt: skip

BASE, TEMPORAL, OWN = len(BASE_FEATURES), len(TEMPORAL_FEATURES), len(OWN_FEATURES)
EMA_WEIGHT = 0.2
"""Weight of the newest value in exponential averages."""
SHORTEST_SECONDS = 1e-3
"""Rates are over at least this long: the gaps of bursts can be so short that a rate over them is no number of 32 bits."""

# columns of `replica` in History [B, R, column]
SEEN, LAST_QUEUE, LAST_BLOCKS, LOAD_EMA, PEAK, LOW, PEAK_AT, LAST_PREFILLED, LAST_GENERATED = range(9)
# columns of `total` in History [B, column]
DECISIONS_SEEN, LAST_WAITING, QPS_EMA = range(3)
# columns of `past` in History [B, window, column], a ring by decision, as `rates`
PAST_AT, PAST_FINISHED, PAST_LATENCY, PAST_ARRIVALS = range(4)


def get_state_dimension(replicas: int, *, temporal: bool = True, heads: int = 4, global_temporal: bool = True) -> int:
    """Size of the documents' flat state: n (11 + 8? + 7 K) + 3 + 7?."""
    per_replica = BASE + (TEMPORAL if temporal else 0) + len(HEAD_FEATURES) * heads
    return replicas * per_replica + 3 + (7 if global_temporal else 0)


@dataclass(frozen=True, kw_only=True)
class HistoryWindows:
    """How far temporal features look back, in decisions, and what is told."""

    replica: int = 5
    cluster: int = 10
    tell_speeds: bool = False
    """Whether a replica's time factor is shown."""

    def __post_init__(self) -> None:
        for name in ("replica", "cluster"):
            if getattr(self, name) < 2:
                raise ModelError(f"window {name} of {getattr(self, name)} decisions is not >= 2")


class History(NamedTuple):
    """What is remembered between decisions."""

    replica: NDArray[np.float64]  # [B, R, 9]
    queues: NDArray[np.float64]  # [B, R, window] a ring by decision of the replica
    total: NDArray[np.float64]  # [B, 3]
    past: NDArray[np.float64]  # [B, window, 4]
    rates: NDArray[np.float64]  # [B, window]


class ObservedClusters(Protocol):
    """What is watched: an `LLMSimulation`, or live clusters written into the same arrays."""

    batch_size: int
    max_replicas: int
    settings: PhysicsSettings
    rules: c.Rules
    timing: Timing
    arrays: c.Cluster
    deciding: NDArray[np.bool_]


class Watch:
    """Observes the deciding clusters of a simulation. See the module's docstring."""

    def __init__(self, simulation: ObservedClusters, windows: HistoryWindows | None = None) -> None:
        self.simulation = simulation
        self.windows = windows or HistoryWindows()
        b, r, heads = simulation.batch_size, simulation.max_replicas, simulation.settings.queue_heads
        self.replica_names = (
            *BASE_FEATURES,
            *TEMPORAL_FEATURES,
            *(f"head{k}_{name}" for k in range(heads) for name in HEAD_FEATURES),
            *OWN_FEATURES,
        )
        self.replicas = np.zeros((b, r, len(self.replica_names)), np.float32)
        self.requests = np.zeros((b, len(REQUEST_FEATURES)), np.float32)
        self.globals = np.zeros((b, len(GLOBAL_FEATURES)), np.float32)
        self.able = np.zeros((b, r), np.bool_)
        self.present = np.zeros((b, r), np.bool_)
        self._history = History(
            replica=np.zeros((b, r, 9)),
            queues=np.zeros((b, r, self.windows.replica)),
            total=np.zeros((b, 3)),
            past=np.zeros((b, self.windows.cluster, 4)),
            rates=np.zeros((b, self.windows.cluster)),
        )

    def observe(self) -> None:
        """Fill the arrays for the clusters that wait for a decision; call it once a decision. Rows of the others stay as they were.

        The first decision of an episode (`load`) starts the histories anew.
        """
        s = self.simulation
        _observe(
            s.arrays, s.rules, s.deciding, self._history, self.windows.tell_speeds, self.replicas, self.requests,
            self.globals, self.able, self.present,
        )  # fmt: skip

    def forget(self, b: int, r: int) -> None:
        """Replica `r` of cluster `b` is another one than at the last decision."""
        self._history.replica[b, r, SEEN] = 0.0

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """A copy of what was seen last and of what is remembered."""
        return {name: array.copy() for name, array in self._kept().items()}

    def load_state_dict(self, saved: Mapping[str, NDArray[Any]], these: Any = slice(None)) -> None:
        """Go on from `state_dict` of a watch of the same sizes, in the clusters `these` (an index of the axis B)."""
        for name, array in self._kept().items():
            array[these] = saved[name][these]

    def _kept(self) -> dict[str, NDArray[Any]]:
        seen = {name: getattr(self, name) for name in ("replicas", "requests", "globals", "able", "present")}
        return seen | {f"history_{name}": array for name, array in self._history._asdict().items()}


@njit(cache=True, nogil=True, error_model="numpy")
def _observe(
    s: c.Cluster, rules: c.Rules, deciding: NDArray[np.bool_], history: History, tell_speeds: bool,
    replicas: NDArray[np.float32], requests: NDArray[np.float32], cluster: NDArray[np.float32], able: NDArray[np.bool_],
    present: NDArray[np.bool_],
) -> None:  # fmt: skip
    s = borrow(s)
    for b in range(deciding.shape[0]):
        if not deciding[b]:
            continue
        starting = s.cluster[b, c.DECISIONS] == 1
        if starting:
            history.total[b, DECISIONS_SEEN] = 0.0
        i = s.cluster[b, c.PENDING]
        now = s.now[b, c.NOW]
        for r in range(replicas.shape[1]):
            there = r < s.cluster[b, c.N_REPLICAS]
            present[b, r] = there and s.replica[b, r, c.STATE] == c.UP
            able[b, r] = there and can_take(s, rules, b, r, i)
            out, memory = replicas[b, r], history.replica[b, r]
            if starting or not present[b, r]:
                memory[SEEN] = 0.0
            if not present[b, r]:
                for column in range(out.shape[0]):
                    out[column] = 0.0
                continue
            if rules.report_seconds == 0.0:
                write_report(s, rules, b, r)
            report = s.report[b, r]
            for column in range(BASE):
                out[column] = report[column]
            _replica_history(report, memory, history.queues[b, r], out, now)
            own = BASE + TEMPORAL
            for column in range(rules.heads * c.HEAD_COLUMNS):
                out[own] = report[c.HEADS + column]
                own += 1
            out[own] = report[c.PENDING_PREFILL_TOKENS]
            out[own + 1] = report[c.PREFILLED_TOKENS] - memory[LAST_PREFILLED]
            out[own + 2] = report[c.GENERATED_TOKENS] - memory[LAST_GENERATED]
            out[own + 3] = s.replica[b, r, c.OUTSTANDING]
            out[own + 4] = s.clock[b, r, c.TIME_FACTOR] if tell_speeds else 0.0
            memory[LAST_PREFILLED] = report[c.PREFILLED_TOKENS]
            memory[LAST_GENERATED] = report[c.GENERATED_TOKENS]
        requests[b, 0] = s.request[b, i, c.TARGET]
        requests[b, 1] = s.request[b, i, c.SHOWN_DECODE]
        requests[b, 2] = now - s.time[b, i, c.ARRIVED]
        _cluster_history(s, b, present[b], history.total[b], history.past[b], history.rates[b], cluster[b])


@inner
def _replica_history(
    report: NDArray[np.float64], memory: NDArray[np.float64], queues: NDArray[np.float64], out: NDArray[np.float32], now: float
) -> None:  # fmt: skip
    """The temporal features of one replica; what is remembered is brought up to date."""
    queue, blocks = report[c.QUEUE_LENGTH], report[c.ALLOCATED_BLOCKS]
    load = (queue + report[c.ALLOCATION_MAP]) / report[c.BATCH_CAPACITY]
    if memory[SEEN] == 0.0:
        memory[LAST_QUEUE], memory[LAST_BLOCKS], memory[LOAD_EMA] = queue, blocks, load
        memory[PEAK], memory[LOW], memory[PEAK_AT] = queue, queue, now
        memory[LAST_PREFILLED], memory[LAST_GENERATED] = report[c.PREFILLED_TOKENS], report[c.GENERATED_TOKENS]
    queues[int(memory[SEEN]) % queues.shape[0]] = queue
    memory[SEEN] += 1.0
    memory[LOAD_EMA] += EMA_WEIGHT * (load - memory[LOAD_EMA])
    memory[LOW] = min(memory[LOW], queue)
    if queue >= memory[PEAK]:
        memory[PEAK], memory[PEAK_AT] = queue, now
    out[BASE + 0] = queue - memory[LAST_QUEUE]
    out[BASE + 1] = blocks - memory[LAST_BLOCKS]
    out[BASE + 2] = memory[LOAD_EMA]
    out[BASE + 3], out[BASE + 4] = _slope_and_variance(queues, int(memory[SEEN]))
    out[BASE + 5] = memory[PEAK]
    out[BASE + 6] = memory[LOW]
    out[BASE + 7] = now - memory[PEAK_AT]
    memory[LAST_QUEUE], memory[LAST_BLOCKS] = queue, blocks


@inner
def _slope_and_variance(ring: NDArray[np.float64], written: int) -> tuple[float, float]:
    """Least-squares slope per entry and variance of the newest entries of a ring that `written` values were put into."""
    n = min(written, ring.shape[0])
    mean = 0.0
    for k in range(n):
        mean += ring[(written - n + k) % ring.shape[0]] / n
    slope, spread, variance = 0.0, 0.0, 0.0
    for k in range(n):
        x = k - (n - 1) / 2.0
        y = ring[(written - n + k) % ring.shape[0]] - mean
        slope += x * y
        spread += x * x
        variance += y * y / n
    return (slope / spread if n > 1 else 0.0), variance


@inner
def _cluster_history(
    s: c.Cluster, b: int, present: NDArray[np.bool_], total: NDArray[np.float64], past: NDArray[np.float64],
    rates: NDArray[np.float64], out: NDArray[np.float32],
) -> None:  # fmt: skip
    """The global features of one cluster; what is remembered is brought up to date."""
    row, now, window = s.cluster[b], s.now[b, c.NOW], past.shape[0]
    waiting = float(row[c.AT_ROUTER_COUNT] - 1)
    finished, latency, up, mean, squares = 0.0, 0.0, 0, 0.0, 0.0
    for r in range(row[c.N_REPLICAS]):
        finished += s.replica[b, r, c.FINISHED]
        latency += s.clock[b, r, c.LATENCY_SUM]
        if present[r]:
            queue = s.report[b, r, c.QUEUE_LENGTH]
            waiting += queue
            up += 1
            mean += queue
            squares += queue * queue
    mean /= up
    seen = int(total[DECISIONS_SEEN])
    oldest = past[(seen - min(seen, window)) % window]
    if seen == 0:
        total[LAST_WAITING] = waiting
        oldest[PAST_AT], oldest[PAST_FINISHED], oldest[PAST_LATENCY], oldest[PAST_ARRIVALS] = 0.0, 0.0, 0.0, 0.0
    arrivals = float(row[c.ARRIVALS] - row[c.REJECTED_COUNT])
    seconds = max(now - oldest[PAST_AT], SHORTEST_SECONDS)
    arrived, done = arrivals - oldest[PAST_ARRIVALS], finished - oldest[PAST_FINISHED]
    qps = arrived / seconds
    last_at = past[(seen - 1) % window, PAST_AT] if seen > 0 else 0.0
    out[1] = done / seconds
    out[2] = (latency - oldest[PAST_LATENCY]) / done if done > 0.0 else 0.0
    out[9] = done / arrived if arrived > 0.0 else 0.0
    newest = past[seen % window]
    newest[PAST_AT], newest[PAST_FINISHED] = now, finished
    newest[PAST_LATENCY], newest[PAST_ARRIVALS] = latency, arrivals
    rates[seen % window] = qps
    total[DECISIONS_SEEN] += 1.0
    total[QPS_EMA] = qps if seen == 0 else total[QPS_EMA] + EMA_WEIGHT * (qps - total[QPS_EMA])
    out[0] = waiting
    out[3] = qps
    out[4] = total[QPS_EMA]
    out[5], out[6] = _slope_and_variance(rates, seen + 1)
    out[7] = math.sqrt(max(squares / up - mean * mean, 0.0)) / mean if mean > 0.0 else 0.0
    out[8] = waiting - total[LAST_WAITING]
    out[10] = now - last_at
    out[11] = up
    total[LAST_WAITING] = waiting
