"""The objective and the rewards made of it, by hand: two meshes, of two services and of one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnnrl.domains.autoscaling.objective import objective, service_rewards, softened


def f32(*values: object) -> np.ndarray:
    return np.array(values, np.float32)


GIVEN = {
    "replicas": f32([4.0, 6.0], [5.0, 999.0]),
    "changes": f32([2.0, 0.0], [3.0, 999.0]),
    "excess_share": f32([3.0, 1.0], [0.0, 999.0]),
    "violating_share": f32(0.5, 0.2),
    "latency_over_slo": f32(0.8, 14.0),
    "violation_weight": f32(400.0, 25.0),
    "change_weight": 0.5,
    "max_replicas": 20,
    "service_mask": np.array([[True, True], [True, False]]),
}


def test_the_objective_is_its_three_terms() -> None:
    found = objective(f32(100.0, 7.0), f32(3.0, 0.0), f32(8.0, 2.0), 200.0, 0.3)
    assert found.tolist() == pytest.approx([100.0 + 200.0 * 3.0 + 0.3 * 8.0, 7.0 + 0.6])


def test_slo_charges_each_service_its_own_and_its_share_of_the_violation() -> None:
    found = service_rewards("slo", **GIVEN)
    # 400 x 0.5 violating, three quarters and one quarter of it; the whole over sqrt(400 / 100) = 2.
    first = [-(4.0 + 150.0 + 0.5 * 2.0) / 200.0, -(6.0 + 50.0) / 200.0]
    # Nobody queues: all of the violation is the only service's. 25 x 0.2 = 5, over sqrt(25 / 100) = 1/2.
    second = [-(5.0 + 5.0 + 0.5 * 3.0) / 50.0, 0.0]
    assert found.tolist() == [pytest.approx(first), pytest.approx(second)]
    assert found.dtype == np.float32


def test_latency_and_cost_trade_the_same_two_terms_the_other_way_round() -> None:
    # Replica shares over 20 x the number of services; latencies capped at ten SLOs, split as the excess is.
    shares = np.array([[4.0 / 40.0, 6.0 / 40.0], [5.0 / 20.0, 0.0]])
    latency = np.array([[0.8 * 0.75, 0.8 * 0.25], [10.0, 0.0]])
    changes = 0.01 * 0.5 * np.array([[2.0, 0.0], [3.0, 0.0]])
    np.testing.assert_allclose(service_rewards("latency", **GIVEN), -(latency + 0.2 * shares) - changes, rtol=1e-6)
    np.testing.assert_allclose(service_rewards("cost", **GIVEN), -(shares + 0.2 * latency) - changes, rtol=1e-6)


def test_without_any_excess_the_violation_is_shared_evenly_and_padding_takes_none() -> None:
    still = GIVEN | {"excess_share": f32([-1.0, 0.0], [-5.0, 999.0])}
    found = service_rewards("slo", **still)
    assert found[0].tolist() == pytest.approx([-(4.0 + 100.0 + 1.0) / 200.0, -(6.0 + 100.0) / 200.0])
    assert found[1].tolist() == pytest.approx([-(5.0 + 5.0 + 1.5) / 50.0, 0.0])


def test_softening_replaces_half_of_the_share_by_a_curve_around_the_slo() -> None:
    share, p95 = f32(0.0, 0.4, 1.0, 0.0), f32(1.0, 1.1, 0.0, 99.0)
    curve = [0.5, 1.0 / (1.0 + math.exp(-1.0)), 1.0 / (1.0 + math.exp(10.0)), 1.0]
    expected = [0.5 * (s + c) for s, c in zip(share.tolist(), curve, strict=True)]
    assert softened(share, p95, 0.1).tolist() == pytest.approx(expected)
    assert softened(share, p95, 0.0) is share
