"""Guardrails that judge each service by itself: pure functions over arrays of any one shape.

`numbers` are the replicas wanted so far, `current` those there are; each answers new numbers. None moves a number that
equals `current`, except `at_least` and `min_max`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails.proposal import LARGEST_REPLICAS, Bools, Replicas

__all__ = [
    "at_least",
    "bounds",
    "contradictory_mask",
    "deadband",
    "disruption_budget",
    "held",
    "min_max",
    "never_lower",
    "rate_down",
    "rate_up",
    "stabilise_down",
    "stabilise_up",
    "valid_mask",
]


def valid_mask(wish: NDArray[np.float64]) -> Bools:
    """Whether a wish is a replica count: finite, whole, and an int32 that is not negative. Nothing is rounded."""
    with np.errstate(invalid="ignore"):
        return np.isfinite(wish) & (np.floor(wish) == wish) & (wish >= 0) & (wish <= LARGEST_REPLICAS)


def contradictory_mask(current: Replicas, low: Replicas, high: Replicas) -> Bools:
    """Whether no number satisfies the limits, or one of the three is no replica count at all."""
    return (low > high) | (low < 0) | (high > LARGEST_REPLICAS) | (current < 0) | (current > LARGEST_REPLICAS)


def held(numbers: Replicas, current: Replicas, mask: Bools) -> Replicas:
    """What is there, where `mask`: for services that are not scalable, owned, paused, contradictory or switched off."""
    return np.where(mask, current, numbers)


def never_lower(numbers: Replicas, current: Replicas, mask: Bools) -> Replicas:
    """At least what is there, where `mask`: for services whose data are not trusted, and for what brakes and cools down."""
    return np.where(mask, np.maximum(numbers, current), numbers)


def deadband(numbers: Replicas, current: Replicas, replicas: int) -> Replicas:
    """What is there, where the change is no more than `replicas`."""
    return np.where(np.abs(numbers - current) <= replicas, current, numbers)


def stabilise_up(numbers: Replicas, current: Replicas, lowest_wish: Replicas) -> Replicas:
    """Raise only to the lowest wish of the window, which never lowers (HPA `stabilizeRecommendationWithBehaviors`)."""
    return np.where(numbers > current, np.maximum(np.minimum(numbers, lowest_wish), current), numbers)


def stabilise_down(numbers: Replicas, current: Replicas, highest_wish: Replicas) -> Replicas:
    """Lower only to the highest wish of the window, which never raises."""
    return np.where(numbers < current, np.minimum(np.maximum(numbers, highest_wish), current), numbers)


def at_least(numbers: Replicas, floor: Replicas, due_mask: Bools) -> Replicas:
    """At least the floor, where it is due; it never lowers, and never overrides a higher wish."""
    return np.where(due_mask & (floor <= LARGEST_REPLICAS), np.maximum(numbers, floor), numbers)


def rate_up(numbers: Replicas, current: Replicas, replicas: int, share: float) -> Replicas:
    """Add at most `replicas`, or this share of what is there, whichever is more."""
    return np.where(numbers > current, np.minimum(numbers, current + _step(current, replicas, share)), numbers)


def rate_down(numbers: Replicas, current: Replicas, replicas: int, share: float) -> Replicas:
    """Remove at most `replicas`, or this share of what is there, whichever is more."""
    return np.where(numbers < current, np.maximum(numbers, current - _step(current, replicas, share)), numbers)


def _step(current: Replicas, replicas: int, share: float) -> Replicas:
    # 1e-9 undoes binary fractions such as 0.1 * 30.
    by_share: NDArray[Any] = np.floor(share * np.clip(current, 0, LARGEST_REPLICAS) + 1e-9)
    return np.maximum(by_share.astype(np.int64), replicas)


def min_max(numbers: Replicas, current: Replicas, low: Replicas, high: Replicas, trusted_mask: Bools) -> Replicas:
    """Within the limits, at once and whatever the rates say, upwards to `low` and downwards to `high`.

    Without a trusted decision nothing is moved because of its limits alone: what is raised for another reason goes no
    further than `high` and no less far than `low`, and what would have to be lowered for that is held.
    """
    clipped = np.minimum(np.maximum(numbers, low), high)
    raised_mask = (numbers > current) & (clipped > current)
    return np.where(trusted_mask | raised_mask, clipped, current)


def disruption_budget(numbers: Replicas, current: Replicas, min_available: Replicas) -> Replicas:
    """Lower no further than a PodDisruptionBudget's pods; it never raises."""
    return np.where(numbers < current, np.maximum(numbers, np.minimum(min_available, current)), numbers)


def bounds(numbers: Replicas, current: Replicas, low: Replicas, high: Replicas) -> Replicas:
    """What is there, where a change would leave the limits: what is sent is in [low, high], or nothing is sent."""
    return np.where((numbers < low) | (numbers > high), current, numbers)
