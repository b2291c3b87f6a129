"""Rollouts happen when they should: replicas from what stands there, calls only where pods are ready, resumed as they were."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.domains.autoscaling.changing_mesh import ChangingMesh, draw_change
from gnnrl.domains.autoscaling.churn import ChurnEvent, ChurnKind
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import MeshSimulation, PhysicsSettings
from gnnrl.domains.autoscaling.rollouts import Rollouts, TopologyChange

STEP = 15
SHOP = online_boutique()


def event_on(kind: ChurnKind, second: int, follows: str, which: str = "") -> ChurnEvent:
    """An event that hits this service of the Online Boutique."""
    for draw in range(2000):
        event = ChurnEvent(second=second, kind=kind, draw=draw)
        change: Any = draw_change(ChangingMesh(settled=SHOP), event)
        hit = getattr(change, "follows", None) or getattr(change, "service", None) or getattr(change, "name", None)
        if hit == follows and which in ("", getattr(change, "kind", "")):
            return event
    raise AssertionError(f"no {kind} hits {follows}")


class Stage:
    """One simulation, its rollouts, and what happened."""

    def __init__(self, events: Sequence[ChurnEvent], mesh: Mesh = SHOP, rps: float = 60.0, **churn: Any) -> None:
        capacity = {name: churn.pop(name) for name in ("max_nodes", "max_edges") if name in churn}
        self.config = AutoscalingConfig(churn=ChurnConfig(**churn), **capacity)
        mesh = replace(
            mesh,
            services=tuple(s if s.stateful else replace(s, replicas=7, startup_seconds=31.0) for s in mesh.services),
        )
        self.simulation = MeshSimulation(1, 40, 400, len(mesh.classes), PhysicsSettings())
        self.simulation.load(0, mesh)
        self.rollouts = Rollouts(self.config, self.simulation)
        self.rollouts.start(0, mesh, events)
        self.rps, self.second, self.failed = rps, 0, 0.0
        self.happened: list[tuple[int, TopologyChange]] = []

    def to(self, second: int) -> Stage:
        """Play on until the changes that are due by then have happened."""
        while self.second < second:
            self.simulation.advance(np.full((1, STEP), self.rps, np.float32))
            self.second += STEP
            self.failed += float(self.simulation.scrape().mesh_error_share[0])
            for b in self.rollouts.due(self.second):
                self.happened += [(self.second, change) for change in self.rollouts.happen(b, self.second)]
        return self

    def want(self, **replicas: int) -> Stage:
        desired = np.zeros((1, 40), np.int64)
        desired[0, : len(self.names)] = self.simulation.counts(0)[:, -1]
        for name, count in replicas.items():
            desired[0, self.names.index(name.replace("_", "-"))] = count
        self.simulation.set_desired(desired)
        return self

    @property
    def names(self) -> tuple[str, ...]:
        return self.simulation.order(0)

    def desired(self, name: str) -> int:
        return int(self.simulation.counts(0)[self.names.index(name), -1])

    def rps_of(self, name: str) -> float:
        return float(self.simulation.window.rps_in[0, self.names.index(name)])

    def load(self, name: str) -> float:
        """Calls to it for one external request, as the mesh has it now."""
        mesh = self.rollouts.mesh(0)
        return float(mesh.arrays().mean_visits[mesh.index(name)]) if name in mesh.names else 0.0


def test_a_successor_stands_beside_until_its_pods_are_ready_and_some_more() -> None:
    stage = Stage([event_on("service_renamed", 7, "cartservice")])
    whole = stage.load("cartservice")
    stage.want(cartservice=5).to(15)
    assert set(stage.names) == {*SHOP.names, "cartservice-r2"}
    assert stage.desired("cartservice-r2") == 5, "as many as stand there now, not as at the start"
    # Its pods take 31 s: the decision at 60 s is the first that sees them ready, that at 75 s comes 15 s later.
    stage.to(60)
    assert (stage.load("cartservice"), stage.load("cartservice-r2")) == (pytest.approx(whole), 0.0)
    assert stage.rps_of("cartservice-r2") == 0.0
    stage.to(75)
    assert set(stage.names) == {*SHOP.names, "cartservice-r2"} - {"cartservice"}
    assert stage.load("cartservice-r2") == pytest.approx(whole) and stage.desired("cartservice-r2") == 5
    stage.to(120)
    assert stage.rps_of("cartservice-r2") == pytest.approx(60.0 * whole, rel=0.01)
    assert stage.failed < 1e-3, "what was under way at the old one"
    seconds = [(second, change.begins, change.moves_calls) for second, change in stage.happened]
    assert seconds == [(15, True, False), (75, False, True)]


def test_a_hard_cutover_has_its_calls_before_its_pods() -> None:
    """Negative control: the same rename, all at once, fails what it is asked."""
    stage = Stage([event_on("service_renamed", 7, "cartservice")], cutover="hard").want(cartservice=5).to(15)
    assert "cartservice" not in stage.names and stage.load("cartservice-r2") > 0.0
    assert stage.desired("cartservice-r2") == 5
    assert stage.to(60).failed > 0.1
    ((second, change),) = stage.happened
    assert (second, change.begins, change.moves_calls) == (15, True, True)


@pytest.mark.parametrize("cutover", ["gated", "hard"])
def test_newcomers_start_with_what_stands_there_now(cutover: str) -> None:
    events = [
        event_on("service_added", 1, "adservice", "canary"),
        event_on("service_added", 1, "frontend", "dependency"),
    ]
    stage = Stage(events, cutover=cutover).want(adservice=20, frontend=13).to(15)
    change: Any = draw_change(ChangingMesh(settled=SHOP), events[0])
    assert stage.desired("adservice-v2") == np.ceil(20 * change.share) > np.ceil(7 * change.share)
    assert stage.desired("frontend-extra-v2") == 13


def test_start_replicas_keep_the_bounds_of_the_environment() -> None:
    stage = Stage([event_on("service_renamed", 1, "adservice")])
    stage.want(adservice=30).to(15)
    assert stage.desired("adservice-r2") == stage.config.max_replicas == 20


def test_a_ramp_moves_a_share_each_decision_interval() -> None:
    stage = Stage([event_on("service_renamed", 7, "cartservice")], ramp=(0.25, 0.5, 0.75), cutover_delay_seconds=0)
    whole, shares = stage.load("cartservice"), []
    for second in range(45, 150, 15):
        stage.to(second)
        shares.append(round(stage.load("cartservice-r2") / whole, 6))
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert "cartservice" not in stage.names
    assert [change.moves_calls for _, change in stage.happened] == [False, True, False, False, False]


def test_where_pods_never_get_ready_no_call_ever_moves() -> None:
    room = sum(s.cpu_request_millicores * (1 if s.stateful else 7) for s in SHOP.services)
    full = replace(SHOP, node_cpu_millicores=room + 3.0 * 100.0)
    stage = Stage([event_on("service_renamed", 7, "cartservice")], mesh=full).to(900)
    counts = stage.simulation.counts(0)[stage.names.index("cartservice-r2")]
    assert 0 < counts[0] < 7 and stage.load("cartservice-r2") == 0.0 and stage.load("cartservice") > 0.0
    # Fewer are wanted by whoever scales it: those are there.
    stage.want(cartservice_r2=int(counts[0])).to(915)
    assert stage.load("cartservice-r2") == 0.0
    assert stage.to(930).load("cartservice") == 0.0


def test_a_pod_that_dies_before_the_cutover_makes_it_wait() -> None:
    stage = Stage([event_on("service_renamed", 7, "cartservice")]).to(60)
    stage.simulation.crash_pods(0, "cartservice-r2", 1)
    stage.to(105)
    assert stage.load("cartservice-r2") == 0.0
    assert stage.to(120).load("cartservice-r2") > 0.0


def test_nothing_moves_to_a_service_that_was_scaled_to_nothing() -> None:
    stage = Stage([event_on("service_renamed", 7, "cartservice")]).to(15).want(cartservice_r2=0).to(300)
    assert stage.load("cartservice-r2") == 0.0 and stage.load("cartservice") > 0.0


def test_a_rollout_is_gone_with_the_service_that_it_follows() -> None:
    events = [event_on("service_renamed", 7, "cartservice"), event_on("service_removed", 40, "cartservice")]
    stage = Stage(events).to(30)
    assert "cartservice-r2" in stage.names
    stage.to(300)
    assert set(stage.names) == set(SHOP.names) - {"cartservice"}
    assert [second for second, _ in stage.happened] == [15, 45]
    assert stage.rollouts.due(10_000) == []


def test_without_room_for_both_a_rename_does_not_happen() -> None:
    events = [event_on("service_renamed", 7, "cartservice")]
    for options, happens in (
        ({"max_nodes": 12, "max_edges": 19}, True),
        ({"max_nodes": 11, "max_edges": 19}, False),
        ({"max_nodes": 12, "max_edges": 17}, False),
        ({"max_nodes": 11, "max_edges": 15, "cutover": "hard"}, True),
    ):
        stage = Stage(events, **options).to(300)
        assert ("cartservice-r2" in stage.names) == bool(stage.happened) == happens, options


def test_who_is_not_due_is_not_looked_at() -> None:
    stage = Stage([event_on("service_renamed", 100, "cartservice")])
    assert stage.rollouts.due(99) == [] and stage.rollouts.due(np.array([100])) == [0]
    stage.to(105)
    assert stage.rollouts.due(135) == [] and stage.rollouts.due(136) == [0]


@pytest.mark.parametrize("until", [15, 60, 75, 90, 120])
def test_a_log_and_the_events_give_the_same_mesh_and_the_same_future(until: int) -> None:
    events = [
        event_on("service_renamed", 7, "cartservice"),
        event_on("service_added", 20, "adservice", "canary"),
    ]
    stage, twin = (Stage(events, ramp=(0.25, 0.5)) for _ in range(2))
    stage.want(cartservice=4).to(until)
    twin.rollouts.load_state_dict(json.loads(json.dumps(stage.rollouts.state_dict())))
    assert twin.rollouts.mesh(0) == stage.rollouts.mesh(0)
    twin.simulation.load_state_dict(stage.simulation.state_dict())
    twin.second = stage.second
    before = len(stage.happened)
    for one in (stage, twin):
        one.to(240)
    assert twin.happened == stage.happened[before:]
    assert twin.rollouts.state_dict() == stage.rollouts.state_dict()
    np.testing.assert_array_equal(twin.simulation.counts(0), stage.simulation.counts(0))


@pytest.mark.parametrize(
    "change",
    [
        {"log": [[5, 0, 1]]},
        {"log": [[0, 1, 7]]},
        {"log": [[0, 0, -3]]},
        {"log": 3},
        {"watches": []},
        {"watches": [{"event": 0}]},
        {"next_event": "soon"},
    ],
)
def test_a_log_of_another_episode_is_refused(change: dict[str, Any]) -> None:
    stage, other = (Stage([event_on("service_renamed", 7, "cartservice")]) for _ in range(2))
    (text,) = stage.to(15).rollouts.state_dict()
    for wrong in (json.dumps(json.loads(text) | change), text[:-3], "null"):
        with pytest.raises(ValueError, match="environment 0: its rollouts are not of this episode"):
            other.rollouts.load_state_dict([wrong])
    other.rollouts.load_state_dict([text])
    assert other.rollouts.mesh(0) == stage.rollouts.mesh(0)
