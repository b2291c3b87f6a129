"""Comparisons whose figures are known because they are made up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gnnrl.config.experiment import AutoscalingConfig, EvaluationConfig, ExperimentConfig
from gnnrl.domains.autoscaling.calibration import Calibration
from gnnrl.domains.autoscaling.physics import LATENCY_EDGES_MS
from gnnrl.evaluation.evaluated import Evaluation
from gnnrl.evaluation.runner import METRICS, Playback
from gnnrl.evaluation.scenarios import draw_scenarios

SEEDS = 2
CONFIG = ExperimentConfig(
    name="made_up",
    environment=AutoscalingConfig(episode_decisions=8),
    evaluation=EvaluationConfig(seeds=SEEDS, violation_weight=400.0),
)
SECONDS = 8 * 15


def playback(name: str, values: Mapping[str, Sequence[float]]) -> Playback:
    """Metric -> one number a scenario, workload after workload; what is not given is 0."""
    count = len(next(iter(values.values())))
    metrics = {metric: np.array(values.get(metric, [0.0] * count), dtype=np.float64) for metric in METRICS}
    drawn = np.ones((count, 8), dtype=np.float32)
    return Playback(name, 15, metrics, np.ones((count, len(LATENCY_EDGES_MS) + 1)), drawn, drawn, drawn, 0.0 * drawn)


def evaluation(
    workloads: Sequence[str], rows: Mapping[str, Mapping[str, Sequence[float]]], **more: object
) -> Evaluation:
    """Row -> metric -> numbers."""
    scenarios = draw_scenarios(CONFIG.environment, workloads, SEEDS, violation_weight=400.0)
    assert scenarios.seconds == SECONDS
    playbacks = {name: playback(name, values) for name, values in rows.items()}
    return Evaluation(CONFIG, scenarios, playbacks, Calibration(environment={}, seeds=1), **more)  # type: ignore[arg-type]
