"""A floor that learns from violations: for policies and rules that do not see the objective they are measured by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails.proposal import LARGEST_REPLICAS, NO_FLOOR, Replicas
from gnnrl.config.live import GuardrailConfig

__all__ = ["busy_floor", "next_factor"]


def next_factor(
    factor: NDArray[np.float64], violating_share: NDArray[np.float64], config: GuardrailConfig
) -> NDArray[np.float64]:
    """[B] the factor on the needed replicas, one decision later.

    It rises while the shown share of violating seconds is above `slo_violating_budget`, and falls otherwise, within [1,
    `slo_factor_max`]; where the share is not a number, nothing is known and it stays.
    """
    with np.errstate(invalid="ignore"):
        over_mask = violating_share > config.slo_violating_budget
    moved = factor * np.where(over_mask, config.slo_factor_rise, config.slo_factor_decay)
    return np.where(np.isnan(violating_share), factor, np.clip(moved, 1.0, config.slo_factor_max))


def busy_floor(busy: NDArray[np.float64], factor: NDArray[np.float64], utilisation: float) -> Replicas:
    """[B, S] replicas that carry the work at `utilisation` of their limit, times the factor [B]; `NO_FLOOR` where the work is unknown.

    Args:
        busy: [B, S] replicas' worth of work: CPU over the CPU limit of a pod; not-a-number = unknown.
        factor: [B].
        utilisation: share of its limit that a pod is counted on for.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        # 1e-9 undoes binary fractions such as 0.75 * 4 / 0.75.
        needed = np.ceil(factor[:, None] * busy / utilisation - 1e-9)
        known_mask = (needed >= 0.0) & (needed <= LARGEST_REPLICAS)
    return np.where(known_mask, needed, NO_FLOOR).astype(np.int64)
