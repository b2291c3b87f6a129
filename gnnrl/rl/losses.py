"""Losses of PPO as pure functions (Schulman et al. 2017).

Every function takes `weight`, one number a decision, and returns a weighted sum. The weights of a minibatch sum to 1: a
live graph weighs 1 / (live graphs), and under `joint` that is split evenly over its nodes, so that clip, entropy and KL
mean the same at 5 and at 500 nodes. Parts of a minibatch keep the weights of the whole, so that their losses and
gradients simply add up.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = ["approx_kl", "clip_fraction", "clipped_policy_loss", "clipped_value_loss", "explained_variance", "weighted"]


def _same_shape(**tensors: Tensor) -> None:
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if len(set(shapes.values())) != 1:
        raise ValueError(f"shapes differ: {shapes}")


def weighted(x: Tensor, weight: Tensor) -> Tensor:
    """Weighted sum of one number a decision."""
    _same_shape(x=x, weight=weight)
    return torch.dot(x, weight)


def clipped_policy_loss(
    log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, weight: Tensor, clip: float
) -> Tensor:
    """- sum w min(ratio A, clamp(ratio, 1 - clip, 1 + clip) A), equation 7 of the paper.

    Args:
        log_prob: [D] of the current policy.
        old_log_prob: [D] of the rollout's policy.
        advantage: [D].
        weight: [D].
        clip: clip range of the ratio.
    """
    _same_shape(log_prob=log_prob, old_log_prob=old_log_prob, advantage=advantage, weight=weight)
    ratio = (log_prob - old_log_prob).exp()
    gain = torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage)
    return -torch.dot(gain, weight)


def clipped_value_loss(value: Tensor, old_value: Tensor, target: Tensor, weight: Tensor, clip: float) -> Tensor:
    """1/2 sum w max((V - R)^2, (V_clipped - R)^2); `clip` bounds the change of V in its own units, 0 = no clipping."""
    _same_shape(value=value, old_value=old_value, target=target, weight=weight)
    error = (value - target).square()
    if clip > 0.0:
        held = old_value + (value - old_value).clamp(-clip, clip)
        error = torch.maximum(error, (held - target).square())
    return 0.5 * torch.dot(error, weight)


def approx_kl(log_prob: Tensor, old_log_prob: Tensor, weight: Tensor) -> Tensor:
    """KL(old || new) by the unbiased, non-negative estimator r - 1 - log r (k3 of Schulman's note of 2020)."""
    change = log_prob - old_log_prob
    return weighted(change.expm1() - change, weight)


def clip_fraction(log_prob: Tensor, old_log_prob: Tensor, weight: Tensor, clip: float) -> Tensor:
    """Weighted share of decisions whose ratio lies outside the clip range."""
    return weighted(((log_prob - old_log_prob).expm1().abs() > clip).to(weight.dtype), weight)


def explained_variance(value: np.ndarray, target: np.ndarray) -> float:
    """1 - Var(target - value) / Var(target); 1 = perfect, 0 = like a constant, NaN where the target is constant."""
    spread = float(np.var(target))
    return float("nan") if spread == 0.0 else 1.0 - float(np.var(target - value)) / spread
