"""The built-in mesh against what was read in the source of the demo; its idle latency against simulated requests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnnrl.domains.autoscaling.idle_latency import idle_latency, idle_p95_ms, regularised_gamma, resolve_slo_ms
from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service, peak_rps
from gnnrl.domains.autoscaling.online_boutique import distinct_cart_items, online_boutique

ROW_A = {
    "frontend": 1.0,
    "productcatalogservice": 5.45,
    "currencyservice": 3.03,
    "cartservice": 0.963,
    "redis-cart": 1.07,
    "recommendationservice": 0.713,
    "adservice": 0.571,
    "shippingservice": 0.286,
    "checkoutservice": 0.036,
    "paymentservice": 0.036,
    "emailservice": 0.036,
}


def test_calls_per_frontend_request_reproduce_the_load_generator() -> None:
    mesh = online_boutique()
    assert dict(zip(mesh.names, mesh.arrays().mean_visits, strict=True)) == pytest.approx(ROW_A, rel=0.01)


def test_sixteen_edges_with_the_one_from_outside() -> None:
    mesh = online_boutique()
    assert len(mesh.services) == 11
    assert len(mesh.calls) + len({request.root for request in mesh.classes}) == 16
    assert {(c.source, c.target) for c in mesh.calls} >= {
        ("cartservice", "redis-cart"),
        ("checkoutservice", "emailservice"),
    }


def test_cart_items_match_simulated_sessions() -> None:
    rng = np.random.default_rng(0)
    cart: set[int] = set()
    found, added = np.zeros(10), np.zeros(10)
    for task in rng.choice(["add", "view", "checkout"], p=[2 / 6, 3 / 6, 1 / 6], size=60_000):
        if task == "view":
            found[len(cart)] += 1
            continue
        cart.add(int(rng.integers(9)))
        added[len(cart)] += 1
        if task == "checkout":
            cart.clear()
    np.testing.assert_allclose(distinct_cart_items(just_added=False), found / found.sum(), atol=0.012)
    np.testing.assert_allclose(distinct_cart_items(just_added=True), added / added.sum(), atol=0.012)


def test_redis_holds_at_the_highest_level_of_the_nominal_mesh() -> None:
    mesh = online_boutique()
    arrays = mesh.arrays()
    redis = mesh.index("redis-cart")
    load = peak_rps(mesh, 17.0) * arrays.mean_visits[redis] * arrays.cpu_ms[redis] / arrays.cpu_limit[redis]
    assert 0.7 < load < 0.8
    assert peak_rps(mesh, 17.0) == pytest.approx(17 * 0.8 / 0.03)  # frontend: 6 ms at 200 millicores


def test_idle_p95_is_the_published_one() -> None:
    assert idle_p95_ms(online_boutique()) == pytest.approx(243.0, rel=0.01)
    assert resolve_slo_ms(online_boutique()) == pytest.approx(486.0, rel=0.01)
    assert resolve_slo_ms(replace(online_boutique(), slo_ms=300.0)) == 300.0


def simulate(mesh: Mesh, requests: int, seed: int) -> np.ndarray:
    """End-to-end latencies of requests that meet nobody else; independent of the formulas under test."""
    arrays = mesh.arrays()
    rng = np.random.default_rng(seed)

    def call(c: int, s: int) -> float:
        time = min(rng.exponential(1000 * arrays.cpu_ms[s] / arrays.cpu_limit[s]), arrays.timeout_ms[s])
        time += arrays.base_latency_ms[s]
        for e in np.flatnonzero(arrays.call_source == s):
            ratio = arrays.call_ratio[c, e]
            for _ in range(int(ratio) + (rng.random() < ratio % 1)):
                time += call(c, int(arrays.call_target[e]))
        return time

    classes = rng.choice(len(mesh.classes), p=arrays.class_weight, size=requests)
    return np.array([call(int(c), int(arrays.class_root[c])) for c in classes])


def test_idle_quantiles_match_simulated_requests() -> None:
    mesh = online_boutique()
    latencies = simulate(mesh, 12_000, seed=1)
    idle = idle_latency(mesh)
    assert idle.mix_mean_ms == pytest.approx(latencies.mean(), rel=0.02)
    for share, tolerance in ((0.5, 0.03), (0.95, 0.03), (0.99, 0.06)):
        assert idle.quantile_ms(share) == pytest.approx(np.quantile(latencies, share), rel=tolerance)
    assert idle.cdf(idle.quantile_ms(0.95)) == pytest.approx(0.95)


def test_idle_moments_of_a_cycle_and_a_timeout_match_simulated_requests() -> None:
    mesh = Mesh(
        name="loop",
        services=(
            Service(name="a", cpu_ms=2.0, base_latency_ms=1.0),
            Service(name="b", cpu_ms=4.0),
            Service(name="c", cpu_ms=20.0, timeout_ms=60.0, fatal=False),
        ),
        calls=(Call(source="a", target="b"), Call(source="b", target="a"), Call(source="a", target="c")),
        classes=(RequestClass(name="c", root="a", weight=1.0, calls=(1.5, 0.4, 0.5)),),
    )
    latencies = simulate(mesh, 20_000, seed=2)
    idle = idle_latency(mesh)
    assert idle.mean_ms[0] == pytest.approx(latencies.mean(), rel=0.02)
    assert idle.variance_ms2[0] == pytest.approx(latencies.var(), rel=0.06)


def test_one_exponential_service_is_exact() -> None:
    mesh = Mesh(
        name="one",
        services=(Service(name="a", cpu_ms=10.0, cpu_limit_millicores=100.0, base_latency_ms=5.0),),
        calls=(),
        classes=(RequestClass(name="c", root="a", weight=1.0, calls=()),),
    )
    assert idle_p95_ms(mesh) == pytest.approx(5.0 + 100.0 * np.log(20.0))


def test_regularised_gamma_against_closed_forms() -> None:
    for x in (0.01, 0.5, 3.0, 40.0):
        assert regularised_gamma(1.0, x) == pytest.approx(1 - np.exp(-x), rel=1e-12)
        assert regularised_gamma(3.0, x) == pytest.approx(1 - np.exp(-x) * (1 + x + x * x / 2), rel=1e-9)
    assert regularised_gamma(0.5, 2.0) == pytest.approx(0.9544997361036416, rel=1e-12)  # erf(sqrt(2))
    assert regularised_gamma(2.0, -1.0) == 0.0
