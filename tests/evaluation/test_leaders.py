"""Where a rule is better than the policy, in words."""

from __future__ import annotations

from math import nan

import pytest

from gnnrl.evaluation.contenders import subject_of
from gnnrl.evaluation.leaders import rules_ahead

FIGURES = {
    "policy": {"mean": 2.0, "p99": 5.0},
    "a": {"mean": 1.5, "p99": 6.0},
    "b": {"mean": 1.25, "p99": 5.0},
    "c": {"mean": nan, "p99": nan},
}


def told(*rules: str) -> str:
    return rules_ahead(
        "policy", rules, {"mean latency": "mean", "p99": "p99"}, lambda row, metric: FIGURES[row][metric]
    )


def test_the_best_rule_of_each_cost_is_named_and_equal_is_not_better() -> None:
    assert told("a", "b", "c") == "Where a rule has less than policy: mean latency b (1.25 against 2)"
    assert told("a") == "Where a rule has less than policy: mean latency a (1.5 against 2)"


@pytest.mark.parametrize("rules", [(), ("c",)])
def test_nothing_is_said_where_no_rule_is_better(rules: tuple[str, ...]) -> None:
    assert told(*rules) == ""


def test_a_policy_that_has_no_figure_is_behind_every_rule_that_has_one() -> None:
    said = rules_ahead("policy", ["a"], {"mean": "mean"}, lambda row, _: nan if row == "policy" else 1.0)
    assert said == "Where a rule has less than policy: mean a (1 against nan)"


def test_a_comparison_is_about_the_runs_together_where_the_policy_is_one_of_them() -> None:
    assert subject_of(["policy", "x"], {}) == "policy"
    assert subject_of(["policy", "x", "n, 2 runs"], {"n, 2 runs": ("policy", "x")}) == "n, 2 runs"
    assert subject_of(["policy", "x", "y", "n, 2 runs"], {"n, 2 runs": ("x", "y")}) == "policy"
    assert subject_of(["least_outstanding"], {}) is None
