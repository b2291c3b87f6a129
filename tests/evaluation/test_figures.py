"""The figures to reach, on made-up playbacks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
from gnnrl.domains.autoscaling.calibration import Calibration
from gnnrl.evaluation.comparison import Evaluation
from gnnrl.evaluation.figures import Figure, figures
from gnnrl.evaluation.frontier import Frontier
from gnnrl.evaluation.runner import METRICS, Playback
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios

SEEDS = 4
CONFIG = ExperimentConfig(environment=AutoscalingConfig(episode_decisions=8))


def playback(name: str, workloads: int, **values: float) -> Playback:
    metrics = {metric: np.full(SEEDS * workloads, values.get(metric, 0.0)) for metric in METRICS}
    empty = np.zeros((SEEDS * workloads, 8), dtype=np.float32)
    return Playback(name, 15, metrics, np.zeros((SEEDS * workloads, 0)), empty, empty, empty, empty)


def evaluation(
    scenarios: ScenarioSet, policy: dict[str, float], frontier: tuple[float, float] | None = None
) -> Evaluation:
    count = len(scenarios.workloads)
    playbacks = {
        "policy": playback("policy", count, **policy),
        "hpa_80": playback("hpa_80", count, replica_seconds=1000.0, violating_share=0.001, scale_moves=50.0),
        "hpa_calibrated": playback(
            "hpa_calibrated",
            count,
            replica_seconds=800.0,
            scale_moves=100.0,
            recovery_seconds=140.0,
            peak_replicas=60.0,
        ),
        "feed_forward": playback("feed_forward", count, replica_seconds=700.0),
        "oracle": playback("oracle", count, replica_seconds=400.0),
    }
    frontiers = {}
    if frontier is not None:
        cost = {"policy": frontier[0], "hpa_calibrated": 800.0, "feed_forward": frontier[1]}
        frontiers = {
            workload: {
                name: Frontier(np.array([[0.0] * SEEDS, [0.5] * SEEDS]), np.full((2, SEEDS), value))
                for name, value in cost.items()
            }
            for workload in scenarios.workloads
        }
    return Evaluation(CONFIG, scenarios, playbacks, Calibration(environment={}, seeds=1), frontiers)


def named(found: list[Figure], text: str) -> Figure:
    (figure,) = [figure for figure in found if text in figure.claim]
    return figure


def test_savings_violations_and_moves_are_held_to_their_targets() -> None:
    noisy = draw_scenarios(CONFIG.environment, ["noisy"], SEEDS, violation_weight=1.0)
    good = {"replica_seconds": 640.0, "violating_share": 0.006, "scale_moves": 140.0}
    found = figures(evaluation(noisy, good))
    assert named(found, "saved against hpa_80").measured == "36.0 % [36.0, 36.0]"
    assert named(found, "saved against hpa_80").reached
    assert named(found, "added against hpa_80").measured == "+0.50 (mean +0.50)"
    assert named(found, "added against hpa_80").reached
    assert named(found, "scale moves").measured == "1.40 (140 against 100)"
    assert named(found, "scale moves").reached
    poor = figures(evaluation(noisy, {"replica_seconds": 660.0, "violating_share": 0.0075, "scale_moves": 160.0}))
    for claim in ("saved against hpa_80", "added against hpa_80", "scale moves"):
        assert named(poor, claim).reached is False


def test_without_frontiers_nothing_is_claimed_at_equal_violating_time() -> None:
    noisy = draw_scenarios(CONFIG.environment, ["noisy"], SEEDS, violation_weight=1.0)
    figure = named(figures(evaluation(noisy, {"replica_seconds": 600.0})), "saved against hpa_calibrated at 1 %")
    assert figure.reached is None
    assert figure.measured == "frontiers were not played"


def test_savings_at_equal_violating_time_and_the_gap_to_the_oracle() -> None:
    four = draw_scenarios(CONFIG.environment, ["diurnal", "noisy", "bursty", "flash"], SEEDS, violation_weight=1.0)
    found = figures(evaluation(four, {"replica_seconds": 600.0}, (620.0, 700.0)))
    assert named(found, "flash: saved against hpa_calibrated at 3 %").measured == "22.5 % [22.5, 22.5]"
    assert named(found, "20 % saved").measured == "4 of 4"
    # 700 -> 620 of 700 -> 400: 27 %, enough for bursty (20 %), not for flash (35 %).
    assert (named(found, "bursty: share of").measured, named(found, "bursty: share of").reached) == ("27 %", True)
    assert (named(found, "flash: share of").measured, named(found, "flash: share of").reached) == ("27 %", False)


@pytest.mark.parametrize(("late", "reached"), [(30.0, True), (60.0, False)])
def test_recovery_is_compared_beyond_lag_and_startup(late: float, reached: bool) -> None:
    step = draw_scenarios(CONFIG.environment, ["step2x"], SEEDS, violation_weight=1.0)
    floors = [15 + max(s.startup_seconds for s in episode.mesh.services if not s.stateful) for episode in step.episodes]
    assert 35 < min(floors) <= max(floors) < 65
    mean = float(np.mean(floors))
    figure = named(figures(evaluation(step, {"recovery_seconds": mean + late, "peak_replicas": 61.0})), "beyond lag")
    others = float(np.mean([140.0 - floor for floor in floors]))
    assert figure.measured.startswith(f"{others:.0f} s over ")
    assert figure.reached is reached
    peak = named(figures(evaluation(step, {"recovery_seconds": 0.0, "peak_replicas": 61.0})), "peak replicas")
    assert peak.reached is False


def test_without_a_policy_there_is_nothing_to_reach() -> None:
    noisy = draw_scenarios(CONFIG.environment, ["noisy"], SEEDS, violation_weight=1.0)
    alone = evaluation(noisy, {})
    assert figures(Evaluation(CONFIG, noisy, {"hpa_80": alone.playbacks["hpa_80"]}, alone.calibration)) == []
