"""Everybody on the same scenarios, side by side: means with intervals, paired savings, frontiers, as one JSON
document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, EvaluationConfig, ExperimentConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.baselines import ReplicaBounds, is_calibrated, make
from gnnrl.domains.autoscaling.calibration import Calibration, pareto, violation_budget
from gnnrl.domains.autoscaling.episode import Split
from gnnrl.domains.autoscaling.workloads import WORKLOADS
from gnnrl.evaluation.controllers import BaselineController, LearnedPolicy, PolicyController
from gnnrl.evaluation.figures import figures
from gnnrl.evaluation.frontier import Frontier, saving_at
from gnnrl.evaluation.runner import METRICS, Playback, play
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios, workload_label
from gnnrl.evaluation.statistics import Interval, mean_interval, paired_difference, relative_saving
from gnnrl.evaluation.sweep import Progress, calibrated_for, play_oracle, play_settings, silent
from gnnrl.training.run_folder import code_revision

__all__ = ["POLICY", "Evaluation", "compare"]

POLICY = "policy"
REFERENCES = ("hpa_80", "hpa_calibrated", "feed_forward", "feed_forward_trend")
"""Whom savings are stated against, where they were played."""
FRONTIER_RULES = ("hpa_calibrated", "feed_forward", "feed_forward_trend")
"""Rules whose frontier is played on the scenarios, at the settings that were Pareto-optimal in the calibration."""
FRONTIER_SETTINGS = 8
LONGEST_SHARE = 5.0
"""A frontier is played up to this many times the violation budget."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished comparison."""

    config: ExperimentConfig
    scenarios: ScenarioSet
    playbacks: Mapping[str, Playback]
    """Policy -> what came of it, in the order in which they are shown."""
    calibration: Calibration
    frontiers: Mapping[str, Mapping[str, Frontier]] = field(default_factory=dict)
    """Workload -> policy -> frontier."""
    label: str = ""
    """What was evaluated, e.g. the run's folder."""
    guardrails: GuardrailConfig | None = None
    """What every wish passed through; None = nothing."""

    @property
    def workloads(self) -> tuple[str, ...]:
        """As they were asked for."""
        return self.scenarios.workloads

    def values(self, workload: str, policy: str, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One number a seed."""
        return self.playbacks[policy].metrics[metric][self.scenarios.rows(workload)]

    def mean(self, workload: str, policy: str, metric: str) -> Interval:
        """Mean over seeds with its interval."""
        return mean_interval(self.values(workload, policy, metric))

    def saving(self, workload: str, policy: str, reference: str) -> Interval:
        """Replica-seconds saved, paired by scenario."""
        mine, theirs = (self.values(workload, name, "replica_seconds") for name in (policy, reference))
        return relative_saving(mine, theirs)

    def added_violation(self, workload: str, policy: str, reference: str) -> Interval:
        """Violating share added, paired by scenario."""
        mine, theirs = (self.values(workload, name, "violating_share") for name in (policy, reference))
        return paired_difference(mine, theirs)

    def equal_violation_saving(self, workload: str, policy: str, reference: str) -> Interval | None:
        """Replica-seconds saved at the workload's violation budget, between the two frontiers; None where one was not
        played."""
        frontiers = self.frontiers.get(workload, {})
        if policy not in frontiers or reference not in frontiers:
            return None
        return saving_at(frontiers[policy], frontiers[reference], violation_budget(workload))

    def acted(self, workload: str, policy: str) -> dict[str, Interval]:
        """Guardrail -> decisions for a service that it changed, a scenario; in the order of application."""
        found, rows = self.playbacks[policy].guardrails, self.scenarios.rows(workload)
        return {name: mean_interval(counts[rows]) for name, counts in found.items()}

    def best(self, workload: str) -> str:
        """Who has the lowest objective among those that could be run in earnest (the oracle cannot)."""
        names = [name for name in self.playbacks if name != "oracle"]
        return min(names, key=lambda name: float(self.values(workload, name, "objective").mean()))

    def objective_weights(self) -> dict[str, float]:
        """`w` and `c` of J = replica-seconds + w x violating seconds + c x |replica changes|."""
        environment = self.config.environment
        return {
            "violation_weight": self.config.evaluation.violation_weight,
            "change_weight": environment.change_weight * environment.decision_seconds,
        }

    def to_json(self) -> dict[str, Any]:
        """The whole comparison as plain values; `scenarios[workload][policy][metric] = {"mean": x, "ci95": [low,
        high]}`."""
        references = [name for name in REFERENCES if name in self.playbacks]
        return {
            "label": self.label,
            "scenarios": {
                workload_label(w): {
                    name: {metric: self.mean(w, name, metric).to_json() for metric in METRICS}
                    for name in self.playbacks
                }
                for w in self.workloads
            },
            "paired": {
                workload_label(w): {
                    reference: {
                        name: {
                            "replica_seconds_saving": self.saving(w, name, reference).to_json(),
                            "violating_share_difference": self.added_violation(w, name, reference).to_json(),
                        }
                        for name in self.playbacks
                        if name != reference
                    }
                    for reference in references
                }
                for w in self.workloads
            },
            "equal_violation": {workload_label(w): self._equal_violation(w) for w in self.workloads},
            "frontiers": {
                workload_label(w): {name: _points(frontier) for name, frontier in found.items()}
                for w, found in self.frontiers.items()
            },
            "figures": [figure.to_json() for figure in figures(self)],
            "lowest_objective": {workload_label(w): self.best(w) for w in self.workloads},
            "objective": {
                "formula": "replica_seconds + violation_weight * violating_seconds + change_weight * |replica_changes|",
                **self.objective_weights(),
            },
            "split": self.split(),
            "calibration": {
                workload_label(w): {
                    rule: dict(self.calibration.chosen(w, rule).values)
                    for rule in self.calibration.frontiers.get(w, {})
                }
                for w in self.workloads
            },
            "guardrails": self._guardrails(),
            "config": asdict(self.config),
            "revision": code_revision(),
        }

    def split(self) -> dict[str, Any]:
        """What was trained on and what was held out."""
        return {
            "training_workloads": list(self.config.environment.workloads),
            "evaluated_workloads": [workload_label(w) for w in self.workloads],
            "held_out_workloads": [workload_label(w) for w in self.workloads if _held_out(w, self.config.environment)],
            "scenarios": f"{self.scenarios.seeds} a workload, stream {self.scenarios.split.name.lower()} (disjoint from training)",
            "churn": "as in training" if any(e.churn.events for e in self.scenarios.episodes) else "none",
            "calibration": f"{self.calibration.seeds} validation scenarios a workload, held-out families included",
        }

    def _guardrails(self) -> dict[str, Any] | None:
        if self.guardrails is None:
            return None
        acted = {
            workload_label(w): {
                policy: {name: found.to_json() for name, found in self.acted(w, policy).items()}
                for policy in self.playbacks
            }
            for w in self.workloads
        }
        return {"config": asdict(self.guardrails), "service_decisions_changed": acted}

    def _equal_violation(self, workload: str) -> dict[str, Any]:
        savings = {
            reference: {
                name: saving.to_json()
                for name in self.frontiers.get(workload, {})
                if name != reference and (saving := self.equal_violation_saving(workload, name, reference)) is not None
            }
            for reference in FRONTIER_RULES
            if reference in self.frontiers.get(workload, {})
        }
        return {"violating_share": violation_budget(workload), "replica_seconds_saving": savings}


def _held_out(workload: str, config: AutoscalingConfig) -> bool:
    return workload not in config.workloads and (workload not in WORKLOADS or WORKLOADS[workload].held_out)


def _points(frontier: Frontier) -> list[dict[str, Any]]:
    shares, costs = frontier.means()
    return [
        {"setting": label, "violating_share": float(share), "replica_seconds": float(cost)}
        for label, share, cost in zip(frontier.labels, shares, costs, strict=True)
    ]


def compare(
    config: ExperimentConfig,
    policy: LearnedPolicy | None = None,
    *,
    others: Mapping[str, LearnedPolicy] | None = None,
    against: Sequence[str] | None = None,
    workloads: Sequence[str] | None = None,
    seeds: int | None = None,
    split: Split = Split.HELD_OUT,
    calibration: Calibration | None = None,
    frontiers: bool = True,
    decisions: int | None = None,
    churn: bool = False,
    guardrails: GuardrailConfig | None = None,
    label: str = "",
    progress: Progress = silent,
) -> Evaluation:
    """Play a policy and baselines on the same scenarios.

    Args:
        config: the experiment; what is not given below is taken from its `evaluation`.
        policy: a trained agent, played as `policy` at `config.evaluation.temperature`; None = baselines alone.
        others: further agents by name (an ablation, the teacher, a clone), with frontiers of their own.
        against: names of baselines.
        workloads: families or CSV files.
        seeds: scenarios a workload.
        split: the stream of scenarios.
        calibration: settings of the rules; None = the shipped ones, and a sweep of what they lack.
        frontiers: also play the frontiers of the policy (over `frontier_weights`) and of the calibrated rules.
        decisions: length of a scenario in decision intervals; None = the environment's.
        churn: services come and go in mid-scenario, as the environment's `churn` says; False leaves topologies alone,
            so that the violation budget is spent on load and on nothing else.
        guardrails: those of a live loop, around everybody's wishes (the rules' settings were swept without); None = none.
        label: what is evaluated, for the report.
        progress: told what is being played.

    Raises:
        ValueError: an unknown baseline, workload or empty selection.
    """
    asked = config.evaluation
    environment = config.environment if churn else replace(config.environment, churn=ChurnConfig())
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
    agents = {**({} if policy is None else {POLICY: policy}), **(others or {})}
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
    )


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
