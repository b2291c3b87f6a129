"""Calibration sweeps, the comparison document, and the report, on short scenarios."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig, EvaluationConfig, ExperimentConfig
from gnnrl.domains.autoscaling.baselines import teacher
from gnnrl.domains.autoscaling.calibration import Calibration, Setting
from gnnrl.domains.autoscaling.episode import Split
from gnnrl.evaluation import report, sweep
from gnnrl.evaluation.comparison import POLICY, Evaluation, _frontier_settings, compare
from gnnrl.evaluation.controllers import TeacherPolicy
from gnnrl.evaluation.learning import learning_curve, read_training_log
from gnnrl.evaluation.plots import LEARNED
from gnnrl.evaluation.runner import METRICS
from gnnrl.evaluation.scenarios import draw_scenarios
from gnnrl.evaluation.sweep import calibrate, calibrated_for, play_settings
from graph_space.schema import GLOBALS, GraphObservation, autoscaling_schema

ENVIRONMENT = AutoscalingConfig(episode_decisions=60, max_edges=64, peak_replicas=(6.0, 9.0))
CONFIG = ExperimentConfig(
    name="short",
    environment=ENVIRONMENT,
    evaluation=EvaluationConfig(
        workloads=("noisy", "flash"),
        seeds=3,
        against=("hpa_80", "hpa_calibrated", "feed_forward", "oracle", "static", "random"),
        frontier_weights=(20.0, 800.0),
    ),
)
GRIDS = {
    "hpa_calibrated": {"target_percent": (80.0, 110.0, 140.0), "down_window_seconds": (60.0,)},
    "feed_forward": {"headroom": (0.4, 0.55, 0.7)},
}


class Policy:
    """The teacher, with more headroom where violations weigh more."""

    def act(
        self,
        obs: GraphObservation,
        state: object = None,  # noqa: ARG002
        episode_start: object = None,  # noqa: ARG002
        deterministic: bool = False,  # noqa: ARG002
        temperature: float = 1.0,  # noqa: ARG002
        rng: np.random.Generator | None = None,  # noqa: ARG002
    ) -> tuple[NDArray[np.int64], None]:
        schema = autoscaling_schema("history")
        heavy = obs[GLOBALS][:, schema.index(GLOBALS, "log_violation_weight")] > np.log(100.0)
        lean, ample = (teacher(obs, schema, headroom=headroom) for headroom in (0.7, 0.5))
        return np.where(heavy[:, None], ample, lean), None


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "GRIDS", GRIDS)
        return calibrate(ENVIRONMENT, ["noisy", "flash"], rules=tuple(GRIDS), seeds=3)


@pytest.fixture(scope="module")
def evaluation(calibration: Calibration) -> Evaluation:
    return compare(CONFIG, Policy(), calibration=calibration, label="a run")


def test_a_sweep_trades_replicas_for_violations(calibration: Calibration) -> None:
    for workload in ("noisy", "flash"):
        swept = calibration.settings(workload, "feed_forward")
        assert [s.values["headroom"] for s in swept] == [0.4, 0.55, 0.7]
        costs, shares = [s.replica_seconds for s in swept], [s.violating_share for s in swept]
        assert costs == sorted(costs, reverse=True)
        assert shares == sorted(shares)


def test_settings_played_together_are_as_played_alone() -> None:
    drawn = draw_scenarios(ENVIRONMENT, ["bursty"], 2, split=Split.VALIDATION, violation_weight=1.0)
    settings = [
        {"target_percent": 70.0, "down_window_seconds": 0.0},
        {"target_percent": 120.0, "down_window_seconds": 300.0},
    ]
    together = play_settings("hpa_calibrated", drawn, settings, violation_weight=1.0)
    for setting, played in zip(settings, together, strict=True):
        (alone,) = play_settings("hpa_calibrated", drawn, [setting], violation_weight=1.0)
        np.testing.assert_array_equal(played.metrics["replica_seconds"], alone.metrics["replica_seconds"])
        np.testing.assert_allclose(played.metrics["violating_share"], alone.metrics["violating_share"], atol=1e-6)


def test_only_what_is_lacking_is_swept(calibration: Calibration, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "GRIDS", GRIDS)
    monkeypatch.setattr(sweep, "shipped", lambda config: calibration)  # noqa: ARG005
    told: list[str] = []
    found = calibrated_for(ENVIRONMENT, ["noisy", "steady"], ["feed_forward"], seeds=1, progress=told.append)
    assert told == ["feed_forward on steady"]
    assert set(found.frontiers["noisy"]) == set(GRIDS)
    assert set(found.frontiers["steady"]) == {"feed_forward"}


def test_the_document_has_every_policy_and_metric_and_is_plain_json(evaluation: Evaluation) -> None:
    document = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    assert list(document["scenarios"]) == ["noisy", "flash"]
    for workload in document["scenarios"].values():
        assert list(workload) == [POLICY, *CONFIG.evaluation.against]
        for metrics in workload.values():
            assert set(metrics) == set(METRICS)
            for found in metrics.values():
                low, high = found["ci95"]
                assert found["mean"] is None or low <= found["mean"] <= high
    assert document["objective"]["violation_weight"] == 200.0
    assert document["objective"]["change_weight"] == pytest.approx(0.3)
    assert document["split"]["training_workloads"] == ["diurnal", "noisy", "on_off", "bursty"]
    assert document["split"]["held_out_workloads"] == ["flash"]
    assert document["config"]["environment"]["peak_replicas"] == [6.0, 9.0]
    assert set(document["revision"]) >= {"revision", "modified"}


def test_figures_are_those_of_the_playbacks_paired_by_scenario(evaluation: Evaluation) -> None:
    document = evaluation.to_json()
    cost = {name: played.metrics["replica_seconds"][3:6] for name, played in evaluation.playbacks.items()}
    shown = document["scenarios"]["flash"]["hpa_80"]["replica_seconds"]["mean"]
    assert shown == pytest.approx(cost["hpa_80"].mean())
    saved = document["paired"]["flash"]["hpa_80"][POLICY]["replica_seconds_saving"]
    assert saved["mean"] == pytest.approx(1 - cost[POLICY].mean() / cost["hpa_80"].mean())
    ratios = 1 - cost[POLICY] / cost["hpa_80"]
    assert ratios.min() - 1e-9 <= saved["ci95"][0] <= saved["ci95"][1] <= ratios.max() + 1e-9


def test_bounds_and_controls_stand_where_they_must(evaluation: Evaluation) -> None:
    for workload in evaluation.workloads:
        objective = {name: evaluation.mean(workload, name, "objective").mean for name in evaluation.playbacks}
        assert min(objective, key=objective.__getitem__) == "oracle"
        assert max(objective, key=objective.__getitem__) == "random"
        assert evaluation.best(workload) not in ("oracle", "random")


def test_the_oracle_has_its_best_setting_for_each_scenario() -> None:
    drawn = draw_scenarios(ENVIRONMENT, ["flash"], 3, split=Split.VALIDATION, violation_weight=1.0)
    best = sweep.play_oracle(drawn, violation_weight=200.0).metrics["objective"]
    fixed = [{"surplus": 0.4, "utilisation": 0.9}, {"surplus": 1.0, "utilisation": 1.0}]
    for played in play_settings("oracle", drawn, fixed, violation_weight=200.0):
        assert (best <= played.metrics["objective"] + 1e-6).all()


def test_frontiers_are_played_by_weight_and_by_setting(evaluation: Evaluation) -> None:
    document = evaluation.to_json()
    points = document["frontiers"]["noisy"][POLICY]
    assert [point["setting"] for point in points] == ["a = 20", "a = 800"]
    assert points[0]["replica_seconds"] < points[1]["replica_seconds"]
    assert points[0]["violating_share"] > points[1]["violating_share"]
    assert {"hpa_calibrated", "feed_forward"} <= set(document["frontiers"]["noisy"])
    assert document["equal_violation"]["flash"]["violating_share"] == 0.03


def test_a_frontier_keeps_both_ends_of_the_calibrations_and_the_settings_nearest_the_budget() -> None:
    shares = [0.0, 0.001, *(0.006 + 0.001 * k for k in range(10)), 0.049, 0.2]
    settings = tuple(
        Setting(values={"headroom": k}, violating_share=share, replica_seconds=100.0 - k, scale_moves=0.0)
        for k, share in enumerate(shares)
    )
    swept = Calibration(environment={}, seeds=1, frontiers={"noisy": {"feed_forward": settings}})
    chosen = [setting.violating_share for setting in _frontier_settings(swept, "noisy", "feed_forward")]
    # 20 % is beyond five times the budget of 1 %.
    assert chosen == pytest.approx([0.0, 0.008, 0.009, 0.010, 0.011, 0.012, 0.013, 0.049])


def test_the_same_comparison_gives_the_same_document(evaluation: Evaluation, calibration: Calibration) -> None:
    again = compare(CONFIG, Policy(), calibration=calibration, label="a run")
    assert json.dumps(again.to_json()["scenarios"]) == json.dumps(evaluation.to_json()["scenarios"])


def test_churn_happens_only_where_it_is_asked_for(calibration: Calibration) -> None:
    environment = replace(ENVIRONMENT, churn=replace(ENVIRONMENT.churn, service_added_per_hour=20.0))
    config = replace(CONFIG, environment=environment)
    arguments = {
        "against": ["hpa_80"],
        "workloads": ["noisy"],
        "seeds": 2,
        "calibration": calibration,
        "frontiers": False,
    }
    still = compare(config, **arguments)  # type: ignore[arg-type]
    moving = compare(config, churn="gated", **arguments)  # type: ignore[arg-type]
    assert still.split()["churn"] == "none"
    assert moving.split()["churn"] == "gated: 20 added an hour"
    assert np.isnan(still.values("noisy", "hpa_80", "change_response_seconds")).all()
    assert np.isfinite(moving.values("noisy", "hpa_80", "change_response_seconds")).all()


def test_other_agents_stand_beside_the_policy(calibration: Calibration) -> None:
    lean, ample = TeacherPolicy(ENVIRONMENT, 0.75), TeacherPolicy(ENVIRONMENT, 0.45)
    config = replace(CONFIG, evaluation=replace(CONFIG.evaluation, against=("hpa_80",), seeds=2))
    found = compare(config, ample, others={"lean": lean}, workloads=["noisy"], calibration=calibration)
    assert list(found.playbacks) == [POLICY, "lean", "hpa_80"]
    cost = {name: found.mean("noisy", name, "replica_seconds").mean for name in found.playbacks}
    assert cost["lean"] < 0.8 * cost[POLICY]
    assert set(found.frontiers["noisy"]) == {POLICY, "lean"}


def test_the_report_stands_alone_and_shows_whoever_wins(evaluation: Evaluation, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    lines = [{"step": 100 * k, "train/reward": float(k)} for k in range(5)]
    (run / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 9')
    path = tmp_path / "deep" / "report.html"
    report.compose(evaluation, run).write(path)
    page = path.read_text()
    assert not re.findall(r"(?:src|href)\s*=\s*['\"]?(?:https?:)?//", page)
    assert "@import" not in page
    assert page.count("<figure>") == 4 + 1
    assert page.count("<svg") == 3 * 2 + 1 + 1  # panels: two workloads in three pictures, the mesh, the curve
    for name in evaluation.playbacks:
        assert name in page
    for workload in evaluation.workloads:
        table = page.split(f"<h3>{workload} <small>")[1].split("</table>")[0]
        winner = table.split("<span class='win'>")[0].rsplit("</i>", 1)[1].strip()
        assert winner == evaluation.best(workload)
        assert table.count("class='win'") == 1
    assert "never trained on" in page
    assert "200 x violating seconds" in page
    assert not list(tmp_path.rglob("*.partial"))
    assert "<h2>Learning</h2>" not in report.compose(evaluation).html()


def test_a_training_log_that_was_cut_off_is_read_up_to_the_cut(tmp_path: Path) -> None:
    (tmp_path / "training.jsonl").write_text('{"step": 1, "train/reward": 2.0}\n{"step": 2, "tra')
    assert read_training_log(tmp_path) == [{"step": 1, "train/reward": 2.0}]
    assert learning_curve(read_training_log(tmp_path), LEARNED) is None
