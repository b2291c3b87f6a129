"""The latency report of an episode: percentiles over its completed requests."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from gnnrl.domains.llm_routing.errors import LLMRoutingError
from gnnrl.domains.llm_routing.request_table import RequestTable

__all__ = ["LatencyReport", "MetricsError", "latency_report"]


class MetricsError(LLMRoutingError):
    """There is nothing to report on."""


@dataclass(frozen=True, kw_only=True)
class LatencyReport:
    """Time to first token and end-to-end latency in seconds, milliseconds per output token after the first."""

    ttft_p50_s: float
    ttft_p90_s: float
    ttft_p99_s: float
    ttft_mean_s: float
    e2e_p50_s: float
    e2e_p90_s: float
    e2e_p99_s: float
    e2e_mean_s: float
    tpot_p50_ms: float | None
    """None where no answer has a second token."""
    tpot_p99_ms: float | None
    completed: int
    rejected: int
    """Longer than any replica's memory."""
    unfinished: int
    """Arrived, and neither completed nor rejected: no replica was left to serve them."""
    restarts: int

    def as_dict(self) -> dict[str, float | int | None]:
        """All fields by name."""
        return asdict(self)


def latency_report(table: RequestTable) -> LatencyReport:
    """Percentiles (linear between order statistics) over the completed requests of a table.

    Raises:
        MetricsError: no request was completed.
    """
    completed, rejected = table.count("completed"), table.count("rejected")
    unfinished = len(table) - completed - rejected - table.count("not_arrived")
    if completed == 0:
        raise MetricsError(
            f"none of {len(table)} requests was completed: {rejected} are longer than any replica's memory, {unfinished} "
            "found no replica"
        )
    done = np.isfinite(table.completed_at)
    ttft, e2e = table.ttft_s[done], table.e2e_s[done]
    tpot = table.tpot_ms[done]
    tpot = tpot[np.isfinite(tpot)]
    ttft_percentiles = np.percentile(ttft, (50, 90, 99)).tolist()
    e2e_percentiles = np.percentile(e2e, (50, 90, 99)).tolist()
    return LatencyReport(
        ttft_p50_s=ttft_percentiles[0],
        ttft_p90_s=ttft_percentiles[1],
        ttft_p99_s=ttft_percentiles[2],
        ttft_mean_s=float(ttft.mean()),
        e2e_p50_s=e2e_percentiles[0],
        e2e_p90_s=e2e_percentiles[1],
        e2e_p99_s=e2e_percentiles[2],
        e2e_mean_s=float(e2e.mean()),
        tpot_p50_ms=float(np.percentile(tpot, 50)) if tpot.size else None,
        tpot_p99_ms=float(np.percentile(tpot, 99)) if tpot.size else None,
        completed=completed,
        rejected=rejected,
        unfinished=unfinished,
        restarts=int(table.restarts.sum()),
    )
