"""Arrival processes and lengths against their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnnrl.domains.llm_routing.scenarios import SCENARIOS, scenario_named
from gnnrl.domains.llm_routing.workloads import (
    LENGTHS,
    Arrivals,
    LengthHint,
    Requests,
    WorkloadError,
    draw_requests,
)

N = 200_000


def gaps(kind: str, qps: float, cv: float = 1.0) -> np.ndarray:
    return np.diff(Arrivals(kind=kind, qps=qps, cv=cv).draw(N, np.random.default_rng(1)))


@pytest.mark.parametrize(("kind", "cv"), [("poisson", 1.0), ("gamma", 1.0), ("gamma", 3.0), ("gamma", 0.5)])
def test_rate_and_burstiness_are_those_asked_for(kind: str, cv: float) -> None:
    drawn = gaps(kind, 16.0, cv)
    assert drawn.mean() == pytest.approx(1 / 16, rel=4 * cv / math.sqrt(N))
    assert drawn.std() / drawn.mean() == pytest.approx(cv, rel=0.02)


def test_vidurs_poisson_is_cut_at_three_means() -> None:
    """Rate 1 / (1 - e^-3) of the nominal one: 16.84/s for 16, CV .88; true Poisson gaps are not cut."""
    drawn = gaps("vidur_poisson", 16.0)
    assert drawn.max() == pytest.approx(3 / 16)
    assert 1 / drawn.mean() == pytest.approx(16 / (1 - math.exp(-3)), rel=0.01) == pytest.approx(16.85, rel=0.01)
    assert drawn.std() / drawn.mean() == pytest.approx(0.88, abs=0.01)
    assert (gaps("poisson", 16.0) > 3 / 16).mean() == pytest.approx(math.exp(-3), rel=0.05)


@pytest.mark.parametrize(
    ("name", "prefill", "decode"), [("conversation", (6.63, 0.99), (5.02, 0.86)), ("code", (7.00, 1.36), (2.79, 0.85))]
)
def test_lengths_follow_their_laws(name: str, prefill: tuple[float, float], decode: tuple[float, float]) -> None:
    prompts, answers = LENGTHS[name].draw(N, np.random.default_rng(2))
    assert np.median(prompts) == pytest.approx(math.exp(prefill[0]), rel=0.02)
    assert np.median(answers) == pytest.approx(math.exp(decode[0]), rel=0.02)
    assert np.percentile(answers, 90) == pytest.approx(math.exp(decode[0] + 1.2816 * decode[1]), rel=0.03)
    assert np.percentile(prompts, 30) == pytest.approx(math.exp(prefill[0] - 0.5244 * prefill[1]), rel=0.03)
    assert min(prompts.min(), answers.min()) >= 1 and (prompts + answers).max() == 4096


def test_mixed_lengths_are_half_of_each() -> None:
    _, answers = LENGTHS["mixed"].draw(N, np.random.default_rng(3))
    half = [LENGTHS[name].draw(N, np.random.default_rng(4))[1] for name in ("conversation", "code")]
    assert (answers < 50).mean() == pytest.approx(np.mean([(part < 50).mean() for part in half]), abs=0.005)


def test_another_rate_leaves_the_lengths_and_another_seed_does_not() -> None:
    slow, fast = (draw_requests(50, Arrivals(qps=qps), LENGTHS["conversation"], 7) for qps in (1.0, 10.0))
    np.testing.assert_array_equal(slow.prefill_tokens, fast.prefill_tokens)
    np.testing.assert_allclose(slow.arrived_at, 10 * fast.arrived_at)
    other = draw_requests(50, Arrivals(qps=1.0), LENGTHS["conversation"], 8)
    assert not np.array_equal(slow.prefill_tokens, other.prefill_tokens)


def test_hints() -> None:
    def shown(hint: LengthHint | None) -> Requests:
        return draw_requests(N, Arrivals(), LENGTHS["conversation"], 0, hint)

    plain = shown(None)
    assert not plain.shown_decode_tokens.any()
    np.testing.assert_array_equal(shown(LengthHint(kind="true")).shown_decode_tokens, plain.decode_tokens)
    predicted = shown(LengthHint(kind="predicted", sigma=0.3))
    np.testing.assert_array_equal(predicted.decode_tokens, plain.decode_tokens)
    error = np.log(predicted.shown_decode_tokens / plain.decode_tokens)[plain.decode_tokens > 100]
    assert error.std() == pytest.approx(0.3, rel=0.02) and abs(error.mean()) < 0.005


def test_scenarios_are_those_of_the_comparison() -> None:
    factors = {name: [replica.time_factor for replica in scenario.replicas] for name, scenario in SCENARIOS.items()}
    assert factors["A"] == [1, 1, 1, 1] and factors["B"] == [1, 1, 2, 2] and factors["E"] == [1, 1, 2, 4]
    assert [SCENARIOS[name].arrivals.qps for name in "ABE"] == [20, 13, 8]
    assert SCENARIOS["E"].arrivals.cv == 3 and SCENARIOS["E"].lengths == "mixed"
    elastic = SCENARIOS["elastic"]
    rows = elastic.requests(1000, 0)
    failing, joining = elastic.timed_changes(rows)
    assert (failing.kind, joining.kind) == ("fail", "join")
    assert 0 < failing.at_seconds < joining.at_seconds < rows.arrived_at[-1]
    assert not elastic.replicas[joining.replica].up
    with pytest.raises(WorkloadError, match="'C' is not known; there are fixed, A, B, E, elastic"):
        scenario_named("C")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arrivals(qps=0.0), "qps 0.0 is not a positive number"),
        (lambda: Arrivals(qps=float("nan")), "qps nan"),
        (lambda: Arrivals(kind="gamma", cv=-1.0), "cv -1.0"),
        (lambda: Arrivals(kind="uniform"), "'uniform' are not known; there are poisson, gamma, vidur_poisson"),
        (lambda: LengthHint(kind="guess"), "'guess' is not known"),
        (lambda: LengthHint(sigma=-1.0), "sigma -1.0 is not >= 0"),
        (lambda: draw_requests(0, Arrivals(), LENGTHS["fixed"], 0), "0 requests"),
        (lambda: Requests(np.zeros(2), np.ones(1, int), np.ones(2, int)), r"arrays of \[1, 2\] elements"),
        (lambda: Requests(np.zeros(0), np.ones(0, int), np.ones(0, int)), "at least 1"),
        (lambda: Requests(np.array([1.0, 0.5]), np.ones(2, int), np.ones(2, int)), "never falling"),
        (lambda: Requests(np.zeros(1), np.zeros(1, int), np.ones(1, int)), r"prefill_tokens 0..0 is not in 1"),
    ],
)
def test_a_workload_that_cannot_be_is_refused(make: object, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        make()  # type: ignore[operator]
