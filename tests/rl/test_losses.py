import math

import numpy as np
import pytest
import torch

from gnnrl.rl import losses

HALF = torch.tensor([0.5, 0.5])


def test_clipped_policy_loss_by_hand():
    old = torch.zeros(2)
    new = torch.tensor([math.log(1.5), math.log(0.5)])
    # A > 0 above the range is held at 1.2; A < 0 below the range is held at 0.8.
    loss = losses.clipped_policy_loss(new, old, torch.tensor([2.0, -1.0]), HALF, 0.2)
    assert loss.item() == pytest.approx(-(0.5 * 1.2 * 2.0 + 0.5 * 0.8 * -1.0))
    # On the other side the pessimistic bound does not hold anything.
    loss = losses.clipped_policy_loss(new, old, torch.tensor([-2.0, 1.0]), HALF, 0.2)
    assert loss.item() == pytest.approx(-(0.5 * 1.5 * -2.0 + 0.5 * 0.5 * 1.0))


def test_a_clipped_decision_has_no_gradient():
    new = torch.tensor([math.log(1.5), math.log(1.1)], requires_grad=True)
    losses.clipped_policy_loss(new, torch.zeros(2), torch.ones(2), HALF, 0.2).backward()
    assert new.grad[0] == 0.0
    assert new.grad[1].item() == pytest.approx(-0.5 * 1.1)


def test_clipped_value_loss_by_hand():
    value, old, target = torch.tensor([3.0, 0.1]), torch.tensor([0.0, 0.0]), torch.tensor([3.0, 1.0])
    loss = losses.clipped_value_loss(value, old, target, HALF, 0.5)
    assert loss.item() == pytest.approx(0.5 * (0.5 * 2.5**2 + 0.5 * 0.9**2))
    assert losses.clipped_value_loss(value, old, target, HALF, 0.0).item() == pytest.approx(0.5 * 0.5 * 0.9**2)


def test_approx_kl_agrees_with_the_exact_divergence():
    p = torch.tensor([0.2, 0.3, 0.5])
    q = torch.tensor([0.25, 0.25, 0.5])
    exact = (p * (p / q).log()).sum().item()
    assert losses.approx_kl(q.log(), p.log(), p).item() == pytest.approx(exact, rel=1e-5)


def test_clip_fraction_counts_weight_outside_the_range():
    new = torch.tensor([math.log(1.3), math.log(0.7), 0.0])
    assert losses.clip_fraction(new, torch.zeros(3), torch.tensor([0.2, 0.3, 0.5]), 0.2).item() == pytest.approx(0.5)
    # The ratio is held against it, not its logarithm: of 1.25 and 0.78 the logarithms are 0.223 and -0.248.
    near = torch.tensor([1.25, 0.78]).log()
    assert losses.clip_fraction(near, torch.zeros(2), torch.tensor([0.4, 0.6]), 0.23).item() == pytest.approx(0.4)


def test_explained_variance():
    target = np.array([1.0, 2.0, 3.0])
    assert losses.explained_variance(target, target) == 1.0
    assert losses.explained_variance(np.full(3, 9.0), target) == 0.0
    assert math.isnan(losses.explained_variance(target, np.ones(3)))


def test_shapes_that_broadcast_silently_are_refused():
    with pytest.raises(ValueError, match="shapes differ"):
        losses.clipped_value_loss(torch.zeros(2, 1), torch.zeros(2), torch.zeros(2), torch.zeros(2), 0.2)
