"""What events hit, and what stands in a mesh while rollouts are under way: valid at every stage, within capacity, the calls conserved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gnnrl.config.experiment import ChurnConfig
from gnnrl.domains.autoscaling.changing_mesh import (
    Change,
    ChangingMesh,
    Crash,
    LostCall,
    LostService,
    Newcomer,
    draw_change,
)
from gnnrl.domains.autoscaling.churn import ChurnEvent, ChurnKind, draw_schedule
from gnnrl.domains.autoscaling.mesh import Mesh, Service
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.random_mesh import random_mesh

RATES = ChurnConfig(
    service_added_per_hour=3.0,
    service_removed_per_hour=3.0,
    service_renamed_per_hour=2.0,
    call_removed_per_hour=2.0,
    pod_crashed_per_hour=4.0,
)
SHOP = ChangingMesh(settled=online_boutique())


def load(mesh: Mesh) -> dict[str, float]:
    return dict(zip(mesh.names, mesh.arrays().mean_visits.tolist(), strict=True))


def newcomer(kind: str, follows: str, name: str, share: float = 1.0) -> Newcomer:
    original = online_boutique().services[online_boutique().index(follows)]
    return Newcomer(kind=kind, follows=follows, service=replace(original, name=name), share=share)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["service_added", "service_removed", "service_renamed", "call_removed"])
def test_each_kind_does_what_it_says_at_once(kind: ChurnKind) -> None:
    before, services, calls, names = SHOP.mesh, [], [], []
    for draw in range(20):
        change = draw_change(SHOP, ChurnEvent(second=1, kind=kind, draw=draw))
        assert change is not None and change == draw_change(SHOP, ChurnEvent(second=1, kind=kind, draw=draw))
        after = SHOP.after(change, 0, gated=False).mesh
        services.append(len(after.services) - len(before.services))
        calls.append(len(after.calls) - len(before.calls))
        names.append(len(set(after.names) - set(before.names)))
    expected = {"service_added": (1, 1), "service_removed": (-1, 0), "service_renamed": (0, 1), "call_removed": (0, 0)}
    assert set(zip(services, names, strict=True)) == {expected[kind]}
    if kind == "call_removed":
        assert set(calls) == {-1}


@pytest.mark.parametrize(
    ("kind", "share", "of_old"),
    [("canary", 0.4, [1.0, 0.9, 0.8, 0.6]), ("successor", 1.0, [1.0, 0.75, 0.5, None])],
)
def test_a_version_has_no_call_first_then_its_shares_of_them(
    kind: str, share: float, of_old: list[float | None]
) -> None:
    whole = load(SHOP.mesh)
    topology = SHOP.after(newcomer(kind, "cartservice", "new", share), 7, gated=True)
    assert topology.mesh.calls == SHOP.mesh.calls and topology.mesh.names == (*SHOP.mesh.names, "new")
    for moved, old in zip((0.0, 0.25, 0.5, 1.0), of_old, strict=True):
        topology = topology.moved(7, moved) if moved else topology
        found = load(topology.mesh)
        assert found.get("cartservice", -1.0) == pytest.approx(-1.0 if old is None else old * whole["cartservice"])
        assert found["new"] + found.get("cartservice", 0.0) == pytest.approx(whole["cartservice"])
        assert all(found[name] == pytest.approx(whole[name]) for name in whole if name != "cartservice")
    assert topology.rollouts == ()


def test_a_dependency_is_called_the_more_the_further_it_is() -> None:
    extra = Newcomer(kind="dependency", follows="frontend", service=Service(name="extra", cpu_ms=1.0), share=0.6)
    topology = SHOP.after(extra, 0, gated=True)
    assert topology.mesh.calls == SHOP.mesh.calls and load(topology.mesh)["extra"] == 0.0
    for moved in (0.5, 1.0):
        topology = topology.moved(0, moved)
        assert load(topology.mesh)["extra"] == pytest.approx(moved * 0.6 * load(SHOP.mesh)["frontend"])


def test_after_the_last_stage_it_is_the_mesh_of_a_hard_cutover() -> None:
    for kind, share in (("canary", 0.3), ("successor", 1.0), ("dependency", 0.7)):
        come = newcomer(kind, "adservice", "new", share)
        gradual = SHOP.after(come, 0, gated=True).moved(0, 0.25).moved(0, 1.0)
        assert gradual.mesh == SHOP.after(come, 0, gated=False).mesh


def test_replicas_to_start_with() -> None:
    assert [newcomer("successor", "adservice", "new").start_replicas(n) for n in (1, 7)] == [1, 7]
    assert [newcomer("canary", "adservice", "new", 0.3).start_replicas(n) for n in (1, 10, 11, 20)] == [1, 3, 4, 6]
    assert [newcomer("dependency", "frontend", "new", 0.3).start_replicas(n) for n in (1, 10)] == [1, 10]


def test_a_rollout_ends_without_a_trace_where_the_service_that_it_follows_goes() -> None:
    topology = SHOP.after(newcomer("canary", "adservice", "ad-v2", 0.4), 0, gated=True).moved(0, 0.5)
    topology = topology.after(newcomer("successor", "emailservice", "email-r2"), 1, gated=True)
    without = topology.after(LostService(name="adservice", heir=None), 2, gated=True)
    assert [rollout.event for rollout in without.rollouts] == [1]
    assert set(without.mesh.names) == {*SHOP.mesh.names, "email-r2"} - {"adservice"}
    assert "email-r2" in without.moved(1, 1.0).mesh.names


def test_a_rollout_goes_on_at_the_successor_of_the_service_that_it_follows() -> None:
    topology = SHOP.after(newcomer("successor", "adservice", "ad-r2"), 0, gated=True)
    topology = topology.after(newcomer("canary", "adservice", "ad-v2", 0.4), 1, gated=True)
    topology = topology.after(newcomer("successor", "adservice", "ad-r3"), 2, gated=True).moved(0, 1.0)
    assert {rollout.newcomer.follows for rollout in topology.rollouts} == {"ad-r2"}
    done = topology.moved(1, 1.0).moved(2, 1.0)
    assert set(done.mesh.names) == {*SHOP.mesh.names, "ad-r3", "ad-v2"} - {"adservice"}
    ads = load(SHOP.mesh)["adservice"]
    assert load(done.mesh)["ad-v2"] == pytest.approx(0.4 * ads) and load(done.mesh)["ad-r3"] == pytest.approx(0.6 * ads)


def test_room_is_kept_for_what_is_still_to_come() -> None:
    """Before the first call nothing shows of the calls that two rollouts will need: what comes next must leave them room."""
    topology = SHOP.after(newcomer("successor", "checkoutservice", "checkout-r2"), 0, gated=True)
    now, half = len(topology.mesh.calls), len(topology.moved(0, 0.5).mesh.calls)
    assert half > now + 5
    assert topology.fits(12, half) and not topology.fits(12, half - 1) and not topology.fits(11, half)


@pytest.mark.parametrize("seed", range(6))
def test_long_churn_never_breaks_a_mesh_nor_its_capacity_at_any_stage(seed: int) -> None:
    rng = np.random.default_rng(seed)
    topology = ChangingMesh(settled=online_boutique() if seed % 2 else random_mesh(12, seed, cycles=2))
    gated = seed >= 2
    stateful = {service.name for service in topology.settled.services if service.stateful}
    roots = {request.root for request in topology.settled.classes}
    kinds: set[type[Change]] = set()
    under_way = 0
    for number, event in enumerate(draw_schedule(RATES, 10 * 3600, rng).events):
        change = draw_change(topology, event)
        if change is None:
            continue
        if isinstance(change, Crash):
            assert change.service not in stateful and topology.after(change, number, gated=gated) is topology
        after = topology.after(change, number, gated=gated)
        if after.fits(16, 34):
            topology = after
            kinds.add(type(change))
        for rollout in topology.rollouts:
            if rng.random() < 0.4:
                topology = topology.moved(rollout.event, float(rng.choice([0.3, 0.7, 1.0])))
        mesh = topology.mesh
        under_way = max(under_way, len(topology.rollouts))
        assert 2 <= len(mesh.services) <= 16 and len(mesh.calls) <= 34
        assert {request.root for request in mesh.classes} == roots and stateful <= set(mesh.names)
        assert np.isfinite(mesh.arrays().visits).all()
    assert kinds == {Newcomer, LostService, LostCall, Crash}
    assert under_way >= 2 if gated else topology.rollouts == ()
