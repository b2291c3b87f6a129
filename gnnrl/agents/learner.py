"""Optimiser steps on parts of a rollout, shared between two Python threads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gnnrl.agents.divergence import DivergenceError
from gnnrl.agents.minibatch import Part
from gnnrl.agents.policy_model import PolicyModel
from gnnrl.rl import losses
from gnnrl.rl.policy_kernel import TERMS, plain_policy_terms, policy_terms

__all__ = ["STATISTICS", "Coefficients", "Learner", "clone_loss", "largest_ratio_error", "ppo_loss"]

STATISTICS = (*TERMS, "value_loss")
"""What `ppo_loss` reports, in order."""

Loss = Callable[[PolicyModel, Part], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Coefficients:
    """The numbers of one update's loss."""

    clip: float
    value_clip: float
    """In units of the value; 0 = none."""
    value_coef: float
    entropy_coef: float
    clone_coef: float = 0.0
    """Weight of KL(policy || frozen clone)."""


def ppo_loss(model: PolicyModel, part: Part, use: Coefficients) -> tuple[Tensor, Tensor]:
    """The loss of PPO on a part, and its `STATISTICS`: weighted sums, which add up over the parts of a minibatch."""
    judged = model(part.sequence, part.state)
    data = (part.action, part.log_prob, part.advantage, part.weight, part.reference)
    coefficients = (use.clip, use.entropy_coef, use.clone_coef)
    if judged.logits.device.type == "cpu":
        loss, terms = policy_terms(part.tempered(judged.logits), part.mask, part.pointer, *data, *coefficients)
    else:
        loss, terms = plain_policy_terms(part.policy(judged.logits), *data, *coefficients)
    value_loss = losses.clipped_value_loss(judged.value, part.old_value, part.target, part.value_weight, use.value_clip)
    return loss + use.value_coef * value_loss, torch.cat([terms, value_loss.detach().reshape(1)])


def clone_loss(model: PolicyModel, part: Part, value_coef: float) -> tuple[Tensor, Tensor]:
    """Cross-entropy with the teacher's decisions plus value loss; reports cross-entropy, value loss and agreement."""
    judged = model(part.sequence, part.state)
    policy = part.policy(judged.logits)
    log_prob = policy.log_prob(part.action)
    cross_entropy = -losses.weighted(log_prob, part.weight)
    value_loss = losses.clipped_value_loss(judged.value, part.old_value, part.target, part.value_weight, 0.0)
    agreement = losses.weighted(log_prob.detach().exp(), part.weight)
    statistics = torch.stack([cross_entropy.detach(), value_loss.detach(), agreement])
    return cross_entropy + value_coef * value_loss, statistics


@torch.no_grad()
def largest_ratio_error(model: PolicyModel, parts: Sequence[Part]) -> float:
    """max |ratio - 1| over all live decisions of `parts` at the present weights."""
    worst = 0.0
    for part in parts:
        log_prob = part.policy(model(part.sequence, part.state).logits).log_prob(part.action)
        error = (log_prob - part.log_prob).expm1().abs()[part.live]
        if len(error):
            worst = max(worst, float(error.max()))
            if not bool(torch.isfinite(error).all()):
                return float("nan")
    return worst


class Learner:
    """Adam on a `PolicyModel`, with the gradient of a minibatch summed over its parts.

    The parts keep the weights of the whole minibatch, so their gradients add up to its gradient; they are computed in
    one thread each (torch and the compiled kernels release the interpreter lock) and summed in a fixed order, hence
    deterministic.

    Args:
        model: the network.
        learning_rate: step size at the start.
        max_grad_norm: global gradient norm clip.
        threads: threads, and parts a minibatch is split into.
    """

    def __init__(self, model: PolicyModel, learning_rate: float, max_grad_norm: float, threads: int) -> None:
        self.model = model
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.optimiser = torch.optim.Adam(self.parameters, lr=learning_rate, eps=1e-5, foreach=True)
        self.max_grad_norm = max_grad_norm
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, "gnnrl-learner") if threads > 1 else None

    @property
    def learning_rate(self) -> float:
        """The step size."""
        return float(self.optimiser.param_groups[0]["lr"])

    def set_learning_rate(self, learning_rate: float) -> None:
        """Set the step size."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Take over the moments and the step size of another optimiser's state; its other settings stay this one's."""
        groups = self.optimiser.state_dict()["param_groups"]
        groups = [{**own, "lr": theirs["lr"]} for own, theirs in zip(groups, saved["param_groups"], strict=True)]
        self.optimiser.load_state_dict({"state": saved["state"], "param_groups": groups})

    def gradients(self, parts: Sequence[Part], loss: Loss) -> tuple[list[Tensor], Tensor]:
        """Gradients of the summed loss of `parts`, one per parameter, and the summed statistics."""

        def work(part: Part) -> tuple[tuple[Tensor | None, ...], Tensor]:
            value, statistics = loss(self.model, part)
            return torch.autograd.grad(value, self.parameters, allow_unused=True), statistics

        results = list(map(work, parts) if self._pool is None else self._pool.map(work, parts))
        total = [torch.zeros_like(p) for p in self.parameters]
        for gradients, _ in results:
            for sum_, gradient in zip(total, gradients, strict=True):
                if gradient is not None:
                    sum_ += gradient
        return total, torch.stack([statistics for _, statistics in results]).sum(dim=0)

    def apply(self, gradients: list[Tensor]) -> float:
        """Clip by the global norm and take one step; returns the norm before clipping.

        Raises:
            DivergenceError: the gradient is not finite; the weights are untouched.
        """
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        if not bool(torch.isfinite(norm)):
            raise DivergenceError("the gradient is not finite", self.learning_rate)
        scale = (self.max_grad_norm / (norm + 1e-6)).clamp(max=1.0)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient.mul_(scale)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return float(norm)
