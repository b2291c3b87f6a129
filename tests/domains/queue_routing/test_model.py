"""Queue models: what is wrong with one, files, how much load one takes, and what a step is worth."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from gnnrl.domains.queue_routing.baselines import Router
from gnnrl.domains.queue_routing.metrics import percentile
from gnnrl.domains.queue_routing.model import QueueModel, QueueModelError, base_model, uniform_model
from gnnrl.domains.queue_routing.model_file import load_queue_model
from gnnrl.domains.queue_routing.objective import RoutingReward
from gnnrl.domains.queue_routing.physics import LATENCY_EDGES_SECONDS, QueueSimulation
from gnnrl.domains.queue_routing.stability import best_load, load_warnings, static_loads

BASE = "arrivals: {A: 6, B: 6}\nreplicas:\n  replica_0: {A: 10, B: 5}\n  replica_1: {A: 5, B: 10}\n"


def test_every_problem_of_a_model_is_named_at_once() -> None:
    with pytest.raises(QueueModelError) as wrong:
        QueueModel(
            types=("A", "A", "b c"),
            arrival_rates=(1.0, 0.0),
            replicas=("x", "y"),
            service_rates=((1.0, 0.0, math.nan), (1.0, math.inf)),
        )
    assert [problem.partition(";")[0] for problem in wrong.value.problems] == [
        "types: 'A' appears 2 times",
        "types: 'b c' is no name",
        "arrival_rates: 2 rates for 3 types",
        "arrival rate of type 'A': 0.0 is not a positive number of requests/s",
        "service rate of replica 'x' for type 'A': 0.0 is not a positive number of requests/s",
        "service rate of replica 'x' for type 'b c': nan is not a positive number of requests/s",
        "service rates of replica 'y': 2 rates for 3 types",
        "service rate of replica 'y' for type 'A': inf is not a positive number of requests/s",
    ]
    with pytest.raises(QueueModelError, match="replicas: at least one is needed"):
        uniform_model(0, service_rate=1.0, arrival_rate=1.0)


def test_a_model_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    assert load_queue_model(path) == base_model()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a mapping with the keys arrivals and replicas is expected"),
        ("arrivals: [", "is no YAML"),
        ("arrivals: {A: 1}\narrivals: {A: 1}", "key 'arrivals' appears twice"),
        ("arrival: {A: 1}\nreplicas: {x: {A: 2}}", "arrival: unknown key; known are arrivals, replicas"),
        ("replicas: {x: {A: 2}}", "arrivals: is missing"),
        ("arrivals: 3\nreplicas: {x: 2}", "arrivals: must be a mapping, not 3"),
        ("arrivals: 3\nreplicas: {x: 2}", "replicas.x: must be a mapping of types to requests/s, not 2"),
        ("arrivals: {A: 1, B: 2}\nreplicas: {x: {A: 2, C: 1}}", "replica 'x': no rate for type 'B'"),
        ("arrivals: {A: 1, B: 2}\nreplicas: {x: {A: 2, C: 1}}", "replica 'x': unknown type 'C'; those that arrive are A, B"),
        ("arrivals: {A: 1}\nreplicas: {x: {A: 0}}", "for type 'A': 0 is not a positive number"),
        ("arrivals: {A: fast}\nreplicas: {x: {A: 1}}", "arrival rate of type 'A': 'fast' is not a positive number"),
        ("arrivals: {}\nreplicas: {}", "types: at least one is needed"),
        ("arrivals: {1: 1}\nreplicas: {x: {1: 1}}", "types: 1 is no name"),
    ],
)  # fmt: skip
def test_errors_of_a_file_name_the_place(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(QueueModelError) as wrong:
        load_queue_model(path)
    assert any(line.startswith(f"{path}: ") and message in line for line in str(wrong.value).splitlines())


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(QueueModelError, match=r"none\.yaml: cannot be read: No such file"):
        load_queue_model(tmp_path / "none.yaml")


def test_the_load_at_best() -> None:
    assert best_load(base_model()) == pytest.approx(0.6)
    assert best_load(uniform_model(5, service_rate=2.0, arrival_rate=9.0)) == pytest.approx(0.9)
    # Type A has a specialist; B fills what is left: A 4/8 of x, B 1.5 on x (0.5) and 3 on y (0.5 of 6), by hand.
    model = QueueModel(
        types=("A", "B"), arrival_rates=(4.0, 4.5), replicas=("x", "y"), service_rates=((8.0, 3.0), (1.0, 6.0))
    )
    # y serves B only, s * 4 / 8 + (s * 4.5 - 6) / 3 = 1 on x: s = 1.5.
    assert best_load(model) == pytest.approx(1.0 / 1.5)


def test_the_load_at_best_is_that_of_the_best_split_on_a_grid() -> None:
    generator = np.random.default_rng(1)
    grid = np.linspace(0.0, 1.0, 401)
    for _ in range(20):
        rates, arrivals = generator.uniform(0.5, 5.0, (2, 2)), generator.uniform(0.2, 3.0, 2)
        model = QueueModel(
            types=("A", "B"),
            arrival_rates=tuple(arrivals.tolist()),
            replicas=("x", "y"),
            service_rates=tuple(tuple(row) for row in rates.tolist()),
        )
        a, b = np.meshgrid(grid, grid)
        x = a * arrivals[0] / rates[0, 0] + b * arrivals[1] / rates[0, 1]
        y = (1 - a) * arrivals[0] / rates[1, 0] + (1 - b) * arrivals[1] / rates[1, 1]
        assert best_load(model) == pytest.approx(np.maximum(x, y).min(), rel=0.01)


def test_overload_is_a_warning() -> None:
    assert load_warnings(base_model(), Router.RANDOM) == []
    assert static_loads(base_model(), Router.RANDOM) == pytest.approx([0.9, 0.9])
    assert static_loads(base_model(), Router.AFFINITY) == pytest.approx([0.6, 0.6])
    assert static_loads(base_model(), Router.SED) is None
    busy = QueueModel(
        types=("A", "B"),
        arrival_rates=(8.0, 8.0),
        replicas=("x", "y"),
        service_rates=((10.0, 5.0), (5.0, 10.0)),
    )
    assert load_warnings(busy, Router.RANDOM) == [
        "random needs 1.2 of the capacity of x: its queue grows without end",
        "random needs 1.2 of the capacity of y: its queue grows without end",
    ]
    assert load_warnings(busy, Router.AFFINITY) == []
    (warning,) = load_warnings(uniform_model(2, service_rate=1.0, arrival_rate=2.0), Router.JSQ)
    assert warning == "the arrivals need 1 of the capacity at best: under any router the queues grow without end"


def test_the_parts_of_the_reward_are_switched_apart() -> None:
    simulation = QueueSimulation.of(base_model(), 50)
    simulation.reset(0)
    simulation.run(Router.JSQ, 100)
    state = simulation.state
    terms = RoutingReward(queue_weight=2.0, routing_bonus=0.5).terms(state)
    assert np.array_equal(terms.queue, -2.0 * state.integral)
    assert np.array_equal(terms.bonus, 0.5 * state.last_fast_mask)
    assert 0 < state.last_fast_mask.sum() < 50
    assert np.array_equal(RoutingReward(routing_bonus=0.0).terms(state).total, -state.integral)
    assert np.array_equal(RoutingReward(queue_weight=0.0).terms(state).total, 0.1 * state.last_fast_mask)


def test_percentiles_are_those_of_the_requests() -> None:
    latencies = np.random.default_rng(0).exponential(0.25, 400_000)
    histogram = np.histogram(latencies, LATENCY_EDGES_SECONDS)[0]
    for share in (0.01, 0.5, 0.9, 0.99, 0.999):
        assert percentile(histogram, LATENCY_EDGES_SECONDS, share) == pytest.approx(
            np.quantile(latencies, share), rel=0.001
        )
    assert np.all(np.diff(LATENCY_EDGES_SECONDS) <= LATENCY_EDGES_SECONDS[:-1] / 64)
    assert math.isnan(percentile(np.zeros(3, np.int64), np.arange(4.0), 0.5))
