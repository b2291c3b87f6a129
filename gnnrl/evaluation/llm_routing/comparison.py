"""A policy and the routers on the same requests: means with intervals, paired changes against a reference, as one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from gnnrl.config.llm_routing import LLMRoutingExperiment
from gnnrl.evaluation.controllers import LearnedPolicy
from gnnrl.evaluation.llm_routing.play import HELD_OUT_SEED, METRICS, LLMPlayback, play_policy, play_router
from gnnrl.evaluation.statistics import Interval, mean_interval, relative_saving
from gnnrl.training.run_folder import code_revision

__all__ = ["POLICY", "REFERENCE", "LLMRoutingEvaluated", "compare"]

POLICY, REFERENCE = "policy", "least_outstanding"
Progress = Callable[[str], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class LLMRoutingEvaluated:
    """A finished comparison."""

    config: LLMRoutingExperiment
    playbacks: Mapping[str, LLMPlayback]
    """Router -> what came of it, in the order in which they are shown."""
    label: str = ""
    """What was evaluated, e.g. the run's folder."""

    def mean(self, router: str, metric: str) -> Interval:
        """Mean over the streams of a metric."""
        return mean_interval(self.playbacks[router].values(metric))

    def change(self, router: str, metric: str, reference: str = REFERENCE) -> Interval:
        """How much larger a metric is than the reference's, as a share of it, paired by stream; below 0 is better."""
        saving = relative_saving(self.playbacks[router].values(metric), self.playbacks[reference].values(metric))
        return Interval(-saving.mean, -saving.high, -saving.low)

    def to_json(self) -> dict[str, Any]:
        """The whole comparison as plain values."""
        compared = [name for name in self.playbacks if name != REFERENCE] if REFERENCE in self.playbacks else []
        asked = self.config.evaluation
        return {
            "label": self.label,
            "routers": {
                name: {metric: self.mean(name, metric).to_json() for metric in METRICS} for name in self.playbacks
            },
            "change": {
                REFERENCE: {
                    name: {metric: self.change(name, metric).to_json() for metric in METRICS} for name in compared
                }
            },
            "unfinished": {
                name: sum(report.unfinished for report in playback.reports) for name, playback in self.playbacks.items()
            },
            "streams": {"count": asked.seeds, "requests": asked.requests},
            "config": asdict(self.config),
            "revision": code_revision(),
        }


def compare(
    config: LLMRoutingExperiment,
    policy: LearnedPolicy | None = None,
    *,
    label: str = "",
    progress: Progress = lambda message: None,  # noqa: ARG005
) -> LLMRoutingEvaluated:
    """Play a policy and the routers of `config.evaluation` on the same requests.

    Args:
        config: the experiment.
        policy: a trained agent, its likeliest choice; None = the routers alone.
        label: what is evaluated, for whoever reads it.
        progress: told what is being played.

    Raises:
        ValueError: nobody to play.
        RouterError: an unknown router.
    """
    asked = config.evaluation
    environment = replace(config.environment, changes_per_1000=asked.changes_per_1000)
    if policy is None and not asked.against:
        raise ValueError("nobody to play: evaluation.against is empty and there is no policy")
    streams: Any = {"seed": HELD_OUT_SEED, "streams": asked.seeds, "requests": asked.requests}
    playbacks: dict[str, LLMPlayback] = {}
    if policy is not None:
        progress(POLICY)
        playbacks[POLICY] = play_policy(environment, policy, **streams)
    for router in asked.against:
        progress(router)
        playbacks[router] = play_router(environment, router, **streams)
    return LLMRoutingEvaluated(config=config, playbacks=playbacks, label=label)
