"""The reference simulation against theory: it judges the tick model, so it must be right by itself."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service
from tests.domains.autoscaling.reference import SHARED_QUEUE, SHORTEST, simulate


def single(pods: int, rate: float, **changes: object) -> Mesh:
    """One service of `pods` pods that each serve `rate` calls/s."""
    service = Service(
        name="only",
        cpu_ms=1.0,
        cpu_limit_millicores=rate,
        cpu_request_millicores=1.0,
        replicas=pods,
        **changes,  # type: ignore[arg-type]
    )
    return Mesh(
        name="single",
        services=(service,),
        calls=(),
        classes=(RequestClass(name="all", root="only", weight=1.0, calls=()),),
    )


def settled(outcome, after: float) -> np.ndarray:  # type: ignore[no-untyped-def]
    return outcome.latency[outcome.finished_at > after]


@pytest.mark.parametrize("rho", [0.5, 0.8])
def test_one_pod_is_an_m_m_1_processor_sharing_queue(rho: float) -> None:
    latency = settled(simulate(single(1, 1000.0), np.full(1500, 1000.0 * rho), seed=1), 10.0)
    assert latency.mean() * 1000.0 == pytest.approx(1.0 / (1.0 - rho), rel=0.03)
    # Coffman, Muntz and Trotter 1970: more variable than first come first served.
    assert latency.var() / latency.mean() ** 2 == pytest.approx((2.0 + rho) / (2.0 - rho), rel=0.08)


@pytest.mark.parametrize(("pods", "load", "wait_probability"), [(2, 12.0, 0.45), (16, 144.0, 0.59134)])
def test_a_shared_queue_waits_as_erlang_says(pods: int, load: float, wait_probability: float) -> None:
    seconds = int(1.2e6 / load)
    latency = settled(simulate(single(pods, 10.0), np.full(seconds, load), seed=2, balancing=SHARED_QUEUE), 100.0)
    expected = wait_probability / (pods * 10.0 - load) + 0.1
    assert latency.mean() == pytest.approx(expected, rel=0.03)
    if pods == 2:
        assert expected == pytest.approx(0.15625)


@pytest.mark.parametrize(("rho", "expected"), [(0.5, 1.42632), (0.8, 2.95574), (0.9, 5.4749)])
def test_the_shorter_of_two_queues(rho: float, expected: float) -> None:
    outcome = simulate(single(2, 1000.0), np.full(700, 2000.0 * rho), seed=3, balancing=SHORTEST)
    assert settled(outcome, 5.0).mean() * 1000.0 == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize(("rho", "expected"), [(0.5, 1.26569), (0.7, 1.61445), (0.9, 2.61406)])
def test_two_choices_among_many_pods_reach_the_mean_field(rho: float, expected: float) -> None:
    # 100 pods are not infinitely many: their mean lies a few per cent above the limit at 0.9.
    outcome = simulate(single(100, 100.0), np.full(60, 10_000.0 * rho), seed=4)
    assert settled(outcome, 5.0).mean() * 100.0 == pytest.approx(expected, rel=0.03)


def test_an_open_network_with_a_cycle_has_product_form() -> None:
    services = (
        Service(name="a", cpu_ms=1.0, cpu_limit_millicores=1000.0),
        Service(name="b", cpu_ms=2.0, cpu_limit_millicores=1000.0),
        Service(name="c", cpu_ms=1.0, cpu_limit_millicores=1000.0),
    )
    calls = (Call(source="a", target="b"), Call(source="b", target="c"), Call(source="c", target="a"))
    classes = (
        RequestClass(name="x", root="a", weight=0.7, calls=(0.5, 1.5, 0.3)),
        RequestClass(name="y", root="c", weight=0.3, calls=(1.0, 0.0, 0.2)),
    )
    mesh = Mesh(name="cycle", services=services, calls=calls, classes=classes)
    arrays = mesh.arrays()
    rho = 750.0 * arrays.mean_visits * arrays.cpu_ms / arrays.cpu_limit
    assert (rho > 0.7).all()
    assert (rho < 0.9).all()
    outcome = simulate(mesh, np.full(900, 750.0), seed=5)
    np.testing.assert_allclose(outcome.calls_area[20:].mean(0), rho / (1.0 - rho), rtol=0.05)
    np.testing.assert_allclose(outcome.calls_done[20:].mean(0), 750.0 * arrays.mean_visits, rtol=0.01)


def test_timeouts_crashes_and_removed_pods_lose_nothing_unaccounted() -> None:
    mesh = single(4, 50.0)
    outcome = simulate(
        mesh,
        np.full(60, 180.0),
        seed=6,
        changes=[(20.0, "only", 1), (40.0, "only", 4)],
        crashes=[(45.0, "only", 2)],
        request_timeout=3.0,
    )
    assert outcome.arrivals == len(outcome.latency) + outcome.in_flight
    assert outcome.failed.sum() == outcome.calls_lost.sum()
    assert outcome.latency.max() <= 3.0 + 1e-9
    in_overload = (outcome.finished_at > 26.0) & (outcome.finished_at < 40.0)
    # One pod serves 50 of 180 requests a second; the others wait until they are given up.
    assert outcome.failed[in_overload].mean() == pytest.approx(1.0 - 50.0 / 180.0, abs=0.03)


def test_a_call_that_may_fail_is_given_up_at_its_own_timeout() -> None:
    outcome = simulate(single(1, 100.0, timeout_ms=20.0, fatal=False), np.full(300, 10.0), seed=7)
    assert not outcome.failed.any()
    assert outcome.latency.max() <= 0.02 + 1e-9
    assert outcome.calls_lost.sum() > 0
