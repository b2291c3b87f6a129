"""What the simulations take: rates, replicas, routers and environments that can be, told before a kernel sees them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.episode import Split, draw_episode
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import LARGEST_REPLICAS, MeshSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.model import Replica
from gnnrl.domains.llm_routing.physics import LLMSimulation
from gnnrl.domains.llm_routing.workloads import LENGTHS, Arrivals, Requests, WorkloadError, draw_requests
from gnnrl.domains.queue_routing.baselines import Router
from gnnrl.domains.queue_routing.model import base_model
from gnnrl.domains.queue_routing.physics import QueueSimulation


def meshes() -> MeshSimulation:
    simulation = MeshSimulation(2, 20, 64, 6)
    for b in range(2):
        simulation.load(b, online_boutique())
    return simulation


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (np.array([[1.0, 2.0], [np.nan, 1.0]]), r"rps\[1, 0\] = nan is not in \[0, 1e\+09\]"),
        (np.array([[1.0, np.inf], [1.0, 1.0]]), r"rps\[0, 1\] = inf"),
        (np.array([[1.0, -1e-9], [1.0, 1.0]]), r"rps\[0, 1\] = -1e-09"),
        (np.array([[1e30], [1.0]]), r"rps\[0, 0\] = 1e\+30"),
        (np.ones((3, 2)), r"rps of shape \(3, 2\), expected \(2, ticks\)"),
        (np.ones(2), r"rps of shape \(2,\)"),
        (None, "rps of dtype object, expected numbers"),
    ],
)
def test_a_rate_that_cannot_be_moves_nothing(rates: object, message: str) -> None:
    simulation, twin = meshes(), meshes()
    for advance in (simulation.advance, simulation.advance_closed):
        with pytest.raises(ValueError, match=message.replace("rps", "(rps|users)")):
            advance(rates)  # type: ignore[arg-type]
    for each in (simulation, twin):
        each.advance(np.full((2, 5), 30.0))
    ours, theirs = simulation.scrape(), twin.scrape()
    assert np.array_equal(ours.latency_p95_ms, theirs.latency_p95_ms) and ours.external_rps == pytest.approx(
        [30.0, 30.0]
    )


def test_masks_replicas_and_numbers_of_meshes_are_judged() -> None:
    simulation = meshes()
    for active in (np.ones(1, bool), np.ones(2), [1, 0], "x"):
        with pytest.raises(ValueError, match=r"active of"):
            simulation.advance(np.ones((2, 1)), active)  # type: ignore[arg-type]
    wanted = np.zeros((2, 20), np.int64)
    wanted[:, : len(simulation.order(0))] = simulation.counts(0)[:, 4]
    simulation.set_desired(wanted)
    too_many = wanted.copy()
    too_many[1, 0] = LARGEST_REPLICAS + 1
    for desired, message in (
        (too_many, "environment 1: 32768 replicas of service 0, more than 32767"),
        (wanted.astype(float), "desired: dtype float64, expected integers"),
        (np.full((2, 20), np.nan), r"desired: \[0, 0\] is nan, expected integers"),
        (wanted[:, :3], r"desired of shape \(2, 3\), expected \(2, 20\)"),
        (np.where(wanted == 0, 0, -wanted), r"-\d+ replicas of .*(negative count|stateful)"),
    ):
        with pytest.raises(ValueError, match=message):
            simulation.set_desired(desired)
    for b in (-1, 2, 0.0, True, None):
        with pytest.raises(ValueError, match=r"environment"):
            simulation.load(b, online_boutique())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"slo_ms nan is not a positive number"):
        simulation.load(0, online_boutique(), slo_ms=float("nan"))
    with pytest.raises(ValueError, match=r"'x' is not a Mesh"):
        simulation.load(0, "x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"there is no service 'x'; there are frontend"):
        simulation.crash_pods(0, "x", 1)
    with pytest.raises(ValueError, match=r"count -1 is not >= 0"):
        simulation.crash_pods(0, "frontend", -1)
    with pytest.raises(ValueError, match=r"batch_size 0 is not >= 1"):
        MeshSimulation(0, 20, 64, 6)
    with pytest.raises(ValueError, match=r"PhysicsSettings: request_timeout_seconds: -1.0 is not a number in"):
        PhysicsSettings(request_timeout_seconds=-1.0)


def test_an_episode_holds_a_load_that_can_be() -> None:
    episode = draw_episode(AutoscalingConfig(episode_decisions=4), Split.TRAIN, 0)
    spoiled = episode.rps.copy()
    spoiled[7] = np.nan
    for changes, message in (
        ({"rps": spoiled}, r"episode: rps\[7\] = nan is not in"),
        ({"rps": -episode.rps}, "episode: rps"),
        ({"rps": "x"}, "expected an array"),
        ({"slo_ms": 0.0}, "episode: slo_ms 0.0 is not a positive number"),
        ({"violation_weight": float("inf")}, "episode: violation_weight inf"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(episode, **changes)  # type: ignore[arg-type]


def test_choices_routers_and_seeds_of_queues_are_judged() -> None:
    simulation = QueueSimulation.of(base_model(), 2)
    simulation.reset(0)
    for actions in ([0.5, 1.0], [0], [[0, 1]], "x", [True, False]):
        with pytest.raises(ValueError, match=r"actions"):
            simulation.step(actions)
    for router in (-1, 11, "x", None):
        for call in (lambda router=router: simulation.choose(router), lambda router=router: simulation.run(router, 3)):
            with pytest.raises(ValueError, match=r"is not a valid Router"):
                call()
    for requests in (-3, 2.5, None):
        with pytest.raises(ValueError, match=r"requests"):
            simulation.run(Router.JSQ, requests)  # type: ignore[arg-type]
    for seed in (-1, 1.5, None):
        with pytest.raises(ValueError, match=r"seed"):
            simulation.reset(seed)  # type: ignore[arg-type]
    for call in (
        lambda: simulation.reset(0, [2]),
        lambda: simulation.lose(-1, 0),
        lambda: simulation.lose(0, -1),
        lambda: simulation.metrics_of(2),
        lambda: simulation.load(0, "x"),  # type: ignore[arg-type]
        lambda: QueueSimulation(0, 1, 1),
    ):
        with pytest.raises(ValueError, match=r"is not"):
            call()
    simulation.run(Router.JSQ, 3)
    with pytest.raises(ValueError, match=r"no request awaits"):
        QueueSimulation.of(base_model(), 1).choose(Router.JSQ)


def test_routers_choices_and_requests_of_llm_clusters_are_judged() -> None:
    requests = draw_requests(20, Arrivals(qps=5.0), LENGTHS["fixed"], 0)
    simulation = LLMSimulation(1, 2, 20)
    simulation.load(0, [Replica(), Replica()], requests)
    for router in (-1, 12_000, 1.5, "x", None):
        for call in (lambda router=router: simulation.choose(router), lambda router=router: simulation.run(router)):
            with pytest.raises(ValueError, match=r"router"):
                call()
    for chosen in ([0.0], [0, 1], "x", [True]):
        with pytest.raises(ValueError, match=r"chosen"):
            simulation.step(chosen)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"cluster 1 is not in 0 .. 0"):
        simulation.load(1, [Replica()], requests)
    with pytest.raises(ValueError, match=r"most -1"):
        simulation.run(0, most=-1)
    sound = np.array([1.0, 2.0]), np.array([5, 5]), np.array([5, 5])
    for wrong in (
        (sound[0], sound[1].astype(float), sound[2]),
        (sound[0], sound[1], sound[2] * 2**40),
        (np.array([1.0, np.nan]), *sound[1:]),
        (sound[0][None], *sound[1:]),
        (sound[0].astype(str), *sound[1:]),
        ([1.0, 2.0], *sound[1:]),
    ):
        with pytest.raises(WorkloadError, match=r"requests: "):
            Requests(*wrong)  # type: ignore[arg-type]
    assert simulation.run(0)
