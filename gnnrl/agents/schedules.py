"""Coefficients that change over a training."""

from __future__ import annotations

import math

from gnnrl.config.experiment import PPOConfig

__all__ = ["clone_coefficient", "entropy_coefficient", "learning_rate"]


def learning_rate(config: PPOConfig, progress: float) -> float:
    """Step size at `progress` in [0, 1]."""
    if config.learning_rate_schedule == "constant":
        return config.learning_rate
    if config.learning_rate_schedule == "linear":
        return config.learning_rate * (1.0 - progress)
    return config.learning_rate * 0.5 * (1.0 + math.cos(math.pi * progress))


def entropy_coefficient(config: PPOConfig, progress: float) -> float:
    """Entropy weight at `progress` in [0, 1], linear."""
    return config.entropy_coef + (config.entropy_coef_final - config.entropy_coef) * progress


def clone_coefficient(start: float, over_steps: int, steps: int) -> float:
    """Weight of KL(policy || clone) after `steps` environment steps: linear from `start` to 0 over `over_steps`."""
    return start * max(0.0, 1.0 - steps / over_steps) if over_steps > 0 else 0.0
