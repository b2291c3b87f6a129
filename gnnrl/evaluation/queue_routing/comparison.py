"""A policy and the routers on the same requests: means with intervals, regret against a reference, as one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.queue_routing import QueueRoutingConfig, QueueRoutingExperiment
from gnnrl.domains.queue_routing.baselines import ROUTERS
from gnnrl.domains.queue_routing.model import base_model
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
from gnnrl.evaluation.queue_routing.play import (
    HELD_OUT_SEED,
    Chooser,
    PolicyChooser,
    RouterChooser,
    RoutingPlayback,
    play,
)
from gnnrl.evaluation.statistics import Interval, percentile_interval, resamples
from gnnrl.training.run_folder import code_revision

__all__ = ["BASE_OPTIMUM", "METRICS", "POLICY", "REFERENCE", "RoutingEvaluation", "System", "compare"]

REFERENCE, NEAREST_RULE = "oracle", "sed_own_rate"
METRICS: Mapping[str, str] = {
    "mean_latency": "seconds from arrival to finish, mean of the finished requests",
    "p99_latency": "seconds that 99 % of the finished requests do not exceed, all streams together",
    "routing_accuracy": "share of the requests that went to a replica that is fastest for their type",
    "throughput": "requests finished a simulated second",
}
"""Name -> what it is."""
COSTS = ("mean_latency", "p99_latency")
"""Metrics of which a regret is stated."""
BASE_OPTIMUM = {"mean_latency": 0.2332, "p99_latency": 1.024, "routing_accuracy": 0.953}
"""Of the base model: the exact optimum of the Markov decision process that sees the types in the queues in their order."""

Floats = NDArray[np.float64]
Progress = Callable[[str], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class System:
    """One system, or one drawn for each stream, and what everybody made of it."""

    name: str
    environment: QueueRoutingConfig
    playbacks: Mapping[str, RoutingPlayback]
    """Router or trained policy -> what came of it, in the order in which they are shown."""
    together: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Several runs of one experiment -> their rows."""

    @property
    def rows(self) -> tuple[str, ...]:
        """All that has a figure: trained policies, runs together, routers."""
        return rows_in_order(self.playbacks, self.together, ROUTERS)

    @property
    def drawn(self) -> bool:
        """Whether each stream has a system of its own."""
        return self.environment.drawn_replicas[1] > 0

    @property
    def reference(self) -> str | None:
        """Whom regret is stated against: the oracle, whose gaps are those of the base model, or on drawn systems shortest expected delay
        by own rate; None where it was not played."""
        name = NEAREST_RULE if self.drawn else REFERENCE
        return name if name in self.playbacks else None

    @property
    def optimum(self) -> Mapping[str, float]:
        """What is known of the best there can be, by metric; empty where nothing is."""
        base, ours = base_model(), self.environment
        same = (ours.service_rates, ours.arrival_rates) == (base.service_rates, base.arrival_rates)
        return BASE_OPTIMUM if same and not self.drawn and ours.replica_changes_per_1000 == 0.0 else {}

    @cached_property
    def _resampled(self) -> dict[tuple[str, str], tuple[float, Floats]]:
        return {}

    def _estimate(self, router: str, metric: str) -> tuple[float, Floats]:
        """The figure, and the figure of every resample of the streams; the same resamples for everybody."""
        if (router, metric) not in self._resampled:
            self._resampled[router, metric] = _estimated(self.playbacks[router], metric)
        return self._resampled[router, metric]

    def mean(self, router: str, metric: str) -> Interval:
        """A metric with its interval; of runs together the mean over the runs, with theirs."""
        if router in self.together:
            return over_runs(self.mean(run, metric) for run in self.together[router])
        return percentile_interval(*self._estimate(router, metric), self._streams)

    def regret(self, router: str, reference: str, metric: str) -> Interval:
        """How much larger a cost is than the reference's, as a share of it, paired by stream. Of runs together the mean over the runs of
        that, with their interval."""
        if router in self.together:
            return over_runs(self.regret(run, reference, metric) for run in self.together[router])
        (ours, our_draws), (theirs, their_draws) = (self._estimate(name, metric) for name in (router, reference))
        return percentile_interval(ours / theirs - 1.0, our_draws / their_draws - 1.0, self._streams)

    @property
    def rules_ahead(self) -> str:
        """Where a router, but for the oracle, is better than the policy, in words; empty where none is."""
        subject = subject_of(self.rows, self.together)
        routers = (row for row in self.playbacks if row in ROUTERS and row != REFERENCE)
        costs = {"mean latency": "mean_latency", "p99 latency": "p99_latency"}
        return rules_ahead(subject, routers, costs, lambda row, metric: self.mean(row, metric).mean) if subject else ""

    @property
    def _streams(self) -> int:
        return len(next(iter(self.playbacks.values())).mean_latency)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        references = [name for name in (REFERENCE, NEAREST_RULE) if name in self.playbacks]
        return {
            "routers": {name: {metric: self.mean(name, metric).to_json() for metric in METRICS} for name in self.rows},
            "regret": {
                reference: {
                    name: {metric: self.regret(name, reference, metric).to_json() for metric in COSTS}
                    for name in self.rows
                    if name != reference
                }
                for reference in references
            },
            "runs_together": {row: list(runs) for row, runs in self.together.items()},
            "rules_ahead": self.rules_ahead,
            "optimum": dict(self.optimum),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutingEvaluation:
    """A finished comparison."""

    config: QueueRoutingExperiment
    systems: tuple[System, ...]
    label: str = ""
    """What was evaluated, e.g. the run's folder."""
    beside: Mapping[str, QueueRoutingExperiment] = field(default_factory=dict)
    """Row of each further run -> its experiment."""

    def figures(self) -> list[Figure]:
        """The figures that a policy is meant to reach; none without one."""
        return [figure for system in self.systems if POLICY in system.playbacks for figure in _figures(system)]

    def to_json(self) -> dict[str, Any]:
        """The whole comparison as plain values."""
        asked = self.config.evaluation
        return {
            "label": self.label,
            "systems": {system.name: system.to_json() for system in self.systems},
            "streams": {"count": asked.seeds, "requests": asked.arrivals, "warm_up": asked.warm_up},
            "figures": [figure.to_json() for figure in self.figures()],
            "config": asdict(self.config),
            "beside": {row: asdict(config) for row, config in self.beside.items()},
            "revision": code_revision(),
        }


def compare(
    config: QueueRoutingExperiment,
    policy: LearnedPolicy | None = None,
    *,
    beside: Sequence[Contender[QueueRoutingExperiment]] = (),
    label: str = "",
    progress: Progress = lambda message: None,  # noqa: ARG005
) -> RoutingEvaluation:
    """Play trained policies and the routers of `config.evaluation` on the same requests.

    Args:
        config: the experiment. Its configured system is played, and then drawn ones of each size in `evaluation.replicas`.
        policy: a trained agent, its likeliest choice; None = none in question.
        beside: further ones, each with a row of its own.
        label: what is evaluated, for the report.
        progress: told what is being played.

    Raises:
        ValueError: nobody to play, two policies of one name, or an unknown router.
        QueueOverflowError: a router's queues grow beyond all bounds.
    """
    asked = config.evaluation
    trained = contenders_of(config, policy, beside)
    if not trained and not asked.against:
        raise ValueError("nobody to play: evaluation.against is empty and there is no policy")
    environments = {"configured": replace(config.environment, drawn_replicas=(0, 0))}
    for count in asked.replicas:
        environments[f"{count} replicas, drawn"] = replace(config.environment, drawn_replicas=(count, count))
    systems = []
    for name, environment in environments.items():
        playbacks = {}
        for router in (*trained, *asked.against):
            progress(f"{router} on {name}")
            # A policy remembers: each system begins with an empty memory.
            chooser: Chooser = PolicyChooser(trained[router].policy) if router in trained else RouterChooser(router)
            playbacks[router] = play(
                environment,
                chooser,
                seed=HELD_OUT_SEED,
                streams=asked.seeds,
                warm_up=asked.warm_up,
                arrivals=asked.arrivals,
            )
        systems.append(System(name=name, environment=environment, playbacks=playbacks, together=runs_together(trained)))
    return RoutingEvaluation(
        config=config,
        systems=tuple(systems),
        label=label,
        beside={contender.name: contender.config for contender in beside},
    )


def _estimated(playback: RoutingPlayback, metric: str) -> tuple[float, Floats]:
    index = resamples(len(playback.mean_latency))
    if metric != "p99_latency":
        values: Floats = getattr(playback, metric)
        return float(values.mean()), values[index].mean(axis=1)
    return playback.p99(), playback.p99_of(index)


def _figures(system: System) -> list[Figure]:
    found = []
    if system.optimum:
        mean, accuracy = system.mean(POLICY, "mean_latency"), system.mean(POLICY, "routing_accuracy")
        p99, best = system.mean(POLICY, "p99_latency"), system.optimum["mean_latency"]
        latency = f"{mean.mean:.4f} s, {100 * (mean.mean / best - 1):+.1f} % of the optimum"
        for factor, target in ((1.1, 0.256), (1.05, 0.245)):
            claim = f"mean latency, at most {factor:g} x the optimum of {best} s"
            found.append(Figure(claim, f"<= {target} s", latency, mean.mean <= target))
        found.append(Figure("p99 latency", "<= 1.10 s", f"{p99.mean:.3f} s", p99.mean <= 1.10))
        found.append(Figure("routing accuracy", ">= 0.90", f"{accuracy.mean:.3f}", accuracy.mean >= 0.90))
    if system.drawn and NEAREST_RULE in system.playbacks:
        regret = system.regret(POLICY, NEAREST_RULE, "mean_latency")
        claim = f"{system.name}: mean latency over that of {NEAREST_RULE}"
        found.append(
            Figure(claim, "<= +10 %, upper bound", regret.text("+.1f", scale=100.0, unit=" %"), regret.high <= 0.10)
        )
    return found
