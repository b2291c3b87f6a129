"""What a comparison plays otherwise than the experiment was trained with: the SLO, and whether services come and go."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig

__all__ = ["CHURN", "Churn", "played", "topology_changes"]

Churn = Literal["none", "gated", "hard"]
CHURN: tuple[Churn, ...] = get_args(Churn)
USUAL = ChurnConfig(
    service_added_per_hour=2.0, service_removed_per_hour=1.0, service_renamed_per_hour=1.0, call_removed_per_hour=1.0
)
"""Where an experiment has no topology changes of its own."""
RATES = {
    "service_added_per_hour": "added",
    "service_removed_per_hour": "removed",
    "service_renamed_per_hour": "renamed",
    "call_removed_per_hour": "calls removed",
    "pod_crashed_per_hour": "pods crashed",
}
"""Fields of a `ChurnConfig`, and what happens so often."""


def played(
    environment: AutoscalingConfig, *, churn: Churn = "none", slo_factor: float | None = None
) -> AutoscalingConfig:
    """The environment as a comparison plays it.

    Args:
        environment: of the experiment.
        churn: topologies are left alone, or change at the environment's rates (`USUAL` where it has none) by a cut-over of this kind.
        slo_factor: SLO = this x the idle P95, in every scenario; None = as the environment draws it.

    Raises:
        ConfigError: no SLO is so strict.
    """
    changes = ChurnConfig()
    if churn != "none":
        own = environment.churn
        changes = replace(own if any(getattr(own, rate) for rate in RATES) else USUAL, cutover=churn)
    slo = environment.slo_factor if slo_factor is None else (slo_factor, slo_factor)
    return replace(environment, churn=changes, slo_factor=slo)


def topology_changes(churn: ChurnConfig) -> str:
    """What happens to the topologies of scenarios, in words."""
    rates = [f"{getattr(churn, field):g} {what}" for field, what in RATES.items() if getattr(churn, field)]
    return f"{churn.cutover}: {', '.join(rates)} an hour" if rates else "none"
