"""The routers as functions of arrays and as compiled code choose alike, on states they meet and on states drawn at random."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.domains.queue_routing.baselines import NOWHERE, ROUTERS, Router, RoutingState, route, router_named
from gnnrl.domains.queue_routing.model import QueueModel, base_model
from gnnrl.domains.queue_routing.physics import QueueSimulation

BATCH = 64


def mixed_batch(seed: int) -> QueueSimulation:
    """Environments of one to five replicas with one to three types, some rates equal, some replicas lost."""
    generator = np.random.default_rng(seed)
    simulation = QueueSimulation(BATCH, 5, 3)
    for b in range(BATCH):
        replicas, types = int(generator.integers(1, 6)), int(generator.integers(1, 4))
        rates = generator.choice([2.0, 4.0, 5.0, 10.0], size=(replicas, types))
        model = QueueModel(
            types=tuple("ABC"[:types]),
            arrival_rates=tuple((generator.uniform(0.5, 1.2, types) * rates.sum(axis=0) / types).tolist()),
            replicas=tuple(f"r{r}" for r in range(replicas)),
            service_rates=tuple(tuple(row) for row in rates.tolist()),
        )
        simulation.load(b, base_model() if b % 4 == 0 else model)
    simulation.reset(seed)
    return simulation


@pytest.mark.parametrize("router", list(Router), ids=lambda router: router.name.lower())
def test_both_choose_alike(router: Router) -> None:
    simulation = mixed_batch(int(router))
    chooses_otherwise = 0
    for step in range(300):
        if step in (50, 100):
            for b in range(0, BATCH, 3):
                present = np.flatnonzero(simulation.state.present_mask[b])
                if present.size > (step == 50):
                    simulation.lose(b, int(present[step % present.size]))
        uniforms = simulation.chance()
        expected = route(router, simulation.routing_state(), uniforms)
        chosen = simulation.choose(router)
        assert chosen.tolist() == expected.tolist()
        # Not to check only the states that the router itself leads to: every third choice is another's.
        other = simulation.choose(Router.RANDOM) if step % 3 == 0 else chosen
        chooses_otherwise += int((other != chosen).sum())
        simulation.step(other)
    assert simulation.state.queue.max() > 4
    assert (chosen == NOWHERE).any()
    assert chooses_otherwise > 100


def test_running_is_stepping() -> None:
    for router in Router:
        running, stepping = mixed_batch(9), mixed_batch(9)
        running.run(router, 50)
        for _ in range(50):
            stepping.step(stepping.choose(router))
        for name, value in vars(stepping.state).items():
            assert np.array_equal(value, getattr(running.state, name)), (router, name)


def state_of(queue: list[int], work: list[float], kind: int = 0, last: int = -1) -> RoutingState:
    return RoutingState(
        queue=np.array([queue]),
        work_seconds=np.array([work]),
        present_mask=np.ones((1, len(queue)), np.bool_),
        request_type=np.array([kind]),
        service_seconds=np.array([[[0.1, 0.2], [0.2, 0.1]]]),
        last_choice=np.array([last]),
    )


@pytest.mark.parametrize(
    ("name", "queue", "work", "expected"),
    [
        # A request of type A is served in 0.1 s by replica 0 and in 0.2 s by replica 1.
        ("affinity", [9, 0], [0.9, 0.0], 0),
        ("jsq_affinity", [1, 1], [0.1, 0.1], 0),
        ("jsq_affinity", [2, 1], [0.2, 0.1], 1),
        ("sed", [2, 0], [0.2, 0.0], 1),
        ("sed", [1, 0], [0.1, 0.0], 0),  # 0.2 s either way: to the fast one
        ("sed", [1, 0], [0.2, 0.0], 1),  # one request of type B
        ("sed_own_rate", [1, 0], [0.2, 0.0], 0),  # which this one does not look at
        ("sed_own_rate", [2, 0], [0.2, 0.0], 1),
        ("count_gap", [4, 1], [0.4, 0.1], 0),
        ("count_gap", [5, 1], [0.5, 0.1], 1),
        ("work_gap", [4, 1], [0.4, 0.1], 0),  # exactly 0.3 s, but for rounding
        ("work_gap", [4, 1], [0.5, 0.1], 1),
        ("oracle", [2, 0], [0.2, 0.0], 0),
        ("oracle", [3, 0], [0.3, 0.0], 1),
        ("oracle", [3, 1], [0.3, 0.1], 0),
        ("oracle", [7, 1], [0.7, 0.1], 0),
        ("oracle", [8, 1], [0.8, 0.1], 1),
        ("round_robin", [0, 0], [0.0, 0.0], 0),
    ],
)  # fmt: skip
def test_the_rules_by_hand(name: str, queue: list[int], work: list[float], expected: int) -> None:
    uniforms = np.zeros((1, 2))
    assert route(router_named(name), state_of(queue, work), uniforms).tolist() == [expected]
    mirrored = state_of(queue[::-1], work[::-1], kind=1, last=0 if name == "round_robin" else -1)
    assert route(router_named(name), mirrored, uniforms).tolist() == [1 - expected]


def test_chance_is_spread_evenly() -> None:
    uniforms = np.random.default_rng(0).random((9000, 2))
    queue = np.array([3, 1, 1, 1, 2])
    state = RoutingState(
        queue=np.tile(queue, (9000, 1)),
        work_seconds=np.zeros((9000, 5)),
        present_mask=np.tile([True, True, False, True, True], (9000, 1)),
        request_type=np.zeros(9000, np.int64),
        service_seconds=np.ones((9000, 5, 1)),
        last_choice=np.zeros(9000, np.int64),
    )
    shares = {name: np.bincount(route(router_named(name), state, uniforms), minlength=5) / 9000 for name in ROUTERS}
    assert shares["random"] == pytest.approx([0.25, 0.25, 0.0, 0.25, 0.25], abs=0.02)
    assert shares["jsq"] == pytest.approx([0.0, 0.5, 0.0, 0.5, 0.0], abs=0.02)
    # Of the six pairs, the longest queue wins none, the next one only against it, and the two shortest share the rest.
    assert shares["power_of_two"] == pytest.approx([0.0, 5 / 12, 0.0, 5 / 12, 1 / 6], abs=0.02)


def test_names_and_numbers_belong_together() -> None:
    assert [router.name.lower() for router in Router] == sorted(ROUTERS, key=lambda name: router_named(name))
    with pytest.raises(ValueError, match="'fastest' is not a router; there are random, round_robin, jsq"):
        router_named("fastest")
