"""Kubernetes' Horizontal Pod Autoscaler v2, batched: replica calculator, stabilisation and rate policies as the
controller has them.

Source: kubernetes/kubernetes `pkg/controller/podautoscaler`, `replica_calculator.go` (GetResourceReplicas, groupPods)
    and `horizontal.go`
(computeReplicasForMetrics, stabilizeRecommendationWithBehaviors, convertDesiredReplicasWithBehaviorRate), with the
defaults of autoscaling/v2: sync 15 s, tolerance 0.1, CPU initialisation 5 min, readiness delay 30 s. The functions act
on any broadcastable arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gnnrl.domains.autoscaling.baselines.autoscaler import Baseline, ReplicaBounds, Replicas, Telemetry
from gnnrl.domains.autoscaling.observed import AnyMesh

__all__ = [
    "DEFAULT_SCALE_DOWN",
    "DEFAULT_SCALE_UP",
    "HorizontalPodAutoscaler",
    "ScalingPolicy",
    "combine_metrics",
    "group_pods",
    "rate_limit",
    "resource_proposal",
    "stabilise",
]

TOLERANCE = 0.1
CPU_INITIALISATION_SECONDS = 300.0
INITIAL_READINESS_SECONDS = 30.0
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ScalingPolicy:
    """One entry of `behavior.scaleUp.policies` or `behavior.scaleDown.policies`; several are combined by `selectPolicy:
    Max`."""

    kind: Literal["pods", "percent"]
    value: int
    period_seconds: float


DEFAULT_SCALE_UP = (
    ScalingPolicy(kind="percent", value=100, period_seconds=15),
    ScalingPolicy(kind="pods", value=4, period_seconds=15),
)
DEFAULT_SCALE_DOWN = (ScalingPolicy(kind="percent", value=100, period_seconds=15),)


def group_pods(
    *,
    pending: ArrayLike,
    has_metrics: ArrayLike,
    is_ready: ArrayLike,
    age_seconds: ArrayLike,
    seconds_since_transition: ArrayLike,
    metric_age_seconds: ArrayLike,
    metric_window_seconds: float,
) -> tuple[Bools, Bools, Bools]:
    """Sort pods as the controller does before it averages their CPU: (ready, unready, missing) masks of the arguments'
    shape.

    Args:
        pending: the pod's phase is Pending.
        has_metrics: a CPU sample of the pod exists.
        is_ready: its Ready condition, now.
        age_seconds: since the pod started.
        seconds_since_transition: since its Ready condition last changed (to false at its start, unless it became
            ready).
        metric_age_seconds: since the end of the sample's window.
        metric_window_seconds: length of that window.
    """
    pending, has_metrics, is_ready = (np.asarray(flag, dtype=np.bool_) for flag in (pending, has_metrics, is_ready))
    age, since = np.asarray(age_seconds, dtype=np.float64), np.asarray(seconds_since_transition, dtype=np.float64)
    unready, missing = pending, ~pending & ~has_metrics
    sampled_too_early = np.asarray(metric_age_seconds) > since - metric_window_seconds
    initialising = age < CPU_INITIALISATION_SECONDS
    never_ready = ~is_ready & (age - since < INITIAL_READINESS_SECONDS)
    ignored = np.where(initialising, ~is_ready | sampled_too_early, never_ready)
    unready = pending | (~missing & ignored)
    return ~unready & ~missing, unready, missing


def resource_proposal(
    current: ArrayLike,
    ready: ArrayLike,
    usage_millicores: ArrayLike,
    request_millicores: ArrayLike,
    target_percent: ArrayLike,
    *,
    unready: ArrayLike = 0,
    missing: ArrayLike = 0,
    tolerance: float = TOLERANCE,
) -> tuple[Replicas, Bools]:
    """Replicas that one resource metric asks for (GetResourceReplicas), for pods of one request each.

    Args:
        current: replicas of the scale target's spec.
        ready: pods with a sample that counts.
        usage_millicores: CPU of those pods together.
        request_millicores: CPU request of one pod.
        target_percent: target utilisation of the request.
        unready: pods whose sample does not count (pending, starting, just ready).
        missing: running pods without a sample.
        tolerance: no change while the ratio is within 1 +- this.

    Returns:
        (proposal int64, valid): where not valid no ready pod had metrics, which the controller treats as a failed
        metric.
    """
    current, ready, unready, missing = (
        np.asarray(count, dtype=np.int64) for count in (current, ready, unready, missing)
    )
    usage = np.asarray(usage_millicores, dtype=np.float64)
    request = np.asarray(request_millicores, dtype=np.float64)
    target = np.asarray(target_percent, dtype=np.float64)
    valid = ready > 0
    ratio = _usage_ratio(usage, request * np.maximum(ready, 1), target)

    # Missing pods count as their whole request (or the target, if that is more) on the way down, as nothing on the way
    # up; so do unready.
    with_unready = (unready > 0) & (ratio > 1.0)
    assumed = np.where(ratio < 1.0, missing * request * np.maximum(100.0, target) / 100.0, 0.0)
    counted_missing = np.where(ratio == 1.0, 0, missing)  # exactly on target nothing is assumed of them
    counted = np.maximum(ready + counted_missing + np.where(with_unready, unready, 0), 1)
    second = _usage_ratio(usage + assumed, request * counted, target)

    plain = np.where(_within(ratio, tolerance), current, _ceil(ratio * ready))
    rebalanced = _ceil(second * counted)
    keep = (
        _within(second, tolerance)
        | ((ratio < 1.0) & (second > 1.0))
        | ((ratio > 1.0) & (second < 1.0))
        | ((second < 1.0) & (rebalanced > current))
        | ((second > 1.0) & (rebalanced < current))
    )
    proposal = np.where(~with_unready & (missing == 0), plain, np.where(keep, current, rebalanced))
    return np.where(valid, proposal, current).astype(np.int64), np.broadcast_to(valid, proposal.shape)


def _usage_ratio(usage: NDArray[Any], requested: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    # The controller keeps utilisation as an int32 percentage; 1e-9 undoes binary fractions such as 0.8 * 100.
    return np.floor(usage * 100.0 / requested + 1e-9) / target


def _within(ratio: NDArray[Any], tolerance: float) -> Bools:
    return np.asarray((1.0 - tolerance <= ratio) & (ratio <= 1.0 + tolerance))


def _ceil(value: NDArray[Any]) -> Replicas:
    return np.ceil(value).astype(np.int64)


def combine_metrics(proposals: ArrayLike, valid: ArrayLike, current: ArrayLike) -> tuple[Replicas, Bools]:
    """The largest proposal of several metrics, along the first axis (computeReplicasForMetrics).

    Where every metric failed, or some failed and the others would scale down, nothing is decided: (current, False).
    """
    valid_mask = np.asarray(valid, dtype=np.bool_)
    current = np.asarray(current, dtype=np.int64)
    largest = np.where(valid_mask, np.asarray(proposals, dtype=np.int64), 0).max(axis=0)
    decided = valid_mask.all(axis=0) | (valid_mask.any(axis=0) & (largest >= current))
    return np.where(decided, largest, current), decided


def stabilise(
    current: ArrayLike,
    recommendation: ArrayLike,
    past: NDArray[np.int64],
    past_age_seconds: ArrayLike,
    *,
    up_window_seconds: ArrayLike,
    down_window_seconds: ArrayLike,
) -> Replicas:
    """Hold a change back by past recommendations: up by the least of the up-window, down by the greatest of the
    down-window.

    Args:
        current: replicas now.
        recommendation: unstabilised recommendation of now.
        past: [K, ...] earlier unstabilised recommendations.
        past_age_seconds: their ages, broadcastable to `past`; a window contains what is strictly younger than its
            length.
        up_window_seconds, down_window_seconds: `stabilizationWindowSeconds`, broadcastable to `past`.
    """
    recommendation, current = np.asarray(recommendation, dtype=np.int64), np.asarray(current, dtype=np.int64)
    age = np.asarray(past_age_seconds, dtype=np.float64)
    largest = np.iinfo(np.int64).max
    in_up = age < np.asarray(up_window_seconds, dtype=np.float64)
    in_down = age < np.asarray(down_window_seconds, dtype=np.float64)
    up = np.minimum(recommendation, np.where(in_up, past, largest).min(axis=0, initial=largest))
    down = np.maximum(recommendation, np.where(in_down, past, 0).max(axis=0, initial=0))
    return np.minimum(np.maximum(current, up), down)


def rate_limit(
    current: ArrayLike,
    desired: ArrayLike,
    past_changes: NDArray[np.int64],
    past_age_seconds: ArrayLike,
    *,
    up: Sequence[ScalingPolicy] = DEFAULT_SCALE_UP,
    down: Sequence[ScalingPolicy] = DEFAULT_SCALE_DOWN,
) -> Replicas:
    """Bound a change by the rate policies (calculateScaleUpLimitWithScalingRules and its twin), `selectPolicy: Max`.

    Args:
        current: replicas now.
        desired: stabilised recommendation.
        past_changes: [K, ...] earlier changes of the replicas, signed.
        past_age_seconds: their ages, broadcastable to `past_changes`; a period contains what is strictly younger.
        up, down: the policies.
    """
    current, desired = np.asarray(current, dtype=np.int64), np.asarray(desired, dtype=np.int64)
    age = np.asarray(past_age_seconds, dtype=np.float64)

    def period_start(policy: ScalingPolicy) -> Replicas:
        return np.asarray(current - np.where(age < policy.period_seconds, past_changes, 0).sum(axis=0), dtype=np.int64)

    ceiling = np.full_like(current, np.iinfo(np.int32).min)
    for policy in up:
        start = period_start(policy)
        grown = start + policy.value if policy.kind == "pods" else _ceil(start * (1 + policy.value / 100))
        ceiling = np.maximum(ceiling, grown)
    floor = np.full_like(current, np.iinfo(np.int32).max)
    for policy in down:
        start = period_start(policy)
        shrunk = (
            start - policy.value
            if policy.kind == "pods"
            else np.trunc(start * (1 - policy.value / 100)).astype(np.int64)
        )
        floor = np.minimum(floor, shrunk)
    ceiling, floor = np.maximum(ceiling, current), np.minimum(floor, current)
    return np.where(desired > current, np.minimum(desired, ceiling), np.maximum(desired, floor))


class HorizontalPodAutoscaler(Baseline):
    """HPA v2 on CPU utilisation of the request, one per service of every mesh.

    The controller's pods are found in the telemetry so: a pod counts if it was ready through the whole metrics window
    and still is; every other pod asked for is unready (pending, starting, or ready for less than a window). Pods being
    removed are ignored.

    Args:
        bounds, columns: as `Baseline`.
        target_percent: target utilisation of the CPU request, one number or one a mesh [B].
        down_window_seconds: scale-down stabilisation window, one number or one a mesh [B].
        name: as it is reported.
    """

    def __init__(
        self,
        bounds: ReplicaBounds,
        columns: int,
        *,
        target_percent: ArrayLike = 80.0,
        down_window_seconds: ArrayLike = 300.0,
        name: str = "hpa_80",
    ) -> None:
        super().__init__(name, bounds, columns)
        self.target_percent = np.asarray(target_percent, dtype=np.float64).reshape(-1, 1)
        self.down_window_seconds = np.asarray(down_window_seconds, dtype=np.float64).reshape(-1, 1)
        self._depth = max(1, int(np.ceil(self.down_window_seconds.max() / self.period_seconds)))

    def begin(self, meshes: Sequence[AnyMesh]) -> None:
        """Forget all recommendations."""
        shape = (self._depth, len(meshes), self.columns)
        # 0 recommends nothing: a maximum with it changes nothing, and a new service starts with it.
        self._past = np.zeros(shape, dtype=np.int64)
        self._past_seconds = np.full(self._depth, -np.inf)
        self._seen_mask = np.zeros(shape[1:], dtype=np.bool_)
        self._sync = 0
        # What the last sync saw and thought: pods that counted, their CPU each, and the proposal before and after its window.
        self._counted, self._proposal, self._stabilised = (np.zeros(shape[1:], dtype=np.int64) for _ in range(3))
        self._used_millicores = np.zeros(shape[1:])

    def service_state(self) -> Sequence[NDArray[Any]]:
        return (self._past, self._seen_mask)

    def decide(self, telemetry: Telemetry, now_seconds: float) -> Replicas:
        current = telemetry.desired.astype(np.int64)
        slot = self._sync % self._depth  # what it holds is older than every window
        self._sync += 1
        # The controller records the present replicas when it first sees a target (recordInitialRecommendation).
        self._past[slot] = np.where(self.table.mask & ~self._seen_mask, current, 0)
        self._past_seconds[slot] = now_seconds
        self._seen_mask |= self.table.mask
        sampled = np.minimum(np.minimum(telemetry.metric_ready_start, telemetry.metric_ready), telemetry.ready)
        ready = np.minimum(sampled, current)
        serving = np.maximum(0.5 * (telemetry.metric_ready_start + telemetry.metric_ready), 1.0)
        proposal, valid = resource_proposal(
            current,
            ready,
            telemetry.cpu_millicores / serving * ready,
            self.table.request_millicores,
            self.target_percent,
            unready=current - ready,
        )
        stabilised = stabilise(
            current,
            proposal,
            self._past,
            (now_seconds - self._past_seconds)[:, None, None],
            up_window_seconds=0.0,
            down_window_seconds=self.down_window_seconds,
        )
        self._counted, self._proposal, self._stabilised = ready, proposal, stabilised
        self._used_millicores = telemetry.cpu_millicores / serving
        # One sync a period: with the default policies no earlier change is younger than their 15 s.
        limited = rate_limit(current, stabilised, np.zeros((0, *current.shape), dtype=np.int64), np.zeros((0, 1, 1)))
        # A failed metric ends the sync before anything is recorded.
        self._past[slot] = np.maximum(self._past[slot], np.where(valid, proposal, 0))
        return self.bounds.clip(np.where(valid, limited, current), self.table, current)

    def grounds(self, b: int, column: int) -> tuple[str, ...]:
        """CPU of the pods that counted, against their requests; and a higher recommendation that still stands."""
        counted = int(self._counted[b, column])
        if not counted:
            return ("no ready pod whose CPU was sampled",)
        share = self._used_millicores[b, column] / self.table.request_millicores[b, column]
        target = np.broadcast_to(self.target_percent[:, 0], len(self._counted))[b]
        said = [f"CPU {100.0 * share:.0f} % of the requests on {counted}, target {target:.0f} %"]
        proposal, stabilised = int(self._proposal[b, column]), int(self._stabilised[b, column])
        if stabilised > proposal:
            window = np.broadcast_to(self.down_window_seconds[:, 0], len(self._counted))[b]
            said.append(f"asks for {proposal}, but for {stabilised} within {window:.0f} s")
        return tuple(said)
