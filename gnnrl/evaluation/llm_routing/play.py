"""One router or policy on many streams of requests at once, each until its last request is served.

Stream b of a seed has the same fleet, requests and changes whoever routes, so that figures are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.domains.llm_routing.baselines import router_named
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
from gnnrl.domains.llm_routing.metrics import LatencyReport, latency_report
from gnnrl.domains.llm_routing.request_table import RequestTable
from gnnrl.evaluation.controllers import LearnedPolicy
from gnnrl.evaluation.llm_routing.load_trace import LoadRecorder, LoadTrace

__all__ = [
    "HELD_OUT_SEED",
    "LATENCY_EDGES_S",
    "METRICS",
    "VALIDATION_SEED",
    "LLMPlayback",
    "play_policy",
    "play_router",
    "validate",
]

HELD_OUT_SEED, VALIDATION_SEED = (1 << 64) + 3, (1 << 64) + 1
"""Of the comparison and of the validation while training: above any seed that a configuration can hold in 64 bits. The configurations that
come with the package were chosen on the streams of 1 << 64 and of (1 << 64) + 2, which the comparison therefore leaves alone."""
METRICS: Mapping[str, str] = {
    **{f"ttft_p{p}_s": f"seconds to the first token that {p} % of a stream's requests do not exceed" for p in (50, 90, 99)},
    "ttft_mean_s": "seconds from arrival to the first token, mean of a stream",
    **{f"e2e_p{p}_s": f"seconds to the last token that {p} % of a stream's requests do not exceed" for p in (50, 90, 99)},
    "e2e_mean_s": "seconds from arrival to the last token, mean of a stream",
    **{f"tpot_p{p}_ms": f"milliseconds a token after the first, which {p} % of the answers do not exceed" for p in (50, 99)},
}  # fmt: skip
"""Fields of `LatencyReport` that are compared, and what each is; lower is better."""
LATENCY_EDGES_S = np.geomspace(1e-3, 1e4, 701)
"""Edges of the latency histograms, 100 a decade; what lies beyond either end is counted in the bin there."""
LOOKS = 2000
"""Times that a play is looked at, for the load of its replicas and for whoever waits."""
VALIDATION_STREAMS, VALIDATION_REQUESTS = 16, 600

Progress = Callable[[float], Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class LLMPlayback:
    """What one router made of S streams of R replicas."""

    reports: tuple[LatencyReport, ...]
    """Of each stream."""
    ttft_counts: NDArray[np.int64]  # [bins] completed requests of all streams by time to first token, `LATENCY_EDGES_S`
    e2e_counts: NDArray[np.int64]  # [bins] by latency
    share: NDArray[np.float64]  # [S, R] of the completed requests, by the replica that completed them
    load: LoadTrace

    @classmethod
    def of(cls, tables: Sequence[RequestTable], load: LoadTrace) -> LLMPlayback:
        """From the streams' request tables."""
        done = [np.isfinite(table.completed_at) for table in tables]
        replicas = load.outstanding.shape[1]
        served = np.stack(
            [np.bincount(table.replica[there], minlength=replicas) for table, there in zip(tables, done, strict=True)]
        )
        return cls(
            reports=tuple(latency_report(table) for table in tables),
            ttft_counts=_counted([table.ttft_s[there] for table, there in zip(tables, done, strict=True)]),
            e2e_counts=_counted([table.e2e_s[there] for table, there in zip(tables, done, strict=True)]),
            share=served / served.sum(axis=1, keepdims=True),
            load=load,
        )

    def values(self, metric: str) -> NDArray[np.float64]:
        """[S] a metric by stream, not-a-number where a stream has none."""
        found = [getattr(report, metric) for report in self.reports]
        return np.array([np.nan if value is None else value for value in found], np.float64)


def play_router(
    config: LLMRoutingConfig,
    router: str,
    *,
    seed: int,
    streams: int,
    requests: int,
    progress: Progress = lambda share: None,  # noqa: ARG005
) -> LLMPlayback:
    """A router by its name on `streams` streams of `requests` requests.

    Args:
        config: of the environment.
        router: its name.
        seed: of the streams.
        streams: how many.
        requests: of each.
        progress: told the share that is done, now and then.

    Raises:
        RouterError: there is none of this name.
        MetricsError: no request of a stream could be served.
    """
    code = router_named(router).code
    env = _env(config, streams, requests, seed)
    recorder, stride, routed = LoadRecorder(env.simulation), _stride(requests), 0
    while env.simulation.deciding.any():
        recorder.look()
        env.simulation.run(code, most=stride)
        routed += stride
        progress(min(routed / requests, 1.0))
    return _played(env, recorder)


def play_policy(
    config: LLMRoutingConfig,
    policy: LearnedPolicy,
    *,
    seed: int,
    streams: int,
    requests: int,
    progress: Progress = lambda share: None,  # noqa: ARG005
) -> LLMPlayback:
    """A trained policy, its likeliest choices. Otherwise as `play_router`."""
    env = _env(config, streams, requests, seed)
    recorder, stride, routed = LoadRecorder(env.simulation), _stride(requests), 0
    observation, state = env.observation.arrays, None
    while env.simulation.deciding.any():
        if routed % stride == 0:
            recorder.look()
            progress(min(routed / requests, 1.0))
        choices, state = policy.act(observation, state, deterministic=True)
        env.simulation.step(np.asarray(choices))
        observation = env.observation.write()
        routed += 1
    return _played(env, recorder)


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


def _stride(requests: int) -> int:
    """Decisions between two looks."""
    return max(1, requests // LOOKS)


def _played(env: LLMRoutingVectorEnv, recorder: LoadRecorder) -> LLMPlayback:
    return LLMPlayback.of([env.simulation.table(b) for b in range(env.num_envs)], recorder.trace())


def _counted(seconds: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    values = np.clip(np.concatenate(seconds), LATENCY_EDGES_S[0], LATENCY_EDGES_S[-1])
    return np.histogram(values, LATENCY_EDGES_S)[0]
