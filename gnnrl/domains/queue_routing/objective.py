"""What a routing decision is worth: requests in the system until the next arrival, and a bonus for the fast replica."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gnnrl.domains.queue_routing.physics import QueueState

__all__ = ["RoutingReward", "RoutingRewardTerms"]


@dataclass(frozen=True, kw_only=True)
class RoutingRewardTerms:
    """The parts of the reward of the last step, float64 [B] each; the reward is their sum."""

    queue: NDArray[np.float64]
    bonus: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """The reward, [B]."""
        return self.queue + self.bonus


@dataclass(frozen=True, kw_only=True)
class RoutingReward:
    """Weights of the parts, each of which 0 switches off.

    With the bonus off, the reward is minus the integral of the number in system since the last arrival, whose mean per arrival is the mean
    latency (Little's law).
    """

    queue_weight: float = 1.0
    """Per request-second in the system."""
    routing_bonus: float = 0.1
    """For a request that went to a replica that is fastest for its type."""

    def terms(self, state: QueueState) -> RoutingRewardTerms:
        """The parts for the choice before the awaiting request."""
        return RoutingRewardTerms(
            queue=-self.queue_weight * state.integral,
            bonus=self.routing_bonus * state.last_fast_mask.astype(np.float64),
        )
