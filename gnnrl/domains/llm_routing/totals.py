"""What has happened in each cluster up to now, as sums that only grow: the difference between two decisions is what happened between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.llm_routing import cluster as c

__all__ = ["Totals", "totals"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False, kw_only=True)
class Totals:
    """Sums by cluster [B] from the beginning of the episode to `now`."""

    now: Floats
    arrived: Floats
    """Requests that came and were not turned away."""
    rejected: Floats
    started: Floats
    """Requests that have their first token."""
    finished: Floats
    ttft_seconds: Floats
    """Times to first token of those that have it."""
    latency_seconds: Floats
    """Latencies of the finished ones."""
    request_seconds: Floats
    """Integral over time of the number of requests in the system; its mean per request is the mean latency (Little's law)."""
    unanswered_seconds: Floats
    """Integral over time of the number of requests without a first token."""
    prefilled_tokens: Floats
    generated_tokens: Floats
    evictions: Floats
    busy_seconds: Floats
    """Device time, summed over replicas; an iteration counts when it begins."""


def totals(s: c.Cluster) -> Totals:
    """The sums of all clusters of a simulation (`simulation.arrays`)."""
    counts, clocks = s.replica.sum(axis=1).astype(np.float64), s.clock.sum(axis=1)
    now = s.now[:, c.NOW].copy()
    rejected = s.cluster[:, c.REJECTED_COUNT].astype(np.float64)
    arrived = s.cluster[:, c.ARRIVALS] - rejected
    started, finished = counts[:, c.STARTED], counts[:, c.FINISHED]
    came = s.now[:, c.ACCEPTED_ARRIVALS]
    return Totals(
        now=now,
        arrived=arrived,
        rejected=rejected,
        started=started,
        finished=finished,
        ttft_seconds=clocks[:, c.TTFT_SUM],
        latency_seconds=clocks[:, c.LATENCY_SUM],
        request_seconds=clocks[:, c.LATENCY_SUM] + (arrived - finished) * now - (came - clocks[:, c.FINISHED_ARRIVALS]),
        unanswered_seconds=clocks[:, c.TTFT_SUM] + (arrived - started) * now - (came - clocks[:, c.STARTED_ARRIVALS]),
        prefilled_tokens=counts[:, c.PREFILLED],
        generated_tokens=counts[:, c.GENERATED],
        evictions=counts[:, c.EVICTED],
        busy_seconds=clocks[:, c.BUSY],
    )
