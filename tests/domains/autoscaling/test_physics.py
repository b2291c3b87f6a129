"""Invariants of the mesh simulation: nothing lost, nothing mixed up, pods as an orchestrator treats them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from benchmarks.numpy_mesh import NumpyMeshes
from gnnrl.domains.autoscaling.idle_latency import idle_latency, idle_p95_ms
from gnnrl.domains.autoscaling.kernel import FAILED, FLOW, LANES, REQUESTS, SLOW
from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import LATENCY_EDGES_MS, MeshSimulation, PhysicsSettings
from gnnrl.domains.autoscaling.random_mesh import random_mesh

BOUTIQUE = online_boutique()


def service(name: str, cpu_ms: float = 6.0, **changes: Any) -> Service:
    return Service(name=name, cpu_ms=cpu_ms, **changes)


def single(replicas: int = 1, **changes: Any) -> Mesh:
    """One service whose pods serve 100 calls/s each."""
    return Mesh(
        name="single",
        services=(service("only", 2.0, replicas=replicas, **changes),),
        calls=(),
        classes=(RequestClass(name="all", root="only", weight=1.0, calls=()),),
        slo_ms=100.0,
    )


def loaded(mesh: Mesh, batch: int = 1, **settings: Any) -> MeshSimulation:
    simulation = MeshSimulation(batch, 20, 60, 6, PhysicsSettings(**settings))
    for b in range(batch):
        simulation.load(b, mesh)
    return simulation


def play(simulation: MeshSimulation, rps: float, seconds: int) -> Any:
    simulation.advance(np.full((simulation.batch_size, seconds), rps))
    return simulation.scrape()


def desired(simulation: MeshSimulation, **counts: int) -> None:
    wanted = simulation.window.desired.astype(np.int64)
    for name, count in counts.items():
        wanted[0, simulation.order(0).index(name)] = count
    simulation.set_desired(wanted)


def waiting(simulation: MeshSimulation) -> float:
    return float(simulation._state.phase[0, :, :, :, REQUESTS, 0].sum())


@pytest.mark.parametrize("rho", [0.1, 0.5, 0.9])
def test_one_pod_has_the_mean_and_the_variance_of_m_m_1(rho: float) -> None:
    simulation = loaded(single())
    play(simulation, 100.0 * rho, 400)
    window = play(simulation, 100.0 * rho, 50)
    assert window.latency_mean_ms[0] == pytest.approx(10.0 / (1.0 - rho), rel=2e-3)
    assert window.backlog[0, 0] == pytest.approx(rho / (1.0 - rho), rel=2e-3)
    assert window.cpu_millicores[0, 0] == pytest.approx(200.0 * rho + 0.35 * 100.0 * rho, rel=1e-3)


def test_requests_in_are_requests_out_and_failed_and_waiting() -> None:
    simulation = loaded(BOUTIQUE, request_timeout_seconds=5.0)
    arrived = done = failed = 0.0
    for rps in (10.0, 60.0, 80.0, 30.0, 0.0):
        for second in range(20):
            simulation.advance(np.full((1, 1), rps))
            if rps == 80.0 and second == 10:
                simulation.crash_pods(0, "currencyservice", 1)
            arrived += rps
        klass, mesh = simulation._state.klass[0, :, :, 0], simulation._state.mesh[0, :, 0]
        done += float(klass[:, FLOW].sum() + klass[:, FLOW + SLOW].sum())
        failed += float(mesh[FAILED])
        assert arrived == pytest.approx(done + failed + waiting(simulation), rel=1e-4)
        simulation.scrape()
    assert failed > 0.05 * arrived
    assert waiting(simulation) == pytest.approx(0.0, abs=1e-2)


def test_rows_of_a_batch_are_what_they_are_alone() -> None:
    # Up to rounding: a block goes through the largest number of phases of its meshes, and which operations a CPU contracts depends on that.
    meshes = [BOUTIQUE, random_mesh(12, 3), single(), random_mesh(20, 4, cycles=1), BOUTIQUE]
    rng = np.random.default_rng(0)
    rps = rng.uniform(5.0, 60.0, (len(meshes), 45)).astype(np.float32)
    together = MeshSimulation(len(meshes), 20, 60, 6)
    alone = [MeshSimulation(1, 20, 60, 6) for _ in meshes]
    for b, mesh in enumerate(meshes):
        together.load(b, mesh)
        alone[b].load(0, mesh)
    for start in range(0, 45, 15):
        together.advance(rps[:, start : start + 15])
        window = together.scrape()
        for b, simulation in enumerate(alone):
            simulation.advance(rps[b : b + 1, start : start + 15])
            single_window = simulation.scrape()
            for name, value in vars(window).items():
                own = getattr(single_window, name)[0]
                np.testing.assert_allclose(value[b], own, rtol=2e-6, atol=1e-6, err_msg=f"{name} of {b}")


def test_environments_past_the_first_block_are_simulated_too() -> None:
    simulation = MeshSimulation(LANES + 2, 20, 60, 6)
    for b in range(LANES + 2):
        simulation.load(b, BOUTIQUE)
    window = play(simulation, 20.0, 30)
    assert window.latency_p95_ms.min() > 0
    np.testing.assert_array_equal(window.latency_p95_ms, window.latency_p95_ms[0])


def test_inactive_environments_stand_still() -> None:
    simulation = loaded(BOUTIQUE, batch=3)
    play(simulation, 20.0, 30)
    before = simulation.state_dict()
    simulation.advance(np.full((3, 15), 30.0), np.array([False, True, False]))
    after = simulation.state_dict()
    for name in ("service", "phase", "klass", "mesh"):
        for lane in (0, 2):
            np.testing.assert_array_equal(before[name][..., lane], after[name][..., lane])
        assert not np.array_equal(before[name][..., 1], after[name][..., 1])
    np.testing.assert_array_equal(simulation.scrape().seconds, [0.0, 15.0, 0.0])


def test_slower_servers_make_everything_slower() -> None:
    latencies = []
    for factor in (1.0, 1.3, 1.8):
        services = tuple(replace(s, cpu_ms=s.cpu_ms * factor) for s in BOUTIQUE.services)
        window = play(loaded(replace(BOUTIQUE, services=services)), 16.0, 120)
        latencies.append((window.latency_mean_ms[0], window.latency_p95_ms[0], window.latency_p99_ms[0]))
    assert (np.diff(np.array(latencies), axis=0) > 10.0).all()


def test_without_load_nothing_happens_and_nothing_is_undefined() -> None:
    window = play(loaded(BOUTIQUE), 0.0, 60)
    for name, value in vars(window).items():
        assert np.isfinite(value).all(), name
    assert window.violating_seconds[0] == 0.0
    assert window.latency_p95_ms[0] == 0.0
    assert window.replica_seconds[0] == 11 * 60


def test_a_trickle_has_the_idle_latency() -> None:
    window = play(loaded(BOUTIQUE), 0.01, 120)
    assert window.latency_mean_ms[0] == pytest.approx(idle_latency(BOUTIQUE).mix_mean_ms, rel=0.01)
    assert window.latency_p95_ms[0] == pytest.approx(idle_p95_ms(BOUTIQUE), rel=0.02)


def test_percentiles_are_ordered_and_agree_with_the_histogram() -> None:
    simulation = loaded(BOUTIQUE, histogram=True)
    play(simulation, 20.0, 60)
    window = play(simulation, 20.0, 60)
    assert window.latency_p50_ms[0] < window.latency_p95_ms[0] < window.latency_p99_ms[0]

    counts = window.latency_histogram[0]
    assert counts.sum() == pytest.approx(20.0 * 60, rel=0.01)
    below = np.interp(window.latency_p95_ms[0], LATENCY_EDGES_MS, np.cumsum(counts)[:-1] / counts.sum())
    assert below == pytest.approx(0.95, abs=0.01)


def test_a_violating_second_is_one_with_too_many_slow_requests() -> None:
    simulation = loaded(single())
    # At 30 ms mean, exponential, exp(-100 / 30) = 3.6 % exceed 100 ms; at 40 ms 8.2 % do.
    play(simulation, 60.0, 200)
    assert play(simulation, 60.0, 60).violating_seconds[0] == 0
    play(simulation, 80.0, 400)
    assert play(simulation, 80.0, 60).violating_seconds[0] == 60


def test_an_overload_is_carried_over_and_drains() -> None:
    simulation = loaded(single(2), request_timeout_seconds=1000.0)
    play(simulation, 300.0, 20)
    assert waiting(simulation) == pytest.approx(20 * 100.0, rel=0.01)
    play(simulation, 100.0, 10)
    assert waiting(simulation) == pytest.approx(1000.0, rel=0.02)
    play(simulation, 100.0, 30)
    assert waiting(simulation) < 3.0


def test_requests_are_given_up_at_the_timeout() -> None:
    simulation = loaded(single(2), request_timeout_seconds=10.0)
    play(simulation, 400.0, 60)
    window = play(simulation, 400.0, 30)
    # Half of the load is served; the backlog stops growing, and nobody waits longer than the timeout.
    assert window.mesh_error_share[0] == pytest.approx(0.5, abs=0.02)
    assert window.latency_p99_ms[0] <= 10_000.0 + 1.0
    assert window.violating_seconds[0] == 30
    assert window.cpu_millicores[0, 0] == pytest.approx(400.0 + 0.35 * 400.0, rel=0.02)


def test_a_call_that_is_not_fatal_is_given_up_and_the_request_goes_on() -> None:
    mesh = Mesh(
        name="ads",
        services=(
            service("front", 2.0, replicas=3),
            service("ads", 5.0, timeout_ms=100.0, fatal=False),
        ),
        calls=(Call(source="front", target="ads"),),
        classes=(RequestClass(name="all", root="front", weight=1.0, calls=(1.0,)),),
    )
    simulation = loaded(mesh)
    play(simulation, 200.0, 60)
    window = play(simulation, 200.0, 30)
    # The ads serve 40 of 200 calls a second; what is left of the request does not suffer for more than 100 ms.
    assert window.mesh_error_share[0] == pytest.approx(0.0, abs=1e-3)
    assert window.error_share[0, 1] == pytest.approx(0.8, abs=0.03)
    assert window.mean_ms[0, 1] < 100.0
    assert window.latency_mean_ms[0] < 140.0
    fatal = replace(mesh, services=(mesh.services[0], replace(mesh.services[1], fatal=True)))
    simulation = loaded(fatal)
    play(simulation, 200.0, 60)
    assert play(simulation, 200.0, 30).mesh_error_share[0] == pytest.approx(0.8, abs=0.03)


def test_an_overloaded_front_end_protects_what_is_behind_it() -> None:
    simulation = loaded(BOUTIQUE)
    front, currency = BOUTIQUE.index("frontend"), BOUTIQUE.index("currencyservice")
    play(simulation, 100.0, 60)
    window = play(simulation, 100.0, 30)
    served = 1000.0 / 30.0
    assert window.rps_in[0, front] == pytest.approx(100.0, rel=0.01)
    assert window.rps_in[0, currency] == pytest.approx(served * BOUTIQUE.arrays().mean_visits[currency], rel=0.05)
    assert window.queue_excess[0].argmax() == front
    assert window.queue_excess[0].sum() == pytest.approx(1.0, abs=1e-5)


def test_cycles_self_calls_and_parts_apart_carry_the_traffic_of_the_equations() -> None:
    mesh = Mesh(
        name="odd",
        services=tuple(service(name, 1.0) for name in "abcde"),
        calls=(
            Call(source="a", target="b"),
            Call(source="b", target="a"),
            Call(source="c", target="c"),
        ),
        classes=(
            RequestClass(name="one", root="a", weight=0.5, calls=(0.8, 0.5, 0.0)),
            RequestClass(name="two", root="c", weight=0.5, calls=(0.0, 0.0, 0.6)),
        ),
    )
    simulation = loaded(mesh)
    play(simulation, 40.0, 60)
    window = play(simulation, 40.0, 30)
    np.testing.assert_allclose(window.rps_in[0, :5], 40.0 * mesh.arrays().mean_visits, rtol=2e-3)
    np.testing.assert_allclose(window.call_rps[0, :3], 40.0 * mesh.arrays().mean_call_rates, rtol=2e-3)
    assert window.rps_in[0, 3:].max() == 0.0
    assert window.rps_out[0, 0] == pytest.approx(window.call_rps[0, 0])


def test_no_ready_pod_means_errors_and_recovery() -> None:
    simulation = loaded(single(2, startup_seconds=20.0))
    play(simulation, 100.0, 30)
    assert simulation.crash_pods(0, "only", 5) == 2
    assert simulation.window.ready[0, 0] == 0
    window = play(simulation, 100.0, 20)
    assert window.mesh_error_share[0] == pytest.approx(1.0, abs=1e-3)
    assert window.violating_seconds[0] == 20
    for name, value in vars(window).items():
        assert np.isfinite(value).all(), name
    play(simulation, 100.0, 10)
    window = play(simulation, 100.0, 10)
    assert window.ready[0, 0] == 2
    assert window.mesh_error_share[0] == 0.0
    assert window.latency_mean_ms[0] < 20.0


def test_pods_start_are_billed_and_drain() -> None:
    simulation = loaded(single(1, startup_seconds=20.0))
    desired(simulation, only=3)
    window = play(simulation, 10.0, 15)
    assert (window.ready[0, 0], window.starting[0, 0], window.replica_changes[0]) == (1, 2, 2.0)
    assert window.replica_seconds[0] == 45
    assert window.seconds_since_change[0, 0] == 15
    window = play(simulation, 10.0, 6)
    assert (window.ready[0, 0], window.starting[0, 0]) == (3, 0)
    assert window.core_seconds[0] == pytest.approx(3 * 6 * 0.1)
    desired(simulation, only=1)
    window = play(simulation, 10.0, 10)
    # Two pods drain for the one second that their calls need.
    assert (window.ready[0, 0], window.draining[0, 0]) == (1, 0)
    assert window.replica_seconds[0] == 10 + 2
    assert window.billed_replicas[0, 0] == pytest.approx(1.2)


def test_starting_pods_are_taken_back_before_ready_ones() -> None:
    simulation = loaded(single(2, startup_seconds=20.0))
    desired(simulation, only=5)
    play(simulation, 10.0, 5)
    desired(simulation, only=3)
    window = play(simulation, 10.0, 1)
    assert (window.ready[0, 0], window.starting[0, 0], window.draining[0, 0]) == (2, 1, 0)


def test_pods_wait_for_room_in_the_order_they_were_asked_for() -> None:
    mesh = Mesh(
        name="tight",
        services=(service("a", startup_seconds=5.0), service("b", startup_seconds=5.0)),
        calls=(Call(source="a", target="b"),),
        classes=(RequestClass(name="all", root="a", weight=1.0, calls=(1.0,)),),
        node_cpu_millicores=400.0,
    )
    simulation = loaded(mesh)
    desired(simulation, b=4)
    play(simulation, 1.0, 1)
    desired(simulation, a=2)
    window = play(simulation, 1.0, 10)
    assert window.ready[0, :2].tolist() == [1, 3]
    assert window.pending[0, :2].tolist() == [1, 1]
    assert window.replica_seconds[0] == 40
    desired(simulation, b=3)
    assert play(simulation, 1.0, 10).pending[0, :2].tolist() == [1, 0]
    desired(simulation, b=2)
    window = play(simulation, 1.0, 10)
    assert window.ready[0, :2].tolist() == [2, 2]


def test_a_decision_in_the_second_in_which_pods_are_due_does_not_lose_them() -> None:
    simulation = loaded(single(1, startup_seconds=15.0))
    desired(simulation, only=3)
    play(simulation, 10.0, 15)
    desired(simulation, only=4)
    window = play(simulation, 10.0, 1)
    assert (window.ready[0, 0], window.starting[0, 0]) == (3, 1)


def test_the_state_of_a_stateful_service_is_its_own() -> None:
    simulation = loaded(BOUTIQUE)
    wanted = simulation.window.desired.astype(np.int64)
    wanted[0, BOUTIQUE.index("redis-cart")] = 2
    with pytest.raises(ValueError, match="'redis-cart', which is stateful"):
        simulation.set_desired(wanted)
    wanted[0, BOUTIQUE.index("redis-cart")] = 1
    wanted[0, 0] = -1
    with pytest.raises(ValueError, match="negative"):
        simulation.set_desired(wanted)
    with pytest.raises(ValueError, match="shape"):
        simulation.set_desired(wanted[:, :5])


def test_what_is_too_large_is_refused() -> None:
    simulation = MeshSimulation(1, 5, 60, 6)
    with pytest.raises(ValueError, match="11 services, environment 0 holds at most 5"):
        simulation.load(0, BOUTIQUE)
    with pytest.raises(ValueError, match="start"):
        simulation.load(0, single(startup_seconds=400.0))
    with pytest.raises(ValueError, match="no mesh"):
        simulation.order(0)


def test_churn_keeps_pods_and_queues_of_those_that_stay() -> None:
    simulation = loaded(BOUTIQUE)
    desired(simulation, frontend=3, currencyservice=2)
    play(simulation, 40.0, 12)
    before = simulation.state_dict()
    queue = before["phase"][0, ..., REQUESTS, 0].sum()
    canary = replace(BOUTIQUE.services[2], name="currency-v2", replicas=2)
    changed = replace(BOUTIQUE, services=(canary, *BOUTIQUE.services[::-1]))
    simulation.change_mesh(0, changed)
    assert simulation.order(0) == changed.names
    assert simulation.window.ready[0, changed.index("frontend")] == 3
    assert simulation.window.starting[0, 0] == 2
    assert simulation._state.phase[0, ..., REQUESTS, 0].sum() == pytest.approx(queue, rel=1e-5)
    window = play(simulation, 10.0, 20)
    assert window.mesh_error_share[0] < 0.01
    renamed = tuple(replace(s, name="currency-v3") if s.name == "currencyservice" else s for s in BOUTIQUE.services)
    calls = tuple(replace(c, target="currency-v3") if c.target == "currencyservice" else c for c in BOUTIQUE.calls)
    simulation.change_mesh(0, replace(BOUTIQUE, services=renamed, calls=calls))
    column = simulation.order(0).index("currency-v3")
    assert simulation.window.starting[0, column] == 1
    window = play(simulation, 10.0, 15)
    # While the renamed service starts, requests that need it fail.
    assert 0.3 < window.mesh_error_share[0] < 1.0


def test_churn_without_a_change_changes_nothing() -> None:
    one, other = loaded(BOUTIQUE), loaded(BOUTIQUE)
    for simulation in (one, other):
        play(simulation, 30.0, 37)
    other.change_mesh(0, BOUTIQUE)
    first, second = play(one, 30.0, 15), play(other, 30.0, 15)
    for name, value in vars(first).items():
        np.testing.assert_allclose(value, getattr(second, name), rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_closed_loop_settles_where_its_users_are() -> None:
    simulation = loaded(BOUTIQUE)
    simulation.advance_closed(np.full((1, 300), 100.0))
    simulation.scrape()
    simulation.advance_closed(np.full((1, 60), 100.0))
    window = simulation.scrape()
    expected = 1.472 * 100.0 / (5.5 + window.latency_mean_ms[0] / 1000.0)
    assert window.external_rps[0] == pytest.approx(expected, rel=1e-3)
    assert 20.0 < window.external_rps[0] < 1.472 * 100.0 / 5.5


def test_the_same_again_is_the_same_and_a_state_can_be_taken_up() -> None:
    one, other = loaded(BOUTIQUE), loaded(BOUTIQUE)
    play(one, 25.0, 20)
    desired(one, frontend=4)
    play(one, 25.0, 7)
    other.load_state_dict(one.state_dict())
    first, second = play(one, 25.0, 30), play(other, 25.0, 30)
    for name, value in vars(first).items():
        np.testing.assert_array_equal(value, getattr(second, name), err_msg=name)


def test_memory_grows_with_what_waits_up_to_the_limit() -> None:
    simulation = loaded(single())
    calm = play(simulation, 10.0, 30).memory_mib[0, 0]
    busy = play(simulation, 300.0, 30).memory_mib[0, 0]
    assert calm == pytest.approx(0.7 * 64.0, rel=0.02)
    assert busy == 128.0


def test_the_compiled_tick_is_the_plain_one() -> None:
    meshes = [BOUTIQUE, random_mesh(15, 7, cycles=1), single()]
    simulation = MeshSimulation(3, 20, 60, 6, PhysicsSettings(request_timeout_seconds=6.0))
    for b, mesh in enumerate(meshes):
        simulation.load(b, mesh)
    plain = NumpyMeshes(simulation)
    load = np.repeat([[10.0, 90.0, 20.0, 10.0], [5.0, 200.0, 10.0, 5.0], [50.0, 150.0, 60.0, 0.0]], 12, axis=1)
    for start in range(0, 48, 12):
        simulation.advance(load[:, start : start + 12])
        plain.advance(load[:, start : start + 12].astype(np.float32))
        same = NumpyMeshes(simulation)
        for name in ("service", "phase", "klass", "mesh"):
            np.testing.assert_allclose(getattr(plain, name), getattr(same, name), rtol=2e-3, atol=2e-4, err_msg=name)


def test_percentiles_of_one_exponential_class_are_its_own() -> None:
    # One pod, hardly any load: exponential with mean 10 ms.
    window = play(loaded(single()), 0.01, 60)
    for name, share in (("p50", 0.5), ("p95", 0.05), ("p99", 0.01)):
        assert getattr(window, f"latency_{name}_ms")[0] == pytest.approx(-10.0 * np.log(share), rel=0.01), name


def test_percentiles_are_those_of_the_histogram_whatever_the_load() -> None:
    meshes = [BOUTIQUE, random_mesh(20, 2), random_mesh(15, 7, cycles=1), single(2)]
    simulation = MeshSimulation(4, 20, 60, 6, PhysicsSettings(histogram=True))
    for b, mesh in enumerate(meshes):
        simulation.load(b, mesh)
    load = np.tile(np.repeat([5.0, 40.0, 5.0], 15).astype(np.float32), (4, 1)) * np.array([[0.8], [0.5], [0.3], [4.0]])
    for start in range(0, 45, 15):
        simulation.advance(load[:, start : start + 15])
        window = simulation.scrape()
        for b in range(4):
            slower = 1.0 - np.cumsum(window.latency_histogram[b])[:-1] / window.latency_histogram[b].sum()
            for name, share in (("p50", 0.5), ("p95", 0.05), ("p99", 0.01)):
                found = np.interp(getattr(window, f"latency_{name}_ms")[b], LATENCY_EDGES_MS, slower)
                assert found == pytest.approx(share, rel=0.1, abs=0.003), (b, start, name)
