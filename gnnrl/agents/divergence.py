"""`DivergenceError`: a training whose numbers are no numbers any more, told where that first shows."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

__all__ = ["LARGEST_WEIGHT", "DivergenceError", "require_sound_weights"]

LARGEST_WEIGHT = 1e6
"""Of a network whose layers start at around 1 and whose steps are small, a larger one is as lost as one that is not finite."""


class DivergenceError(FloatingPointError):
    """Loss, gradient, weights or logits are not finite, or beyond all measure.

    Attributes:
        what: what is not finite.
        learning_rate: of the last step.
        steps: environment steps of the training before it showed; None where nobody counts them.
    """

    def __init__(self, what: str, learning_rate: float, steps: int | None = None) -> None:
        super().__init__(what, learning_rate, steps)
        self.what, self.learning_rate, self.steps = what, learning_rate, steps

    def __str__(self) -> str:
        when = "" if self.steps is None else f" after {self.steps:,} environment steps"
        return (
            f"training diverged{when} at learning rate {self.learning_rate:g}: {self.what}; nothing was saved since. Look for "
            "extreme rewards or features, lower ppo.learning_rate or set ppo.normalise_reward, and begin anew or go on from an "
            "earlier checkpoint"
        )


def require_sound_weights(parameters: Iterable[Tensor], learning_rate: float) -> None:
    """Raises DivergenceError where a weight is not finite or above `LARGEST_WEIGHT`."""
    largest = torch.stack([parameter.detach().abs().max() for parameter in parameters if parameter.numel()]).max()
    if not bool(largest <= LARGEST_WEIGHT):
        found = f"a weight of {float(largest):.3g}" if bool(torch.isfinite(largest)) else "the weights are not finite"
        raise DivergenceError(found, learning_rate)
