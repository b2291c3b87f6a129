"""Latencies of many requests: an exact mean, percentiles from a histogram whose error is bounded, and where the requests went."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.queue_routing.kernel import BINS_PER_OCTAVE, LATENCY_BINS, LOWEST_LATENCY

__all__ = ["LATENCY_EDGES_SECONDS", "QueueMetrics", "percentile", "summarise"]

_EDGE = np.arange(LATENCY_BINS + 1)
LATENCY_EDGES_SECONDS: NDArray[np.float64] = (
    LOWEST_LATENCY * 2.0 ** (_EDGE // BINS_PER_OCTAVE) * (1.0 + _EDGE % BINS_PER_OCTAVE / BINS_PER_OCTAVE)
)
"""Edges of the latency histogram; latencies beyond either end, a nanosecond and twelve days, are counted in the last bin there."""


@dataclass(frozen=True, kw_only=True)
class QueueMetrics:
    """What became of the requests of one or several environments; not-a-number where there was none."""

    routed: int
    """Requests that were given to a replica, or to the line of those that wait for one."""
    finished: int
    mean_latency_seconds: float
    """Of the finished requests, from arrival to finish; exact."""
    p50_latency_seconds: float
    p99_latency_seconds: float
    """Percentiles are within 1.6 % by construction, and within 0.1 % where the latencies are spread smoothly (`percentile`)."""
    routing_accuracy: float
    """Share of the routed requests that went to a replica that is fastest for their type among those present."""
    mean_in_system: float
    """Time average of the number of requests in the system, up to the last arrival."""


def summarise(
    *,
    routed: NDArray[np.int64],
    fast: NDArray[np.int64],
    finished: NDArray[np.int64],
    latency_sum: NDArray[np.float64],
    in_system_sum: NDArray[np.float64],
    seconds: NDArray[np.float64],
    histograms: NDArray[np.int64],
    edges: NDArray[np.float64],
) -> QueueMetrics:
    """One summary of environments [B], their requests counted together; `histograms` [B, bins] over `edges` [bins + 1], in seconds."""
    histogram = histograms.sum(axis=0)
    all_routed, all_finished, all_seconds = int(routed.sum()), int(finished.sum()), float(seconds.sum())
    return QueueMetrics(
        routed=all_routed,
        finished=all_finished,
        mean_latency_seconds=float(latency_sum.sum()) / all_finished if all_finished else float("nan"),
        p50_latency_seconds=percentile(histogram, edges, 0.50),
        p99_latency_seconds=percentile(histogram, edges, 0.99),
        routing_accuracy=float(fast.sum()) / all_routed if all_routed else float("nan"),
        mean_in_system=float(in_system_sum.sum()) / all_seconds if all_seconds > 0.0 else float("nan"),
    )


def percentile(histogram: NDArray[np.int64 | np.float64], edges: NDArray[np.float64], share: float) -> float:
    """The latency that `share` of the requests do not exceed.

    Linear within the bin in which it lies, so the error is below the bin's width (1/64 of the value at most), and of the second order in it
    where the density is smooth.

    Args:
        histogram: requests by latency, [bins].
        edges: of the bins, [bins + 1], in seconds.
        share: in (0, 1).

    Returns:
        Seconds; not-a-number without requests.
    """
    below = np.cumsum(histogram)
    if below[-1] == 0:
        return float("nan")
    wanted = share * below[-1]
    bin_ = int(np.searchsorted(below, wanted))
    inside = (wanted - (below[bin_] - histogram[bin_])) / histogram[bin_]
    return float(edges[bin_] + inside * (edges[bin_ + 1] - edges[bin_]))
