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
        self._write_replicas(rows)
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
        return any(fits(s.request[0], s.replica[0, row.slot], self.rules, 0) for row in rows)

    def _write_replicas(self, rows: Sequence[ReplicaRow]) -> None:
        s, slots = self.arrays, [row.slot for row in rows]
        told = np.array([self._report(row) for row in rows])
        blocks = told[:, c.TOTAL_BLOCKS]
        s.report[0, slots, : c.HEADS] = told
        s.replica[0, slots, c.STATE] = c.UP
        s.replica[0, slots, c.BLOCKS] = blocks
        s.replica[0, slots, c.WATERMARK] = self._watermark_share * blocks
        s.replica[0, slots, c.OUTSTANDING] = [row.outstanding for row in rows]
        s.clock[0, slots, c.TIME_FACTOR] = [1.0 / row.report.speed if row.report.speed else 1.0 for row in rows]

    def _report(self, row: ReplicaRow) -> tuple[float, ...]:
        """The columns of a report up to HEADS, in their order."""
        report = row.report
        usage, blocks, running, waiting = (
            report.kv_usage,
            report.kv_blocks,
            report.running_requests,
            report.waiting_requests,
        )
        prefilled, generated = report.prompt_tokens_total, report.generated_tokens_total
        if (
            usage is None
            or blocks is None
            or running is None
            or waiting is None
            or prefilled is None
            or generated is None
        ):
            raise TypeError(f"the report of {report.id!r} was written before its metrics were asked for")
        used = round(usage * blocks)
        share = used / blocks
        return (
            waiting,
            used,
            blocks,
            share,
            1.0 - share,
            float(running > 0),
            0.0,
            running,
            report.batch_cap or self.settings.largest_batch_cap,
            report.block_tokens or self.block_tokens,
            1.0,
            row.pending_prefill_tokens,
            prefilled,
            generated,
            0.0,  # resident-seconds: a rule reads them, no policy does
        )
