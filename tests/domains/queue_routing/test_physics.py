"""The simulation as a whole: streams, bookkeeping, replicas that come and go, long queues, mistakes of the caller."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.domains.queue_routing.baselines import NOWHERE, Router
from gnnrl.domains.queue_routing.model import QueueModel, base_model, uniform_model
from gnnrl.domains.queue_routing.physics import QueueOverflowError, QueueSimulation


def played(batch: int, seed: int, router: Router, requests: int = 200) -> QueueSimulation:
    simulation = QueueSimulation.of(base_model(), batch, record=requests)
    simulation.reset(seed)
    simulation.run(router, requests)
    return simulation


def test_an_environment_is_the_same_in_every_batch() -> None:
    for router in (Router.RANDOM, Router.ORACLE):
        small, large = played(2, 5, router), played(7, 5, router)
        assert small.table.tobytes() == large.table[:2].tobytes()
        assert small.metrics_of(1) == large.metrics_of(1)


def test_resetting_one_environment_leaves_the_others_alone() -> None:
    simulation, untouched = played(3, 5, Router.JSQ), played(3, 5, Router.JSQ)
    simulation.reset(5, [1])
    assert simulation.state.now_seconds[1] < untouched.state.now_seconds[1]
    simulation.run(Router.JSQ, 200)
    untouched.run(Router.JSQ, 200)
    assert simulation.metrics_of(0) == untouched.metrics_of(0)
    assert simulation.metrics_of(2) == untouched.metrics_of(2)
    assert simulation.metrics_of(1) == played(3, 5, Router.JSQ).metrics_of(1)


@pytest.mark.parametrize("router", [Router.RANDOM, Router.SED])
def test_everybody_meets_the_same_requests(router: Router) -> None:
    one, other = played(2, 5, router).table, played(2, 5, Router.AFFINITY).table
    for column in ("arrival", "type", "requirement"):
        assert np.array_equal(one[column], other[column])
    assert not np.array_equal(one["replica"], other["replica"])
    elsewhere = played(2, 6, router).table
    assert not np.isin(elsewhere["arrival"], one["arrival"]).any()
    assert not np.isin(one["arrival"][0], one["arrival"][1]).any()


def test_the_streams_have_the_laws_of_the_model() -> None:
    model = QueueModel(
        types=("A", "B", "C"), arrival_rates=(1.0, 5.0, 2.0), replicas=("r",), service_rates=((20.0, 20.0, 20.0),)
    )
    count = 200_000
    simulation = QueueSimulation.of(model, 2, record=count)
    simulation.reset(8)
    simulation.run(Router.RANDOM, count)
    for table in simulation.table:
        gaps, requirement = np.diff(table["arrival"], prepend=0.0), table["requirement"]
        kinds = np.eye(3)[table["type"]]
        assert kinds.mean(axis=0) == pytest.approx([1 / 8, 5 / 8, 2 / 8], abs=0.005)
        for values, mean in ((gaps, 1 / 8), (requirement, 1.0)):
            assert values.mean() == pytest.approx(mean, rel=0.01)
            assert values.std() == pytest.approx(mean, rel=0.015)
            assert (values > np.log(1000.0) * mean).mean() == pytest.approx(1e-3, rel=0.2)
            assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.01
        assert np.abs(np.corrcoef(np.c_[gaps, requirement, kinds[:, :2]].T)[0, 1:]).max() < 0.01


def test_littles_law_holds_to_rounding_once_all_are_finished() -> None:
    simulation = played(4, 1, Router.JSQ, 5000)
    integral = np.zeros(4)
    for _ in range(300):
        simulation.step(simulation.choose(Router.ORACLE))
        integral += simulation.state.integral
    assert (integral > 0.0).all()
    simulation.drain()
    table_latency = simulation.metrics().mean_latency_seconds
    totals = simulation.metrics().mean_in_system * simulation.state.now_seconds.sum()
    assert simulation.metrics().finished == simulation.metrics().routed == 4 * 5300
    assert totals == pytest.approx(table_latency * 4 * 5300, rel=1e-9)


def test_utilisation_is_the_load() -> None:
    simulation = QueueSimulation.of(uniform_model(1, service_rate=2.0, arrival_rate=1.4), 500)
    simulation.reset(0)
    simulation.run(Router.RANDOM, 300)
    utilisation = simulation.state.utilisation[:, 0]
    assert utilisation.mean() == pytest.approx(0.7, abs=0.03)
    assert utilisation.min() >= 0.0 and utilisation.max() <= 1.0 + 1e-12
    # Where the queue was long for long, the replica was never idle.
    assert utilisation[simulation.state.queue[:, 0] > 40] == pytest.approx(1.0, abs=0.05)


def test_measuring_starts_where_it_is_told_to() -> None:
    simulation = played(3, 1, Router.JSQ, 1000)
    before = simulation.metrics()
    simulation.forget_measurements()
    assert simulation.metrics().routed == simulation.metrics().finished == 0
    assert np.isnan(simulation.metrics().p99_latency_seconds)
    simulation.run(Router.AFFINITY, 1000)
    after = simulation.metrics()
    assert (before.routing_accuracy, after.routing_accuracy) == (pytest.approx(0.5, abs=0.05), 1.0)
    assert after.routed == 3000


def test_accuracy_is_judged_among_the_replicas_that_are_there() -> None:
    simulation = QueueSimulation.of(base_model(), 1)
    simulation.reset(0)
    simulation.lose(0, 0)
    simulation.run(Router.AFFINITY, 300)
    assert simulation.metrics().routing_accuracy == 1.0
    simulation.add(0, 0, [1.0, 1.0])
    simulation.forget_measurements()
    for _ in range(100):
        simulation.step([0])
        assert not simulation.state.last_fast_mask[0]
    assert simulation.metrics().routing_accuracy == 0.0
    assert simulation.state.service_rates[0].tolist() == [[1.0, 1.0], [5.0, 10.0]]


def test_a_free_column_takes_a_replica_of_new_rates() -> None:
    simulation = QueueSimulation(1, 3, 2)
    simulation.load(0, base_model())
    simulation.reset(0)
    assert simulation.state.present_mask.tolist() == [[True, True, False]]
    with pytest.raises(ValueError, match=r"environment 0: rates \[0.0, 0.0\] of column 2 are not 2 positive numbers"):
        simulation.add(0, 2)
    simulation.add(0, 2, [100.0, 100.0])
    simulation.run(Router.AFFINITY, 200)
    assert simulation.state.last_choice[0] == 2
    simulation.reset(0)
    assert simulation.state.present_mask.tolist() == [[True, True, False]]


def test_without_a_replica_requests_wait_and_none_is_lost() -> None:
    simulation = QueueSimulation.of(base_model(), 1, record=200)
    simulation.reset(4)
    simulation.run(Router.JSQ, 20)
    held = int(simulation.state.queue.sum())
    simulation.lose(0, 0)
    simulation.lose(0, 1)
    assert simulation.state.waiting.tolist() == [held]
    for _ in range(100):
        simulation.step([NOWHERE])
    assert simulation.state.waiting.tolist() == [held + 100]
    assert simulation.state.queue.sum() == 0
    simulation.add(0, 1)
    assert simulation.state.waiting.tolist() == [0]
    assert simulation.state.queue.tolist() == [[0, held + 100]]
    simulation.run(Router.AFFINITY, 80)
    simulation.drain()
    assert simulation.metrics().finished == simulation.metrics().routed == 200
    table = simulation.table[0]
    assert not np.isnan(table["finish"]).any()
    # One replica, first come first served: what waited is finished in the order in which it came.
    waited = table[20:120]
    assert (np.diff(waited["finish"]) > 0.0).all()


def test_queues_grow_and_nothing_changes_by_it() -> None:
    """Overloaded twice: the queues outgrow their memory many times, and every request is still served in its order."""
    count = 3000
    simulation = QueueSimulation.of(uniform_model(1, service_rate=1.0, arrival_rate=2.0), 2, record=count)
    simulation.reset(0)
    simulation.run(Router.RANDOM, count - 100)
    for _ in range(100):
        simulation.step(simulation.choose(Router.RANDOM))
    assert simulation.state.queue.min() > 1000
    assert simulation.state.work_seconds == pytest.approx(simulation.state.queue.astype(float))
    simulation.drain()
    for table in simulation.table:
        finish = 0.0
        for row in table:
            finish = max(finish, row["arrival"]) + row["requirement"]
            assert row["finish"] == pytest.approx(finish, rel=1e-12)


def test_queues_that_would_fill_the_memory_are_an_error() -> None:
    simulation = QueueSimulation(1, 1, 1, memory_limit_bytes=1 << 20)
    simulation.load(0, uniform_model(1, service_rate=1.0, arrival_rate=3.0))
    simulation.reset(0)
    with pytest.raises(QueueOverflowError, match="more arrives than this router has served"):
        simulation.run(Router.RANDOM, 1_000_000)


def test_an_action_without_a_replica_moves_nothing() -> None:
    simulation = QueueSimulation(3, 4, 2)
    for b in range(3):
        simulation.load(b, base_model())
    simulation.reset(0)
    simulation.lose(2, 0)
    before = simulation.state.now_seconds.copy()
    for actions, message in (
        ([0, 2, 1], "environment 1: action 2 is no present replica; it must be one of 0, 1"),
        ([0, 1, 0], "environment 2: action 0 is no present replica; it must be one of 1"),
        ([0, NOWHERE, 1], "environment 1: action -1"),
        ([0, 1], r"actions of shape \(2,\), expected \(3,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            simulation.step(actions)
    simulation.lose(2, 1)
    with pytest.raises(ValueError, match="environment 2: action 1 is no present replica; it must be -1, as no replica"):
        simulation.step([0, 1, 1])
    assert np.array_equal(simulation.state.now_seconds, before)
    simulation.step([0, 1, NOWHERE])
    assert (simulation.state.now_seconds > before).all()


def test_calls_out_of_order_are_errors() -> None:
    simulation = QueueSimulation(2, 2, 2)
    with pytest.raises(ValueError, match="environment 0 has no model"):
        simulation.reset(0)
    for b in range(2):
        simulation.load(b, base_model())
    with pytest.raises(ValueError, match="environment 0: no request awaits a choice; reset it first"):
        simulation.step([0, 0])
    with pytest.raises(ValueError, match="seed -1 is not >= 0"):
        simulation.reset(-1)
    simulation.reset(0)
    with pytest.raises(ValueError, match="environment 1: column 1 has a replica already"):
        simulation.add(1, 1)
    with pytest.raises(ValueError, match=r"environment 1: column 2 is not in 0 \.\. 1"):
        simulation.lose(1, 2)
    simulation.lose(1, 1)
    with pytest.raises(ValueError, match="environment 1: column 1 has no replica"):
        simulation.lose(1, 1)
    with pytest.raises(ValueError, match="environment 0: the model has 3 replicas, the simulation holds at most 2"):
        simulation.load(0, uniform_model(3, service_rate=1.0, arrival_rate=1.0))
    simulation.drain()
    with pytest.raises(ValueError, match="no request awaits a choice"):
        simulation.run(Router.SED, 1)
    with pytest.raises(ValueError, match="max_types 0 is not >= 1"):
        QueueSimulation(1, 1, 0)


def test_the_state_cannot_be_written() -> None:
    simulation = played(1, 0, Router.SED)
    for value in vars(simulation.state).values():
        with pytest.raises(ValueError, match="read-only"):
            value[:] = 0
