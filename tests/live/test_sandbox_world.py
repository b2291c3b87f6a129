"""The sandbox's world plays an episode exactly as `gnnrl evaluate` does, and shows it as a cluster would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnnrl.cluster.clock import SteppedClock
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.domains.autoscaling.churn import ChurnEvent, ChurnSchedule
from gnnrl.domains.autoscaling.episode import Episode, Split, draw_episode, warm_up_seconds
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.evaluation.runner import play
from gnnrl.evaluation.scenarios import ScenarioSet
from gnnrl.live.sandbox.lead_in import lead_in
from gnnrl.live.sandbox.pods import PodCounts, PodRoster
from gnnrl.live.sandbox.world import DEPLOYED_SECONDS, SandboxWorld

ORIGIN = 1_700_000_000.25
CHURN = ChurnConfig(
    service_added_per_hour=6.0,
    service_removed_per_hour=4.0,
    service_renamed_per_hour=4.0,
    call_removed_per_hour=2.0,
    pod_crashed_per_hour=30.0,
)


def config_of(**changes: Any) -> AutoscalingConfig:
    return AutoscalingConfig(**{"churn": CHURN, "episode_decisions": 120, **changes})


def episode_of(config: AutoscalingConfig, seed: int = 0, workload: str = "bursty") -> Episode:
    return draw_episode(config, Split.HELD_OUT, seed, workload=workload)


def world_of(config: AutoscalingConfig, episode: Episode, **options: Any) -> tuple[SandboxWorld, SteppedClock]:
    clock = SteppedClock(ORIGIN)
    return SandboxWorld(config, episode, clock, **options), clock


def to(clock: SteppedClock, world: SandboxWorld, second: float) -> None:
    clock.sleep_until(ORIGIN + second)
    world.advance()


class Scripted:
    """A controller whose decisions are fixed beforehand: a number for each service, by name and decision."""

    name, period_seconds = "scripted", 15

    def __init__(self, wish: Callable[[str, int], int]) -> None:
        self.wish, self.windows = wish, []

    def reset(self, episodes: Sequence[Episode]) -> None:
        self.mesh: Mesh = episodes[0].mesh
        self.decisions = 0

    def observe(self, window: Any) -> None:
        self.windows.append((float(window.replica_seconds[0]), float(window.violating_seconds[0])))

    def decide(self, window: Any, now_seconds: float) -> np.ndarray:  # noqa: ARG002
        desired = window.desired.astype(np.int64)
        for s, service in enumerate(self.mesh.services):
            if not service.stateful:
                desired[0, s] = self.wish(service.name, self.decisions)
        self.decisions += 1
        return desired

    def remesh(self, b: int, old: Mesh, new: Mesh) -> None:  # noqa: ARG002
        self.mesh = new


def wish(name: str, decision: int) -> int:
    """Sometimes too few, sometimes too many, different for each service."""
    rng = np.random.default_rng([decision // 3, *name.encode()])
    return int(rng.integers(2, 18))


def scored(config: AutoscalingConfig, episode: Episode) -> dict[str, float]:
    scenarios = ScenarioSet(
        config=config, split=Split.HELD_OUT, workloads=(episode.workload,), seeds=1, episodes=(episode,)
    )
    playback = play(Scripted(wish), scenarios, violation_weight=episode.violation_weight)
    metrics = {name: float(values[0]) for name, values in playback.metrics.items()}
    return {**metrics, "violating_seconds": float(playback.violating_seconds.sum(dtype=np.float64))}


def steered(config: AutoscalingConfig, episode: Episode, *, late_seconds: float = 0.3) -> dict[str, Any]:
    """The same decisions, made through the world's face, `late_seconds` after each boundary, service by service."""
    world, clock = world_of(config, episode)
    for decision in range(config.episode_decisions):
        to(clock, world, warm_up_seconds(config) + 15 * decision + late_seconds)
        for workload in world.workloads():
            if not workload.stateful:
                world.set_replicas(workload.name, wish(workload.name, decision))
    to(clock, world, len(episode.rps))
    return world.score()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_same_decisions_score_the_same_as_in_evaluation(seed: int) -> None:
    config = config_of()
    episode = episode_of(config, seed)
    expected, score = scored(config, episode), steered(config, episode)
    assert score["topology_changes"] >= 2 and score["pod_crashes"] >= 5
    assert score["seconds"] == config.episode_decisions * config.decision_seconds
    for name in ("replica_seconds", "violating_seconds", "core_seconds", "scale_moves", "replica_changes"):
        assert score[name] == expected[name], name
    for name in ("violating_share", "latency_mean_ms", "latency_p95_ms", "error_share", "objective"):
        assert score[name] == pytest.approx(expected[name], rel=1e-7), name  # sums of float32 there
    assert 0.02 < score["violating_share"] < 0.98


def test_a_second_of_delay_is_seen_in_the_score() -> None:
    """Negative control: decisions that come a second later do not score the same."""
    config = config_of()
    episode = episode_of(config)
    assert steered(config, episode, late_seconds=1.3)["replica_seconds"] != scored(config, episode)["replica_seconds"]


def test_a_full_cluster_is_shared_as_in_evaluation() -> None:
    """With nodes that are full, who asks first matters: what is wanted in one second is asked at once."""
    config = config_of(churn=ChurnConfig())
    episode = episode_of(config)
    episode = replace(episode, mesh=replace(episode.mesh, node_cpu_millicores=6000.0))
    expected, score = scored(config, episode), steered(config, episode)
    assert score["replica_seconds"] == expected["replica_seconds"]
    assert score["violating_seconds"] == expected["violating_seconds"]


def test_the_score_does_not_depend_on_how_often_the_world_is_asked() -> None:
    config = config_of(episode_decisions=20)
    episode = episode_of(config)
    scores = []
    for step in (1.0, 7.0, 330.0):
        world, clock = world_of(config, episode)
        for second in np.arange(step, 330.0 + step, step):
            to(clock, world, min(float(second), 330.0))
        scores.append(world.score())
    assert scores[0] == scores[1] == scores[2]
    assert scores[0]["seconds"] == 300 and scores[0]["finished"]


def test_nothing_is_scored_in_the_warm_up_and_nothing_after_the_end() -> None:
    config = config_of(episode_decisions=4)
    world, clock = world_of(config, episode_of(config))
    to(clock, world, 30.0)
    assert world.score()["seconds"] == 0.0 and world.score()["latency_mean_ms"] is None
    to(clock, world, 44.9)
    assert world.score()["seconds"] == 0.0
    to(clock, world, 45.0)
    assert world.score()["seconds"] == 15.0 and not world.score()["finished"]
    to(clock, world, 90.0)
    end = world.score()
    assert end["seconds"] == 60.0 and end["finished"]
    to(clock, world, 500.0)
    assert world.score() == end


def test_a_repeated_episode_plays_load_and_churn_again() -> None:
    config = config_of(episode_decisions=8, churn=replace(CHURN, cutover="hard"))
    episode = episode_of(config)
    churn = ChurnSchedule(events=(ChurnEvent(second=31, kind="service_renamed", draw=3),))
    world, clock = world_of(config, replace(episode, churn=churn), repeat=True)
    pods: set[str] = set()
    for start in (30, 150, 270):
        to(clock, world, start + 44.9)
        first = {workload.name for workload in world.workloads()}
        assert first == set(episode.mesh.names)
        to(clock, world, start + 45)
        renamed = {workload.name for workload in world.workloads()}
        assert len(renamed - first) == len(first - renamed) == 1
        (came,) = renamed - first
        now = {pod.name for pod in world.pods(came)}
        assert now and not now & pods, "names do not come back"
        pods |= now
        to(clock, world, start + 119.9)
        assert {workload.name for workload in world.workloads()} == renamed
    to(clock, world, 390)
    score = world.score()
    assert score["seconds"] == 360.0 and score["topology_changes"] == 6 and not score["finished"]
    once = float(episode.rps[30:].sum(dtype=np.float64))
    assert score["requests"] == pytest.approx(3 * once, rel=1e-6)


def test_a_rollout_under_way_at_the_end_of_a_round_is_forgotten() -> None:
    config = config_of(episode_decisions=4)
    churn = ChurnSchedule(events=(ChurnEvent(second=31, kind="service_renamed", draw=3),))
    episode = replace(episode_of(config), churn=churn)
    world, clock = world_of(config, episode, repeat=True)
    for start in (30, 90, 150):
        to(clock, world, start + 44.9)
        assert {workload.name for workload in world.workloads()} == set(episode.mesh.names)
        to(clock, world, start + 59.9)
        assert len(world.workloads()) == len(episode.mesh.names) + 1
    assert world.score()["topology_changes"] == 5


def test_churn_due_after_the_last_boundary_never_happens_without_repetition() -> None:
    config = config_of(episode_decisions=8)
    events = tuple(ChurnEvent(second=second, kind="service_renamed", draw=3) for second in (105, 106))
    world, clock = world_of(config, replace(episode_of(config), churn=ChurnSchedule(events=events)))
    to(clock, world, 149)
    assert world.score()["topology_changes"] == 1
    to(clock, world, 150)
    world.set_replicas("frontend", 3)
    to(clock, world, 400)
    score = world.score()
    assert (score["topology_changes"], score["scale_moves"], score["seconds"]) == (1, 0, 120.0)


def test_time_between_boundaries_moves_pods_by_the_second() -> None:
    config = config_of(churn=ChurnConfig())
    world, clock = world_of(config, episode_of(config))
    frontend = next(w for w in world.workloads() if w.name == "frontend")
    startup = round(next(s for s in episode_of(config).mesh.services if s.name == "frontend").startup_seconds)
    to(clock, world, 7.6)
    world.set_replicas("frontend", frontend.replicas + 2)
    shown = next(w for w in world.workloads() if w.name == "frontend")
    assert shown.replicas == frontend.replicas + 2 and len(shown.pods) == frontend.replicas
    to(clock, world, 8.0)
    new = [pod for pod in world.pods("frontend") if not pod.ready]
    assert [pod.created_seconds for pod in new] == [ORIGIN + 7.0] * 2
    assert all(pod.phase == "Running" and not pod.deleting for pod in new)
    to(clock, world, 7.0 + startup)
    assert sum(pod.ready for pod in world.pods("frontend")) == frontend.replicas
    to(clock, world, 8.0 + startup)
    assert sum(pod.ready for pod in world.pods("frontend")) == frontend.replicas + 2
    assert {pod.name for pod in new} <= {pod.name for pod in world.pods("frontend")}


def test_pods_keep_their_names_and_go_by_the_rules() -> None:
    roster = PodRoster("cart", 7, 100.0)
    roster.reconcile(PodCounts(3, 0, 0, 0), 100.0)
    old = [pod.name for pod in roster.views()]
    assert len(set(old)) == 3 and all(name.startswith("cart-") and len(name) == len("cart-") + 16 for name in old)
    roster.reconcile(PodCounts(3, 1, 1, 0), 110.0)
    *ready, starting, pending = roster.views()
    assert [pod.name for pod in ready] == old and (starting.phase, pending.phase) == ("Running", "Pending")
    roster.reconcile(PodCounts(2, 0, 0, 1), 120.0)  # three removed: pending, starting, the youngest ready one
    assert [(pod.name, pod.deleting) for pod in roster.views()] == [(old[0], False), (old[1], False), (old[2], True)]
    roster.reconcile(PodCounts(1, 1, 0, 0), 125.0)  # drained; one crashed
    assert [(pod.name, pod.ready, pod.restarts) for pod in roster.views()] == [(old[0], True, 0), (old[1], False, 1)]
    roster.reconcile(PodCounts(2, 0, 0, 0), 140.0)
    assert [pod.name for pod in roster.views()] == old[:2] and roster.views()[1].created_seconds == 100.0
    again = PodRoster("cart", 7, 100.0, roster.serial)
    again.reconcile(PodCounts(5, 0, 0, 0), 200.0)
    assert not {pod.name for pod in again.views()} & {*old, starting.name, pending.name}


def test_a_pod_that_became_ready_in_the_second_it_was_removed_drains() -> None:
    roster = PodRoster("cart", 7, 100.0)
    roster.reconcile(PodCounts(3, 1, 0, 0), 100.0)
    roster.reconcile(PodCounts(3, 0, 0, 1), 130.0)
    assert sum(pod.ready for pod in roster.views()) == 3 and sum(pod.deleting for pod in roster.views()) == 1


def test_counts_and_pods_agree_through_an_eventful_hour() -> None:
    config = config_of()
    episode = episode_of(config, 1)
    world, clock = world_of(config, episode)
    rng = np.random.default_rng(0)
    seen: dict[str, float] = {}
    for second in range(3, 1800, 3):
        to(clock, world, second)
        names: list[str] = []
        for workload in world.workloads():
            kept = [pod for pod in workload.pods if not pod.deleting]
            assert len(kept) == workload.replicas
            for pod in workload.pods:
                names.append(pod.name)
                assert seen.setdefault(pod.name, pod.created_seconds) == pod.created_seconds
                assert pod.created_seconds <= clock.now() and not (pod.ready and pod.phase == "Pending")
            if not workload.stateful and rng.random() < 0.2:
                world.set_replicas(workload.name, int(rng.integers(1, 12)))
        assert len(set(names)) == len(names)
        clock.sleep_until(clock.now() + 1.0)  # what was wanted is there a second later
    assert len(seen) > 200


def test_stateful_and_unknown_deployments_refuse_to_be_scaled() -> None:
    config = config_of()
    world, _ = world_of(config, episode_of(config))
    assert [w.name for w in world.workloads() if w.stateful] == ["redis-cart"]
    with pytest.raises(ValueError, match="'redis-cart' is stateful"):
        world.set_replicas("redis-cart", 2)
    with pytest.raises(ValueError, match="-1 replicas of 'frontend'"):
        world.set_replicas("frontend", -1)
    with pytest.raises(KeyError, match="no service 'nobody'"):
        world.set_replicas("nobody", 2)


def test_what_is_measured_is_as_old_as_the_lag_and_adds_up() -> None:
    config = config_of(churn=ChurnConfig())
    episode = episode_of(config, workload="diurnal")
    world, clock = world_of(config, episode)
    to(clock, world, 29.0)
    assert world.pod_usage() == [] and {call.rps for call in world.graph_view(60).calls} == {0.0}
    to(clock, world, 30.0)
    assert {usage.timestamp_seconds for usage in world.pod_usage()} == {ORIGIN + 15.0}
    to(clock, world, 314.0)
    view = world.graph_view(60)
    assert view.timestamp_seconds == ORIGIN + 285.0
    entry = sum(call.rps for call in view.calls if call.source == view.gateway)
    assert entry == pytest.approx(float(episode.rps[225:285].mean()), abs=0.02)
    assert {(call.protocol, call.source) for call in view.calls if call.target == "redis-cart"} == {
        ("tcp", "cartservice")
    }
    arrays = episode.mesh.arrays()
    for call in view.calls:
        if call.protocol == "grpc":
            rate = arrays.mean_call_rates[
                next(e for e, c in enumerate(episode.mesh.calls) if (c.source, c.target) == (call.source, call.target))
            ]
            assert call.rps == pytest.approx(entry * rate, rel=0.03, abs=0.02), call
            assert call.p95_ms == round(call.p95_ms) > 0.0
    ready = {w.name: [pod.name for pod in w.pods if pod.ready] for w in world.workloads()}
    usage: dict[str, list[str]] = {}
    for item in world.pod_usage():
        assert item.containers["server"].cpu_nanocores > 0 and item.containers["server"].memory_bytes > 2**20
        usage.setdefault(item.workload, []).append(item.pod)
    assert usage == ready


def test_a_world_with_a_past_is_measured_from_its_first_moment() -> None:
    config = config_of(churn=ChurnConfig())
    episode = episode_of(config, workload="diurnal")
    unknown, _ = world_of(config, episode)
    assert unknown.pod_usage() == [] and {call.rps for call in unknown.graph_view(60).calls} == {0.0}
    world, clock = world_of(config, episode, history_seconds=75)
    view, pods = world.graph_view(60), {pod.name for w in world.workloads() for pod in w.pods if pod.ready}
    assert (world.second, view.timestamp_seconds) == (0, ORIGIN - 15.0)
    entry = sum(call.rps for call in view.calls if call.source == view.gateway)
    assert entry == pytest.approx(float(episode.rps[0]), rel=0.01)
    # Four windows of the same load: no part of the minute is empty.
    for shorter in (15, 30, 45):
        parts = world.graph_view(shorter).calls
        assert sum(call.rps for call in parts if call.source == view.gateway) == pytest.approx(entry, rel=0.01)
    assert {usage.pod for usage in world.pod_usage()} == pods
    assert {usage.timestamp_seconds for usage in world.pod_usage()} == {ORIGIN - 15.0}
    assert {w.created_seconds for w in world.workloads()} == {ORIGIN - 75.0 - DEPLOYED_SECONDS}
    assert {pod.created_seconds for w in world.workloads() for pod in w.pods} == {ORIGIN - 75.0}
    to(clock, world, 15.0)
    joined = sum(call.rps for call in world.graph_view(60).calls if call.source == view.gateway)
    assert joined == pytest.approx(float(episode.rps[0]), rel=0.01)  # of the last window of the past
    assert world.score()["seconds"] == 0.0
    past = lead_in(episode, services=40, calls=80, window_seconds=15, windows=5)
    told = [(end, float(window.seconds[0]), float(window.external_rps[0])) for end, window in past]
    assert [end for end, _, _ in told] == [-60, -45, -30, -15, 0]
    for _, seconds, rps in told:
        assert (seconds, rps) == (15.0, pytest.approx(float(episode.rps[0]), rel=1e-5))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_past_changes_nothing_that_is_scored_nor_what_is_measured_a_minute_later(seed: int) -> None:
    config = config_of()
    episode = episode_of(config, seed)
    worlds = []
    for history_seconds in (0, 75):
        world, clock = world_of(config, episode, history_seconds=history_seconds)
        for decision in range(config.episode_decisions):
            to(clock, world, warm_up_seconds(config) + 15 * decision + 0.3)
            for workload in world.workloads():
                if not workload.stateful:
                    world.set_replicas(workload.name, wish(workload.name, decision))
        to(clock, world, len(episode.rps))
        worlds.append(world)
    without, with_past = worlds
    assert with_past.score() == without.score() == steered(config, episode)
    assert with_past.graph_view(60).calls == without.graph_view(60).calls
    assert with_past.pod_usage() == without.pod_usage()


def test_another_window_is_the_mean_of_its_scrapes() -> None:
    config = config_of(churn=ChurnConfig())
    episode = episode_of(config, workload="noisy")
    world, clock = world_of(config, episode)
    to(clock, world, 660.0)
    for window in (15, 60, 120, 600):
        calls = world.graph_view(window).calls
        entry = sum(call.rps for call in calls if call.protocol == "http")
        assert entry == pytest.approx(float(episode.rps[645 - window : 645].mean()), abs=0.02)
    earlier = world.graph_view(60, at_seconds=ORIGIN + 360.0)
    assert earlier.timestamp_seconds == ORIGIN + 345.0
    entry = sum(call.rps for call in earlier.calls if call.protocol == "http")
    assert entry == pytest.approx(float(episode.rps[285:345].mean()), abs=0.02)


def test_a_rollout_is_a_deployment_without_calls_until_its_pods_are_ready() -> None:
    """The new Deployment stands beside the old; Kiali shows no call to it, not even an idle one, before the cut-over."""
    config = config_of()
    churn = ChurnSchedule(events=(ChurnEvent(second=90, kind="service_renamed", draw=3),))
    world, clock = world_of(config, replace(episode_of(config), churn=churn))
    to(clock, world, 119.5)
    old = {w.name: w for w in world.workloads()}
    ends = {call.source for call in world.graph_view(60).calls} | {call.target for call in world.graph_view(60).calls}
    to(clock, world, 120.5)
    (came,) = {w.name for w in world.workloads()} - set(old)
    gone = came.rpartition("-")[0]
    assert gone in ends
    pods = {pod.name for pod in world.pods(came)}
    assert len(pods) == old[gone].replicas and not any(pod.ready for pod in world.pods(came))
    startup = round(next(s for s in episode_of(config).mesh.services if s.name == gone).startup_seconds)
    seen = -(-(120 + startup) // 15) * 15
    for second in (seen - 0.5, seen + 0.5, seen + 14.5):
        to(clock, world, second)
        assert {w.name for w in world.workloads()} == {*old, came}
        assert {pod.name for pod in world.pods(came)} == pods
        assert not any(came in (call.source, call.target) for call in world.graph_view(60).calls)
    assert all(pod.ready for pod in world.pods(came))
    to(clock, world, seen + 15.5)
    assert came in {item.workload for item in world.pod_usage()}
    calls = world.graph_view(60).calls
    assert {w.name for w in world.workloads()} == {*old, came} - {gone}
    assert {pod.name for pod in world.pods(came)} == pods
    assert any(call.target == came for call in calls) and not any(gone in (c.source, c.target) for c in calls)
    assert world.score()["topology_changes"] == 1
    to(clock, world, seen + 90.5)
    assert sum(call.rps for call in world.graph_view(60).calls if call.target == came) > 1.0


def test_survivors_keep_their_figures_through_a_rename() -> None:
    config = config_of(churn=replace(CHURN, cutover="hard"))
    churn = ChurnSchedule(events=(ChurnEvent(second=90, kind="service_renamed", draw=3),))
    world, clock = world_of(config, replace(episode_of(config), churn=churn))
    to(clock, world, 119.5)
    before, usage = world.graph_view(60), {item.pod for item in world.pod_usage()}
    old = {w.name: w for w in world.workloads()}
    to(clock, world, 120.5)
    after, new = world.graph_view(60), {w.name: w for w in world.workloads()}
    (gone,), (came,) = set(old) - set(new), set(new) - set(old)
    assert came.startswith(gone) and new[came].created_seconds == ORIGIN + 120.0
    assert not {pod.name for pod in new[came].pods} & {pod.name for pod in old[gone].pods}
    measured = {(call.source, call.target): call.rps for call in after.calls}
    assert all(measured[pair] == 0.0 for pair in measured if came in pair)
    kept = [call for call in before.calls if gone not in (call.source, call.target) and call.protocol != "tcp"]
    assert len(kept) >= 5 and all(measured[call.source, call.target] > 0.5 * call.rps > 0.0 for call in kept)
    assert {item.workload for item in world.pod_usage()} == set(old) - {gone}
    assert {item.pod for item in world.pod_usage()} <= usage
    to(clock, world, 180.0)
    assert {item.workload for item in world.pod_usage()} == set(new)
