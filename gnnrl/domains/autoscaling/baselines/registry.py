"""Baselines by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnnrl.domains.autoscaling.baselines.autoscaler import Autoscaler, ReplicaBounds
from gnnrl.domains.autoscaling.baselines.feed_forward import FeedForward
from gnnrl.domains.autoscaling.baselines.hpa import HorizontalPodAutoscaler
from gnnrl.domains.autoscaling.baselines.kpa import KnativePodAutoscaler
from gnnrl.domains.autoscaling.baselines.oracle import Oracle
from gnnrl.domains.autoscaling.baselines.simple import RandomMoves, StaticPeak
from gnnrl.domains.autoscaling.calibration import Calibration

__all__ = ["BASELINES", "Load", "is_baseline", "is_calibrated", "make", "make_with"]

BASELINES: Mapping[str, str] = {
    "hpa_80": "Kubernetes HPA v2 at 80 % of the CPU request, 300 s scale-down window (any: hpa_50, hpa_120, ...)",
    "hpa_calibrated": "HPA v2, target and window calibrated per workload family",
    "kpa": "Knative KPA, concurrency per pod calibrated per workload family",
    "feed_forward": "root load x true call ratios x true costs, headroom calibrated per workload family",
    "feed_forward_estimated": "the same with ratios and costs estimated from CPU and traffic",
    "feed_forward_trend": "estimated, with the load's trend carried on; headroom and weight calibrated",
    "feed_forward_70": "true ratios and costs at 70 % of the limit, not calibrated (any share: feed_forward_60, ...)",
    "oracle": "a bound: knows the load until its pods are ready, the true costs, and its best setting for the scenario",
    "static": "replicas for the peak, never changed",
    "random": "a random legal move for every service and decision",
}
"""Name -> what it is."""

_PERCENT = re.compile(r"(hpa|feed_forward)_([1-9]\d{0,2})")

_CALIBRATED = ("hpa_calibrated", "kpa", "feed_forward", "feed_forward_estimated", "feed_forward_trend")


@dataclass(frozen=True, eq=False)
class Load:
    """The B loads that an autoscaler will meet; only `oracle` and `static` look at `rps`."""

    workloads: Sequence[str]
    """[B] workload family or file, by which calibrated settings are looked up."""
    rps: NDArray[Any]
    """[B, T] external requests/s by second, warm-up included."""


def is_baseline(name: str) -> bool:
    """Whether `make` knows this name."""
    return name in BASELINES or _PERCENT.fullmatch(name) is not None


def is_calibrated(name: str) -> bool:
    """Whether this baseline takes its settings from a calibration."""
    return name in _CALIBRATED


def make(
    name: str, bounds: ReplicaBounds, columns: int, load: Load, calibration: Calibration | None = None, *, seed: int = 0
) -> Autoscaler:
    """The baseline of this name.

    Args:
        name: a key of `BASELINES`, `hpa_<percent>` or `feed_forward_<percent>`.
        bounds: replicas a service may have.
        columns: service columns of the telemetry.
        load: what it will meet.
        calibration: settings of the calibrated ones.
        seed: of `random`.

    Raises:
        ValueError: no such baseline, with those there are.
        CalibrationError: it is calibrated, and `calibration` has no setting for one of the workloads.
    """
    if is_calibrated(name):
        table = calibration or Calibration(environment={}, seeds=0)
        chosen = [table.chosen(workload, name).values for workload in load.workloads]
        return make_with(
            name, bounds, columns, load, {key: np.array([values[key] for values in chosen]) for key in chosen[0]}
        )
    fixed = _PERCENT.fullmatch(name)
    if fixed:
        if fixed[1] == "hpa":
            return HorizontalPodAutoscaler(bounds, columns, target_percent=float(fixed[2]), name=name)
        return FeedForward(bounds, columns, headroom=int(fixed[2]) / 100, name=name)
    if name == "oracle":
        return Oracle(bounds, columns, load.rps)
    if name == "static":
        return StaticPeak(bounds, columns, load.rps)
    if name == "random":
        return RandomMoves(bounds, columns, seed=seed)
    raise ValueError(f"no baseline {name!r}; there are {', '.join(BASELINES)}")


def make_with(
    name: str, bounds: ReplicaBounds, columns: int, load: Load, settings: Mapping[str, ArrayLike]
) -> Autoscaler:
    """A calibrated baseline, or the oracle, at given settings, each one number or one a mesh [B] (what a sweep plays)."""
    values = dict(settings)
    if name == "hpa_calibrated":
        return HorizontalPodAutoscaler(bounds, columns, name=name, **values)
    if name == "kpa":
        return KnativePodAutoscaler(bounds, columns, name=name, **values)
    if name == "oracle":
        return Oracle(bounds, columns, load.rps, name=name, **values)
    if name in _CALIBRATED:
        return FeedForward(bounds, columns, estimated=name != "feed_forward", name=name, **values)
    raise ValueError(f"{name!r} has no settings; those that have are {', '.join(_CALIBRATED)} and oracle")
