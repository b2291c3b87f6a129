"""The runner: everybody meets the same scenarios, sees metrics of the same age, keeps the same bounds, and is scored right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.domains.autoscaling.baselines import (
    Baseline,
    FeedForward,
    HorizontalPodAutoscaler,
    ReplicaBounds,
    Telemetry,
    teacher,
)
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.domains.autoscaling.episode import Episode, Split
from gnnrl.domains.autoscaling.mesh import Call, Mesh, RequestClass, Service
from gnnrl.domains.autoscaling.physics import LATENCY_EDGES_MS, MeshSimulation, PhysicsSettings
from gnnrl.evaluation.controllers import BaselineController, PolicyController, column_sources
from gnnrl.evaluation.runner import histogram_quantile, play, step_second
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios, workload_label
from graph_space.schema import NODES, GraphObservation, autoscaling_schema

BOUNDS = ReplicaBounds(min_replicas=1, max_replicas=20)
CHURN = ChurnConfig(
    service_added_per_hour=10.0,
    service_removed_per_hour=5.0,
    service_renamed_per_hour=5.0,
    call_removed_per_hour=5.0,
    pod_crashed_per_hour=10.0,
)
CONFIG = AutoscalingConfig(episode_decisions=40, max_edges=64)


class Constant(Baseline):
    """The same replicas everywhere, for ever."""

    def __init__(self, replicas: int, *, period_seconds: int = 15) -> None:
        super().__init__(f"constant_{replicas}", BOUNDS, CONFIG.max_nodes, period_seconds=period_seconds)
        self.replicas = replicas
        self.seen: list[Telemetry] = []

    def decide(self, telemetry: Telemetry, now_seconds: float) -> NDArray[np.int64]:  # noqa: ARG002
        self.seen.append(telemetry)
        wanted = np.full_like(telemetry.desired, self.replicas)
        return self.bounds.clip(wanted, self.table, telemetry.desired.astype(np.int64))


class TeacherPolicy:
    """An agent that follows the teacher and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[NDArray[np.float32]] = []
        self.starts: list[bool] = []

    def act(
        self,
        obs: GraphObservation,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
        temperature: float = 1.0,  # noqa: ARG002
        rng: np.random.Generator | None = None,  # noqa: ARG002
    ) -> tuple[NDArray[np.int64], Any]:
        assert deterministic
        self.seen.append(obs[NODES].copy())
        self.starts.append(bool(np.all(episode_start)))
        return teacher(obs, autoscaling_schema("history"), headroom=0.6), state


def scenarios(
    workloads: Sequence[str] = ("bursty",), seeds: int = 3, config: AutoscalingConfig = CONFIG
) -> ScenarioSet:
    return draw_scenarios(config, workloads, seeds, split=Split.VALIDATION, violation_weight=200.0)


def run(baseline: Baseline, drawn: ScenarioSet) -> Any:
    return play(BaselineController(baseline, CONFIG), drawn, violation_weight=200.0)


def test_constant_replicas_cost_what_they_cost_and_the_objective_is_its_formula() -> None:
    drawn = scenarios()
    played = run(Constant(4), drawn)
    seconds, metrics = 600.0, played.metrics
    services = len(drawn.episodes[0].mesh.services)
    started = np.array([sum(abs(4 - s.replicas) for s in e.mesh.services if not s.stateful) for e in drawn.episodes])
    moved = np.array([sum(s.replicas != 4 for s in e.mesh.services if not s.stateful) for e in drawn.episodes])
    assert drawn.seconds == seconds
    # 4 of each scalable service and 1 of redis; pods that are removed at the start drain for at most 30 s.
    floor = (4 * (services - 1) + 1) * seconds
    assert (metrics["replica_seconds"] >= floor - 1).all()
    assert (metrics["replica_seconds"] <= floor + 30 * started).all()
    assert metrics["replica_changes"].tolist() == started.tolist()
    assert metrics["scale_moves"].tolist() == moved.tolist()
    violating = metrics["violating_share"] * seconds
    expected = metrics["replica_seconds"] + 200.0 * violating + 0.02 * 15 * started
    np.testing.assert_allclose(metrics["objective"], expected, rtol=1e-6)
    np.testing.assert_allclose(played.violating_seconds.sum(axis=1), violating, rtol=1e-6)


class Recorded(BaselineController):
    """Keeps what was asked for."""

    def reset(self, episodes: Any) -> None:
        super().reset(episodes)
        self.asked: list[tuple[np.ndarray, np.ndarray]] = []

    def decide(self, window: Any, now_seconds: float) -> Any:
        wanted = super().decide(window, now_seconds)
        self.asked.append((window.desired.copy(), wanted.copy()))
        return wanted


def test_metrics_are_what_a_count_second_by_second_gives() -> None:
    drawn = scenarios(seeds=1)
    episode = drawn.episodes[0]
    hpa = HorizontalPodAutoscaler(BOUNDS, CONFIG.max_nodes, target_percent=110, down_window_seconds=60)
    controller = Recorded(hpa, CONFIG)
    found = {name: float(values[0]) for name, values in play(controller, drawn, violation_weight=200.0).metrics.items()}
    simulation = MeshSimulation(
        1, CONFIG.max_nodes, CONFIG.max_edges, len(episode.mesh.classes), PhysicsSettings(histogram=False)
    )
    simulation.load(0, episode.mesh, slo_ms=episode.slo_ms)
    warm_up, period = CONFIG.metrics_lag_seconds + CONFIG.decision_seconds, CONFIG.decision_seconds
    simulation.advance(drawn.rps[:, :warm_up])
    simulation.scrape()
    replica_seconds = violating = moves = changes = 0
    for k, (before, wanted) in enumerate(controller.asked):
        moves += int((wanted != before).sum())
        changes += int(abs(wanted - before).sum())
        simulation.set_desired(wanted)
        for second in range(warm_up + k * period, warm_up + (k + 1) * period):
            simulation.advance(drawn.rps[:, second : second + 1])
            now = simulation.scrape()
            replica_seconds += int((now.ready + now.starting + now.draining).sum())
            violating += bool(now.latency_p95_ms[0] > episode.slo_ms or now.mesh_error_share[0] > 0.01)
    assert violating > 0
    assert moves > 0
    assert found["replica_seconds"] == replica_seconds
    assert found["scale_moves"] == moves
    assert found["replica_changes"] == changes
    # The P95 of a second is read off by bisection, so a second on the very edge may fall on either side.
    assert found["violating_share"] * drawn.seconds == pytest.approx(violating, abs=2)
    expected = replica_seconds + 200.0 * found["violating_share"] * drawn.seconds + 0.02 * 15 * changes
    assert found["objective"] == pytest.approx(expected)


def test_too_few_replicas_violate_and_enough_do_not() -> None:
    drawn = scenarios(["steady"])
    starved, ample = run(Constant(1), drawn).metrics, run(Constant(20), drawn).metrics
    assert (starved["violating_share"] > 0.9).all()
    assert (ample["violating_share"] == 0.0).all()
    assert (starved["latency_p99_ms"] > 5 * ample["latency_p99_ms"]).all()
    assert (starved["utilisation"] > 1.5 * ample["utilisation"]).all()


def test_percentiles_are_ordered_and_bracket_the_mean() -> None:
    metrics = run(Constant(6), scenarios(["noisy"])).metrics
    assert (metrics["latency_p50_ms"] < metrics["latency_p95_ms"]).all()
    assert (metrics["latency_p95_ms"] < metrics["latency_p99_ms"]).all()
    assert (metrics["latency_mean_ms"] < metrics["latency_p95_ms"]).all()


def test_a_policy_plays_exactly_as_in_the_gymnasium_environment_also_through_churn() -> None:
    config = replace(CONFIG, churn=CHURN)
    drawn = scenarios(["bursty", "flash"], 3, config)
    assert sum(len(episode.churn.events) for episode in drawn.episodes) > 10
    evaluated, trained = TeacherPolicy(), TeacherPolicy()
    played = play(PolicyController(evaluated, config), drawn, violation_weight=200.0)

    env = MeshVectorEnv(len(drawn.episodes), config, strict_actions=True)
    obs, _ = env.reset(seed=0, options={"episodes": list(drawn.episodes)})
    replica_seconds, violating = np.zeros(6), np.zeros(6)
    for _ in range(config.episode_decisions):
        action, _ = trained.act(obs, deterministic=True)
        obs, _, _, _, infos = env.step(action)
        replica_seconds += infos["replicas"] * config.decision_seconds
        violating += infos["violating_share"] / config.episode_decisions
    for shown, expected in zip(evaluated.seen, trained.seen, strict=True):
        np.testing.assert_array_equal(shown, expected)
    np.testing.assert_allclose(played.metrics["replica_seconds"], replica_seconds, rtol=1e-5)
    np.testing.assert_allclose(played.metrics["violating_share"], violating, atol=1e-6)
    assert evaluated.starts == [True] + [False] * (config.episode_decisions - 1)
    assert np.isfinite(played.metrics["change_response_seconds"]).any()


def test_an_action_outside_the_mask_is_an_error_and_not_executed() -> None:
    class Wrong(TeacherPolicy):
        def act(self, obs: GraphObservation, *args: Any, **kwargs: Any) -> tuple[NDArray[np.int64], Any]:  # noqa: ARG002
            return np.full(obs[NODES].shape[:2], 14, dtype=np.int64), None  # minus 7, also for stateful and for padding

    with pytest.raises(ValueError, match=r"policy: move 14 of slot \d+ in scenario 0 is outside the action mask"):
        play(PolicyController(Wrong(), CONFIG), scenarios(seeds=1), violation_weight=1.0)


@pytest.mark.parametrize(("change", "message"), [("stateful", "redis-cart"), ("most", "bounds are 1 to 20")])
def test_the_same_guardrails_hold_for_everybody(change: str, message: str) -> None:
    class Unbound(Constant):
        def decide(self, telemetry: Telemetry, now_seconds: float) -> NDArray[np.int64]:  # noqa: ARG002
            wanted = telemetry.desired.astype(np.int64).copy()
            if change == "most":
                wanted[0, 0] = 21
            else:
                wanted[~self.table.scalable_mask & self.table.mask] += 1
            return wanted

    with pytest.raises(ValueError, match=message):
        run(Unbound(1), scenarios(seeds=1))


def test_a_period_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a period of 7 s does not divide"):
        run(Constant(2, period_seconds=7), scenarios(seeds=1))


def test_everybody_meets_the_same_load_whatever_the_period() -> None:
    drawn = scenarios(["noisy"])
    slow, fast = run(Constant(5), drawn), run(Constant(5, period_seconds=5), drawn)
    np.testing.assert_allclose(slow.external_rps, fast.external_rps.reshape(3, 40, 3).mean(axis=2), rtol=1e-5)
    np.testing.assert_allclose(slow.metrics["replica_seconds"], fast.metrics["replica_seconds"], rtol=1e-6)
    expected = drawn.rps[:, 30:].reshape(3, 40, 15).mean(axis=2)
    np.testing.assert_allclose(slow.external_rps, expected, rtol=1e-4)


def test_scenarios_are_independent_of_what_is_played_beside_them() -> None:
    together = scenarios(["bursty", "diurnal"])
    rule = FeedForward(BOUNDS, CONFIG.max_nodes, estimated=True, trend_weight=0.5)
    both = run(rule, together).part(together.rows("diurnal"))
    alone = run(rule, together.only("diurnal"))
    np.testing.assert_array_equal(both.metrics["replica_seconds"], alone.metrics["replica_seconds"])
    np.testing.assert_allclose(both.metrics["latency_p95_ms"], alone.metrics["latency_p95_ms"], rtol=1e-5)


def window(value: float, ready: int = 1) -> Any:
    columns = np.full((1, 3), value)
    counts = np.full((1, 3), ready)
    return SimpleNamespace(
        ready=counts,
        metric_ready=counts,
        desired=counts,
        app_cpu_millicores=columns,
        rps_in=np.zeros((1, 3)),
        backlog=columns,
        external_rps=columns[:, 0],
    )


def tiny_mesh(*names: str) -> Mesh:
    return Mesh(
        name="tiny",
        services=tuple(Service(name=name, cpu_ms=1.0) for name in names),
        calls=tuple(Call(source=names[0], target=name) for name in names[1:]),
        classes=(RequestClass(name="get", root=names[0], weight=1.0, calls=(1.0,) * (len(names) - 1)),),
    )


@pytest.mark.parametrize(("period", "lag_windows"), [(15, 1), (2, 8), (5, 3)])
def test_baselines_read_metrics_of_the_lags_age_and_counts_of_now(period: int, lag_windows: int) -> None:
    baseline = Constant(1, period_seconds=period)
    baseline.columns = 3
    controller = BaselineController(baseline, CONFIG)
    episode = SimpleNamespace(
        mesh=tiny_mesh("a", "b", "c"), slo_ms=100.0, metrics_lag_seconds=CONFIG.metrics_lag_seconds
    )
    controller.reset([episode])  # type: ignore[list-item]
    shown = window(0.0)
    for k in range(20):
        controller.observe(shown)
        if k >= lag_windows + 1:
            controller.decide(shown, 0.0)
            seen = baseline.seen[-1]
            assert seen.cpu_millicores[0, 0] == seen.external_rps[0] == seen.concurrency[0, 0] == k - lag_windows
            assert seen.metric_ready[0, 0] == 1 + k - lag_windows
            assert seen.metric_ready_start[0, 0] == k - lag_windows
            assert seen.ready[0, 0] == 1 + k
        # The simulation writes over its arrays; what was observed must not change with them.
        for array in (shown.app_cpu_millicores, shown.ready):
            array += 1
        shown.external_rps = shown.app_cpu_millicores[:, 0]


def test_baselines_read_the_application_container_without_its_proxy() -> None:
    baseline = Constant(1)
    baseline.columns = 3
    controller = BaselineController(baseline, replace(CONFIG, metrics_lag_seconds=0))
    controller.reset(
        [SimpleNamespace(mesh=tiny_mesh("a", "b", "c"), slo_ms=100.0, metrics_lag_seconds=CONFIG.metrics_lag_seconds)]
    )  # type: ignore[list-item]
    shown = window(100.0)
    shown.cpu_millicores = shown.app_cpu_millicores + 35.0
    controller.observe(shown)
    controller.decide(shown, 0.0)
    np.testing.assert_array_equal(baseline.seen[-1].cpu_millicores, [[100.0, 100.0, 100.0]])


def test_lagged_metrics_follow_a_service_to_its_new_column_and_a_new_one_has_none() -> None:
    baseline = Constant(1)
    baseline.columns = 3
    controller = BaselineController(baseline, CONFIG)
    old, new = tiny_mesh("a", "b", "c"), tiny_mesh("c", "d", "a")
    assert column_sources(old, new).tolist() == [2, -1, 0]
    controller.reset([SimpleNamespace(mesh=old, slo_ms=100.0, metrics_lag_seconds=CONFIG.metrics_lag_seconds)])  # type: ignore[list-item]
    for _ in range(3):
        shown = window(0.0)
        shown.app_cpu_millicores = np.array([[10.0, 20.0, 30.0]])
        controller.observe(shown)
    controller.remesh(0, old, new)
    controller.decide(shown, 0.0)
    assert baseline.seen[-1].cpu_millicores.tolist() == [[30.0, 0.0, 10.0]]
    assert baseline.seen[-1].metric_ready.tolist() == [[1, 0, 1]]


def test_histogram_quantiles_of_a_known_law() -> None:
    values = np.random.default_rng(0).lognormal(np.log(200.0), 0.6, size=200_000)
    edges = np.concatenate([[0.0], LATENCY_EDGES_MS, [np.inf]])
    counts = np.histogram(values, edges)[0].astype(float)[None]
    for quantile in (0.5, 0.95, 0.99):
        assert histogram_quantile(counts, quantile)[0] == pytest.approx(np.quantile(values, quantile), rel=0.02)
    assert np.isnan(histogram_quantile(np.zeros_like(counts), 0.5)).all()


def test_the_second_of_a_step_is_found_and_a_ripple_is_none() -> None:
    load = np.full(1000, 10.0)
    assert step_second(load) is None
    load[400:] = 20.0
    assert step_second(load) == 400
    load[700:] = 60.0
    assert step_second(load) == 700
    assert step_second(10.0 + np.sin(np.arange(1000) / 50.0)) is None


def test_recovery_counts_violating_seconds_after_the_step() -> None:
    drawn = scenarios(["step2x"], 3, replace(CONFIG, episode_decisions=80))
    slow = run(Constant(6), drawn)
    for b, episode in enumerate(drawn.episodes):
        step = step_second(episode.rps[30:])
        assert step is not None
        first = step // 15
        assert slow.metrics["recovery_seconds"][b] == pytest.approx(slow.violating_seconds[b, first : first + 20].sum())


def test_one_seed_meets_the_same_mesh_on_every_workload_and_splits_share_nothing() -> None:
    drawn = scenarios(["bursty", "noisy"])
    first, second = drawn.episodes[: drawn.seeds], drawn.episodes[drawn.seeds :]
    assert [e.mesh.services[0].cpu_ms for e in first] == [e.mesh.services[0].cpu_ms for e in second]
    held_out = draw_scenarios(CONFIG, ["bursty"], 3, violation_weight=200.0)
    costs = {round(e.mesh.services[0].cpu_ms, 9) for e in (*first, *held_out.episodes)}
    assert len(costs) == 6
    again: tuple[Episode, ...] = scenarios(["bursty", "noisy"]).episodes
    np.testing.assert_array_equal(again[4].rps, drawn.episodes[4].rps)


def test_labels_and_empty_selections() -> None:
    assert workload_label("traces/wiki.csv") == "wiki"
    assert workload_label("noisy") == "noisy"
    with pytest.raises(ValueError, match="needs workloads and seeds"):
        draw_scenarios(CONFIG, [], 3, violation_weight=1.0)
