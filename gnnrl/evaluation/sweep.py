"""Calibrates the rules: plays every setting of a grid on validation episodes of each workload, all settings in one
batched simulation."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.baselines import Autoscaler, ReplicaBounds, make_with
from gnnrl.domains.autoscaling.calibration import Calibration, Setting, shipped
from gnnrl.domains.autoscaling.episode import Split
from gnnrl.evaluation.controllers import BaselineController
from gnnrl.evaluation.runner import Playback, play
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios

__all__ = ["GRIDS", "Progress", "calibrate", "calibrated_for", "play_oracle", "play_settings", "silent"]

HEADROOMS = tuple(round(0.25 + 0.025 * k, 3) for k in range(29))
GRIDS: Mapping[str, Mapping[str, tuple[float, ...]]] = {
    "hpa_calibrated": {
        "target_percent": tuple(float(percent) for percent in range(50, 165, 5)),
        "down_window_seconds": (0.0, 60.0, 120.0, 300.0),
    },
    "kpa": {"concurrency": (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0)},
    "feed_forward": {"headroom": HEADROOMS},
    "feed_forward_estimated": {"headroom": HEADROOMS},
    "feed_forward_trend": {"headroom": HEADROOMS, "trend_weight": (0.25, 0.5, 1.0, 1.5)},
}
"""Rule -> parameter -> values; every combination is played."""

ORACLE_GRID: Mapping[str, tuple[float, ...]] = {
    "surplus": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "utilisation": (0.75, 0.8, 0.85, 0.9, 1.0),
}
SWEEP_SEEDS = 8
Progress = Callable[[str], None]
LARGEST_BATCH = 768


def silent(message: str) -> None:
    """Progress for those who do not want to know."""


def _grid(axes: Mapping[str, tuple[float, ...]]) -> list[dict[str, float]]:
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def baseline_with(rule: str, scenarios: ScenarioSet, settings: Sequence[Mapping[str, float]], each: int) -> Autoscaler:
    """`rule` with `settings[k]` in the k-th run of `each` scenarios."""
    config = scenarios.config
    columns = {name: np.repeat([setting[name] for setting in settings], each) for name in settings[0]}
    bounds = ReplicaBounds(min_replicas=config.min_replicas, max_replicas=config.max_replicas)
    return make_with(rule, bounds, config.max_nodes, scenarios.load(), columns)


def play_settings(
    rule: str,
    scenarios: ScenarioSet,
    settings: Sequence[Mapping[str, float]],
    *,
    violation_weight: float,
    guardrails: GuardrailConfig | None = None,
) -> list[Playback]:
    """Play `rule` at each setting on all scenarios; one playback a setting, of all scenarios."""
    each = len(scenarios.episodes)
    at_once = max(1, LARGEST_BATCH // each)
    playbacks: list[Playback] = []
    for first in range(0, len(settings), at_once):
        some = settings[first : first + at_once]
        tiled = scenarios.tiled(len(some))
        controller = BaselineController(baseline_with(rule, tiled, some, each), scenarios.config)
        together = play(controller, tiled, violation_weight=violation_weight, histogram=False, guardrails=guardrails)
        playbacks += [together.part(slice(k * each, (k + 1) * each)) for k in range(len(some))]
    return playbacks


def play_oracle(
    scenarios: ScenarioSet, *, violation_weight: float, guardrails: GuardrailConfig | None = None
) -> Playback:
    """The oracle, at the setting that gives each scenario its lowest objective: knowing all, it knows that too."""
    settings = _grid(ORACLE_GRID)
    playbacks = play_settings("oracle", scenarios, settings, violation_weight=violation_weight, guardrails=guardrails)
    best = np.stack([playback.metrics["objective"] for playback in playbacks]).argmin(axis=0)
    chosen = [settings[k] for k in best]
    controller = BaselineController(baseline_with("oracle", scenarios, chosen, 1), scenarios.config)
    return play(controller, scenarios, violation_weight=violation_weight, guardrails=guardrails)


def calibrate(
    config: AutoscalingConfig,
    workloads: Sequence[str],
    *,
    rules: Sequence[str] = tuple(GRIDS),
    seeds: int = SWEEP_SEEDS,
    progress: Progress = silent,
) -> Calibration:
    """Sweep `rules` on validation episodes of `workloads`.

    Topologies are left alone. Held-out families too are swept on their own validation episodes: the rules are given
    more than the policy, which never trains on them.

    Args:
        config: the environment's configuration.
        workloads: families or CSV files.
        rules: keys of `GRIDS`.
        seeds: validation episodes a workload.
        progress: told what is being swept.
    """
    frontiers: dict[str, dict[str, tuple[Setting, ...]]] = {}
    for workload in workloads:
        scenarios = draw_scenarios(
            replace(config, churn=ChurnConfig()), [workload], seeds, split=Split.VALIDATION, violation_weight=1.0
        )
        frontiers[workload] = {}
        for rule in rules:
            progress(f"{rule} on {workload}")
            settings = _grid(GRIDS[rule])
            playbacks = play_settings(rule, scenarios, settings, violation_weight=0.0)
            frontiers[workload][rule] = tuple(
                Setting(
                    values=setting,
                    violating_share=float(playback.metrics["violating_share"].mean()),
                    replica_seconds=float(playback.metrics["replica_seconds"].mean()),
                    scale_moves=float(playback.metrics["scale_moves"].mean()),
                )
                for setting, playback in zip(settings, playbacks, strict=True)
            )
    return Calibration(environment=Calibration.scope(config), seeds=seeds, frontiers=frontiers)


def calibrated_for(
    config: AutoscalingConfig,
    workloads: Sequence[str],
    rules: Sequence[str],
    *,
    seeds: int = SWEEP_SEEDS,
    progress: Progress = silent,
) -> Calibration:
    """The calibration that comes with the package for this environment, and a sweep of whatever it lacks."""
    calibration = shipped(config) or Calibration(environment=Calibration.scope(config), seeds=seeds)
    for workload in workloads:
        lacking = [rule for rule in rules if rule not in calibration.frontiers.get(workload, {})]
        if lacking:
            swept = calibrate(config, [workload], rules=lacking, seeds=seeds, progress=progress)
            calibration = calibration.merged(swept)
    return calibration
