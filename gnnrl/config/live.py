"""Everything the live loop can be told: one YAML file, `configs/live.yaml`, with every field spelled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from gnnrl.config.checked import Checked

__all__ = ["GuardrailConfig", "LiveConfig"]

LARGEST_INT32 = 2**31 - 1
Share = Annotated[float, Ge(0.0), Le(1.0)]
Positive = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]
Count = Annotated[int, Ge(0), Le(LARGEST_INT32)]
AtLeastOne = Annotated[int, Ge(1), Le(LARGEST_INT32)]
Window = Annotated[float, Ge(0.0), Le(3600.0)]
"""Seconds; HPA too allows an hour at most."""


@dataclass(frozen=True, kw_only=True)
class GuardrailConfig(Checked, section="guardrails"):
    """What stands between a wish and the cluster (`cluster/guardrails/`, docs/guardrails.md)."""

    min_replicas: AtLeastOne = 1
    """Fewest replicas of a service; the annotation `gnnrl.io/min` of a Deployment or namespace overrides it."""
    max_replicas: AtLeastOne = 20
    """Most replicas of a service; the annotation `gnnrl.io/max` of a Deployment or namespace overrides it."""
    deadband_replicas: Count = 0
    """A wish this close to what is there changes nothing."""
    stabilise_up_seconds: Window = 0.0
    """A service is raised only to the lowest wish of this window (HPA's scaleUp window)."""
    stabilise_down_seconds: Window = 0.0
    """A service is lowered only to the highest wish of this window (HPA's scaleDown window)."""
    fallback_after_intervals: AtLeastOne = 4
    """Intervals without a valid decision on good data after which the fallback sets a floor."""
    fallback: str = "hpa_80"
    """Baseline whose wish is the floor then; it never lowers anything."""
    max_up_replicas: AtLeastOne = 8
    """Most replicas added to a service an interval."""
    max_up_share: Annotated[float, Gt(0.0), Le(1000.0)] = 2.0
    """Or this share of what it has, whichever is more."""
    max_down_replicas: AtLeastOne = 4
    """Most replicas removed from a service an interval."""
    max_down_share: Share = 0.5
    """Or this share of what it has, whichever is more."""
    brake_share: Share = 0.8
    """If more than this share of the services would be lowered at once by a quarter or more, none is lowered; 1 = no brake."""
    brake_intervals: AtLeastOne = 20
    """Intervals in a row that the brake holds; what is asked for longer is believed."""
    half_window_seconds: Window = 90.0
    """Nothing is lowered for so long after a start, nor after a reading whose rates failed, were empty or zero, or had too few samples: a
    window of the graph (`graph_window_seconds`), and half of one for the scrape interval and the lag. 0 = only in that reading itself."""
    start_hold_seconds: Window = 360.0
    """Nothing is lowered for so long after the loop's start: what the rates were before is not known, and a gap or lost targets look like
    what is usual. (HPA, too, lowers nothing in its first five minutes.) The start of an evaluated episode is none."""
    violation_hold_share: Annotated[float, Ge(0.0), Le(1000.0)] = 1.0
    """Nothing is lowered while the 95th percentile end to end is above this share of the objective, nor a service while its own is above
    that of its own objective (`gnnrl.io/slo-ms` of the Deployment); 0 = violations hold nothing."""
    young_seconds: Window = 120.0
    """A service is not lowered while it came into the mesh less than so long ago, nor before it was ever measured; 0 = it may be, at any
    age."""
    newborn_replicas: Count = 2
    """Fewest replicas of a service while it is that young, within its limits; 0 or 1 = as many as are wanted."""
    birth_hold_seconds: Window = 120.0
    """Nothing in the mesh is lowered for so long after a service has come; 0 = it may be."""
    error_hold_share: Share = 0.01
    """A service is not lowered while of the calls that it, or any service on a path of calls that leads to it, receives more than this
    share fail: what is behind a failing service has lost its traffic for now; 1 = errors hold nothing."""
    error_hold_seconds: Window = 600.0
    """Errors that have shown for so long hold nothing any more: what lasts is taken for usual (Kiali counts 4xx as errors)."""
    slo_integrator: bool = False
    """Whether violations raise a floor under the needed replicas, for policies and rules that do not see the objective: a service has at
    least ceil(factor x busy / `slo_utilisation`), `busy` being its CPU over the limit of a pod."""
    slo_violating_budget: Share = 0.2
    """Share of violating seconds in what is shown above which the factor rises; otherwise it decays."""
    slo_factor_rise: Annotated[float, Gt(1.0), Le(10.0)] = 1.05
    """What the factor is multiplied by in an interval above the budget."""
    slo_factor_decay: Annotated[float, Gt(0.0), Lt(1.0)] = 0.99
    """What the factor is multiplied by in every other interval; it never falls below 1."""
    slo_factor_max: Annotated[float, Ge(1.0), Le(100.0)] = 3.0
    """Largest factor."""
    slo_utilisation: Annotated[float, Gt(0.0), Le(1.0)] = 0.75
    """Share of its CPU limit that a replica is counted on for at a factor of 1."""
    cooldown_intervals: Count = 2
    """Intervals without lowering after one with an error, in which nothing is lowered either."""
    change_budget_replicas: AtLeastOne = 60
    """Most replicas changed an interval over the whole mesh; raises come first, removals share what is left."""


@dataclass(frozen=True, kw_only=True)
class LiveConfig(Checked):
    """The control loop over a live cluster."""

    interval_seconds: Annotated[int, Ge(1)] = 15
    """Seconds between decisions; must be the `decision_seconds` that the policy was trained with."""
    read_deadline_seconds: Positive = 5.0
    """All reads of an interval run at once and must answer within this time."""
    stale_after_seconds: Positive = 75.0
    """Graph or metrics older than this are stale: nothing is lowered on them."""
    graph_window_seconds: Annotated[int, Ge(30)] = 60
    """Kiali's `duration`: rates are means over it; must be the `graph_window_seconds` that the policy was trained with."""
    cluster: str = ""
    """Name of the cluster that is scaled, as the graph has it (Kiali's `cluster`, Istio's `source_cluster`); "" = the graph's only one. A
    graph of several is refused until one is named."""
    slo_ms: NonNegative = 0.0
    """Objective of the 95th percentile end to end; 0 = the annotation `gnnrl.io/slo-ms` of the namespace."""
    violation_weight: Positive = 400.0
    """What a violating interval costs, in replica-intervals: the knob between cost and latency."""
    temperature: NonNegative = 0.3
    """Temperature of the policy's draws; 0 = the likeliest action, which is no cheaper: it changes too little, too late."""
    past_capacity: Literal["error", "drop_least_active"] = "error"
    """What happens when more services are there than the policy has slots: stop, or leave out the least active ones (held, and named
    in a warning)."""
    max_answer_bytes: Annotated[int, Ge(1024)] = 16 * 1024 * 1024
    """An answer larger than this is refused unread."""
    lease_seconds: Annotated[float, Ge(3.0)] = 15.0
    """A leader that has not renewed its Lease for this long has lost it."""
    guardrails: GuardrailConfig = field(default_factory=GuardrailConfig)
