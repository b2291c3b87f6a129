"""The guardrails of the live loop around any controller of a comparison, and how often each of them acted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails import GUARDRAILS, Guardrails, Proposal
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import GuardrailConfig

__all__ = ["Guard", "replica_limits"]

Replicas = NDArray[np.int64]
Bools = NDArray[np.bool_]


def replica_limits(guardrails: GuardrailConfig, environment: AutoscalingConfig) -> tuple[int, int]:
    """What both allow a service: (fewest, most).

    Raises:
        ValueError: no number of replicas is allowed by both.
    """
    low = max(guardrails.min_replicas, environment.min_replicas)
    high = min(guardrails.max_replicas, environment.max_replicas)
    if low > high:
        raise ValueError(
            f"guardrails allow {guardrails.min_replicas} to {guardrails.max_replicas} replicas, the environment "
            f"{environment.min_replicas} to {environment.max_replicas}: change guardrails.min_replicas or max_replicas"
        )
    return low, high


class Guard:
    """Passes the wishes for B scenarios through `cluster.guardrails`, on data that are always good.

    Args:
        config: the guardrails.
        environment: whose limits hold as well, and whose `max_nodes` is the number of columns.
        batch_size: B.
        period_seconds: between two decisions of the controller; an interval, to the guardrails.

    Raises:
        ValueError: no number of replicas is within both limits.
    """

    def __init__(
        self, config: GuardrailConfig, environment: AutoscalingConfig, batch_size: int, period_seconds: int
    ) -> None:
        self._low, self._high = replica_limits(config, environment)
        self._guardrails = Guardrails(config, batch_size, environment.max_nodes, float(period_seconds))
        self.acted: Mapping[str, NDArray[np.float64]] = {name: np.zeros(batch_size) for name in GUARDRAILS}
        """Name -> [B] decisions for a service that the guardrail changed."""

    def apply(self, current: Replicas, wish: Replicas, mask: Bools, scalable_mask: Bools) -> Replicas:
        """What is done of what is wanted, [B, S]."""
        proposal = Proposal.trusted(current, wish, mask, scalable_mask, self._low, self._high)
        verdict = self._guardrails.apply(proposal)
        for name, hit in verdict.hits.items():
            self.acted[name][:] += hit.sum(axis=1)
        return verdict.final

    def remesh(self, b: int, source: NDArray[np.int64]) -> None:
        """Column `i` of scenario `b` was column `source[i]` before, -1 = a new service."""
        self._guardrails.remesh(b, source)
