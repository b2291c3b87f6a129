"""The simulator against what is known exactly, or by long independent runs: each figure to 1 %, or to 3 standard errors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gnnrl.domains.queue_routing.baselines import Router
from gnnrl.domains.queue_routing.model import QueueModel, base_model, uniform_model
from gnnrl.domains.queue_routing.physics import QueueSimulation
from tests.domains.queue_routing.shortest_queue import drawn_latencies, mean_latency, stationary

ENVIRONMENTS = 32


def simulated(
    model: QueueModel, router: Router, requests: int, *, environments: int = ENVIRONMENTS
) -> dict[str, tuple[float, float]]:
    """Mean over environments and its standard error of each figure, after a tenth of the requests to warm up."""
    simulation = QueueSimulation.of(model, environments)
    simulation.reset(2)
    each = requests // environments
    simulation.run(router, each // 10)
    simulation.forget_measurements()
    simulation.run(router, each)
    figures = [vars(simulation.metrics_of(b)) for b in range(environments)]
    return {
        name: (
            float(np.mean([figure[name] for figure in figures])),
            float(np.std([figure[name] for figure in figures], ddof=1)) / math.sqrt(environments),
        )
        for name in figures[0]
    }  # fmt: skip


def check(measured: tuple[float, float], expected: float) -> None:
    value, error = measured
    assert abs(value - expected) <= max(0.01 * expected, 3.0 * error), (
        f"{value:.5g} +- {error:.2g} against {expected:.5g}"
    )
    assert error <= 0.02 * expected, "too few requests to tell"


POLICIES = {
    Router.RANDOM: (1.65, 7.7, 0.50),
    Router.ROUND_ROBIN: (1.2855, 6.04, 0.50),
    Router.JSQ: (0.8945, 4.108, 0.50),  # as solved below; a long simulation elsewhere gave 0.8975 and 4.16
    Router.JSQ_AFFINITY: (0.408, 1.94, 0.69),
    Router.SED: (0.2705, 1.26, 0.861),
    Router.AFFINITY: (0.25, 1.1513, 1.0),
    Router.SED_OWN_RATE: (0.2423, 1.077, 0.903),
    Router.COUNT_GAP: (0.2385, 1.035, 0.965),
    Router.WORK_GAP: (0.2365, 1.015, 0.9675),
    Router.ORACLE: (0.2334, 1.02, 0.954),
}


@pytest.mark.parametrize("router", POLICIES, ids=lambda router: router.name.lower())
def test_the_routers_reach_their_known_latencies(router: Router) -> None:
    measured = simulated(base_model(), router, 12_000_000)
    mean, p99, accuracy = POLICIES[router]
    check(measured["mean_latency_seconds"], mean)
    check(measured["p99_latency_seconds"], p99)
    check(measured["routing_accuracy"], accuracy)


def test_the_order_of_the_routers_that_are_close_is_certain_on_the_same_requests() -> None:
    """Paired: every environment meets the same requests whoever routes, so that differences of 1 % are far above chance."""
    means = {}
    for router in (Router.ORACLE, Router.WORK_GAP, Router.COUNT_GAP, Router.SED_OWN_RATE, Router.AFFINITY, Router.SED):
        simulation = QueueSimulation.of(base_model(), ENVIRONMENTS)
        simulation.reset(3)
        simulation.run(router, 100_000)
        means[router] = np.array([simulation.metrics_of(b).mean_latency_seconds for b in range(ENVIRONMENTS)])
    for better, worse in zip(means, list(means)[1:], strict=False):
        gain = means[worse] - means[better]
        assert gain.mean() > 4.0 * gain.std(ddof=1) / math.sqrt(ENVIRONMENTS), (better, worse)
    assert 0.2329 * 0.99 <= means[Router.ORACLE].mean() <= 0.2338 * 1.01


def test_the_shorter_queue_is_as_the_chain_of_lengths_solves_it() -> None:
    rates = base_model().rates
    law = stationary(12.0, rates, longest=60, steps=7000)
    mean, p99, _ = POLICIES[Router.JSQ]
    assert mean_latency(law, 12.0) == pytest.approx(mean, rel=0.002)
    latencies = drawn_latencies(law, rates, 1_000_000, np.random.default_rng(0))
    assert np.quantile(latencies, 0.99) == pytest.approx(p99, rel=0.01)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_replica_is_m_m_1(load: float) -> None:
    measured = simulated(uniform_model(1, service_rate=4.0, arrival_rate=4.0 * load), Router.RANDOM, 6_000_000)
    sojourn = 1.0 / (4.0 - 4.0 * load)
    check(measured["mean_latency_seconds"], sojourn)
    check(measured["p99_latency_seconds"], math.log(100.0) * sojourn)
    check(measured["p50_latency_seconds"], math.log(2.0) * sojourn)
    check(measured["mean_in_system"], load / (1.0 - load))


def test_mixed_types_at_one_replica_wait_as_pollaczek_and_khinchine_say() -> None:
    """M/H2/1: the wait is lambda E[S^2] / (2 (1 - rho)), whatever the type; the service is the type's own."""
    arrivals, rates = np.array([3.0, 1.0]), np.array([10.0, 2.5])
    model = QueueModel(
        types=("short", "long"),
        arrival_rates=tuple(arrivals.tolist()),
        replicas=("only",),
        service_rates=(tuple(rates.tolist()),),
    )
    load = float((arrivals / rates).sum())
    wait = float((arrivals * 2.0 / rates**2).sum()) / (2.0 * (1.0 - load))
    measured = simulated(model, Router.RANDOM, 12_000_000)
    check(measured["mean_latency_seconds"], wait + load / arrivals.sum())


@pytest.mark.parametrize(("load", "expected"), [(0.5, 1.42632), (0.8, 2.95574), (0.9, 5.4749)])
def test_the_shorter_of_two_queues(load: float, expected: float) -> None:
    measured = simulated(uniform_model(2, service_rate=1.0, arrival_rate=2.0 * load), Router.JSQ, 12_000_000)
    check(measured["mean_latency_seconds"], expected)


@pytest.mark.parametrize(
    ("load", "replicas", "expected"), [(0.5, 200, 1.26569), (0.7, 200, 1.61445), (0.9, 400, 2.61406)]
)
def test_two_choices_of_many_replicas_reach_the_mean_field(load: float, replicas: int, expected: float) -> None:
    """sum rho^(2^i - 2) with infinitely many replicas (Mitzenmacher 1996); with n of them the excess is of order 1 / n."""
    model = uniform_model(replicas, service_rate=1.0, arrival_rate=load * replicas)
    measured = simulated(model, Router.POWER_OF_TWO, 1_000_000, environments=4)
    check(measured["mean_latency_seconds"], expected)
