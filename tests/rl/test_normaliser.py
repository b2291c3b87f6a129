import numpy as np
import pytest

from gnnrl.rl.normaliser import ReturnScale, RunningNormaliser


def test_batches_merge_to_the_statistics_of_the_whole():
    x = np.random.default_rng(0).normal(5.0, 3.0, (300, 2)).astype(np.float32)
    normaliser = RunningNormaliser(2)
    for part in np.split(x, [10, 11, 200]):
        normaliser.update(part)
    np.testing.assert_allclose(normaliser.mean, x.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(normaliser.variance, x.var(0, dtype=np.float64), rtol=1e-6)
    out = normaliser(x)
    np.testing.assert_allclose(out.mean(0), 0.0, atol=1e-5)
    np.testing.assert_allclose(out.std(0), 1.0, atol=1e-5)


def test_padding_never_enters():
    x = np.array([[[1.0], [np.nan]], [[3.0], [1e30]]], np.float32)
    normaliser = RunningNormaliser(1)
    normaliser.update(x, np.array([[1, 0], [1, 0]], np.int8))
    assert (normaliser.mean[0], normaliser.variance[0], normaliser.count) == (2.0, 1.0, 2.0)


def test_before_any_data_it_is_the_identity_up_to_the_clip():
    assert RunningNormaliser(1, clip=10.0)(np.array([[3.0], [-99.0]], np.float32)).tolist() == [[3.0], [-10.0]]


def test_signed_log_is_odd_and_only_where_asked():
    normaliser = RunningNormaliser(2, clip=100.0, signed_log=np.array([True, False]))
    out = normaliser(np.array([[np.e - 1, 7.0], [1 - np.e, 7.0]], np.float32))
    np.testing.assert_allclose(out, [[1.0, 7.0], [-1.0, 7.0]], rtol=1e-6)


def test_columns_shown_twice_are_those_side_by_side():
    rng = np.random.default_rng(3)
    x, mask = rng.lognormal(1.0, 2.0, (4, 50, 3)).astype(np.float32), rng.random((4, 50)) < 0.7
    logarithmic = np.arange(6) < 3
    twice, plain = RunningNormaliser(6, signed_log=logarithmic, copies=2), RunningNormaliser(6, signed_log=logarithmic)
    for part in range(4):
        twice.update(x[part], mask[part])
        plain.update(np.concatenate([x[part], x[part]], axis=-1), mask[part])
    for name, value in plain.state_dict().items():
        assert np.array_equal(twice.state_dict()[name], value), name
    assert np.array_equal(twice(x[0]), plain(np.concatenate([x[0], x[0]], axis=-1)))
    assert np.array_equal(twice.slope(x[0]), plain.slope(np.concatenate([x[0], x[0]], axis=-1)))
    with pytest.raises(ValueError, match="6 columns, the normaliser has 3"):
        twice.update(np.ones((2, 6)))
    with pytest.raises(ValueError, match="column 1 of a real row"):
        twice.update(np.array([[0.0, np.inf, 0.0]]))


def test_statistics_are_those_of_the_logarithms_far_from_zero_too():
    x = 1e6 + np.random.default_rng(4).normal(size=(500, 2)).astype(np.float64)
    normaliser = RunningNormaliser(2, signed_log=np.array([True, False]))
    normaliser.update(x)
    seen = np.stack([np.log1p(x[:, 0]), x[:, 1]], axis=1)
    np.testing.assert_allclose(normaliser.mean, seen.mean(0), rtol=1e-12)
    np.testing.assert_allclose(normaliser.variance, seen.var(0), rtol=1e-6)


def test_a_constant_column_is_only_centred():
    normaliser = RunningNormaliser(1)
    normaliser.update(np.full((50, 1), 4.0))
    assert normaliser(np.array([[4.0], [4.5]], np.float32)).tolist() == [[0.0], [0.5]]


def test_frozen_means_frozen():
    normaliser = RunningNormaliser(1)
    normaliser.frozen = True
    with pytest.raises(RuntimeError, match="frozen"):
        normaliser.update(np.ones((1, 1)))


def test_a_value_that_is_not_finite_is_an_error_and_changes_nothing():
    normaliser = RunningNormaliser(2)
    with pytest.raises(ValueError, match="column 1"):
        normaliser.update(np.array([[1.0, np.nan]]))
    assert normaliser.count == 0


def test_rows_are_normalised_alone():
    x = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    normaliser = RunningNormaliser(3, signed_log=True)
    normaliser.update(x)
    assert np.array_equal(normaliser(x)[7:9], normaliser(x[7:9]))


def test_state_round_trip():
    first, second = RunningNormaliser(2, signed_log=True), RunningNormaliser(2)
    first.update(np.random.default_rng(2).normal(size=(9, 2)))
    second.load_state_dict(first.state_dict())
    x = np.array([[0.3, -4.0]], np.float32)
    assert np.array_equal(first(x), second(x))
    with pytest.raises(ValueError, match="2 columns, the normaliser has 3"):
        RunningNormaliser(3).load_state_dict(first.state_dict())


def test_return_scale_is_the_deviation_of_the_masked_sums():
    scale = ReturnScale()
    assert scale.deviation == 1.0
    scale.update(np.array([[1.0, 5.0, np.nan]]), np.array([[1, 1, 0]]))
    assert scale.deviation == 2.0


def test_the_slope_is_the_derivative_and_nothing_where_clipped():
    rng = np.random.default_rng(8)
    normaliser = RunningNormaliser(2, clip=3.0, signed_log=np.array([True, False]))
    normaliser.update(rng.normal(5.0, 3.0, (200, 2)))
    x = np.array([[-4.0, 2.0], [0.5, 7.0], [30.0, -2.0]])
    step = 1e-2
    expected = (normaliser(x + step).astype(np.float64) - normaliser(x - step)) / (2.0 * step)
    np.testing.assert_allclose(normaliser.slope(x), expected, rtol=1e-3, atol=1e-5)
    assert normaliser.slope(np.array([[0.0, 1e6]]))[0, 1] == 0.0


def test_a_column_that_hardly_varies_is_only_centred_too():
    normaliser = RunningNormaliser(2)
    normaliser.update(np.array([[1.0, 1.0], [1.0 + 1e-7, 1.0 + 1e-5]]))
    found = normaliser(np.array([[3.0, 1.0 + 2e-5]]))
    # Half of 1e-5 is a deviation to be divided by, half of 1e-7 is none.
    np.testing.assert_allclose(found, [[2.0, 3.0]], rtol=0.02)


def test_the_slope_of_a_logarithm_is_that_of_the_size():
    normaliser = RunningNormaliser(1, signed_log=True)
    assert normaliser.slope(np.array([[3.0], [-3.0], [0.0]])).ravel().tolist() == [0.25, 0.25, 1.0]


def test_returns_that_never_vary_are_measured_in_ones():
    scale = ReturnScale()
    assert scale.deviation == 1.0
    scale.update(np.full((4, 2), 7.0), np.ones((4, 2), bool))
    assert scale.deviation == 1.0
