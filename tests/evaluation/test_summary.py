"""What a comparison says first, on made-up playbacks: who costs less, what is saved, and what is not stated."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnnrl.evaluation.evaluated import Evaluation
from gnnrl.evaluation.frontier import Frontier
from gnnrl.evaluation.report import compose
from gnnrl.evaluation.summary import objective_change, summary
from tests.evaluation.made_up import CONFIG, SECONDS, evaluation

LOADS = ("diurnal", "noisy", "flash")


def row(objective: Sequence[float], violating: Sequence[float], cost: Sequence[float]) -> dict[str, Sequence[float]]:
    """Two scenarios on each of the three loads."""
    twice = [[value for value in values for _ in range(2)] for values in (objective, violating, cost)]
    return dict(zip(("objective", "violating_share", "replica_seconds"), twice, strict=True))


ROWS = {
    "policy": row([900.0, 800.0, 700.0], [0.02, 0.01, 0.03], [540.0, 480.0, 420.0]),
    "clone": row([950.0, 850.0, 690.0], [0.0, 0.0, 0.0], [600.0, 600.0, 600.0]),
    "hpa_80": row([1200.0, 1000.0, 900.0], [0.0, 0.0, 0.04], [1200.0, 960.0, 840.0]),
    "kpa": row([880.0, 900.0, 710.0], [0.0, 0.011, 0.0], [900.0, 720.0, 630.0]),
    "feed_forward_trend": row([850.0, 810.0, 705.0], [0.0, 0.0, 0.0], [800.0, 700.0, 600.0]),
    "oracle": row([100.0, 100.0, 100.0], [0.0, 0.0, 0.0], [100.0, 100.0, 100.0]),
}


@pytest.fixture
def found() -> Evaluation:
    return evaluation(LOADS, ROWS)


def cells(table: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {cells[0].removesuffix(" *"): dict(zip(table["columns"], cells, strict=True)) for cells in table["rows"]}


def test_the_first_line_says_where_a_rule_has_the_lower_objective(found: Evaluation) -> None:
    assert summary(found)["headline"] == (
        "On diurnal feed_forward_trend has the lower J (so has kpa); on flash clone has the lower J; "
        "on noisy the policy has the lowest J."
    )
    assert [found.lower(load) for load in LOADS] == [("feed_forward_trend", "kpa"), (), ("clone",)]
    assert found.to_json()["lower_objective_than_the_policy"]["diurnal"] == ["feed_forward_trend", "kpa"]


def test_a_policy_that_costs_least_everywhere_is_said_to() -> None:
    rows = {"policy": ROWS["policy"], "hpa_80": ROWS["hpa_80"], "oracle": ROWS["oracle"]}
    assert summary(evaluation(LOADS, rows))["headline"] == "On diurnal, noisy and flash the policy has the lowest J."


def test_a_saving_is_withheld_where_either_is_over_the_violation_budget(found: Evaluation) -> None:
    """2 % on diurnal, of which 1 % is allowed; at the budget itself, on noisy, it is kept; on flash, hpa_80 has 4 % of 3 %."""
    first = cells(summary(found)["tables"][0])
    assert [first[load]["saved vs hpa_80 %"] for load in LOADS] == ["- (over)", "50.0 [50.0, 50.0]", "- (hpa_80 over)"]
    assert [first[load]["budget %"] for load in LOADS] == ["1, broken", "1, kept", "3, kept"]
    noisy = cells(summary(found)["tables"][2])
    assert noisy["kpa"]["saved vs hpa_80 %"] == "- (over)"
    assert noisy["hpa_80"]["saved vs hpa_80 %"] == "-"
    assert noisy["feed_forward_trend"]["saved vs hpa_80 %"].startswith("27.1 [")
    paired = found.to_json()["paired"]
    assert paired["diurnal"]["hpa_80"]["policy"]["withheld"] == "over"
    assert paired["noisy"]["hpa_80"]["policy"]["withheld"] is None
    both = evaluation(LOADS, {**ROWS, "policy": ROWS["hpa_80"], "hpa_80": ROWS["hpa_80"]})
    assert both.withheld("flash", "policy", "hpa_80") == "both over"


def test_a_card_says_why_no_saving_is_told(found: Evaluation) -> None:
    text = compose(found).html()
    assert "saved against hpa_80 as run" in text and "</b> saved against hpa_80 as run: <b>" not in text
    withheld = [w for w in found.workloads if found.withheld(w, "policy", "hpa_80")]
    assert withheld, "one of them is over the budget"
    assert text.count("saving against hpa_80 as run withheld: <b>") == len(withheld)
    assert "over)</b> saved" not in text
    assert "in brackets intervals of 2 only" in summary(found)["caption"]


def test_the_objective_is_in_replica_seconds_everywhere(found: Evaluation) -> None:
    document = found.to_json()
    assert document["scenarios"]["diurnal"]["policy"]["objective"]["mean"] == 900.0
    assert document["objective"]["unit"] == "replica-seconds"
    first = cells(document["summary"]["tables"][0])
    assert (first["diurnal"]["J"], first["diurnal"]["J of its clone"]) == ("900", "950")
    assert (first["diurnal"]["lowest J"], first["diurnal"]["that is"]) == ("feed_forward_trend", "850")
    assert (first["noisy"]["lowest J"], first["noisy"]["that is"]) == ("policy", "800")
    assert first["diurnal"]["replicas"] == f"{540.0 / SECONDS:.1f}"
    every = cells(document["summary"]["tables"][1])
    assert list(every) == list(ROWS)
    assert every["hpa_80"]["J vs policy %"] == "+33.3 [+33.3, +33.3]"
    assert every["kpa"]["J vs policy %"] == "-2.2 [-2.2, -2.2]"
    assert every["policy"]["J vs policy %"] == "-"
    assert "replica-seconds + 400 x violating seconds" in document["summary"]["notes"][0]
    json.dumps(document, allow_nan=False)


def test_one_training_seed_is_called_one(found: Evaluation) -> None:
    assert "the policy: 1 training seed of 1,000,000 steps on diurnal" in summary(found)["caption"]
    assert "no interval holds what another seed would change" in summary(found)["caption"]


def test_runs_of_one_experiment_speak_together() -> None:
    """Runs at 900 and 700: Student's interval of two, 12.706 times the standard error of 100."""
    rows = {"policy": ROWS["policy"], "seed1": row([700.0, 900.0, 700.0], [0.0] * 3, [500.0] * 3), **ROWS}
    found = evaluation(
        LOADS,
        rows,
        beside={"seed1": replace(CONFIG, seed=1)},
        together={"made_up, 2 runs": ("policy", "seed1")},
    )
    assert found.rows[:4] == ("policy", "seed1", "made_up, 2 runs", "clone")
    assert (found.subject, found.training_seeds) == ("made_up, 2 runs", 2)
    mean = found.mean("diurnal", "made_up, 2 runs", "objective")
    assert mean.mean == 800.0
    assert mean.high == pytest.approx(800.0 + 12.706 * 100.0)
    saved = found.saving("noisy", "made_up, 2 runs", "hpa_80")
    assert saved.mean == pytest.approx((0.5 + 460.0 / 960.0) / 2)
    # Theirs is a mean over the runs too: kpa's 880 is 2.2 % below 900, and 25.7 % above 700.
    change = found.saving("diurnal", "kpa", "made_up, 2 runs", "objective")
    assert change.mean == pytest.approx((20.0 / 900.0 - 180.0 / 700.0) / 2)
    assert found.lower("diurnal") == ()
    assert found.lower("noisy") == ("feed_forward_trend",)
    text = summary(found)
    assert "made_up, 2 runs): 2 training seeds" in text["caption"]
    assert text["headline"].startswith("On noisy feed_forward_trend has the lower J; ")
    document = found.to_json()
    assert document["training"] == {"row": "made_up, 2 runs", "seeds": 2}
    assert document["scenarios"]["diurnal"]["made_up, 2 runs"]["objective"]["mean"] == 800.0


def test_another_playing_of_a_row_is_no_rival() -> None:
    rows = {"policy": ROWS["policy"], "policy (evaluated)": row([1.0] * 3, [0.0] * 3, [1.0] * 3)}
    found = evaluation(LOADS, rows, repeats={"policy (evaluated)": "policy"})
    assert found.lower("diurnal") == ()


def test_without_a_policy_there_is_nothing_to_speak_for() -> None:
    found = evaluation(LOADS, {"hpa_80": ROWS["hpa_80"], "kpa": ROWS["kpa"]})
    text = summary(found)
    assert text["headline"] == "" and found.training_seeds == 0
    assert [table["title"].split(":")[0] for table in text["tables"]] == list(LOADS)
    assert "J vs policy %" not in text["tables"][0]["columns"]
    assert math.isfinite(found.mean("noisy", "kpa", "objective").mean)


def test_of_runs_together_every_figure_is_the_mean_over_the_runs() -> None:
    together = "made_up, 2 runs"
    rows = {"policy": ROWS["policy"], "seed1": row([700.0, 900.0, 700.0], [0.0] * 3, [500.0] * 3), **ROWS}
    by_run = {"policy": 0.5, "seed1": 0.7, "hpa_calibrated": 1.0}
    # Settings at 0 % and 10 % violation: at any budget between a run costs its share of the rule.
    shares, costs = np.repeat([[0.0], [0.1]], 2, axis=1), np.repeat([[200.0], [100.0]], 2, axis=1)
    played = {name: Frontier(shares, share * costs, ("safe", "cheap")) for name, share in by_run.items()}
    partly = {name: played[name] for name in ("policy", "hpa_calibrated")}
    found = evaluation(
        LOADS,
        rows,
        beside={"seed1": replace(CONFIG, seed=1)},
        together={together: ("policy", "seed1")},
        frontiers={"noisy": played, "flash": partly},
    )
    assert found.saving("noisy", together, "hpa_80", "objective").mean == pytest.approx((0.2 + 0.1) / 2)
    assert found.added_violation("diurnal", together, "hpa_80").mean == pytest.approx((0.02 + 0.0) / 2)
    saved = found.equal_violation_saving("noisy", together, "hpa_calibrated")
    assert saved is not None and saved.mean == pytest.approx((0.5 + 0.3) / 2)
    assert found.equal_violation_saving("flash", together, "hpa_calibrated") is None, "one of them was not played"
    assert found.equal_violation_saving("diurnal", together, "hpa_calibrated") is None
    paired = found.to_json()["paired"]["noisy"]["hpa_80"]
    assert paired["policy"]["objective_saving"]["mean"] == pytest.approx(0.2)
    assert paired["policy"]["replica_seconds_saving"]["mean"] == pytest.approx(0.5)
    assert paired["policy"]["violating_share_difference"]["mean"] == pytest.approx(0.01)
    told = found.to_json()["equal_violation"]
    assert told["noisy"]["replica_seconds_saving"]["hpa_calibrated"][together]["mean"] == pytest.approx(0.4)
    assert together not in told["flash"]["replica_seconds_saving"]["hpa_calibrated"]


def test_how_much_higher_an_objective_is_has_its_bounds_the_right_way_round() -> None:
    rows = {"policy": {"objective": [100.0, 300.0]}, "kpa": {"objective": [150.0, 330.0]}}
    change = objective_change(evaluation(("noisy",), rows), "noisy", "kpa")
    # Of two scenarios a resample is the one, the other, or both: +50 %, +10 %, +20 %.
    assert change is not None
    assert (change.mean, change.low, change.high) == pytest.approx((0.2, 0.1, 0.5))


def test_what_guardrails_did_is_told_of_each_workload() -> None:
    found = evaluation(LOADS, {"policy": ROWS["policy"]})
    acted = {"rate_down": np.array([1.0, 3.0, 5.0, 5.0, 0.0, 8.0])}
    guarded = replace(found, playbacks={"policy": replace(found.playbacks["policy"], guardrails=acted)})
    assert [guarded.acted(load, "policy")["rate_down"].mean for load in LOADS] == [2.0, 5.0, 4.0]


def test_a_latency_that_nobody_measured_is_a_dash_and_said_in_words() -> None:
    silent = {**ROWS["hpa_80"], "latency_p95_ms": [np.nan, np.nan, 7.0, 9.0, 7.0, 9.0]}
    told = summary(evaluation(LOADS, {"hpa_80": silent}))
    assert [cells(table)["hpa_80"]["P95 ms"] for table in told["tables"]] == ["-", "8", "8"]
    assert told["notes"][-1] == "-: no latency for hpa_80: no request of diurnal was answered."
