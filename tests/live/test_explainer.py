"""Reasons in a running loop: the sandbox's world, read and written directly."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from gnnrl.agents import PPO_GNN
from gnnrl.agents.attribution import attribute
from gnnrl.cluster.clock import SteppedClock
from gnnrl.cluster.guardrails.names import FALLBACK_FLOOR
from gnnrl.config.experiment import EncoderConfig
from gnnrl.config.live import LiveConfig
from gnnrl.domains.autoscaling.baselines import FeedForward, ReplicaBounds
from gnnrl.domains.autoscaling.baselines.hpa import HorizontalPodAutoscaler
from gnnrl.domains.autoscaling.env import MeshEnv
from gnnrl.domains.autoscaling.episode import Split, draw_episode, warm_up_seconds
from gnnrl.domains.autoscaling.sensing import Sensing
from gnnrl.evaluation.controllers import BaselineController, PolicyController
from gnnrl.live.explainer import BaselineExplainer, PolicyExplainer
from gnnrl.live.explanation import MAX_REASON
from gnnrl.live.loop import LiveLoop
from gnnrl.live.sandbox.world import SandboxWorld
from gnnrl.live.tracked import TrackedController
from graph_space.schema import GLOBALS, MOVES, NODES, autoscaling_schema
from tests.live.test_parity import CONFIG, LIVE, InMemory


class Stale(InMemory):
    """Answers without a graph when told to."""

    blind = False

    def read(self):
        snapshot = super().read()
        return replace(snapshot, graph=replace(snapshot.graph, timestamp=0)) if self.blind else snapshot


@pytest.fixture(scope="module")
def agent():
    env = MeshEnv(CONFIG)
    agent = PPO_GNN(env.observation_space, env.action_space, encoder=EncoderConfig(hidden=16, memory_dim=8), seed=3)
    with torch.no_grad():  # a policy that moves often
        agent.model.head.logits.bias.zero_()
        agent.model.head.logits.weight.mul_(30.0)
    return agent


def running(controller, make_explainer):
    episode = draw_episode(CONFIG, Split.VALIDATION, 0, workload="bursty", violation_weight=200.0)
    clock = SteppedClock(1_000_000.0)
    cluster = Stale(SandboxWorld(CONFIG, episode, clock))
    loop = LiveLoop(
        config=LiveConfig(),
        namespace="shop",
        controller=TrackedController(controller, slo_ms=episode.slo_ms, violation_weight=200.0),
        fallback=None,
        sensing=Sensing(
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
        explain=make_explainer(episode),
    )
    clock.sleep_until(clock.now() + warm_up_seconds(CONFIG))
    return loop, cluster, clock


def test_a_policy_is_explained_by_what_it_saw_and_remembered(agent):
    controller = PolicyController(agent, LIVE, temperature=0.5)
    loop, _, clock = running(controller, lambda _: PolicyExplainer(controller, agent, most=3, limit=4))
    schema, weighed = autoscaling_schema(CONFIG.node_columns), 0
    for _ in range(6):
        record = loop.interval()
        slots = controller.slots(loop.reading.mesh)
        wished = {one.service: abs(one.wish - one.current) for one in record.services if one.wish != one.current}
        told = {one.service for one in record.services if one.influences}
        assert told <= wished.keys() and len(told) <= 3
        assert (
            sorted((wished[name] for name in told), reverse=True) == sorted(wished.values(), reverse=True)[: len(told)]
        )
        for one in record.services:
            assert list(one.inputs) == [*schema.names(NODES), *schema.names(GLOBALS)]
            assert one.inputs["desired_replicas"] == one.current and one.inputs["ready"] == one.ready
            assert 0 < len(one.reason) <= MAX_REASON and f"on {one.ready}" in one.reason
            assert all(name in one.reason for name in one.guardrails)
            assert len(one.influences) <= 4
            assert ("weighed" in one.reason) <= bool(one.influences)
        for name in told:
            again = attribute(
                agent,
                controller.observation,
                controller.state_before,
                controller.start_before,
                [slots[name]],
                MOVES,
                temperature=0.5,
            )
            services = {
                one.name: one.weight for one in next(d for d in record.services if d.service == name).influences
            }
            of_service = again.node_weight[0] + again.memory_weight[0]
            for other, slot in slots.items():
                if other in services:
                    assert services[other] == pytest.approx(of_service[slot], rel=1e-6)
        weighed += len(told)
        clock.sleep_until(clock.now() + 15)
    assert weighed >= 6


def test_explaining_changes_no_decision(agent):
    def played(explained):
        controller = PolicyController(agent, LIVE, temperature=0.5)
        loop, _, clock = running(controller, lambda _: PolicyExplainer(controller, agent) if explained else None)
        found = []
        for _ in range(5):
            found.append([(one.service, one.wish, one.final) for one in loop.interval().services])
            clock.sleep_until(clock.now() + 15)
        return found

    assert played(True) == played(False)


def test_an_interval_without_a_decision_says_why_and_shows_no_inputs_of_before(agent):
    controller = PolicyController(agent, LIVE, temperature=0.5)
    loop, cluster, clock = running(controller, lambda _: PolicyExplainer(controller, agent))
    assert all(one.inputs for one in loop.interval().services)
    clock.sleep_until(clock.now() + 15)
    cluster.blind = True
    record = loop.interval()
    assert not record.valid
    for one in record.services:
        assert one.reason.startswith(f"hold {one.current}: no decision (graph: ") and "s old" in one.reason
        assert not one.inputs and not one.influences


def test_a_baseline_is_explained_by_the_figures_it_was_shown():
    rule = HorizontalPodAutoscaler(
        ReplicaBounds(min_replicas=1, max_replicas=20), CONFIG.max_nodes, target_percent=80.0
    )
    controller = BaselineController(rule, LIVE)
    loop, cluster, clock = running(controller, lambda episode: BaselineExplainer(controller, slo_ms=episode.slo_ms))
    for _ in range(4):
        record = loop.interval()
        window, names = loop.reading.window, loop.reading.mesh.names
        for one in record.services:
            i = names.index(one.service)
            assert one.inputs["cpu_millicores"] == window.app_cpu_millicores[0, i] and not one.influences
            limit = one.inputs["cpu_limit_millicores"]
            assert one.inputs["busy_replicas"] == pytest.approx(float(window.app_cpu_millicores[0, i]) / limit)
            assert one.inputs["latency_p95_over_slo"] <= 2.0
            seen = rule.grounds(0, i)
            assert all(part in one.reason for part in seen) and "of the requests on" in seen[0]
            assert not re.search("P95|requests/s|errors|limits", one.reason)
        assert np.ptp([one.inputs["rps_in"] for one in record.services]) > 0.0
        clock.sleep_until(clock.now() + 15)
    cluster.blind = True
    assert all("no decision (graph: " in one.reason for one in loop.interval().services)


def test_where_the_fallback_raises_it_is_the_fallback_that_is_quoted():
    bounds = ReplicaBounds(min_replicas=1, max_replicas=20)
    controller = BaselineController(FeedForward(bounds, CONFIG.max_nodes, estimated=True), LIVE)
    fallback = BaselineController(HorizontalPodAutoscaler(bounds, CONFIG.max_nodes), LIVE)
    loop, _, _ = running(controller, lambda _: None)
    loop.fallback = TrackedController(fallback, slo_ms=500.0, violation_weight=200.0)
    (first, second, *_) = loop.interval().services
    explain = BaselineExplainer(controller, slo_ms=500.0, fallback=fallback)
    raised, held = explain([replace(first, guardrails=(FALLBACK_FLOOR,)), second], loop.reading, False)
    assert "CPU" in raised.reason and "% of the requests on" in raised.reason and "requests/s" not in raised.reason
    assert "CPU" not in held.reason
