"""The guardrails of the live loop around any controller of a comparison, and how often each of them acted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gnnrl.cluster.guardrails import GUARDRAILS, Guardrails, Proposal
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.telemetry import Telemetry
from gnnrl.evaluation.controllers import Watched, column_sources
from gnnrl.evaluation.shown_signals import ShownSignals

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
        self._config = config
        self._shown = ShownSignals(environment, batch_size, period_seconds)
        self.acted: Mapping[str, NDArray[np.float64]] = {name: np.zeros(batch_size) for name in GUARDRAILS}
        """Name -> [B] decisions for a service that the guardrail changed."""

    def start(self, episodes: Sequence[Watched]) -> None:
        """Begin these B scenarios, in which nobody is young."""
        self._shown.start(episodes)

    def observe(self, window: Telemetry) -> None:
        """A window of telemetry has been scraped."""
        self._shown.observe(window)

    def apply(self, current: Replicas, wish: Replicas, mask: Bools, scalable_mask: Bools) -> Replicas:
        """What is done of what is wanted, [B, S]."""
        config, shown = self._config, self._shown
        proposal = replace(
            Proposal.trusted(current, wish, mask, scalable_mask, self._low, self._high),
            violated_mask=np.repeat(shown.violated_mask(config.violation_hold_share)[:, None], mask.shape[1], axis=1),
            age_seconds=shown.births.age_seconds,
            measured_mask=shown.births.measured_mask,
            behind_errors_mask=shown.behind_errors_mask(config.error_hold_share),
            busy=shown.busy(),
            violating_share=shown.violating_share(),
        )
        verdict = self._guardrails.apply(proposal)
        for name, hit in verdict.hits.items():
            self.acted[name][:] += hit.sum(axis=1)
        return verdict.final

    def remesh(self, b: int, old: Mesh, new: Mesh) -> None:
        """The topology of scenario `b` changed."""
        self._shown.remesh(b, old, new)
        self._guardrails.remesh(b, column_sources(old, new))
