"""A live cluster in the arrays of a simulated one, so that `LLMGraphObservation` makes the same observation of it.

Only what an observation reads is written: reports, states, outstanding requests, totals, the pending request. Nothing is played.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.calibration import load_calibration
from gnnrl.domains.llm_routing.model import Scheduler
from gnnrl.domains.llm_routing.physics import PhysicsSettings
from gnnrl.domains.llm_routing.reports import IncomingRequest, ReplicaReport
from gnnrl.domains.llm_routing.waiting import fits

__all__ = ["ReplicaRow", "ReportedCluster", "Totals"]


class ReplicaRow(NamedTuple):
    """A healthy replica of which every metric is known, and where it stands."""

    slot: int
    report: ReplicaReport
    outstanding: int
    pending_prefill_tokens: int


class Totals(NamedTuple):
    """Of the whole cluster, since the router began."""

    arrivals: int
    finished: int
    latency_seconds: float


class ReportedCluster:
    """One cluster of at most `slots` replicas, of whatever calibration the environment has.

    Args:
        config: of the environment that the policy was trained in.
        slots: R.
    """

    def __init__(self, config: LLMRoutingConfig, slots: int) -> None:
        self.settings = PhysicsSettings(
            scheduler=Scheduler(name=config.scheduler), report_seconds=config.report_seconds, most_changes=0
        )
        scheduler = self.settings.scheduler
        self._watermark_share = scheduler.watermark_share
        self._tell_lengths = config.length_hint != "absent"
        self.batch_size, self.max_replicas = 1, slots
        calibration = load_calibration(self.settings.calibration)
        self.block_tokens = calibration.block_tokens
        self.timing = calibration.timing()
        self.rules = c.Rules(
            scheduler=c.SARATHI,
            chunk_tokens=scheduler.chunk_tokens,
            batch_tokens=scheduler.batch_tokens,
            block_tokens=calibration.block_tokens,
            reserve_blocks=0,
            longest_tokens=scheduler.longest_tokens,
            # Above 0: observing takes the reports as they stand and makes none.
            report_seconds=np.inf,
            heads=self.settings.queue_heads,
            skip_ahead=False,
        )
        self.arrays = c.make_cluster(1, slots, 1, 0, 1, self.settings.queue_heads)
        self.arrays.cluster[0, c.N_REPLICAS] = slots
        self.deciding = np.ones(1, np.bool_)

    def write(
        self, request: IncomingRequest, rows: Sequence[ReplicaRow], totals: Totals, decision: int, now_seconds: float
    ) -> None:
        """The cluster as it is at a decision.

        Args:
            request: pending.
            rows: the replicas that may be chosen; all other slots are empty.
            totals: of the cluster.
            decision: its number, from 1.
            now_seconds: since the router began.
        """
        s = self.arrays
        s.replica[0, :, c.STATE] = c.ABSENT
        for row in rows:
            self._write_replica(row)
        # Observations read the sums over all replicas, of which some are gone: they stand in the first slot.
        s.replica[0, 0, c.FINISHED], s.clock[0, 0, c.LATENCY_SUM] = totals.finished, totals.latency_seconds
        pending, cluster = s.request[0, 0], s.cluster[0]
        pending[c.PROMPT] = pending[c.TARGET] = request.prompt_tokens
        predicted = request.predicted_output_tokens or 0
        pending[c.SHOWN_DECODE] = predicted if self._tell_lengths else 0
        pending[c.TOTAL] = request.prompt_tokens + max(predicted, 1)
        s.time[0, 0, c.ARRIVED] = now_seconds - request.age_seconds
        s.now[0, c.NOW] = now_seconds
        cluster[c.ARRIVALS], cluster[c.DECISIONS] = totals.arrivals, decision
        cluster[c.AT_ROUTER_COUNT] = request.gateway_waiting + 1

    def fits_somewhere(self, rows: Sequence[ReplicaRow]) -> bool:
        """Whether one of these replicas, as last written, has the memory for the pending request."""
        s = self.arrays
        # Not the compiled one: the first replica is nearly always enough, and to hand it all over costs more.
        return any(fits.py_func(s.request[0], s.replica[0, row.slot], self.rules, 0) for row in rows)

    def _write_replica(self, row: ReplicaRow) -> None:
        report, replica = row.report, self.arrays.replica[0, row.slot]
        blocks = _known(report.kv_blocks)
        used = round(_known(report.kv_usage) * blocks)
        replica[c.STATE], replica[c.BLOCKS] = c.UP, blocks
        replica[c.WATERMARK] = int(self._watermark_share * blocks)
        replica[c.OUTSTANDING] = row.outstanding
        self.arrays.clock[0, row.slot, c.TIME_FACTOR] = 1.0 / report.speed if report.speed else 1.0
        out = self.arrays.report[0, row.slot]
        running = _known(report.running_requests)
        out[c.QUEUE_LENGTH] = _known(report.waiting_requests)
        out[c.ALLOCATED_BLOCKS], out[c.TOTAL_BLOCKS] = used, blocks
        out[c.UTILIZATION] = used / blocks
        out[c.AVAILABLE] = 1.0 - out[c.UTILIZATION]
        out[c.RUNNING_BATCHES] = float(running > 0)
        out[c.ALLOCATION_MAP] = running
        out[c.BATCH_CAPACITY] = report.batch_cap or self.settings.largest_batch_cap
        out[c.BLOCK_SIZE] = report.block_tokens or self.block_tokens
        out[c.NUM_STAGES] = 1.0
        out[c.PENDING_PREFILL_TOKENS] = row.pending_prefill_tokens
        out[c.PREFILLED_TOKENS] = _known(report.prompt_tokens_total)
        out[c.GENERATED_TOKENS] = _known(report.generated_tokens_total)


def _known(value: float | None) -> float:
    if value is None:
        raise TypeError("a report was written before its metrics were asked for")
    return value
