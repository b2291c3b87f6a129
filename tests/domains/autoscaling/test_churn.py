"""Topology changes: each keeps what it should keep, to the last call."""

from __future__ import annotations

import numpy as np
import pytest

from gnnrl.config.experiment import ChurnConfig
from gnnrl.domains.autoscaling.churn import (
    add_canary,
    add_dependency,
    draw_schedule,
    randomise,
    remove_call,
    remove_service,
    rename_service,
)
from gnnrl.domains.autoscaling.mesh import Mesh, MeshError, Service
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.random_mesh import random_mesh

RATES = ChurnConfig(
    service_added_per_hour=3.0,
    service_removed_per_hour=3.0,
    service_renamed_per_hour=2.0,
    call_removed_per_hour=2.0,
    pod_crashed_per_hour=4.0,
)


def load(mesh: Mesh) -> dict[str, float]:
    return dict(zip(mesh.names, mesh.arrays().mean_visits.tolist(), strict=True))


def test_a_canary_takes_its_share_and_calls_what_the_original_calls() -> None:
    before = load(online_boutique())
    mesh = add_canary(online_boutique(), "checkoutservice", "checkoutservice-v2", 0.3, cpu_factor=2.0)
    after = load(mesh)
    assert after["checkoutservice-v2"] == pytest.approx(0.3 * before["checkoutservice"])
    assert after["checkoutservice"] == pytest.approx(0.7 * before["checkoutservice"])
    for name in before:
        if name != "checkoutservice":
            assert after[name] == pytest.approx(before[name])
    assert mesh.services[mesh.index("checkoutservice-v2")].cpu_ms == 30.0


def test_a_canary_of_a_service_that_calls_itself_keeps_the_total() -> None:
    original = random_mesh(8, 3, cycles=4)
    looped = next(c for c in original.calls if c.source == c.target)
    roots = {request.root for request in original.classes}
    assert looped.source not in roots
    before, after = load(original), load(add_canary(original, looped.source, "new", 0.25))
    assert after["new"] == pytest.approx(0.25 * before[looped.source])
    assert after["new"] + after[looped.source] == pytest.approx(before[looped.source])


def test_a_removed_service_takes_its_calls_along_unless_there_is_an_heir() -> None:
    before = load(online_boutique())
    after = load(remove_service(online_boutique(), "checkoutservice"))
    assert "checkoutservice" not in after
    assert after["emailservice"] == 0.0
    assert after["currencyservice"] < before["currencyservice"]
    canary = add_canary(online_boutique(), "cartservice", "cartservice-v2", 0.4)
    assert load(remove_service(canary, "cartservice-v2", heir="cartservice")) == pytest.approx(before)


def test_a_rename_changes_names_only() -> None:
    mesh = rename_service(online_boutique(), "frontend", "web")
    assert list(load(mesh).values()) == pytest.approx(list(load(online_boutique()).values()))
    assert {request.root for request in mesh.classes} == {"web"}
    assert rename_service(mesh, "web", "frontend") == online_boutique()


def test_a_removed_call_and_an_added_dependency_change_one_edge() -> None:
    before = load(online_boutique())
    after = load(remove_call(online_boutique(), "recommendationservice", "productcatalogservice"))
    assert before["productcatalogservice"] - after["productcatalogservice"] == pytest.approx(
        before["recommendationservice"]
    )
    added = add_dependency(online_boutique(), "cartservice", Service(name="audit", cpu_ms=1.0), 0.5)
    assert load(added)["audit"] == pytest.approx(0.5 * before["cartservice"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: remove_service(m, "frontend"), "where requests enter"),
        (lambda m: remove_service(m, "ghost"), "unknown service 'ghost'"),
        (lambda m: remove_call(m, "adservice", "frontend"), "no call 'adservice' -> 'frontend'"),
        (lambda m: add_canary(m, "redis-cart", "redis-2", 0.5), "stateful"),
        (lambda m: add_canary(m, "adservice", "ad-2", 1.0), r"share 1.0 .* \(0, 1\)"),
        (lambda m: add_canary(m, "adservice", "cartservice", 0.5), "appears 2 times"),
        (lambda m: rename_service(m, "adservice", "cartservice"), "appears 2 times"),
    ],
)
def test_impossible_changes_are_named(change, message: str) -> None:
    with pytest.raises(MeshError, match=message):
        change(online_boutique())


def test_a_schedule_has_the_configured_rates_in_order_and_repeats() -> None:
    hours = 2000
    schedule = draw_schedule(RATES, hours * 3600, np.random.default_rng(0))
    seconds = [event.second for event in schedule.events]
    assert seconds == sorted(seconds)
    assert 0 <= seconds[0] <= seconds[-1] < hours * 3600
    for kind, rate in (("service_added", 3.0), ("call_removed", 2.0), ("pod_crashed", 4.0)):
        count = sum(event.kind == kind for event in schedule.events)
        assert count / hours == pytest.approx(rate, abs=4 * np.sqrt(rate / hours))
    assert schedule == draw_schedule(RATES, hours * 3600, np.random.default_rng(0))
    assert draw_schedule(ChurnConfig(), 3600, np.random.default_rng(0)).events == ()


def test_randomised_meshes_spread_over_the_ranges_and_keep_the_topology() -> None:
    base = online_boutique()
    cost, weight, startup = [], [], []
    for seed in range(200):
        mesh = randomise(
            base,
            np.random.default_rng(seed),
            cpu_cost_factor=(0.5, 2.0),
            class_mix_factor=(0.5, 2.0),
            startup_factor=(0.7, 1.5),
        )
        assert mesh.calls == base.calls
        cost.append(mesh.arrays().cpu_ms / base.arrays().cpu_ms)
        startup.append(mesh.arrays().startup_seconds / base.arrays().startup_seconds)
        weight.append(mesh.arrays().class_weight)
    factors = np.array(cost)
    assert 0.5 <= factors.min() < 0.51
    assert 1.95 < factors.max() <= 2.0
    assert np.log(factors).mean() == pytest.approx(0.0, abs=0.03)  # log-uniform about 1, service by service
    assert abs(np.corrcoef(np.log(factors[:, 0]), np.log(factors[:, 1]))[0, 1]) < 0.25
    assert 0.7 <= np.min(startup) < np.max(startup) <= 1.5
    np.testing.assert_allclose(np.sum(weight, axis=1), 1.0)
    same = randomise(base, np.random.default_rng(0))
    assert same.services == base.services
