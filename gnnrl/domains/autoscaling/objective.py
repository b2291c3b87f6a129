"""What a decision costs: one objective, split by service, and the rewards made of it.

The objective of an episode is J = replica-seconds + w * violating seconds + c * |replica changes|, with w and c in replica-seconds.
One decision of `d` seconds is scored in replica-decisions (J / d), so that w is also the weight `a` of one wholly violating decision:

    cost = replicas + a * violating_share + c' * |changes|,        reward = -REWARD_SCALE * cost / sqrt(a / 100)

The division keeps rewards of one size over the whole range of `a`. Each service is charged its own replicas and changes, and a share of the
violation equal to its share of the queueing excess (the end-to-end latency above idle that it causes); the shares sum to one.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["COST_GOAL_LATENCY_WEIGHT", "LATENCY_GOAL_COST_WEIGHT", "REWARD_SCALE", "objective", "service_rewards"]

Goal = Literal["slo", "latency", "cost"]
Floats = NDArray[np.float32]

REWARD_SCALE = 0.01
LATENCY_GOAL_COST_WEIGHT = 0.2
"""Share of the replica term in the `latency` goal: latency alone is best served by every replica there is."""
COST_GOAL_LATENCY_WEIGHT = 0.2
"""Share of the latency term in the `cost` goal: cost alone is best served by one replica each."""


def objective(
    replica_seconds: NDArray[np.floating],
    violating_seconds: NDArray[np.floating],
    replica_changes: NDArray[np.floating],
    violation_weight: float,
    change_weight_seconds: float,
) -> NDArray[np.floating]:
    """J in replica-seconds; all arguments of one shape, `change_weight_seconds` the price of one replica started or removed."""
    return replica_seconds + violation_weight * violating_seconds + change_weight_seconds * replica_changes


def softened(violating_share: Floats, p95_over_slo: Floats, softness: float) -> Floats:
    """The violation the reward charges: the violating share, half of it replaced by a logistic curve of the P95 around the SLO.

    Crossing the SLO often takes several replicas of several services; the curve pays for the first of them.

    Args:
        violating_share: [B] violating seconds over seconds.
        p95_over_slo: [B] end-to-end P95 over the SLO.
        softness: width of the curve as a share of the SLO; 0 gives `violating_share`.
    """
    if softness == 0.0:
        return violating_share
    edge = np.clip((p95_over_slo - 1.0) / softness, -30.0, 30.0)
    return (0.5 * (violating_share + 1.0 / (1.0 + np.exp(-edge)))).astype(np.float32)


def service_rewards(
    goal: Goal,
    replicas: Floats,
    changes: Floats,
    excess_share: Floats,
    violating_share: Floats,
    latency_over_slo: Floats,
    violation_weight: Floats,
    change_weight: float,
    max_replicas: int,
    service_mask: NDArray[np.bool_],
) -> Floats:
    """Reward of one decision, split by service.

    Args:
        goal: `slo` (the objective above), `latency` (minus mean latency over the SLO, minus a little cost), `cost` (minus
            replica share, minus a little latency).
        replicas: [B, S] mean billed replicas over the decision.
        changes: [B, S] replicas started and removed by the decision.
        excess_share: [B, S] share of the queueing excess, any non-negative numbers; normalised here (equal shares where all are 0).
        violating_share: [B] share of the decision's seconds that violate the SLO.
        latency_over_slo: [B] mean end-to-end latency over the SLO.
        violation_weight: [B] the weight `a`.
        change_weight: price of a change in replica-decisions.
        max_replicas: replicas at which the replica share of a service is 1.
        service_mask: [B, S] true where the service is real.

    Returns:
        [B, S] float32, 0 where masked; the sum over S is the decision's reward.
    """
    count = np.maximum(service_mask.sum(1, keepdims=True), 1).astype(np.float32)
    excess = np.where(service_mask, np.maximum(excess_share, 0.0), 0.0).astype(np.float32)
    total = excess.sum(1, keepdims=True)
    share = np.where(total > 1e-9, excess / np.maximum(total, 1e-9), service_mask / count)
    if goal == "slo":
        cost = replicas + violation_weight[:, None] * violating_share[:, None] * share + change_weight * changes
        reward = -REWARD_SCALE * cost / np.sqrt(violation_weight[:, None] / 100.0)
    else:
        replica_share = replicas / (max_replicas * count)
        latency = np.minimum(latency_over_slo, 10.0)[:, None] * share
        if goal == "latency":
            reward = -(latency + LATENCY_GOAL_COST_WEIGHT * replica_share)
        else:
            reward = -(replica_share + COST_GOAL_LATENCY_WEIGHT * latency)
        reward = reward - REWARD_SCALE * change_weight * changes
    return np.where(service_mask, reward, 0.0).astype(np.float32)
