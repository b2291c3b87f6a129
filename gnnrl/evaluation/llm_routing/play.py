"""One router or policy on many streams of requests at once, each until its last request is served.

Stream b of a seed has the same fleet, requests and changes whoever routes, so that figures are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.domains.llm_routing.baselines import router_named
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
from gnnrl.domains.llm_routing.metrics import LatencyReport, latency_report
from gnnrl.domains.llm_routing.request_table import RequestTable
from gnnrl.evaluation.controllers import LearnedPolicy

__all__ = ["HELD_OUT_SEED", "METRICS", "VALIDATION_SEED", "LLMPlayback", "play_policy", "play_router", "validate"]

HELD_OUT_SEED, VALIDATION_SEED = 1 << 64, (1 << 64) + 1
"""Of the comparison and of the validation while training: above any seed that a configuration can hold in 64 bits."""
METRICS = (
    "ttft_p50_s", "ttft_p90_s", "ttft_p99_s", "ttft_mean_s", "e2e_p50_s", "e2e_p90_s", "e2e_p99_s", "e2e_mean_s",
    "tpot_p50_ms", "tpot_p99_ms",
)  # fmt: skip
"""Fields of `LatencyReport` that are compared; lower is better."""
VALIDATION_STREAMS, VALIDATION_REQUESTS = 16, 600


@dataclass(frozen=True, kw_only=True, eq=False)
class LLMPlayback:
    """What one router made of S streams."""

    reports: tuple[LatencyReport, ...]
    """Of each stream."""

    @classmethod
    def of(cls, tables: Sequence[RequestTable]) -> LLMPlayback:
        """From the streams' request tables."""
        return cls(reports=tuple(latency_report(table) for table in tables))

    def values(self, metric: str) -> NDArray[np.float64]:
        """[S] a metric by stream, not-a-number where a stream has none."""
        found = [getattr(report, metric) for report in self.reports]
        return np.array([np.nan if value is None else value for value in found], np.float64)


def play_router(config: LLMRoutingConfig, router: str, *, seed: int, streams: int, requests: int) -> LLMPlayback:
    """A router by its name on `streams` streams of `requests` requests.

    Raises:
        RouterError: there is none of this name.
        MetricsError: no request of a stream could be served.
    """
    code = router_named(router).code
    env = _env(config, streams, requests, seed)
    env.simulation.run(code)
    return LLMPlayback.of([env.simulation.table(b) for b in range(streams)])


def play_policy(
    config: LLMRoutingConfig, policy: LearnedPolicy, *, seed: int, streams: int, requests: int
) -> LLMPlayback:
    """A trained policy, its likeliest choices. Otherwise as `play_router`."""
    env = _env(config, streams, requests, seed)
    observation, state = env.observation.arrays, None
    while env.simulation.deciding.any():
        choices, state = policy.act(observation, state, deterministic=True)
        env.simulation.step(np.asarray(choices))
        observation = env.observation.write()
    return LLMPlayback.of([env.simulation.table(b) for b in range(streams)])


def validate(config: LLMRoutingConfig, policy: LearnedPolicy) -> dict[str, float]:
    """Short play on streams that neither training nor the comparison meets: what a training logs as `eval/...`."""
    played = play_policy(config, policy, seed=VALIDATION_SEED, streams=VALIDATION_STREAMS, requests=VALIDATION_REQUESTS)
    shown = ("ttft_p99_s", "ttft_mean_s", "e2e_p99_s", "e2e_mean_s")
    return {metric: float(played.values(metric).mean()) for metric in shown}


def _env(config: LLMRoutingConfig, streams: int, requests: int, seed: int) -> LLMRoutingVectorEnv:
    """The streams, at their first decisions."""
    env = LLMRoutingVectorEnv(streams, replace(config, episode_requests=requests), copy=False, to_the_end=True)
    env.reset(seed=seed)
    return env
