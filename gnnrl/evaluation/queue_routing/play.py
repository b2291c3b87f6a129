"""One router or policy on many streams of requests at once, and what became of them.

Stream b of a seed has the same system, the same requests and the same losses of replicas whoever routes, so that figures are paired.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.queue_routing.baselines import router_named
from gnnrl.domains.queue_routing.env import QueueRoutingVectorEnv
from gnnrl.domains.queue_routing.metrics import LATENCY_EDGES_SECONDS, percentile
from gnnrl.domains.queue_routing.physics import QueueSimulation
from gnnrl.evaluation.controllers import LearnedPolicy
from graph_space.schema import GraphObservation

__all__ = [
    "HELD_OUT_SEED",
    "SHARE_CAP",
    "TRACED",
    "VALIDATION_SEED",
    "Chooser",
    "PolicyChooser",
    "RouterChooser",
    "RoutingPlayback",
    "play",
    "validate",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

HELD_OUT_SEED, VALIDATION_SEED = 1 << 64, (1 << 64) + 1
"""Of the comparison and of the validation while training: above any seed that a configuration can hold in 64 bits."""
TRACED = 400
"""Requests of the first stream whose queues are kept one by one."""
SHARE_CAP = 12
"""Queue lengths from this on are counted together where choices are counted by queue lengths."""
VALIDATION_STREAMS, VALIDATION_WARM_UP, VALIDATION_ARRIVALS = 64, 100, 400


class Chooser(Protocol):
    """Whoever routes B streams."""

    def choose(self, simulation: QueueSimulation, observation: GraphObservation) -> Ints:
        """Columns [B]; a router looks at the simulation's queues, a policy at the observation alone."""


class RouterChooser:
    """A router by its name.

    Raises:
        ValueError: there is none of this name.
    """

    def __init__(self, name: str) -> None:
        self._router = router_named(name)

    def choose(self, simulation: QueueSimulation, observation: GraphObservation) -> Ints:  # noqa: ARG002
        """See `Chooser`."""
        return simulation.choose(self._router)


class PolicyChooser:
    """A trained policy, its likeliest choice."""

    def __init__(self, policy: LearnedPolicy) -> None:
        self._policy, self._state = policy, None

    def choose(self, simulation: QueueSimulation, observation: GraphObservation) -> Ints:  # noqa: ARG002
        """See `Chooser`."""
        choices, self._state = self._policy.act(observation, self._state, deterministic=True)
        return np.asarray(choices)


@dataclass(frozen=True, kw_only=True, eq=False)
class RoutingPlayback:
    """What one router made of S streams, after the warm-up. R replicas, K types."""

    mean_latency: Floats  # [S] seconds, of the finished requests
    routing_accuracy: Floats  # [S] share routed to a replica that is fastest for the type
    throughput: Floats  # [S] finished requests a simulated second
    histograms: Ints  # [S, bins] finished requests by latency
    visits: (
        Ints  # [K, Q, Q] requests routed by type and lengths of the first two queues (`SHARE_CAP` and more together)
    )
    to_first: Ints  # [K, Q, Q] of them, to the first replica
    trace_seconds: Floats  # [T] arrivals of the first stream after the warm-up
    trace_queue: Ints  # [T, R] its queues then

    def p99(self) -> float:
        """99th percentile of all requests' latencies, seconds."""
        return percentile(self.histograms.sum(axis=0), LATENCY_EDGES_SECONDS, 0.99)

    def p99_of(self, index: Ints) -> Floats:
        """The same of each selection of streams: `index` [draws, n] -> [draws]."""
        times = np.stack([np.bincount(row, minlength=len(self.histograms)) for row in index])
        # In floats the product is a thousand times faster than in integers, and exact up to 2^53 requests.
        pooled = times.astype(np.float64) @ self.histograms.astype(np.float64)
        return np.array([percentile(row, LATENCY_EDGES_SECONDS, 0.99) for row in pooled])


def play(
    config: QueueRoutingConfig, chooser: Chooser, *, seed: int, streams: int, warm_up: int, arrivals: int
) -> RoutingPlayback:
    """Route `warm_up` requests of each stream unmeasured and `arrivals` measured.

    Args:
        config: of the environment; with `drawn_replicas` every stream has a system of its own.
        chooser: who routes.
        seed: of the streams.
        streams: S.
        warm_up: requests a stream before measuring begins.
        arrivals: requests a stream.

    Raises:
        ValueError: a choice is no present replica.
        QueueOverflowError: the queues grow beyond all bounds.
    """
    endless = replace(config, episode_arrivals=warm_up + arrivals + 1)
    env = QueueRoutingVectorEnv(streams, endless, copy=False, strict_actions=True)
    observation, _ = env.reset(seed=seed)
    simulation, types = env.simulation, len(config.types)
    visits = np.zeros((2, types, SHARE_CAP + 1, SHARE_CAP + 1), np.int64)
    traced = min(TRACED, arrivals)
    trace_seconds, trace_queue = np.zeros(traced), np.zeros((traced, config.max_replicas), np.int64)
    began = np.zeros(streams)
    for arrival in range(-warm_up, arrivals):
        state = simulation.state
        if arrival == 0:
            simulation.forget_measurements()
            began = state.now_seconds.copy()
        choice = chooser.choose(simulation, observation)
        if arrival >= 0:
            if config.max_replicas > 1:
                lengths = np.minimum(state.queue[:, :2], SHARE_CAP)
                np.add.at(visits, (np.where(choice == 0, 1, 0), state.request_type, *lengths.T), 1)
            if arrival < traced:
                trace_seconds[arrival], trace_queue[arrival] = state.now_seconds[0], state.queue[0]
        observation, *_ = env.step(choice)
    measured = [simulation.metrics_of(b) for b in range(streams)]
    seconds = simulation.state.now_seconds - began
    return RoutingPlayback(
        mean_latency=np.array([each.mean_latency_seconds for each in measured]),
        routing_accuracy=np.array([each.routing_accuracy for each in measured]),
        throughput=np.array([each.finished for each in measured]) / seconds,
        histograms=simulation.latency_histograms.copy(),
        visits=visits.sum(axis=0),
        to_first=visits[1],
        trace_seconds=trace_seconds - trace_seconds[0],
        trace_queue=trace_queue,
    )


def validate(config: QueueRoutingConfig, policy: LearnedPolicy) -> dict[str, float]:
    """Short play on streams that neither training nor the comparison meets: what a training logs as `eval/...`."""
    played = play(
        config,
        PolicyChooser(policy),
        seed=VALIDATION_SEED,
        streams=VALIDATION_STREAMS,
        warm_up=VALIDATION_WARM_UP,
        arrivals=VALIDATION_ARRIVALS,
    )
    return {
        "mean_latency": float(played.mean_latency.mean()),
        "p99_latency": played.p99(),
        "routing_accuracy": float(played.routing_accuracy.mean()),
        "throughput": float(played.throughput.mean()),
    }
