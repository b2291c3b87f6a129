"""Prometheus' arithmetic over the samples of one series: `rate` and `count_over_time`, as `extrapolatedRate` in its `promql/functions.go`.

A rate is what the counter has grown between the first and the last sample of the range, resets added back, extrapolated to the ends of the
range where these are nearer than 1.1 average intervals and by half of one where they are not (never back beyond where the counter was
zero), divided by the range. So it is whole where no sample is missing, and low where some are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["extrapolated_rate", "in_range"]

REACH = 1.1
"""Average intervals between samples that an end of the range may be away."""

Samples = Sequence[tuple[float, float]]
"""(unix seconds, value), in the order of time."""


def in_range(samples: Samples, end: float, seconds: float, *, closed: bool = False) -> Samples:
    """The samples of the range that ends at `end`; `closed`: with one at its very start, as before Prometheus 3."""
    start = end - seconds
    found = []
    for one in reversed(samples):
        if one[0] < start or (one[0] == start and not closed):
            break
        if one[0] <= end:
            found.append(one)
    return found[::-1]


def extrapolated_rate(samples: Samples, end: float, seconds: float) -> float | None:
    """Growth per second over the range that these samples are all of; None with fewer than two of them."""
    if len(samples) < 2:
        return None
    (first, least), (last, value) = samples[0], samples[-1]
    grown = value - least + sum(a for (_, a), (_, b) in pairwise(samples) if b < a)
    sampled = last - first
    between = sampled / (len(samples) - 1)
    to_start, to_end = first - (end - seconds), end - last
    if grown > 0.0 and least >= 0.0:
        to_start = min(to_start, sampled * least / grown)
    reached = sampled + sum(gap if gap < REACH * between else between / 2.0 for gap in (to_start, to_end))
    return grown * reached / sampled / seconds
