"""The kernel against the event-by-event reference, request by request, on the same arrivals and service draws."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gnnrl.domains.queue_routing.baselines import NOWHERE, router_named
from gnnrl.domains.queue_routing.model import QueueModel, base_model
from gnnrl.domains.queue_routing.physics import QueueSimulation
from gnnrl.domains.queue_routing.streams import advance, exponential, stream_starts
from tests.domains.queue_routing.reference import Request, Seen, policies, simulate

SEED = 11
REQUESTS = 600
ENVIRONMENTS = 2


def models() -> list[QueueModel]:
    """The base model, where ties abound, and two of odd shapes, the last one overloaded."""
    generator = np.random.default_rng(5)
    three = QueueModel(
        types=("A", "B"),
        arrival_rates=(7.0, 3.0),
        replicas=("a", "b", "c"),
        service_rates=((4.0, 4.0), (4.0, 2.0), (2.0, 8.0)),
    )
    five = QueueModel(
        types=("A", "B", "C", "D"),
        arrival_rates=(2.0, 5.0, 1.0, 7.0),
        replicas=tuple("vwxyz"),
        service_rates=tuple(tuple(row) for row in generator.uniform(1.0, 5.0, (5, 4)).tolist()),
    )
    return [base_model(), three, five]


def recorded(simulation: QueueSimulation, b: int, requests: int = REQUESTS) -> list[Request]:
    rows = simulation.table[b, :requests]
    return [
        Request(number, float(row["arrival"]), int(row["type"]), float(row["requirement"]))
        for number, row in enumerate(rows)
    ]


def check_finishes(simulation: QueueSimulation, b: int, requests: list[Request]) -> None:
    rows = simulation.table[b]
    assert [int(row["replica"]) for row in rows] == [request.replica for request in requests]
    assert rows["finish"].tolist() == pytest.approx([request.finish for request in requests], rel=1e-9)
    latencies = np.array([request.finish - request.arrival for request in requests])  # type: ignore[operator]
    metrics = simulation.metrics_of(b)
    assert metrics.finished == len(requests)
    assert metrics.mean_latency_seconds == pytest.approx(latencies.mean(), rel=1e-9)
    # The definition of the percentile is the reference's: no interpolation between requests, one bin of tolerance.
    exact = np.quantile(latencies, 0.99, method="inverted_cdf")
    assert metrics.p99_latency_seconds == pytest.approx(exact, rel=1 / 64)


@pytest.mark.parametrize("model", models(), ids=["base", "three", "overloaded"])
@pytest.mark.parametrize("name", sorted(policies(2)))
def test_routers_without_chance_make_the_same_choices(model: QueueModel, name: str) -> None:
    simulation = QueueSimulation.of(model, ENVIRONMENTS, record=REQUESTS)
    simulation.reset(SEED)
    simulation.run(router_named(name), REQUESTS)
    simulation.drain()
    for b in range(ENVIRONMENTS):
        requests = recorded(simulation, b)
        simulate(model.service_rates, requests, policies(len(model.replicas))[name])
        check_finishes(simulation, b, requests)


@pytest.mark.parametrize("name", ["random", "jsq", "power_of_two"])
def test_what_chance_routed_is_served_alike(name: str) -> None:
    model = models()[2]
    simulation = QueueSimulation.of(model, ENVIRONMENTS, record=REQUESTS)
    simulation.reset(SEED)
    simulation.run(router_named(name), REQUESTS)
    simulation.drain()
    for b in range(ENVIRONMENTS):
        choices = iter(simulation.table[b]["replica"].tolist())
        seen: list[tuple[Seen, int]] = []

        def replay(see: Seen, choices: Iterator[int] = choices, seen: list[tuple[Seen, int]] = seen) -> int:
            seen.append((see, next(choices)))
            return seen[-1][1]

        requests = recorded(simulation, b)
        simulate(model.service_rates, requests, replay)
        check_finishes(simulation, b, requests)
        if name == "jsq":
            assert all(see.queue[choice] == min(see.queue) for see, choice in seen)
        if name == "power_of_two":
            assert not any(see.queue[choice] > sorted(see.queue)[-2] for see, choice in seen)


def chance_of(seed: int, b: int) -> Iterator[float]:
    state = stream_starts(seed, b)[1]
    while True:
        state = np.uint64(advance(state))
        yield exponential(state)


@pytest.mark.parametrize("model", models(), ids=["base", "three", "overloaded"])
def test_what_a_router_sees_step_by_step_while_replicas_come_and_go(model: QueueModel) -> None:
    """Queues, expected work, utilisation, the integral of the number in system: at every arrival, through losses down to no replica."""
    last = len(model.replicas) - 1
    changes = [(40, "lose", last), (90, "add", last), *((150 + r, "lose", r) for r in range(last + 1))]
    changes += [(200 + 10 * r, "add", r) for r in range(last + 1)] + [(301, "lose", 0)]
    simulation = QueueSimulation.of(model, ENVIRONMENTS, record=REQUESTS)
    simulation.reset(SEED)
    router = router_named("sed")
    states = []
    for number in range(REQUESTS):
        integral = simulation.state.integral.copy()
        for before, what, r in changes:
            for b in range(ENVIRONMENTS):
                if before == number and what == "lose":
                    simulation.lose(b, r)
                elif before == number:
                    simulation.add(b, r)
        s = simulation.state
        states.append((s.queue.copy(), s.work_seconds.copy(), s.utilisation.copy(), integral, s.waiting.copy()))
        simulation.step(simulation.choose(router))
    simulation.drain()
    for b in range(ENVIRONMENTS):
        requests = recorded(simulation, b)
        policy = policies(last + 1)["sed"]
        seen = simulate(
            model.service_rates,
            requests,
            lambda see, policy=policy: policy(see) if see.present else None,
            changes,
            chance_of(SEED, b),
        )
        assert max(see.waiting for see in seen) > 30
        check_finishes(simulation, b, requests)
        for (queue, work, utilisation, integral, waiting), see in zip(states, seen, strict=True):
            assert queue[b].tolist() == see.queue
            assert waiting[b] == see.waiting
            assert work[b].tolist() == pytest.approx([float(value) for value in see.work], abs=1e-9)
            assert utilisation[b].tolist() == pytest.approx(see.utilisation, abs=1e-9)
            assert integral[b] == pytest.approx(see.integral, rel=1e-9)


def test_where_no_replica_is_nothing_can_be_chosen() -> None:
    simulation = QueueSimulation.of(base_model(), 1)
    simulation.reset(0)
    simulation.lose(0, 0)
    simulation.lose(0, 1)
    assert simulation.choose(router_named("oracle")).tolist() == [NOWHERE]
