"""The temperature controller: its formula by hand, its bounds, its memory, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.config.experiment import TemperatureConfig
from gnnrl.rl.temperature import TemperatureController, divisors

USE = TemperatureConfig(
    enabled=True,
    base=1.5,
    lowest=0.8,
    highest=3.0,
    throughput_target=10.0,
    latency_target=4.0,
    throughput_weight=1.0,
    latency_weight=0.5,
    balance_weight=0.2,
    change_weight=0.25,
)
NOBODY = np.zeros(3, np.bool_)


def said(throughput, mean_latency, load_balance):
    return {"throughput": throughput, "mean_latency": mean_latency, "load_balance": load_balance}


def test_the_formula_by_hand():
    controller = TemperatureController(USE, 3)
    assert controller.temperature.tolist() == [1.5] * 3
    controller.observe(said(np.full(3, 10.0), np.full(3, 4.0), np.zeros(3)), np.ones(3, np.bool_))
    controller.observe(said(np.array([8.0, 10.0, 10.0]), np.array([4.0, 5.0, 4.0]), np.array([0.0, 0.0, 0.5])), NOBODY)
    # 2 of 10 missing and lost: 1 x 0.2 + 0.25 x 0.2; 1 of 4 s too slow and gained: 0.5 x 0.25 + 0.25 x 0.25; balance: 0.2 x 0.5
    assert controller.temperature == pytest.approx([1.5 * 1.25, 1.5 * 1.1875, 1.5 * 1.1], rel=1e-6)
    controller.observe(said(np.array([8.0, 12.0, 10.0]), np.array([4.0, 4.0, 4.0]), np.zeros(3)), NOBODY)
    # What has stayed is no change; 2 too many and gained, 1 s gained: -0.2 - 0.25 (0.2 + 0.25); all on target.
    assert controller.temperature == pytest.approx([1.5 * 1.2, 1.5 * 0.6875, 1.5], rel=1e-6)


def test_it_is_clipped_and_starts_at_base():
    controller = TemperatureController(USE, 3)
    controller.observe(said(np.array([0.0, 90.0, 0.0]), np.array([40.0, 0.0, 40.0]), np.zeros(3)), NOBODY)
    assert controller.temperature.tolist() == pytest.approx([3.0, 0.8, 3.0])
    starting = np.array([True, False, False])
    controller.observe(said(np.zeros(3), np.full(3, 40.0), np.zeros(3)), starting)
    assert controller.temperature.tolist() == pytest.approx([1.5, 3.0, 3.0])


def test_the_documented_numbers_are_the_defaults():
    found = TemperatureConfig()
    assert (found.enabled, found.base, found.lowest, found.highest) == (False, 1.5, 0.8, 3.0)
    assert (found.throughput_weight, found.latency_weight) == (1.0, 1.0)


def test_it_goes_on_where_it_was_saved():
    first, second = TemperatureController(USE, 3), TemperatureController(USE, 3)
    rng = np.random.default_rng(0)

    def noise():
        return said(rng.uniform(8, 12, 3), rng.uniform(3, 5, 3), rng.uniform(0, 1, 3))

    first.observe(noise(), NOBODY)
    second.load_state_dict(first.state_dict())
    assert np.array_equal(first.temperature, second.temperature)
    told = noise()
    first.observe(told, NOBODY)
    second.observe(told, NOBODY)
    assert np.array_equal(first.temperature, second.temperature)
    fresh = TemperatureController(USE, 3)
    fresh.observe(told, NOBODY)
    assert not np.allclose(fresh.temperature, first.temperature)  # the changes count


def test_missing_misshapen_and_infinite_signals_are_named():
    controller = TemperatureController(USE, 3)
    whole = said(np.ones(3), np.ones(3), np.ones(3))
    for infos in (None, {name: value for name, value in whole.items() if name != "mean_latency"}):
        with pytest.raises(
            ValueError, match=r"infos\['(throughput|mean_latency)'\].*ppo\.temperature\.enabled to false"
        ):
            controller.observe(infos, NOBODY)
    with pytest.raises(ValueError, match=r"infos\['load_balance'\] has shape \(2,\), \(3,\) is expected"):
        controller.observe(whole | {"load_balance": np.ones(2)}, NOBODY)
    with pytest.raises(ValueError, match=r"infos\['throughput'\] of environment 1 is not finite"):
        controller.observe(whole | {"throughput": np.array([1.0, np.nan, 1.0])}, NOBODY)
    assert controller.temperature.tolist() == [1.5] * 3


def test_divisors():
    assert divisors(None, 4) is None
    assert divisors(1.0, 4) is None
    assert divisors(np.ones(4), 4) is None
    assert divisors(0.5, 2).tolist() == [0.5, 0.5]
    assert divisors([0.5, 1.0], 2).tolist() == [0.5, 1.0]
    for wrong in (0.0, -1.0, np.nan, [1.0, np.inf]):
        with pytest.raises(ValueError, match="not above 0"):
            divisors(wrong, 2)
    with pytest.raises(ValueError, match="shape"):
        divisors(np.full(3, 2.0), 2)
