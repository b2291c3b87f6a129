"""The policy's part of the PPO loss, value and gradient in one compiled pass over the logits.

`plain_policy_terms` spells the same out with `distributions` and `losses`; it is the oracle of the tests and the path off the CPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

from gnnrl.rl import losses
from gnnrl.rl.distributions import MaskedCategorical

__all__ = ["TERMS", "plain_policy_terms", "policy_terms"]

TERMS = ("policy_loss", "entropy", "approx_kl", "clip_fraction", "clone_kl")
"""What both functions report, in order: weighted sums over the decisions."""


@njit(cache=True, nogil=True)
def _terms(  # type: ignore[no-untyped-def]
    logits,
    mask,
    pointer,
    action,
    old_log_prob,
    advantage,
    weight,
    reference,
    clip,
    entropy_coef,
    clone_coef,
    slope,
    terms,
):
    moves = logits.shape[1]
    flat, legal, out, known = logits.ravel(), mask.ravel(), slope.ravel(), reference.ravel()
    held = clone_coef > 0.0
    for d in range(len(pointer) - 1):
        first, last = pointer[d] * moves, pointer[d + 1] * moves
        if weight[d] == 0.0:
            out[first:last] = 0.0
            continue
        top = np.float32(-np.inf)
        for i in range(first, last):
            if legal[i] and flat[i] > top:
                top = flat[i]
        total = np.float32(0.0)
        for i in range(first, last):
            # The slope carries the exponentials from here to the second pass.
            out[i] = np.exp(flat[i] - top) if legal[i] else np.float32(0.0)
            total += out[i]
        log_total = np.log(total)
        inverse = np.float32(1.0) / total
        entropy, distance = np.float32(0.0), np.float32(0.0)
        for i in range(first, last):
            if legal[i]:
                log_p = flat[i] - top - log_total
                p = out[i] * inverse
                entropy -= p * log_p
                if held:
                    distance += p * (log_p - known[i])
        w, gain = weight[d], advantage[d]
        change = flat[action[d]] - top - log_total - old_log_prob[d]
        ratio = np.exp(change)
        low, high = np.float32(1.0 - clip), np.float32(1.0 + clip)
        clipped = min(max(ratio, low), high)
        free, bound = ratio * gain, clipped * gain
        pull = -w * free if free <= bound else np.float32(0.0)
        terms[0] -= w * min(free, bound)
        terms[1] += w * entropy
        terms[2] += w * (np.expm1(np.float64(change)) - change)
        if abs(ratio - np.float32(1.0)) > clip:
            terms[3] += w
        terms[4] += w * distance
        toward_entropy, toward_clone = np.float32(entropy_coef) * w, np.float32(clone_coef) * w
        for i in range(first, last):
            if legal[i]:
                log_p = flat[i] - top - log_total
                p = out[i] * inverse
                slope_i = p * (toward_entropy * (log_p + entropy) - pull)
                if held:
                    slope_i += toward_clone * p * (log_p - known[i] - distance)
                out[i] = slope_i
        out[action[d]] += pull


class _PolicyTerms(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        logits: Tensor,
        mask: Tensor,
        pointer: Tensor,
        action: Tensor,
        old_log_prob: Tensor,
        advantage: Tensor,
        weight: Tensor,
        reference: Tensor | None,
        clip: float,
        entropy_coef: float,
        clone_coef: float,
    ) -> tuple[Tensor, Tensor]:
        slope = torch.empty_like(logits)
        terms = np.zeros(len(TERMS))
        held = reference is not None and clone_coef > 0.0
        known = reference if reference is not None and held else logits.new_zeros(0, logits.shape[1])
        _terms(
            logits.detach().numpy(),
            mask.numpy(),
            pointer.numpy(),
            action.numpy(),
            old_log_prob.numpy(),
            advantage.numpy(),
            weight.numpy(),
            known.numpy(),
            clip,
            entropy_coef,
            clone_coef if held else 0.0,
            slope.numpy(),
            terms,
        )
        ctx.save_for_backward(slope)
        reported = torch.from_numpy(terms.astype(np.float32))
        ctx.mark_non_differentiable(reported)
        loss = terms[0] - entropy_coef * terms[1] + (clone_coef * terms[4] if held else 0.0)
        return torch.tensor(loss, dtype=logits.dtype), reported

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = ctx.saved_tensors
        return (slope * upstream[0], *([None] * 10))


def policy_terms(
    logits: Tensor,
    mask: Tensor,
    pointer: Tensor,
    action: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    weight: Tensor,
    reference: Tensor | None,
    clip: float,
    entropy_coef: float,
    clone_coef: float,
) -> tuple[Tensor, Tensor]:
    """Clipped policy loss - entropy_coef x entropy + clone_coef x KL(policy || reference), on the CPU.

    Args:
        logits: [R, K] float32, contiguous.
        mask: [R, K] bool; every decision has a legal move.
        pointer: [D + 1] int64, rows of decision d are pointer[d]:pointer[d + 1] (one row a decision under `joint`).
        action: [D] int64, flat index `row * K + move`.
        old_log_prob: [D].
        advantage: [D].
        weight: [D].
        reference: [R, K] log-probabilities of the clone, or None.
        clip: clip range of the ratio.
        entropy_coef: weight of the entropy.
        clone_coef: weight of the divergence from the clone.

    Returns:
        The loss (differentiable in the logits) and `TERMS` [5].
    """
    arguments = (
        logits,
        mask,
        pointer,
        action,
        old_log_prob,
        advantage,
        weight,
        reference,
        clip,
        entropy_coef,
        clone_coef,
    )
    found: tuple[Tensor, Tensor] = _PolicyTerms.apply(*arguments)
    return found


def plain_policy_terms(
    policy: MaskedCategorical,
    action: Tensor,
    old_log_prob: Tensor,
    advantage: Tensor,
    weight: Tensor,
    reference: Tensor | None,
    clip: float,
    entropy_coef: float,
    clone_coef: float,
) -> tuple[Tensor, Tensor]:
    """The same as `policy_terms`, of a distribution made from the logits."""
    log_prob = policy.log_prob(action)
    policy_loss = losses.clipped_policy_loss(log_prob, old_log_prob, advantage, weight, clip)
    entropy = losses.weighted(policy.entropy(), weight)
    clone_kl = policy_loss.new_zeros(())
    if reference is not None and clone_coef > 0.0:
        clone_kl = losses.weighted(policy.kl(reference), weight)
    with torch.no_grad():
        kl = losses.approx_kl(log_prob, old_log_prob, weight)
        clipped = losses.clip_fraction(log_prob, old_log_prob, weight, clip)
    terms = torch.stack([policy_loss, entropy, kl, clipped, clone_kl]).detach()
    return policy_loss - entropy_coef * entropy + clone_coef * clone_kl, terms
