"""Frontiers: their lower envelope, interpolation, and savings at an equal violating share."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.evaluation.frontier import (
    Frontier,
    envelope,
    replica_seconds_at,
    saving_at,
    violating_share_at,
    violation_reduction_at,
)

SHARE = np.array([0.0, 0.02, 0.01, 0.04, 0.03])
COST = np.array([200.0, 110.0, 140.0, 100.0, 160.0])


def test_the_envelope_leaves_out_what_is_above_a_line_between_two_settings() -> None:
    x, y = envelope(SHARE, COST)
    # 0.03 / 160 is beaten outright; 0.01 / 140 is below the chord from 200 to 110 (155).
    assert x.tolist() == [0.0, 0.01, 0.02, 0.04]
    assert y.tolist() == [200.0, 140.0, 110.0, 100.0]
    x, _ = envelope(np.array([0.0, 0.01, 0.02]), np.array([200.0, 180.0, 100.0]))
    assert x.tolist() == [0.0, 0.02]  # 180 is above the chord (150)
    x, _ = envelope(np.array([0.0, 0.01, 0.02]), np.array([200.0, 100.0, 100.0]))
    assert x.tolist() == [0.0, 0.01]  # nobody violates more for nothing


def test_costs_are_read_off_straight_lines() -> None:
    assert replica_seconds_at(SHARE, COST, 0.005) == pytest.approx(170.0)
    assert replica_seconds_at(SHARE, COST, 0.03) == pytest.approx(105.0)
    assert replica_seconds_at(SHARE, COST, 0.5) == 100.0
    assert np.isnan(replica_seconds_at(SHARE[1:], COST[1:], 0.005))


def frontier(scale: np.ndarray, shift: float = 0.0) -> Frontier:
    return Frontier(np.repeat(SHARE[:, None] + shift, len(scale), axis=1), COST[:, None] * scale)


def test_a_policy_that_costs_three_quarters_everywhere_saves_a_quarter_with_certainty() -> None:
    scale = np.array([1.0, 3.0, 0.5, 2.0])
    saving = saving_at(frontier(0.75 * scale), frontier(scale), 0.01)
    assert (saving.mean, saving.low, saving.high) == pytest.approx((0.25, 0.25, 0.25))


def test_equal_costs_at_more_violations_are_a_loss_at_an_equal_share() -> None:
    ones = np.ones(4)
    # Shifted right by one point, the curve at 1 % is what the other has at 0 %: 200 against 140.
    assert saving_at(frontier(ones, 0.01), frontier(ones), 0.01).mean == pytest.approx(1 - 200 / 140)


def test_a_frontier_that_never_gets_down_to_the_share_saves_nothing_that_can_be_told() -> None:
    ones = np.ones(4)
    assert np.isnan(saving_at(frontier(ones, 0.05), frontier(ones), 0.01).mean)


def test_resamples_that_miss_the_share_widen_the_interval_instead_of_being_left_out() -> None:
    # One of four scenarios violates 4 % at the policy's safest setting: 1 % on average, 2 % where it is drawn twice
    # (a quarter of the resamples have two or more). The reference always gets there.
    hard = np.array([0.0, 0.0, 0.0, 0.04])
    policy = Frontier(np.stack([hard, hard + 0.02]), np.stack([np.full(4, 100.0), np.full(4, 90.0)]))
    reference = frontier(np.ones(4))
    found = saving_at(policy, reference, 0.01)
    assert found.mean == pytest.approx(1 - 100 / 140)
    assert found.low == -np.inf
    assert np.isfinite(found.high)
    assert found.to_json()["ci95"][0] is None
    # The other way round the policy's advantage has no bound.
    other = saving_at(reference, policy, 0.01)
    assert np.isfinite(other.low)
    assert other.high == np.inf


def test_frontiers_of_different_scenarios_are_refused() -> None:
    with pytest.raises(ValueError, match="same episodes"):
        saving_at(frontier(np.ones(3)), frontier(np.ones(4)), 0.01)


def test_violating_time_is_read_off_at_equal_cost() -> None:
    assert violating_share_at(SHARE, COST, 170.0) == pytest.approx(0.005)
    assert violating_share_at(SHARE, COST, 105.0) == pytest.approx(0.03)
    assert violating_share_at(SHARE, COST, 500.0) == 0.0
    assert np.isnan(violating_share_at(SHARE, COST, 99.0))


def test_half_the_violations_at_every_cost_are_a_reduction_by_half() -> None:
    scale = np.array([1.0, 3.0, 0.5, 2.0])
    reference = frontier(scale)
    policy = Frontier(0.5 * reference.violating_share, reference.replica_seconds)
    found = violation_reduction_at(policy, reference, float(120.0 * scale.mean()))
    assert (found.mean, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert np.isnan(violation_reduction_at(policy, reference, float(500.0 * scale.mean())).mean)


def test_heavy_and_light_resamples_are_compared_at_the_same_point_of_the_curve() -> None:
    scale = np.array([1.0, 3.0, 0.5, 2.0])
    shares = np.repeat(np.array([[0.0], [0.04]]), 4, axis=1)
    reference = Frontier(shares, np.array([[200.0], [100.0]]) * scale)
    policy = Frontier(0.5 * shares, np.array([[150.0], [100.0]]) * scale)
    # At 120 a scenario of size 1: 0.04 x 30 / 100 against 0.04 x 80 / 100, in every resample.
    found = violation_reduction_at(policy, reference, float(120.0 * scale.mean()))
    assert (found.mean, found.low, found.high) == pytest.approx((0.625, 0.625, 0.625))
