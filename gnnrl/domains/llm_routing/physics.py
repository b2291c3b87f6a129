"""Physics of a cluster of LLM inference replicas under a router, batched: numba kernels play B clusters, each event at its exact time.

    simulation = LLMSimulation(batch_size, max_replicas, max_requests, settings)
    simulation.load(b, replicas, requests, changes, seed=...)     # cluster b anew, up to its first routing decision
    while simulation.deciding.any():                              # bool [B]: waits for a decision
        simulation.step(chosen)                                   # int [B]: the replica of each pending request
    simulation.run(router)                                        # or: all decisions by one of the compiled routers
    table = simulation.table(b)                                   # what became of each request

`observation.py` turns what stands here into the arrays that a policy sees.

Model. Vidur's: a replica forms a batch, which takes the calibrated time of its composition times the replica's time factor; then it forms
the next. Four schedulers (`schedulers.py`); KV memory in blocks of 16 tokens, a watermark that admission leaves free, the latest resident
evicted when a block is wanting. An evicted request starts again with all tokens known so far as its prompt. Requests wait at the router
while no replica that could hold them is up. A request that no replica could ever hold is turned away and counted.

Differences from Vidur: the queue of a replica is strictly by arrival (Vidur's order depends on the batch in some corners); a resident is
evicted when a block is needed, not already when none is left; a request evicted in the middle of its prefill prefills all of it again
(Vidur cuts its prompt); a prompt longer than vllm's token budget is prefilled alone (Vidur never begins it); one pipeline stage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.calibration import DEFAULT_CALIBRATION, Timing, load_calibration
from gnnrl.domains.llm_routing.choosing import OUTSIDE, choose_all, play
from gnnrl.domains.llm_routing.conservation import BROKEN_LAWS, ConservationError, broken_law
from gnnrl.domains.llm_routing.events import can_take, write_report
from gnnrl.domains.llm_routing.model import CHANGES, SCHEDULERS, Change, ModelError, Replica, Scheduler, check_changes
from gnnrl.domains.llm_routing.request_table import RequestTable
from gnnrl.domains.llm_routing.workloads import Requests
from graph_space.arguments import whole_number, whole_numbers

__all__ = ["LLMSimulation", "PhysicsSettings"]


@dataclass(frozen=True, kw_only=True)
class PhysicsSettings:
    """What all clusters of a simulation share."""

    scheduler: Scheduler = field(default_factory=Scheduler)
    calibration: str | Path = DEFAULT_CALIBRATION
    """Name or file of the iteration times."""
    report_seconds: float = 0.0
    """The router knows what replicas report of themselves as it was at the last multiple of this; 0 = as it is. How many requests it has
    sent to a replica and not got back it always knows."""
    queue_heads: int = 4
    """Waiting requests that a report describes one by one."""
    largest_batch_cap: int = 128
    most_changes: int = 64
    skip_ahead: bool = True
    """Pass over runs of unchanged decode batches in one event; off gives the same numbers, bit for bit, and is for tests."""
    check: bool = False
    """Check the conservation laws at every decision (slow)."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.report_seconds) and self.report_seconds >= 0):
            raise ModelError(f"report_seconds {self.report_seconds} is not a time >= 0")
        for name, least in (("queue_heads", 0), ("largest_batch_cap", 1), ("most_changes", 0)):
            if getattr(self, name) < least:
                raise ModelError(f"{name} {getattr(self, name)} is not >= {least}")


class LLMSimulation:
    """B clusters of at most R replicas and N requests each. See the module's docstring.

    Args:
        batch_size: B.
        max_replicas: R.
        max_requests: N, of one episode.
        settings: what all share.

    Raises:
        ModelError: a size below 1.
    """

    def __init__(
        self, batch_size: int, max_replicas: int, max_requests: int, settings: PhysicsSettings | None = None
    ) -> None:
        for what, count in (("batch_size", batch_size), ("max_replicas", max_replicas), ("max_requests", max_requests)):
            if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
                raise ModelError(f"{what} {count!r} is not >= 1")
        self.batch_size = batch_size
        self.max_replicas = max_replicas
        self.max_requests = max_requests
        self.settings = settings or PhysicsSettings()
        self.calibration = load_calibration(self.settings.calibration)
        scheduler = self.settings.scheduler
        reserves = scheduler.name in ("orca", "faster_transformer")
        self.rules = c.Rules(
            scheduler=SCHEDULERS.index(scheduler.name),
            chunk_tokens=scheduler.chunk_tokens,
            batch_tokens=scheduler.batch_tokens,
            block_tokens=self.calibration.block_tokens,
            reserve_blocks=-(-scheduler.longest_tokens // self.calibration.block_tokens) if reserves else 0,
            longest_tokens=scheduler.longest_tokens,
            report_seconds=float(self.settings.report_seconds),
            heads=self.settings.queue_heads,
            skip_ahead=self.settings.skip_ahead,
        )
        self.timing: Timing = self.calibration.timing()
        self.arrays = c.make_cluster(
            batch_size, max_replicas, max_requests, self.settings.most_changes, self.settings.largest_batch_cap,
            self.settings.queue_heads,
        )  # fmt: skip
        self.deciding = np.zeros(batch_size, np.bool_)
        """[B] clusters that wait for a routing decision; the others are at their end."""
        self._chosen = np.zeros(batch_size, np.int64)
        self._alone = np.zeros(batch_size, np.bool_)

    def load(
        self, b: int, replicas: Sequence[Replica], requests: Requests, changes: Sequence[Change] = (), *, seed: int = 0
    ) -> None:
        """Cluster `b` anew, played up to its first routing decision.

        Args:
            b: cluster.
            replicas: 1 to R of them; replica r is column r.
            requests: at most N.
            changes: what happens to replicas, in any order.
            seed: of the cluster's own generator, which routers draw ties from.

        Raises:
            ModelError: too many or no replicas, requests or changes, a batch cap above the largest, an unknown replica.
        """
        s, settings = self.arrays, self.settings
        whole_number(b, "cluster", 0, self.batch_size - 1)
        whole_number(seed, f"cluster {b}: seed")
        if not 1 <= len(replicas) <= self.max_replicas:
            raise ModelError(f"cluster {b}: {len(replicas)} replicas; there must be 1..{self.max_replicas}")
        if len(requests) > self.max_requests:
            raise ModelError(f"cluster {b}: {len(requests)} requests, more than max_requests = {self.max_requests}")
        if len(changes) > settings.most_changes:
            raise ModelError(f"cluster {b}: {len(changes)} changes, more than most_changes = {settings.most_changes}")
        for r, replica in enumerate(replicas):
            if replica.batch_cap > settings.largest_batch_cap:
                raise ModelError(
                    f"cluster {b}: replica {r}: batch_cap {replica.batch_cap} is above "
                    f"largest_batch_cap = {settings.largest_batch_cap}"
                )
        ordered = check_changes(changes, len(replicas))
        self._load_requests(b, requests)
        s.replica[b] = 0
        s.clock[b] = 0.0
        s.clock[b, :, c.TIME_FACTOR] = 1.0
        s.replica[b][:, [c.HEAD, c.TAIL]] = c.NOBODY
        for r, replica in enumerate(replicas):
            blocks = self.calibration.kv_blocks if replica.kv_blocks is None else replica.kv_blocks
            s.replica[b, r, c.STATE] = c.UP if replica.up else c.ABSENT
            s.replica[b, r, c.BLOCKS] = s.replica[b, r, c.FREE] = blocks
            s.replica[b, r, c.WATERMARK] = int(settings.scheduler.watermark_share * blocks)
            s.replica[b, r, c.CAP] = replica.batch_cap
            s.clock[b, r, c.TIME_FACTOR] = replica.time_factor
        for k, change in enumerate(ordered):
            s.change[b, k] = (change.at_seconds, CHANGES.index(change.kind), change.replica, change.time_factor)
        row = s.cluster[b]
        row[:] = 0
        row[c.N_REQUESTS], row[c.N_CHANGES], row[c.N_REPLICAS] = len(requests), len(ordered), len(replicas)
        row[c.ROUTER_HEAD] = row[c.ROUTER_TAIL] = row[c.PENDING] = c.NOBODY
        row[c.LAST_REPLICA] = len(replicas) - 1
        s.now[b] = 0.0
        s.now[b, c.NEXT_REPORT] = settings.report_seconds if settings.report_seconds > 0 else np.inf
        s.random[b] = np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]
        s.report[b] = 0.0
        for r in range(len(replicas)):
            write_report(s, self.rules, b, r)
        self._alone[b] = True
        self._play(OUTSIDE, self._alone, 1)
        self.deciding[b], self._alone[b] = self._alone[b], False
        self._check(b)

    def _load_requests(self, b: int, requests: Requests) -> None:
        n = len(requests)
        rows, times = self.arrays.request[b], self.arrays.time[b]
        rows[:n] = 0
        rows[:n, c.PROMPT] = rows[:n, c.TARGET] = requests.prefill_tokens
        rows[:n, c.TOTAL] = requests.prefill_tokens + requests.decode_tokens
        rows[:n, c.NEXT] = rows[:n, c.REPLICA] = c.NOBODY
        rows[:n, c.SHOWN_DECODE] = requests.shown_decode_tokens
        times[:n] = np.nan
        times[:n, c.ARRIVED] = requests.arrived_at

    def step(self, chosen: NDArray[Any]) -> NDArray[np.bool_]:
        """Route the pending request of each deciding cluster, and play on to the next decision.

        Args:
            chosen: replica of each pending request, int [B]; ignored for clusters that are at their end.

        Returns:
            `deciding` [B]: which clusters wait for the next decision.

        Raises:
            ValueError: a replica that is not there, not up, or too small for the request; nothing is routed then.
        """
        self._chosen[:] = whole_numbers(chosen, (self.batch_size,), "chosen")
        wrong = _first_wrong(self.arrays, self.rules, self.deciding, self._chosen)
        if wrong >= 0:
            r, i = int(self._chosen[wrong]), int(self.arrays.cluster[wrong, c.PENDING])
            able = np.flatnonzero(self.able_mask()[wrong]).tolist()
            raise ValueError(f"cluster {wrong}: replica {r} cannot take request {i}; those that can are {able}")
        self._play(OUTSIDE, self.deciding, 1)
        for b in range(self.batch_size if self.settings.check else 0):
            self._check(b)
        return self.deciding

    def choose(self, router: int) -> NDArray[np.int64]:
        """What a compiled router (`baselines.ROUTERS`) chooses, int64 [B], -1 where no decision waits; it draws from the generators."""
        chosen = np.empty(self.batch_size, np.int64)
        choose_all(self.arrays, self.rules, self.timing, _known(router), self.deciding, chosen)
        return chosen

    def run(self, router: int, *, most: int = 1 << 40) -> bool:
        """Play all clusters on under a compiled router, up to `most` decisions each.

        Returns:
            Whether all are at their end.

        Raises:
            ValueError: a router that is not known, or a number of decisions that is not an integer >= 0.
        """
        router, most = _known(router), whole_number(most, "most", 0, 1 << 40)
        if self.settings.check:
            for _ in range(most):
                if not self.deciding.any():
                    break
                self.step(self.choose(router))
        else:
            self._play(router, self.deciding, most)
        return not self.deciding.any()

    def able_mask(self) -> NDArray[np.bool_]:
        """[B, R] replicas that may be chosen for the pending request; nothing where none is pending."""
        able = np.zeros((self.batch_size, self.max_replicas), np.bool_)
        _write_able(self.arrays, self.rules, self.deciding, able)
        return able

    def table(self, b: int) -> RequestTable:
        """What became of the requests of cluster `b` so far."""
        return RequestTable.of(self.arrays, whole_number(b, "cluster", 0, self.batch_size - 1))

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """A copy of every array by name, from which `load_state_dict` goes on bit for bit."""
        return {name: array.copy() for name, array in self.arrays._asdict().items()} | {
            "deciding": self.deciding.copy()
        }

    def load_state_dict(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Restore `state_dict` into a simulation of the same sizes and settings.

        Raises:
            ValueError: an array has not the shape that it has here; nothing is restored then.
        """
        ours = self.arrays._asdict() | {"deciding": self.deciding}
        for name, array in ours.items():
            if np.shape(saved[name]) != array.shape:
                raise ValueError(
                    f"{name} of the saved simulation has shape {np.shape(saved[name])}, here it is {array.shape}: "
                    "it had other sizes"
                )
        for name, array in ours.items():
            array[:] = saved[name]

    def _play(self, router: int, deciding: NDArray[np.bool_], most: int) -> None:
        play(self.arrays, self.rules, self.timing, router, self._chosen, deciding, most)
        self._check_faults()

    def _check(self, b: int) -> None:
        if self.settings.check and (law := broken_law(self.arrays, self.rules, b)):
            raise ConservationError(
                f"cluster {b} at {self.arrays.now[b, c.NOW]:.6f} s, decision {self.arrays.cluster[b, c.DECISIONS]}: "
                f"{BROKEN_LAWS[law]}"
            )

    def _check_faults(self) -> None:
        faulty = np.flatnonzero(self.arrays.cluster[:, c.FAULT])
        if faulty.size:
            b = int(faulty[0])
            raise ConservationError(
                f"cluster {b}: replica {self.arrays.cluster[b, c.FAULT_PLACE]} has requests and can do nothing for them"
            )


def _known(router: int) -> int:
    return whole_number(router, "router", 0, max(entry.code for entry in ROUTERS.values()))


@njit(cache=True, nogil=True, error_model="numpy")
def _first_wrong(s: c.Cluster, rules: c.Rules, deciding: NDArray[np.bool_], chosen: NDArray[np.int64]) -> int:
    """The first cluster whose choice cannot be, or -1."""
    for b in range(deciding.shape[0]):
        if deciding[b]:
            r = chosen[b]
            if r < 0 or r >= s.cluster[b, c.N_REPLICAS] or not can_take(s, rules, b, r, s.cluster[b, c.PENDING]):
                return b
    return -1


@njit(cache=True, nogil=True, error_model="numpy")
def _write_able(s: c.Cluster, rules: c.Rules, deciding: NDArray[np.bool_], able: NDArray[np.bool_]) -> None:
    for b in range(deciding.shape[0]):
        if deciding[b]:
            for r in range(s.cluster[b, c.N_REPLICAS]):
                able[b, r] = can_take(s, rules, b, r, s.cluster[b, c.PENDING])
