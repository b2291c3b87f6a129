"""Frontiers of violating share against replica-seconds, and what one saves over another at an equal violating share.

A frontier is a family of settings of one policy, each played on the same scenarios. Its curve is the lower envelope of
the settings' means: the fewest replica-seconds at no more than a given violating share, with straight lines between
neighbours (two settings used in turn reach any point between them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.evaluation.statistics import Interval, percentile_interval, resamples

__all__ = ["Frontier", "envelope", "replica_seconds_at", "saving_at", "violating_share_at", "violation_reduction_at"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Frontier:
    """Settings by scenarios."""

    violating_share: Floats  # [settings, scenarios]
    replica_seconds: Floats  # [settings, scenarios]
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.violating_share.shape != self.replica_seconds.shape or self.violating_share.ndim != 2:
            raise ValueError(
                f"a frontier is [settings, scenarios] twice, not {self.violating_share.shape} "
                f"and {self.replica_seconds.shape}"
            )

    def means(self, scenarios: NDArray[np.int64] | None = None) -> tuple[Floats, Floats]:
        """Mean violating share and replica-seconds of each setting, over all or the given scenarios."""
        index = slice(None) if scenarios is None else scenarios
        return self.violating_share[:, index].mean(axis=1), self.replica_seconds[:, index].mean(axis=1)


def envelope(violating_share: NDArray[Any], replica_seconds: NDArray[Any]) -> tuple[Floats, Floats]:
    """Lower convex envelope of points, by rising violating share and falling replica-seconds (Andrew 1979)."""
    order = np.lexsort((replica_seconds, violating_share))
    hull: list[tuple[float, float]] = []
    for x, y in zip(
        np.asarray(violating_share, dtype=float)[order], np.asarray(replica_seconds, dtype=float)[order], strict=True
    ):
        if hull and y >= hull[-1][1]:
            continue
        while len(hull) > 1 and _above_chord(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((x, y))
    points = np.array(hull)
    return points[:, 0], points[:, 1]


def _above_chord(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])


def replica_seconds_at(violating_share: NDArray[Any], replica_seconds: NDArray[Any], share: float) -> float:
    """Replica-seconds of a frontier's curve at `share`.

    Not-a-number where every setting violates more; the cheapest setting's where every setting violates less (nothing
    forces a policy to violate, and no cheaper setting is known).
    """
    x, y = envelope(violating_share, replica_seconds)
    if share < x[0]:
        return float("nan")
    return float(np.interp(share, x, y))


def saving_at(policy: Frontier, reference: Frontier, share: float, *, seed: int = 0) -> Interval:
    """1 - policy / reference in replica-seconds at an equal violating share, scenarios resampled together.

    The mean is not-a-number where one of the two never gets down to `share`. A resample in which the policy alone does
    not get there counts as boundlessly bad, one in which the reference alone does not as boundlessly good: to leave it
    out would flatter whoever just gets there.
    """
    scenarios = policy.violating_share.shape[1]
    if reference.violating_share.shape[1] != scenarios:
        raise ValueError(
            f"paired scenarios: {scenarios} against {reference.violating_share.shape[1]}; "
            "play both on the same episodes"
        )

    def saving(index: NDArray[np.int64]) -> float:
        mine = replica_seconds_at(*policy.means(index), share)
        return _saved(mine, replica_seconds_at(*reference.means(index), share))

    return _resampled(saving, scenarios, seed)


def violating_share_at(violating_share: NDArray[Any], replica_seconds: NDArray[Any], cost: float) -> float:
    """Violating share of a frontier's curve at `cost` replica-seconds; the mirror image of `replica_seconds_at`."""
    x, y = envelope(violating_share, replica_seconds)
    if cost < y[-1]:
        return float("nan")
    return float(np.interp(cost, y[::-1], x[::-1]))


def violation_reduction_at(policy: Frontier, reference: Frontier, cost: float, *, seed: int = 0) -> Interval:
    """1 - policy / reference in violating share at equal replica-seconds a scenario, scenarios resampled together.

    The cost of a resample is scaled with what its scenarios cost the reference, so that heavy and light resamples are
    compared at the same point of the curve. Not-a-number where the reference does not violate at that cost; resamples
    in which one of the two cannot be that cheap count as in `saving_at`.
    """
    scenarios = policy.violating_share.shape[1]
    if reference.violating_share.shape[1] != scenarios:
        raise ValueError(
            f"paired scenarios: {scenarios} against {reference.violating_share.shape[1]}; "
            "play both on the same episodes"
        )
    whole = reference.replica_seconds.mean()

    def reduction(index: NDArray[np.int64]) -> float:
        scaled = cost * reference.replica_seconds[:, index].mean() / whole
        mine = violating_share_at(*policy.means(index), scaled)
        theirs = violating_share_at(*reference.means(index), scaled)
        return _saved(mine, theirs) if theirs != 0 else float("nan")

    return _resampled(reduction, scenarios, seed)


def _saved(mine: float, theirs: float) -> float:
    """1 - mine / theirs; minus infinity where only mine could not be read, infinity where only theirs could not."""
    if np.isnan(mine):
        return float("nan") if np.isnan(theirs) else -np.inf
    return np.inf if np.isnan(theirs) else 1.0 - mine / theirs


def _resampled(figure: Callable[[NDArray[np.int64]], float], scenarios: int, seed: int) -> Interval:
    replicates = np.array([figure(index) for index in resamples(scenarios, seed=seed, draws=500)])
    estimate = figure(np.arange(scenarios))
    return percentile_interval(estimate if np.isfinite(estimate) else float("nan"), replicates, scenarios)
