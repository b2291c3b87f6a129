"""Everything the live loop can be told: one YAML file, `configs/live.yaml`, with every field spelled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

__all__ = ["GuardrailConfig", "LiveConfig"]

Share = Annotated[float, Ge(0.0), Le(1.0)]
Positive = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]
Count = Annotated[int, Ge(0)]


@dataclass(frozen=True, kw_only=True)
class GuardrailConfig:
    """What stands between a wish and the cluster, in the order in which it is applied (`cluster/guardrails.py`)."""

    min_replicas: Annotated[int, Ge(1)] = 1
    """Fewest replicas of a service; the annotation `gnnrl.io/min` of a Deployment overrides it."""
    max_replicas: Annotated[int, Ge(1)] = 20
    """Most replicas of a service; the annotation `gnnrl.io/max` of a Deployment overrides it."""
    deadband_replicas: Count = 0
    """A wish this close to what is there changes nothing."""
    stabilise_up_seconds: NonNegative = 0.0
    """A service is raised only to the lowest wish of this window (HPA's scaleUp window)."""
    stabilise_down_seconds: NonNegative = 0.0
    """A service is lowered only to the highest wish of this window (HPA's scaleDown window)."""
    max_up_replicas: Annotated[int, Ge(1)] = 8
    """Most replicas added to a service an interval."""
    max_up_share: Positive = 2.0
    """Or this share of what it has, whichever is more."""
    max_down_replicas: Annotated[int, Ge(1)] = 4
    """Most replicas removed from a service an interval."""
    max_down_share: Share = 0.5
    """Or this share of what it has, whichever is more."""
    change_budget_replicas: Annotated[int, Ge(1)] = 60
    """Most replicas changed an interval over the whole mesh; raises come first, removals share what is left."""
    brake_share: Share = 0.8
    """If more than this share of the services would be lowered at once by a quarter or more, none is lowered."""
    cooldown_intervals: Count = 2
    """Intervals without lowering after one with an error."""
    fallback_after_intervals: Annotated[int, Ge(1)] = 4
    """Intervals without a valid decision after which the fallback sets a floor."""
    fallback: str = "hpa_80"
    """Baseline whose wish is the floor then; it never lowers anything."""


@dataclass(frozen=True, kw_only=True)
class LiveConfig:
    """The control loop over a live cluster."""

    interval_seconds: Annotated[int, Ge(1)] = 15
    """Seconds between decisions; must be the `decision_seconds` that the policy was trained with."""
    read_deadline_seconds: Positive = 5.0
    """All reads of an interval run at once and must answer within this time."""
    stale_after_seconds: Positive = 75.0
    """Graph or metrics older than this are stale: nothing is lowered on them."""
    graph_window_seconds: Annotated[int, Ge(30)] = 60
    """Kiali's `duration`: rates are means over it; must be the `graph_window_seconds` that the policy was trained with."""
    slo_ms: NonNegative = 0.0
    """Objective of the 95th percentile end to end; 0 = the annotation `gnnrl.io/slo-ms` of the namespace."""
    violation_weight: Positive = 400.0
    """What a violating interval costs, in replica-intervals: the knob between cost and latency."""
    temperature: NonNegative = 0.5
    """Temperature of the policy's draws; 0 = the likeliest action."""
    past_capacity: Literal["error", "drop_least_active"] = "error"
    """What happens when more services are there than the policy has slots: stop, or leave out the least active ones (held, and named
    in a warning)."""
    max_answer_bytes: Annotated[int, Ge(1024)] = 64 * 1024 * 1024
    """An answer larger than this is refused unread."""
    lease_seconds: Annotated[float, Ge(3.0)] = 15.0
    """A leader that has not renewed its Lease for this long has lost it."""
    guardrails: GuardrailConfig = field(default_factory=GuardrailConfig)
