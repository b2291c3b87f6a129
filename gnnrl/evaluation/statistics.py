"""Means with bootstrap intervals over scenarios, paired differences, and when a policy counts as not worse.

Every policy plays the same scenarios, so differences are taken scenario by scenario before they are resampled (Efron
and Tibshirani 1993, percentile intervals).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Interval", "mean_interval", "not_worse", "paired_difference", "relative_saving", "resamples"]

DRAWS = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval; not-a-number where there was nothing to estimate from."""

    mean: float
    low: float
    high: float

    def to_json(self) -> dict[str, Any]:
        """`{"mean": x, "ci95": [low, high]}`, with null where there is no number."""
        values = [value if np.isfinite(value) else None for value in (self.mean, self.low, self.high)]
        return {"mean": values[0], "ci95": values[1:]}


def resamples(count: int, *, seed: int = 0, draws: int = DRAWS) -> NDArray[np.int64]:
    """Indices [draws, count] of resampled scenarios; equal for equal arguments, so that paired figures share them."""
    return np.random.default_rng(seed).integers(count, size=(draws, count))


def percentile_interval(estimate: float, replicates: NDArray[np.float64]) -> Interval:
    """The interval that holds the middle 95 % of finite replicates."""
    finite = replicates[np.isfinite(replicates)]
    if not np.isfinite(estimate) or finite.size == 0:
        return Interval(float(estimate), float("nan"), float("nan"))
    tail = 50.0 * (1.0 - CONFIDENCE)
    low, high = np.percentile(finite, [tail, 100.0 - tail])
    return Interval(float(estimate), float(low), float(high))


def mean_interval(values: NDArray[Any], *, seed: int = 0) -> Interval:
    """Mean over scenarios of `values` [n]; scenarios without a number are left out."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    if finite.size == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    return percentile_interval(float(finite.mean()), finite[resamples(finite.size, seed=seed)].mean(axis=1))


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
    return percentile_interval(float(1.0 - values.mean() / reference.mean()), replicates)


def not_worse(values: NDArray[Any], reference: NDArray[Any], tolerance: float, *, seed: int = 0) -> bool:
    """Whether a cost is not worse than the reference's: the upper bound of the paired interval is within `tolerance`
    (same unit)."""
    return paired_difference(values, reference, seed=seed).high <= tolerance
