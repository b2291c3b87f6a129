"""A finished comparison of autoscalers: means with intervals, paired savings, who costs least, as one JSON document."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.calibration import Calibration, violation_budget
from gnnrl.domains.autoscaling.load_file import recording
from gnnrl.domains.autoscaling.trained_ranges import Departure
from gnnrl.domains.autoscaling.workloads import WORKLOADS
from gnnrl.evaluation import over_slo
from gnnrl.evaluation.conditions import topology_changes
from gnnrl.evaluation.contenders import POLICY, over_runs, rows_in_order
from gnnrl.evaluation.figures import figures
from gnnrl.evaluation.frontier import Frontier, saving_at
from gnnrl.evaluation.runner import METRICS, Playback
from gnnrl.evaluation.scenarios import ScenarioSet, workload_label
from gnnrl.evaluation.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    relative_saving,
)
from gnnrl.evaluation.summary import summary
from gnnrl.training.run_folder import code_revision

__all__ = ["BOUND", "FRONTIER_RULES", "REFERENCES", "Evaluation"]

BOUND = "oracle"
"""Row that could not be run in earnest."""
REFERENCES = ("hpa_80", "hpa_calibrated", "feed_forward", "feed_forward_trend")
"""Whom savings are stated against, where they were played."""
FRONTIER_RULES = ("hpa_calibrated", "feed_forward", "feed_forward_trend")
"""Rules whose frontier is played on the scenarios, at the settings that were Pareto-optimal in the calibration."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A finished comparison. A row is a policy or a baseline that was played, or several runs of one experiment together, whose figures
    are means over the runs with the interval of the runs."""

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
    beside: Mapping[str, ExperimentConfig] = field(default_factory=dict)
    """Row of each further run -> its experiment."""
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Several runs of one experiment -> their rows."""
    repeats: Mapping[str, str] = field(default_factory=dict)
    """Row -> the one of which it is another playing, elsewhere."""
    over_slo: Mapping[float, Evaluation] = field(default_factory=dict)
    """SLO factor -> the comparison at it, in the order asked for; empty where there is only one."""
    outside: tuple[Departure, ...] = ()
    """What of it the policy was not trained on."""

    @property
    def workloads(self) -> tuple[str, ...]:
        """As they were asked for."""
        return self.scenarios.workloads

    @property
    def rows(self) -> tuple[str, ...]:
        """All that has a figure: trained policies, runs together, everybody else."""
        trained = {POLICY, *self.beside}
        return rows_in_order(self.playbacks, self.together, [name for name in self.playbacks if name not in trained])

    @property
    def subject(self) -> str | None:
        """The row that is spoken for: the policy, or where it is one of several runs of its experiment, all of them."""
        for row, runs in self.together.items():
            if POLICY in runs:
                return row
        return POLICY if POLICY in self.playbacks else None

    @property
    def training_seeds(self) -> int:
        """Trainings that stand behind the subject's figures."""
        subject = self.subject
        return 0 if subject is None else len(self.together.get(subject, (subject,)))

    def values(self, workload: str, policy: str, metric: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """One number a seed, of what was played; runs together were not."""
        return self.playbacks[policy].metrics[metric][self.scenarios.rows(workload)]

    def mean(self, workload: str, row: str, metric: str) -> Interval:
        """Mean over seeds with its interval."""
        if row in self.together:
            return over_runs(self.mean(workload, run, metric) for run in self.together[row])
        return mean_interval(self.values(workload, row, metric))

    def saving(self, workload: str, row: str, reference: str, metric: str = "replica_seconds") -> Interval:
        """Share of the reference's replica-seconds, or of another cost, that is saved, paired by scenario."""
        if row in self.together:
            return over_runs(self.saving(workload, run, reference, metric) for run in self.together[row])
        if reference in self.together:
            # Theirs are means over runs: each run is a reference of its own.
            return over_runs(self.saving(workload, row, run, metric) for run in self.together[reference])
        mine, theirs = (self.values(workload, name, metric) for name in (row, reference))
        return relative_saving(mine, theirs)

    def added_violation(self, workload: str, row: str, reference: str) -> Interval:
        """Violating share added, paired by scenario."""
        if row in self.together:
            return over_runs(self.added_violation(workload, run, reference) for run in self.together[row])
        mine, theirs = (self.values(workload, name, "violating_share") for name in (row, reference))
        return paired_difference(mine, theirs)

    def over_budget(self, workload: str, row: str) -> bool:
        """Whether the SLO is violated for longer than the workload's budget allows."""
        return self.mean(workload, row, "violating_share").mean > violation_budget(workload)

    def withheld(self, workload: str, row: str, reference: str) -> str | None:
        """Who is over the violation budget, so that no saving as run is stated; None = nobody.

        Replicas that are saved by violating the SLO are not saved, and against whom violates it there is nothing to save.
        """
        mine, theirs = (self.over_budget(workload, name) for name in (row, reference))
        if mine and theirs:
            return "both over"
        return "over" if mine else f"{reference} over" if theirs else None

    def equal_violation_saving(self, workload: str, row: str, reference: str) -> Interval | None:
        """Replica-seconds saved at the workload's violation budget, between the two frontiers; None where one was not
        played."""
        frontiers = self.frontiers.get(workload, {})
        if row in self.together:
            found = [self.equal_violation_saving(workload, run, reference) for run in self.together[row]]
            told = [saving for saving in found if saving is not None]
            return over_runs(told) if len(told) == len(found) else None
        if row not in frontiers or reference not in frontiers:
            return None
        return saving_at(frontiers[row], frontiers[reference], violation_budget(workload))

    def acted(self, workload: str, policy: str) -> dict[str, Interval]:
        """Guardrail -> decisions for a service that it changed, a scenario; in the order of application."""
        found, rows = self.playbacks[policy].guardrails, self.scenarios.rows(workload)
        return {name: mean_interval(counts[rows]) for name, counts in found.items()}

    def best(self, workload: str) -> str:
        """Who has the lowest objective among those that could be run in earnest (the oracle cannot)."""
        names = [name for name in self.playbacks if name != BOUND]
        return min(names, key=lambda name: self._cost(workload, name))

    def lower(self, workload: str) -> tuple[str, ...]:
        """Rules that have a lower objective than the subject, the lowest first: baselines but the bound, and what training began from."""
        subject = self.subject
        if subject is None:
            return ()
        left_out = {POLICY, BOUND, *self.beside, *self.repeats}
        names = [name for name in self.playbacks if name not in left_out]
        ours = self._cost(workload, subject)
        return tuple(
            sorted((n for n in names if self._cost(workload, n) < ours), key=lambda n: self._cost(workload, n))
        )

    def _cost(self, workload: str, row: str) -> float:
        return self.mean(workload, row, "objective").mean

    def objective_weights(self) -> dict[str, float]:
        """`w` and `c` of J = replica-seconds + w x violating seconds + c x |replica changes|, in replica-seconds."""
        environment = self.config.environment
        return {
            "violation_weight": self.config.evaluation.violation_weight,
            "change_weight": environment.change_weight * environment.decision_seconds,
        }

    def to_json(self) -> dict[str, Any]:
        """The whole comparison as plain values; `scenarios[workload][row][metric] = {"mean": x, "ci95": [low, high]}`."""
        return {
            "label": self.label,
            "summary": summary(self),
            "scenarios": {
                workload_label(w): {
                    row: {metric: self.mean(w, row, metric).to_json() for metric in METRICS} for row in self.rows
                }
                for w in self.workloads
            },
            "paired": {workload_label(w): self._paired(w) for w in self.workloads},
            "equal_violation": {workload_label(w): self._equal_violation(w) for w in self.workloads},
            "frontiers": {
                workload_label(w): {name: _points(frontier) for name, frontier in found.items()}
                for w, found in self.frontiers.items()
            },
            "figures": [figure.to_json() for figure in figures(self)],
            "lowest_objective": {workload_label(w): self.best(w) for w in self.workloads},
            "lower_objective_than_the_policy": {workload_label(w): list(self.lower(w)) for w in self.workloads},
            "objective": {
                "formula": "replica_seconds + violation_weight * violating_seconds + change_weight * |replica_changes|",
                "unit": "replica-seconds",
                **self.objective_weights(),
            },
            "training": {"row": self.subject, "seeds": self.training_seeds},
            "runs_together": {row: list(runs) for row, runs in self.together.items()},
            "split": self.split(),
            "outside_of_training": [departure.to_json() for departure in self.outside],
            "calibration": {
                workload_label(w): {
                    rule: dict(self.calibration.chosen(w, rule).values)
                    for rule in self.calibration.frontiers.get(w, {})
                }
                for w in self.workloads
            },
            "guardrails": self._guardrails(),
            **({"over_slo_factor": over_slo.to_json(self)} if self.over_slo else {}),
            "config": asdict(self.config),
            "beside": {row: asdict(config) for row, config in self.beside.items()},
            "revision": code_revision(),
        }

    def split(self) -> dict[str, Any]:
        """What was trained on and what was held out."""
        return {
            "training_workloads": list(self.config.environment.workloads),
            "evaluated_workloads": [workload_label(w) for w in self.workloads],
            "held_out_workloads": [workload_label(w) for w in self.workloads if _held_out(w, self.config.environment)],
            "scenarios": f"{self.scenarios.seeds} a workload, stream {self.scenarios.split.name.lower()} (disjoint from training)",
            **({"recorded_loads": levels} if (levels := self.scenarios.recorded_levels()) else {}),
            "churn": topology_changes(self.scenarios.config.churn),
            "slo_factor": list(self.scenarios.config.slo_factor),
            "calibration": f"{self.calibration.seeds} validation scenarios a workload, held-out families included",
        }

    def _paired(self, workload: str) -> dict[str, Any]:
        return {
            reference: {
                row: {
                    "replica_seconds_saving": self.saving(workload, row, reference).to_json(),
                    "withheld": self.withheld(workload, row, reference),
                    "violating_share_difference": self.added_violation(workload, row, reference).to_json(),
                    "objective_saving": self.saving(workload, row, reference, "objective").to_json(),
                }
                for row in self.rows
                if row != reference
            }
            for reference in REFERENCES
            if reference in self.playbacks
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

    def _with_frontier(self, workload: str) -> Iterable[str]:
        """Rows that have a frontier, or are runs that all have one."""
        played = self.frontiers.get(workload, {})
        return (row for row in self.rows if all(run in played for run in self.together.get(row, (row,))))

    def _equal_violation(self, workload: str) -> dict[str, Any]:
        savings = {
            reference: {
                row: saving.to_json()
                for row in self._with_frontier(workload)
                if row != reference and (saving := self.equal_violation_saving(workload, row, reference)) is not None
            }
            for reference in FRONTIER_RULES
            if reference in self.frontiers.get(workload, {})
        }
        return {"violating_share": violation_budget(workload), "replica_seconds_saving": savings}


def _held_out(workload: str, config: AutoscalingConfig) -> bool:
    trained = {recording(name) or name for name in config.workloads}
    return (recording(workload) or workload) not in trained and (
        workload not in WORKLOADS or WORKLOADS[workload].held_out
    )


def _points(frontier: Frontier) -> list[dict[str, Any]]:
    shares, costs = frontier.means()
    return [
        {"setting": label, "violating_share": float(share), "replica_seconds": float(cost)}
        for label, share, cost in zip(frontier.labels, shares, costs, strict=True)
    ]
