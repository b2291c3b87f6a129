"""Plays everybody on the same scenarios: a policy, others beside it, baselines, and where asked the frontiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gnnrl.config.experiment import AutoscalingConfig, EvaluationConfig, ExperimentConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.baselines import ReplicaBounds, is_calibrated, make
from gnnrl.domains.autoscaling.calibration import Calibration, pareto, violation_budget
from gnnrl.domains.autoscaling.episode import Split
from gnnrl.evaluation.conditions import Churn, played
from gnnrl.evaluation.contenders import POLICY, Contender, contenders_of, runs_together
from gnnrl.evaluation.controllers import BaselineController, LearnedPolicy, PolicyController
from gnnrl.evaluation.evaluated import FRONTIER_RULES, Evaluation
from gnnrl.evaluation.frontier import Frontier
from gnnrl.evaluation.runner import Playback, play
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios
from gnnrl.evaluation.sweep import Progress, calibrated_for, play_oracle, play_settings, silent

__all__ = ["POLICY", "Evaluation", "compare", "compare_over_slo"]

FRONTIER_SETTINGS = 8
LONGEST_SHARE = 5.0
"""A frontier is played up to this many times the violation budget."""


def compare(
    config: ExperimentConfig,
    policy: LearnedPolicy | None = None,
    *,
    beside: Sequence[Contender[ExperimentConfig]] = (),
    others: Mapping[str, LearnedPolicy] | None = None,
    against: Sequence[str] | None = None,
    workloads: Sequence[str] | None = None,
    seeds: int | None = None,
    split: Split = Split.HELD_OUT,
    calibration: Calibration | None = None,
    frontiers: bool = True,
    decisions: int | None = None,
    churn: Churn = "none",
    slo_factor: float | None = None,
    guardrails: GuardrailConfig | None = None,
    label: str = "",
    progress: Progress = silent,
) -> Evaluation:
    """Play a policy and baselines on the same scenarios.

    Args:
        config: the experiment; what is not given below is taken from its `evaluation`.
        policy: a trained agent, played as `policy` at `config.evaluation.temperature`; None = baselines alone.
        beside: further trained policies, each with a row of its own; those of one experiment also together. They see what `config`'s
            environment shows.
        others: further agents by name (an ablation, the teacher, a clone), with frontiers of their own.
        against: names of baselines.
        workloads: families or CSV files.
        seeds: scenarios a workload.
        split: the stream of scenarios.
        calibration: settings of the rules; None = the shipped ones, and a sweep of what they lack.
        frontiers: also play the frontiers of the policy (over `frontier_weights`) and of the calibrated rules.
        decisions: length of a scenario in decision intervals; None = the environment's.
        churn: whether services come and go in mid-scenario, see `conditions.played`; "none" leaves topologies alone, so that the
            violation budget is spent on load and on nothing else.
        slo_factor: of every scenario; None = as the environment draws it.
        guardrails: those of a live loop, around everybody's wishes (the rules' settings were swept without); None = none.
        label: what is evaluated, for the report.
        progress: told what is being played.

    Raises:
        ValueError: an unknown baseline, workload or empty selection; two policies of one name.
        ConfigError: no SLO is so strict.
    """
    asked = config.evaluation
    environment = played(config.environment, churn=churn, slo_factor=slo_factor)
    names = tuple(against if against is not None else asked.against)
    chosen_workloads = tuple(workloads if workloads is not None else asked.workloads)
    weight = asked.violation_weight
    scenarios = draw_scenarios(
        environment,
        chosen_workloads,
        seeds if seeds is not None else asked.seeds,
        split=split,
        violation_weight=weight,
        decisions=decisions,
    )
    rules = [name for name in names if is_calibrated(name)]
    if calibration is None:
        calibration = calibrated_for(environment, chosen_workloads, rules, progress=progress)
    playbacks: dict[str, Playback] = {}
    trained = contenders_of(config, policy, beside)
    agents = {**{name: contender.policy for name, contender in trained.items()}, **(others or {})}
    for name, agent in agents.items():
        progress(name)
        controller = PolicyController(agent, environment, name=name, temperature=asked.temperature)
        playbacks[name] = play(controller, scenarios, violation_weight=weight, guardrails=guardrails)
    bounds = ReplicaBounds(min_replicas=environment.min_replicas, max_replicas=environment.max_replicas)
    for name in names:
        progress(name)
        if name == "oracle":
            playbacks[name] = play_oracle(scenarios, violation_weight=weight, guardrails=guardrails)
            continue
        autoscaler = make(name, bounds, environment.max_nodes, scenarios.load(), calibration, seed=config.seed)
        baseline = BaselineController(autoscaler, environment)
        playbacks[name] = play(baseline, scenarios, violation_weight=weight, guardrails=guardrails)
    found: dict[str, dict[str, Frontier]] = {}
    if frontiers:
        found = _play_frontiers(agents, asked, environment, scenarios, rules, calibration, guardrails, progress)
    return Evaluation(
        config=config,
        scenarios=scenarios,
        playbacks=playbacks,
        calibration=calibration,
        frontiers=found,
        label=label,
        guardrails=guardrails,
        beside={contender.name: contender.config for contender in beside},
        together=runs_together(trained),
    )


def compare_over_slo(
    config: ExperimentConfig,
    policy: LearnedPolicy | None,
    factors: Sequence[float],
    *,
    frontiers: bool = True,
    progress: Progress = silent,
    **arguments: Any,
) -> Evaluation:
    """`compare` at SLO factors: in full at the first, which holds all of them in `over_slo` where there are several.

    Meshes, loads and topology changes are the same at every factor; rules that are calibrated are so at each. `arguments` are those of
    `compare`; frontiers are played at the first factor only. Without a factor it is as the environment draws it.
    """
    first = factors[0] if factors else None
    whole = compare(config, policy, slo_factor=first, frontiers=frontiers, progress=progress, **arguments)
    found = dict.fromkeys(factors, whole)
    for factor in factors[1:]:

        def told(message: str, factor: float = factor) -> None:
            progress(f"{message}, SLO factor {factor:g}")

        found[factor] = compare(config, policy, slo_factor=factor, frontiers=False, progress=told, **arguments)
    return replace(whole, over_slo=found) if len(found) > 1 else whole


def _play_frontiers(
    agents: Mapping[str, LearnedPolicy],
    asked: EvaluationConfig,
    environment: AutoscalingConfig,
    scenarios: ScenarioSet,
    rules: Sequence[str],
    calibration: Calibration,
    guardrails: GuardrailConfig | None,
    progress: Progress,
) -> dict[str, dict[str, Frontier]]:
    found: dict[str, dict[str, Frontier]] = {workload: {} for workload in scenarios.workloads}
    weights = asked.frontier_weights
    for name, agent in agents.items() if weights else ():
        progress(f"frontier of {name}")
        each = len(scenarios.episodes)
        tiled = scenarios.tiled(len(weights), violation_weight=list(weights))
        controller = PolicyController(agent, environment, name=name, temperature=asked.temperature)
        together = play(controller, tiled, violation_weight=0.0, histogram=False, guardrails=guardrails)
        parts = [together.part(slice(k * each, (k + 1) * each)) for k in range(len(weights))]
        for workload in scenarios.workloads:
            found[workload][name] = _frontier(
                [part.part(scenarios.rows(workload)) for part in parts], [f"a = {weight:g}" for weight in weights]
            )
    for rule in (rule for rule in FRONTIER_RULES if rule in rules):
        progress(f"frontier of {rule}")
        for workload in scenarios.workloads:
            settings = [dict(setting.values) for setting in _frontier_settings(calibration, workload, rule)]
            playbacks = play_settings(
                rule, scenarios.only(workload), settings, violation_weight=0.0, guardrails=guardrails
            )
            labels = [", ".join(f"{value:g}" for value in setting.values()) for setting in settings]
            found[workload][rule] = _frontier(playbacks, labels)
    return found


def _frontier_settings(calibration: Calibration, workload: str, rule: str) -> list[Any]:
    """Pareto-optimal settings of the calibration: the least and the most violating, and the nearest to the budget.

    The two ends keep the curve from stopping short of the budget where held-out scenarios are harder or easier than
    those of the calibration.
    """
    best = pareto(calibration.settings(workload, rule))
    budget = violation_budget(workload)
    useful = [setting for setting in best if setting.violating_share <= LONGEST_SHARE * budget] or list(best[:2])
    if len(useful) <= FRONTIER_SETTINGS:
        return useful
    ends = [useful[0], useful[-1]]
    near = sorted(useful[1:-1], key=lambda setting: abs(np.log((setting.violating_share + 1e-4) / budget)))
    return sorted([*ends, *near[: FRONTIER_SETTINGS - 2]], key=lambda setting: setting.violating_share)


def _frontier(playbacks: Sequence[Playback], labels: Sequence[str]) -> Frontier:
    return Frontier(
        violating_share=np.stack([playback.metrics["violating_share"] for playback in playbacks]),
        replica_seconds=np.stack([playback.metrics["replica_seconds"] for playback in playbacks]),
        labels=tuple(labels),
    )
