"""The live loop decides as `gnnrl evaluate` does: the same figures, the same actions, bit for bit, over an hour of changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from gnnrl.agents import PPO_GNN
from gnnrl.cluster.actuator import ScaleRequest, ScaleResult
from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.models import ClusterSnapshot, DeploymentState, PodUsage
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, EncoderConfig
from gnnrl.config.live import GuardrailConfig, LiveConfig
from gnnrl.domains.autoscaling.baselines import ReplicaBounds
from gnnrl.domains.autoscaling.baselines.feed_forward import FeedForward
from gnnrl.domains.autoscaling.baselines.hpa import HorizontalPodAutoscaler
from gnnrl.domains.autoscaling.env import MeshEnv
from gnnrl.domains.autoscaling.episode import Episode, Split, draw_episode, warm_up_seconds
from gnnrl.evaluation.controllers import BaselineController, Controller, PolicyController
from gnnrl.evaluation.runner import Playback, play
from gnnrl.evaluation.scenarios import ScenarioSet
from gnnrl.live.decision import IntervalRecord
from gnnrl.live.loop import LiveLoop
from gnnrl.live.rehearsal import in_listing_order
from gnnrl.live.sandbox.world import SandboxWorld
from gnnrl.live.tracked import TrackedController
from kiali_client import Edge, Node, NodeKey, ServiceGraph, Traffic
from tests.live.trusting import Trusting

CONFIG = AutoscalingConfig(
    telemetry="kiali",
    episode_decisions=240,
    max_edges=64,
    churn=ChurnConfig(
        service_added_per_hour=2.0,
        service_removed_per_hour=1.0,
        service_renamed_per_hour=1.0,
        call_removed_per_hour=1.0,
        pod_crashed_per_hour=3.0,
    ),
)
LIVE = replace(CONFIG, telemetry="exact", metrics_lag_seconds=0)
WIDE = GuardrailConfig(
    max_up_replicas=20,
    max_down_replicas=20,
    max_down_share=1.0,
    change_budget_replicas=1000,
    brake_share=1.0,
    half_window_seconds=0.0,
    start_hold_seconds=0.0,
    violation_hold_share=0.0,
    young_seconds=0.0,
    newborn_replicas=0,
    birth_hold_seconds=0.0,
    error_hold_share=1.0,
)


class InMemory:
    """A cluster without a network: the sandbox's world read and written directly."""

    def __init__(self, world: SandboxWorld) -> None:
        self.world = world

    def read(self) -> ClusterSnapshot:
        world, now = self.world, self.world.clock.now()
        deployments = []
        for view in sorted(world.workloads(), key=lambda view: view.name):
            alive = [pod for pod in view.pods if not pod.deleting]
            running = [pod for pod in alive if pod.phase == "Running"]
            ready = sum(pod.ready for pod in running)
            deployments.append(
                DeploymentState(
                    name=view.name,
                    uid=f"{view.name}-{view.created_seconds}",
                    resource_version="1",
                    desired=view.replicas,
                    ready=ready,
                    starting=len(running) - ready,
                    pending=len(alive) - len(running),
                    draining=len(view.pods) - len(alive),
                    containers=view.containers,
                    created_seconds=view.created_seconds,
                    newest_pod_seconds=max((pod.created_seconds for pod in alive), default=None),
                    annotations={"gnnrl.io/stateful": "true"} if view.stateful else {},
                )
            )
        names = {deployment.name for deployment in deployments}
        usage = tuple(
            PodUsage(
                pod=view.pod,
                deployment=view.workload,
                timestamp_seconds=view.timestamp_seconds,
                window_seconds=view.window_seconds,
                containers=view.containers,
            )
            for view in world.pod_usage()
            if view.workload in names
        )
        shown = world.graph_view(60)

        def key(name: str) -> NodeKey:
            place = shown.gateway_namespace if name == shown.gateway else world.namespace
            return NodeKey("", place, name, "workload")

        graph = ServiceGraph(
            timestamp=int(shown.timestamp_seconds),
            duration_seconds=60,
            graph_type="workload",
            nodes=tuple(Node(key=key(name)) for name in (*shown.workloads, shown.gateway)),
            edges=tuple(
                Edge(
                    source=key(call.source),
                    target=key(call.target),
                    traffic=(
                        Traffic(
                            protocol=call.protocol,
                            rps=round(call.rps, 2),
                            bytes_per_second=call.bytes_per_second,
                            error_share=call.error_share,
                            response_time_ms=call.p95_ms or None,
                            mtls_share=call.mtls_share,
                        ),
                    ),
                )
                for call in shown.calls
            ),
        )
        return ClusterSnapshot(
            namespace=world.namespace, taken_seconds=now, deployments=tuple(deployments), usage=usage, graph=graph
        )

    def apply(self, changes: dict[str, ScaleRequest], redecide: object = None) -> dict[str, ScaleResult]:  # noqa: ARG002
        for name, request in changes.items():
            self.world.set_replicas(name, request.replicas)
        return {name: ScaleResult(outcome="patched", sent=request.replicas) for name, request in changes.items()}


def live(controller: Controller, episode: Episode) -> tuple[list[IntervalRecord], SandboxWorld]:
    clock = SteppedClock(1_000_000.0)
    world = SandboxWorld(CONFIG, episode, clock)
    cluster = InMemory(world)
    records: list[IntervalRecord] = []
    loop = LiveLoop(
        config=LiveConfig(guardrails=WIDE),
        namespace=world.namespace,
        controller=TrackedController(controller, slo_ms=episode.slo_ms, violation_weight=episode.violation_weight),
        fallback=None,
        sensing=Trusting(
            max_nodes=CONFIG.max_nodes,
            max_edges=CONFIG.max_edges,
            interval_seconds=15,
            stale_after_seconds=75.0,
            slo_ms=episode.slo_ms,
        ),
        reader=cluster,
        writer=cluster,
        clock=clock,
        policy="policy",
        mode="live",
        sinks=(records.append,),
    )
    clock.sleep_until(clock.now() + warm_up_seconds(CONFIG))
    for _ in range(CONFIG.episode_decisions):
        loop.interval()
        clock.sleep_until(clock.now() + 15)
    world.advance()
    return records, world


class Recorded(PolicyController):
    """Keeps what it was shown and what it answered."""

    def reset(self, episodes: Sequence[object]) -> None:
        super().reset(episodes)  # type: ignore[arg-type]
        self.shown: list[dict[str, np.ndarray]] = []

    def decide(self, window: object, now_seconds: float) -> np.ndarray:
        wanted = super().decide(window, now_seconds)
        self.shown.append({name: value.copy() for name, value in self.observation.items()})
        return wanted


def calls_of(observation: dict[str, np.ndarray]) -> set[tuple[float, ...]]:
    count = int(observation["edge_mask"].sum())
    ends, figures = observation["edge_index"][0, :, :count].T, observation["edges"][0, :count]
    return {(*end, *figure) for end, figure in zip(ends.tolist(), figures.tolist(), strict=True)}


def evaluated(controller: Controller, episode: Episode) -> Playback:
    scenarios = ScenarioSet(
        config=CONFIG, split=Split.VALIDATION, workloads=(episode.workload,), seeds=1, episodes=(episode,)
    )
    return play(controller, scenarios, violation_weight=episode.violation_weight)


@pytest.fixture(scope="module")
def agent() -> PPO_GNN:
    env = MeshEnv(CONFIG)
    return PPO_GNN(env.observation_space, env.action_space, encoder=EncoderConfig(hidden=16, memory_dim=8), seed=3)


@pytest.mark.parametrize("seed", [0, 5])
def test_a_policy_sees_and_does_the_same_live_as_evaluated(agent: PPO_GNN, seed: int) -> None:
    episode = in_listing_order(draw_episode(CONFIG, Split.VALIDATION, seed, workload="bursty", violation_weight=200.0))
    kinds = {event.kind for event in episode.churn.events}
    assert len(kinds) >= 3, "an hour in which something happens"
    simulated = Recorded(agent, CONFIG, temperature=0.5)
    playback = evaluated(simulated, episode)
    clustered = Recorded(agent, LIVE, temperature=0.5)
    records, world = live(clustered, episode)
    assert all(record.valid for record in records)
    assert len(clustered.shown) == len(simulated.shown) == 240
    for k, (there, here) in enumerate(zip(simulated.shown, clustered.shown, strict=True)):
        for name in there.keys() - {"edge_index", "edges"}:
            np.testing.assert_array_equal(there[name], here[name], err_msg=f"decision {k}: {name}")
        # New calls come last in the simulation, and by name from a cluster.
        assert calls_of(there) == calls_of(here), f"decision {k}"
    score = world.score()
    assert score["replica_seconds"] == pytest.approx(playback.metrics["replica_seconds"][0], rel=1e-9)
    assert score["violating_seconds"] == pytest.approx(playback.metrics["violating_share"][0] * 3600, rel=1e-9)


@pytest.mark.parametrize("kind", ["hpa", "feed_forward"])
def test_a_baseline_does_the_same_live_as_evaluated(kind: str) -> None:
    episode = in_listing_order(draw_episode(CONFIG, Split.VALIDATION, 2, workload="noisy", violation_weight=200.0))

    def baseline(config: AutoscalingConfig) -> BaselineController:
        bounds = ReplicaBounds(min_replicas=1, max_replicas=20)
        rule = (
            HorizontalPodAutoscaler(bounds, config.max_nodes, target_percent=80.0)
            if kind == "hpa"
            else FeedForward(bounds, config.max_nodes, estimated=True)
        )
        return BaselineController(rule, config)

    playback = evaluated(baseline(CONFIG), episode)
    _, world = live(baseline(LIVE), episode)
    assert world.score()["replica_seconds"] == pytest.approx(playback.metrics["replica_seconds"][0], rel=1e-9)
