"""The guardrails by name: as they stand in logs, metrics, Events and reports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = [
    "BIRTH_HOLD",
    "BOUNDS",
    "BRAKE",
    "CHANGE_BUDGET",
    "CONTRADICTORY",
    "COOLDOWN",
    "DEADBAND",
    "DISRUPTION_BUDGET",
    "ERRORS_HOLD",
    "FALLBACK_FLOOR",
    "GUARDRAILS",
    "HALF_WINDOW",
    "INVALID",
    "MIN_MAX",
    "NEWBORN",
    "NOT_SCALABLE",
    "OWNED",
    "PAUSED",
    "QUOTA",
    "RATE_DOWN",
    "RATE_UP",
    "SCALED_TO_ZERO",
    "SLO_INTEGRATOR",
    "SLO_VIOLATED",
    "STABILISE_DOWN",
    "STABILISE_UP",
    "UNTRUSTED",
    "YOUNG",
]

NOT_SCALABLE: Final = "not_scalable"
OWNED: Final = "owned"
PAUSED: Final = "paused"
CONTRADICTORY: Final = "contradictory"
SCALED_TO_ZERO: Final = "scaled_to_zero"
INVALID: Final = "invalid"
UNTRUSTED: Final = "untrusted"
DEADBAND: Final = "deadband"
STABILISE_UP: Final = "stabilise_up"
STABILISE_DOWN: Final = "stabilise_down"
FALLBACK_FLOOR: Final = "fallback_floor"
NEWBORN: Final = "newborn"
SLO_INTEGRATOR: Final = "slo_integrator"
RATE_UP: Final = "rate_up"
RATE_DOWN: Final = "rate_down"
MIN_MAX: Final = "min_max"
DISRUPTION_BUDGET: Final = "disruption_budget"
HALF_WINDOW: Final = "half_window"
YOUNG: Final = "young"
BIRTH_HOLD: Final = "birth_hold"
ERRORS_HOLD: Final = "errors_hold"
SLO_VIOLATED: Final = "slo_violated"
BRAKE: Final = "brake"
COOLDOWN: Final = "cooldown"
QUOTA: Final = "quota"
CHANGE_BUDGET: Final = "change_budget"
BOUNDS: Final = "bounds"

GUARDRAILS: Mapping[str, str] = {
    NOT_SCALABLE: "not a Deployment that may be scaled: held",
    OWNED: "an HPA or a ScaledObject scales it already: held",
    PAUSED: "paused by an annotation: held",
    CONTRADICTORY: "its smallest replica count is above its largest: held",
    SCALED_TO_ZERO: "somebody switched it off by scaling it to 0: held",
    INVALID: "no whole number was wanted for it: held",
    UNTRUSTED: "its data are stale, missing or contradictory: not lowered",
    DEADBAND: "the change is too small to be worth it: held",
    STABILISE_UP: "raised only as far as every wish of the window",
    STABILISE_DOWN: "lowered only as far as every wish of the window",
    FALLBACK_FLOOR: "no valid decision for too long: raised to the fallback's wish",
    NEWBORN: "it has just come: raised to a newborn's replicas",
    SLO_INTEGRATOR: "the objective was violated too often: raised to what its work needs, and more",
    RATE_UP: "raised by no more than an interval allows",
    RATE_DOWN: "lowered by no more than an interval allows",
    MIN_MAX: "brought within its replica limits",
    DISRUPTION_BUDGET: "not lowered below its PodDisruptionBudget",
    HALF_WINDOW: "the window of its rates may be half filled: not lowered",
    YOUNG: "it has just come, or was never measured: not lowered",
    BIRTH_HOLD: "a service has just come into the mesh: not lowered",
    ERRORS_HOLD: "calls that lead to it fail: not lowered",
    SLO_VIOLATED: "its objective is violated: not lowered",
    BRAKE: "almost everything would be lowered at once: not lowered",
    COOLDOWN: "an error just happened: not lowered",
    QUOTA: "raised no further than the namespace's quota has room",
    CHANGE_BUDGET: "the mesh's budget of changes for this interval is spent",
    BOUNDS: "outside its replica limits after all: held",
}
"""Name -> what it does to a service's number, in the order in which they are applied."""
