"""Bootstrap intervals and paired figures against what theory says of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnnrl.evaluation.statistics import (
    Interval,
    interval_name,
    mean_interval,
    not_worse,
    paired_difference,
    relative_saving,
)


def test_the_interval_of_a_mean_is_about_two_standard_errors_either_side() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, size=400)
    found = mean_interval(values)
    error = values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    generator = np.random.default_rng(1)
    samples = generator.exponential(1.0, size=(300, 40))
    covered = [found.low <= 1.0 <= found.high for found in map(mean_interval, samples)]
    assert 0.88 <= np.mean(covered) <= 0.98  # percentile intervals of 40 exponentials cover a little less than 95 %


@pytest.mark.parametrize("count", [5, 16])
def test_intervals_of_few_scenarios_cover_the_truth_as_often_as_they_say(count: int) -> None:
    samples = np.random.default_rng(4).normal(1.0, 1.0, size=(400, count))
    covered = [found.low <= 1.0 <= found.high for found in map(mean_interval, samples)]
    # Plain percentiles cover 84 % and 92 %; the standard error of this share is 1.1 points.
    assert 0.925 <= np.mean(covered) <= 0.985


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.arange(10.0)
    assert mean_interval(values, seed=3) == mean_interval(values, seed=3)
    assert mean_interval(values, seed=3) != mean_interval(values, seed=4)


def test_pairing_takes_out_what_the_scenarios_share() -> None:
    generator = np.random.default_rng(2)
    scenario = generator.normal(100.0, 30.0, size=16)
    policy = scenario - 2.0 + generator.normal(0.0, 0.5, size=16)
    paired = paired_difference(policy, scenario)
    assert paired.low > -2.5
    assert paired.high < -1.5
    # Unpaired, the scenarios' own spread would hide the difference.
    assert mean_interval(policy).high - mean_interval(policy).low > 20.0


def test_a_saving_is_a_ratio_of_means_resampled_together() -> None:
    reference = np.array([100.0, 200.0, 400.0])
    saving = relative_saving(0.75 * reference, reference)
    assert (saving.mean, saving.low, saving.high) == pytest.approx((0.25, 0.25, 0.25))


def test_not_worse_asks_the_upper_bound_not_the_mean() -> None:
    reference = np.zeros(8)
    noisy = np.array([-0.02, 0.02, -0.02, 0.02, -0.02, 0.02, -0.02, 0.02])
    assert paired_difference(noisy, reference).mean == pytest.approx(0.0)
    assert not not_worse(noisy, reference, 0.006)
    assert not_worse(noisy, reference, 0.021)


def test_scenarios_without_a_number_are_left_out_and_nothing_becomes_null() -> None:
    found = mean_interval(np.array([1.0, np.nan, 3.0]))
    assert found.mean == 2.0
    assert Interval(math.nan, math.nan, math.nan).to_json() == {"mean": None, "ci95": [None, None]}
    assert mean_interval(np.array([np.nan])).to_json() == {"mean": None, "ci95": [None, None]}


def test_one_scenario_has_no_interval_and_shows_nothing_to_be_reached() -> None:
    one = mean_interval(np.array([3.0]))
    assert one.mean == 3.0
    assert np.isnan([one.low, one.high]).all()
    assert not not_worse(np.array([1.0]), np.array([2.0]), 0.0)
    assert not_worse(np.array([1.0, 1.1]), np.array([2.0, 2.2]), 0.0)


def test_unpaired_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="same episodes"):
        paired_difference(np.zeros(3), np.zeros(4))


def test_an_interval_of_few_is_not_called_a_95_percent_one() -> None:
    """Resamples of n lie between its least and its most: of n draws these hold the median between them with 1 - 2 / 2**n."""
    assert [interval_name(count) == "95 % intervals" for count in (1, 2, 3, 4, 5, 40)] == [False] * 4 + [True] * 2
    assert "intervals of 2 only, which cover less than 95 %" in interval_name(2) and "no intervals" in interval_name(1)
    drawn = np.random.default_rng(0).normal(size=(2_000, 2))
    covered = np.mean([found.low <= 0.0 <= found.high for found in map(mean_interval, drawn)])
    assert 0.45 < covered < 0.55
