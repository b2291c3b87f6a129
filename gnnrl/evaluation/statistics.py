"""Means with bootstrap intervals over scenarios, paired differences, and when a policy counts as not worse.

Every policy plays the same scenarios, so differences are taken scenario by scenario before they are resampled (Efron
and Tibshirani 1993, percentile intervals). With few scenarios those are too narrow (5 cover the truth 84 times in a
hundred), so their percentiles are moved outwards as Student's t asks (Hesterberg 2015, expanded percentile intervals).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Interval",
    "interval_name",
    "mean_interval",
    "not_worse",
    "paired_difference",
    "percentile_interval",
    "relative_saving",
    "resamples",
]

DRAWS = 2000
CONFIDENCE = 0.95
FEWEST = 5
"""Scenarios from which on an interval covers what it says; of fewer no percentile of their resamples reaches far enough (two: 50 %)."""


def interval_name(count: int) -> str:
    """What the intervals over `count` scenarios may be called."""
    if count >= FEWEST:
        return "95 % intervals"
    if count < 2:
        return "no intervals, for want of a second one"
    return f"intervals of {count} only, which cover less than 95 % (it takes {FEWEST})"


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; not-a-number where there was nothing to estimate from."""

    mean: float
    low: float
    high: float

    def text(self, form: str, *, scale: float = 1.0, unit: str = "") -> str:
        """`mean [low, high]`, the numbers times `scale` in format `form`, `unit` behind the first; `-` where there is no number, and no
        bounds where none can be told."""
        if math.isnan(self.mean):
            return "-"
        mean, low, high = (f"{scale * value:{form}}" for value in (self.mean, self.low, self.high))
        return f"{mean}{unit}" if math.isnan(self.low) else f"{mean}{unit} [{low}, {high}]"

    def to_json(self) -> dict[str, Any]:
        """`{"mean": x, "ci95": [low, high]}`, with null where there is no number."""
        values = [value if np.isfinite(value) else None for value in (self.mean, self.low, self.high)]
        return {"mean": values[0], "ci95": values[1:]}


def resamples(count: int, *, seed: int = 0, draws: int = DRAWS) -> NDArray[np.int64]:
    """Indices [draws, count] of resampled scenarios; equal for equal arguments, so that paired figures share them."""
    return np.random.default_rng(seed).integers(count, size=(draws, count))


def percentile_interval(estimate: float, replicates: NDArray[np.float64], count: int) -> Interval:
    """The interval that holds the middle of the replicates, 95 % of it as far as `count` scenarios can tell.

    Args:
        estimate: the figure itself.
        replicates: the figure of each resample; one that is not a number is left out, an infinite one is a bound that
            cannot be told and stays at its end.
        count: scenarios that were resampled.
    """
    told = replicates[~np.isnan(replicates)]
    if not np.isfinite(estimate) or told.size == 0 or count < 2:
        # One scenario says nothing about how far the next one may be from it.
        return Interval(float(estimate), float("nan"), float("nan"))
    tail = _tail_share(count)
    low, high = np.quantile(told, [tail, 1.0 - tail], method="inverted_cdf")
    return Interval(float(estimate), float(low), float(high))


def _tail_share(count: int) -> float:
    """Share of replicates beyond either end: normal tail at sqrt(n / (n - 1)) times the t quantile of n - 1.

    The quantile is the series of Abramowitz and Stegun 26.7.5, right to 0.3 % from 4 degrees of freedom up.
    """
    normal = NormalDist()
    z, freedom = normal.inv_cdf(0.5 + 0.5 * CONFIDENCE), count - 1
    t = (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
    return normal.cdf(-math.sqrt(count / freedom) * t)


def mean_interval(values: NDArray[Any], *, seed: int = 0) -> Interval:
    """Mean over scenarios of `values` [n]; scenarios without a number are left out."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    return percentile_interval(
        float(finite.mean()), finite[resamples(finite.size, seed=seed)].mean(axis=1), finite.size
    )


def paired_difference(values: NDArray[Any], reference: NDArray[Any], *, seed: int = 0) -> Interval:
    """Mean of `values - reference`, both [n] over the same scenarios in the same order."""
    values, reference = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if values.shape != reference.shape:
        raise ValueError(
            f"paired scenarios: {values.shape[0]} values against {reference.shape[0]}; play both on the same episodes"
        )
    return mean_interval(values - reference, seed=seed)


def relative_saving(values: NDArray[Any], reference: NDArray[Any], *, seed: int = 0) -> Interval:
    """1 - mean(values) / mean(reference) over the same scenarios, numerator and denominator resampled together."""
    values, reference = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if values.shape != reference.shape:
        raise ValueError(
            f"paired scenarios: {values.shape[0]} values against {reference.shape[0]}; play both on the same episodes"
        )
    index = resamples(len(values), seed=seed)
    replicates = 1.0 - values[index].mean(axis=1) / reference[index].mean(axis=1)
    return percentile_interval(float(1.0 - values.mean() / reference.mean()), replicates, len(values))


def not_worse(values: NDArray[Any], reference: NDArray[Any], tolerance: float, *, seed: int = 0) -> bool:
    """Whether a cost is not worse than the reference's: the upper bound of the paired interval is within `tolerance`
    (same unit)."""
    return paired_difference(values, reference, seed=seed).high <= tolerance
