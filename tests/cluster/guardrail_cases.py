"""Proposals of one mesh, and guardrails that are in nobody's way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gnnrl.cluster.guardrails import Guardrails, Proposal, Verdict
from gnnrl.config.live import GuardrailConfig

PER_MESH = ("error_mask", "quota_headroom", "violating_share")
FLOATS = ("age_seconds", "busy", "violating_share")
WIDE = GuardrailConfig(
    max_replicas=1000,
    max_up_replicas=1000,
    max_down_replicas=1000,
    change_budget_replicas=100_000,
    brake_share=1.0,
    cooldown_intervals=0,
    half_window_seconds=0.0,
    start_hold_seconds=0.0,
    young_seconds=0.0,
    newborn_replicas=0,
    birth_hold_seconds=0.0,
    error_hold_share=1.0,
)
"""Guardrails that are in nobody's way."""


def proposal(current: list[int], wish: list[float], **changes: Any) -> Proposal:
    """One mesh on good data, limits 1 to 100; `changes` are lists of one value a service (or, per mesh, one value)."""
    shape = (1, len(current))
    real = np.ones(shape, dtype=np.bool_)
    plain = Proposal.trusted(np.array([current], dtype=np.int64), np.array([wish]), real, real, 1, 100)
    arrays: dict[str, Any] = {}
    for name, value in changes.items():
        kind = np.bool_ if name.endswith("mask") else np.float64 if name in FLOATS else np.int64
        arrays[name] = np.array([value], dtype=kind).reshape(1 if name in PER_MESH else shape)
    return replace(plain, **arrays)


def apply(given: Proposal, config: GuardrailConfig = WIDE) -> tuple[list[int], list[tuple[str, ...]]]:
    return shown(Guardrails(config, *given.current.shape, interval_seconds=15.0).apply(given))


def shown(verdict: Verdict) -> tuple[list[int], list[tuple[str, ...]]]:
    columns = verdict.final.shape[1]
    return verdict.final[0].tolist(), [verdict.names(0, s) for s in range(columns)]
