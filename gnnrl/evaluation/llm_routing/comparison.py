"""Trained policies and the routers on the same requests: means with intervals, paired changes against a reference, as one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.episodes import configured_scenarios
from gnnrl.domains.llm_routing.scenarios import scenario_named
from gnnrl.evaluation.contenders import (
    POLICY,
    Contender,
    contenders_of,
    over_runs,
    rows_in_order,
    runs_together,
    subject_of,
)
from gnnrl.evaluation.controllers import LearnedPolicy
from gnnrl.evaluation.figures import Figure
from gnnrl.evaluation.leaders import rules_ahead
from gnnrl.evaluation.llm_routing.play import HELD_OUT_SEED, METRICS, LLMPlayback, play_policy, play_router
from gnnrl.evaluation.llm_routing.targets import targets
from gnnrl.evaluation.statistics import Interval, mean_interval, relative_saving
from gnnrl.training.run_folder import code_revision

__all__ = ["HEADLINE", "POLICY", "REFERENCE", "LLMRoutingEvaluated", "LLMSystem", "compare"]

REFERENCE = "least_outstanding"
HEADLINE: Mapping[str, str] = {"TTFT p99": "ttft_p99_s", "e2e mean": "e2e_mean_s", "e2e p99": "e2e_p99_s"}
"""What a comparison is read by first -> the metric."""
Progress = Callable[[str], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class LLMSystem:
    """One case, and what everybody made of it."""

    name: str
    environment: LLMRoutingConfig
    playbacks: Mapping[str, LLMPlayback]
    """Router or trained policy -> what came of it, in the order in which they are shown."""
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Several runs of one experiment -> their rows."""

    @property
    def rows(self) -> tuple[str, ...]:
        """All that has a figure: trained policies, runs together, routers."""
        return rows_in_order(self.playbacks, self.together, ROUTERS)

    @property
    def reference(self) -> str | None:
        """Whom changes are stated against; None where it was not played."""
        return REFERENCE if REFERENCE in self.playbacks else None

    def mean(self, row: str, metric: str) -> Interval:
        """Mean over the streams of a metric; of runs together the mean over the runs, with their interval."""
        if row in self.together:
            return over_runs(self.mean(run, metric) for run in self.together[row])
        return mean_interval(self.playbacks[row].values(metric))

    def change(self, row: str, metric: str, reference: str = REFERENCE) -> Interval:
        """How much larger a metric is than the reference's, as a share of it, paired by stream; below 0 is better. Of runs together the
        mean over the runs of that, with their interval."""
        if row in self.together:
            return over_runs(self.change(run, metric, reference) for run in self.together[row])
        saving = relative_saving(self.playbacks[row].values(metric), self.playbacks[reference].values(metric))
        return Interval(*(0.0 - share for share in (saving.mean, saving.high, saving.low)))

    @property
    def rules_ahead(self) -> str:
        """Where a router that is told nothing is better than the policy, in words; empty where none is."""
        subject = subject_of(self.rows, self.together)
        untold = (row for row in self.playbacks if row in ROUTERS and not ROUTERS[row].told)
        return (
            rules_ahead(subject, untold, HEADLINE, lambda row, metric: self.mean(row, metric).mean) if subject else ""
        )

    def figures(self) -> list[Figure]:
        """The figures that the policy is meant to reach, and those of runs together; none without a policy."""
        return [
            figure
            for row in (POLICY, *self.together)
            if row in self.rows
            for figure in targets(self.name, row, partial(self.change, row), self.playbacks)
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        changed = [row for row in self.rows if row != self.reference] if self.reference else []
        return {
            "routers": {row: {metric: self.mean(row, metric).to_json() for metric in METRICS} for row in self.rows},
            "change": {
                REFERENCE: {row: {metric: self.change(row, metric).to_json() for metric in METRICS} for row in changed}
            },
            "runs_together": {row: list(runs) for row, runs in self.together.items()},
            "rules_ahead": self.rules_ahead,
            "unfinished": {
                name: sum(report.unfinished for report in playback.reports) for name, playback in self.playbacks.items()
            },
            "share": {name: playback.share.mean(axis=0).tolist() for name, playback in self.playbacks.items()},
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class LLMRoutingEvaluated:
    """A finished comparison."""

    config: LLMRoutingExperiment
    systems: tuple[LLMSystem, ...]
    label: str = ""
    """What was evaluated, e.g. the run's folder."""
    beside: Mapping[str, LLMRoutingExperiment] = field(default_factory=dict)
    """Row of each further run -> its experiment."""

    def figures(self) -> list[Figure]:
        """The figures that a policy is meant to reach; none without one."""
        return [figure for system in self.systems for figure in system.figures()]

    def to_json(self) -> dict[str, Any]:
        """The whole comparison as plain values."""
        asked = self.config.evaluation
        return {
            "label": self.label,
            "systems": {system.name: system.to_json() for system in self.systems},
            "streams": {"count": asked.seeds, "requests": asked.requests},
            "figures": [figure.to_json() for figure in self.figures()],
            "config": asdict(self.config),
            "beside": {row: asdict(config) for row, config in self.beside.items()},
            "revision": code_revision(),
        }


def compare(
    config: LLMRoutingExperiment,
    policy: LearnedPolicy | None = None,
    *,
    beside: Sequence[Contender[LLMRoutingExperiment]] = (),
    label: str = "",
    progress: Progress = lambda message: None,  # noqa: ARG005
) -> LLMRoutingEvaluated:
    """Play trained policies and the routers of `config.evaluation` on the same requests.

    Args:
        config: the experiment. What its episodes are drawn from is played, or each of `evaluation.scenarios` instead.
        policy: a trained agent, its likeliest choice; None = none in question.
        beside: further ones, each with a row of its own. They see the features that they were trained on.
        label: what is evaluated, for whoever reads it.
        progress: told what is being played.

    Raises:
        ValueError: nobody to play, or two policies of one name.
        RouterError: an unknown router.
        WorkloadError: an unknown scenario.
    """
    asked = config.evaluation
    trained = contenders_of(config, policy, beside)
    if not trained and not asked.against:
        raise ValueError("nobody to play: evaluation.against is empty and there is no policy")
    streams: Any = {"seed": HELD_OUT_SEED, "streams": asked.seeds, "requests": asked.requests}
    systems = []
    for name, environment in _environments(config).items():
        playbacks: dict[str, LLMPlayback] = {}
        for row in (*trained, *asked.against):

            def tell(share: float, what: str = f"{row} on {name}") -> None:
                progress(f"{what}, {100 * share:.0f} %")

            tell(0.0)
            if row in trained:
                seen = _as_seen(environment, trained[row].config.environment)
                playbacks[row] = play_policy(seen, trained[row].policy, **streams, progress=tell)
            else:
                playbacks[row] = play_router(environment, row, **streams, progress=tell)
        systems.append(
            LLMSystem(name=name, environment=environment, playbacks=playbacks, together=runs_together(trained))
        )
    return LLMRoutingEvaluated(
        config=config,
        systems=tuple(systems),
        label=label,
        beside={contender.name: contender.config for contender in beside},
    )


def _environments(config: LLMRoutingExperiment) -> dict[str, LLMRoutingConfig]:
    """What is played, by name."""
    asked = config.evaluation
    base = replace(config.environment, changes_per_1000=asked.changes_per_1000)
    if not asked.scenarios:
        return {", ".join(base.scenarios) or "as configured": base}
    return {
        name: replace(base, scenarios=(name,), max_replicas=max(base.max_replicas, len(scenario_named(name).replicas)))
        for name in asked.scenarios
    }


def _as_seen(environment: LLMRoutingConfig, trained: LLMRoutingConfig) -> LLMRoutingConfig:
    """The environment as a policy of another run is shown it: the features and, where the fleet leaves them, the slots of its training."""
    fleet = max(len(scenario.replicas) for scenario in configured_scenarios(environment))
    return replace(environment, features=trained.features, max_replicas=max(trained.max_replicas, fleet))
