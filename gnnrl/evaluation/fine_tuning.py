"""Whether a fine-tuning helped: the policy that came of it and the one that it began from, on the same validation episodes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from gnnrl.agents import PPO_GNN
from gnnrl.config.experiment import ExperimentConfig
from gnnrl.domains.autoscaling.episode import Split
from gnnrl.evaluation.controllers import PolicyController
from gnnrl.evaluation.runner import play
from gnnrl.evaluation.scenarios import draw_scenarios
from gnnrl.evaluation.statistics import Interval, relative_saving
from gnnrl.training.pretrained_policy import PretrainedPolicy
from gnnrl.training.run_folder import BEST, RunFolder
from gnnrl.whole_file import write_text

__all__ = ["Verdict", "conclude"]

SEEDS = 8
"""Validation episodes a training workload."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a fine-tuning."""

    start: str
    """Name of the policy that it began from."""
    steps: int
    """Environment steps of the fine-tuning."""
    episodes: int
    objective: float
    """J, replica-seconds, mean over the episodes."""
    start_objective: float
    """That of the policy that it began from."""
    saving: Interval
    """Share of the start's J that is saved, paired."""

    @property
    def helped(self) -> bool:
        """Whether the interval of what is saved lies above 0; only then the fine-tuned policy is kept."""
        return self.saving.low > 0.0

    def __str__(self) -> str:
        change = Interval(*(0.0 - share for share in (self.saving.mean, self.saving.high, self.saving.low)))
        if self.helped:
            outcome = "it helped, and is kept"
        elif self.saving.high < 0.0:
            outcome = f"it made it worse: {self.start} is kept"
        else:
            outcome = f"no gain that could be told from none: {self.start} is kept"
        return (
            f"fine-tuned for {self.steps:,} steps, J is {self.objective:,.0f} against {self.start_objective:,.0f} of {self.start}, "
            f"{change.text('+.1f', scale=100.0, unit=' %')} on {self.episodes} validation episodes, paired: {outcome}"
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "start": self.start,
            "steps": self.steps,
            "episodes": self.episodes,
            "objective": self.objective,
            "start_objective": self.start_objective,
            "objective_saving": self.saving.to_json(),
            "kept": "fine_tuned" if self.helped else self.start,
        }


def conclude(run: RunFolder[ExperimentConfig], seeds: int = SEEDS) -> Verdict:
    """Compare, and keep the better one as `run.best`; what was found is written beside it.

    Args:
        run: a fine-tuning that has ended.
        seeds: validation episodes a workload of the training; neither training nor the comparison with baselines meets them.

    Raises:
        CheckpointError: one of both cannot be read, or the better one cannot be written.
    """
    config, start = run.config, PretrainedPolicy.open(run.start)
    tuned, began = PPO_GNN.load(run.checkpoint).train(False), PPO_GNN.load(run.checkpoint).train(False)
    began.load_policy_state(start.agent.policy_state(), str(run.start))
    weight = config.evaluation.violation_weight
    scenarios = draw_scenarios(
        config.environment, config.environment.workloads, seeds, split=Split.VALIDATION, violation_weight=weight
    )
    costs = []
    for agent in (tuned, began):
        controller = PolicyController(agent, config.environment, temperature=config.evaluation.temperature)
        played = play(controller, scenarios, violation_weight=weight, histogram=False)
        costs.append(played.metrics["objective"])
    verdict = Verdict(
        start=start.config.name,
        steps=run.steps,
        episodes=len(scenarios.episodes),
        objective=float(costs[0].mean()),
        start_objective=float(costs[1].mean()),
        saving=relative_saving(*costs),
    )
    (tuned if verdict.helped else began).save(run.path / BEST)
    write_text(run.fine_tuning, json.dumps(verdict.to_json(), indent=1) + "\n")
    return verdict
