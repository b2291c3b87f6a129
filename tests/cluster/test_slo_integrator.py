"""The factor on the needed replicas, step by step, and the floor that it makes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnnrl.cluster.guardrails import NO_FLOOR, Guardrails
from gnnrl.cluster.guardrails.integrator import busy_floor, next_factor
from tests.cluster.guardrail_cases import WIDE, apply, proposal, shown

CONFIG = replace(WIDE, slo_integrator=True)


def test_the_factor_rises_above_the_budget_and_decays_otherwise_within_its_bounds() -> None:
    factor = np.array([1.0, 1.0, 2.0, 2.95, 2.0])
    share = np.array([0.21, 0.2, 0.0, 1.0, np.nan])
    assert next_factor(factor, share, CONFIG) == pytest.approx([1.05, 1.0, 1.98, 3.0, 2.0], rel=1e-12)
    other = replace(CONFIG, slo_violating_budget=0.0, slo_factor_rise=2.0, slo_factor_decay=0.5, slo_factor_max=1.5)
    assert next_factor(np.array([1.0, 1.5]), np.array([0.1, 0.0]), other).tolist() == [1.5, 1.0]


def test_the_floor_is_the_work_over_the_utilisation_rounded_up() -> None:
    busy = np.array([[0.0, 0.75, 0.76, 3.0, np.nan], [3.0, np.inf, 1e300, -1.0, 4.0]])
    floor = busy_floor(busy, np.array([1.0, 1.1]), 0.75)
    assert floor.tolist() == [[0, 1, 2, 4, NO_FLOOR], [5, NO_FLOOR, NO_FLOOR, NO_FLOOR, 6]]
    assert floor.dtype == np.int64


def test_violations_raise_what_works_and_calm_lets_go_of_it() -> None:
    guardrails = Guardrails(CONFIG, 1, 2, 15.0)
    finals, named = [], []
    for share in [0.0, 1.0, 1.0, 1.0, float("nan"), 0.1, 0.1]:
        given = proposal([4, 4], [2.0, 6.0], busy=[2.9, 2.9], violating_share=share)
        final, hits = shown(guardrails.apply(given))
        finals.append(final)
        named.append(hits)
    # 2.9 / .75 = 3.87 -> 4; x 1.05 = 4.06; x 1.05^2 = 4.26; x 1.05^3 = 4.48, kept; x .99 = 4.43; x .99^2 = 4.39
    assert finals == [[4, 6]] + [[5, 6]] * 6, "the second is wanted above the floor"
    assert named == [[("slo_integrator",), ()]] * 7
    assert guardrails.state_dict()["slo_factor"].tolist() == pytest.approx([1.05**3 * 0.99**2])
    calm = [guardrails.apply(proposal([4, 4], [2.0, 6.0], busy=[2.9, 2.9], violating_share=0.0)) for _ in range(40)]
    assert calm[-1].final.tolist() == [[4, 6]] and guardrails.state_dict()["slo_factor"].tolist() == [1.0]


def test_it_is_off_unless_asked_for() -> None:
    given = proposal([4], [2.0], busy=[9.0], violating_share=1.0)
    assert apply(given) == ([2], [()])
    assert apply(given, CONFIG) == ([13], [("slo_integrator",)])  # ceil(1.05 x 12)


def test_its_floor_stands_within_limits_rates_and_what_may_be_touched() -> None:
    busy = {
        "busy": [9.0] * 4,
        "violating_share": 1.0,
        "owned_mask": [False, True, False, False],
        "max_replicas": [7, 100, 100, 100],
    }
    final, hits = apply(
        proposal([4, 4, 0, 4], [2.0, 2.0, 2.0, float("nan")], **busy), replace(CONFIG, max_up_replicas=8)
    )
    assert final == [7, 4, 0, 12]
    assert hits[0] == ("slo_integrator", "rate_up", "min_max") and hits[3] == ("invalid", "slo_integrator", "rate_up")


def test_without_figures_the_factor_stays_and_there_is_no_floor() -> None:
    guardrails = Guardrails(CONFIG, 1, 1, 15.0)
    guardrails.apply(proposal([4], [4.0], busy=[1.0], violating_share=1.0))
    assert guardrails.apply(proposal([4], [2.0])).final.tolist() == [[2]]
    assert guardrails.apply(proposal([4], [2.0], busy=[float("nan")], violating_share=float("nan"))).final.tolist() == [
        [2]
    ]
    guardrails.miss()
    guardrails.remesh(0, np.array([-1]))
    assert guardrails.state_dict()["slo_factor"].tolist() == [1.05]
    other = Guardrails(CONFIG, 1, 1, 15.0)
    other.load_state_dict(guardrails.state_dict())
    assert other.apply(proposal([4], [4.0], busy=[4.0], violating_share=1.0)).final.tolist() == [[6]]  # 1.1025 x 5.33
