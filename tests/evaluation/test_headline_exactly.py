"""The headline table on made-up playbacks of two workloads: every figure from numbers that can be followed by hand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, EvaluationConfig, ExperimentConfig
from gnnrl.domains.autoscaling.calibration import Calibration, Setting
from gnnrl.domains.autoscaling.episode import Split, draw_episode
from gnnrl.domains.autoscaling.physics import LATENCY_EDGES_MS
from gnnrl.domains.llm_routing.baselines import ROUTERS as LLM_ROUTERS
from gnnrl.evaluation import comparison
from gnnrl.evaluation.comparison import POLICY, Evaluation, compare
from gnnrl.evaluation.contenders import over_runs
from gnnrl.evaluation.llm_routing.comparison import LLMSystem
from gnnrl.evaluation.queue_routing.comparison import System
from gnnrl.evaluation.runner import METRICS, Playback, _Score, histogram_quantile, step_second
from gnnrl.evaluation.scenarios import ScenarioSet
from gnnrl.evaluation.statistics import Interval, _tail_share, mean_interval, relative_saving

WORKLOADS, SEEDS, WEIGHTS = ("noisy", "flash"), 3, (20.0, 800.0)
SIZE = {"noisy": np.array([1.0, 3.0, 0.5]), "flash": np.array([20.0, 10.0, 40.0])}
"""How large each scenario is; as different between the workloads as can be."""
COST = {POLICY: 60.0, "hpa_80": 100.0, "hpa_calibrated": 80.0, "oracle": 30.0}
SHARE = {POLICY: 0.006, "hpa_80": 0.001, "hpa_calibrated": 0.003, "oracle": 0.0}
BY_WEIGHT = {
    # weight -> (violating share, replica-seconds in units of the scenario's size); the budgets are 1 % and 3 %
    "noisy": {20.0: (0.016, 50.0), 800.0: (0.004, 74.0)},
    "flash": {20.0: (0.040, 45.0), 800.0: (0.020, 65.0)},
}
BY_SETTING = {
    "noisy": {70.0: (0.002, 100.0), 90.0: (0.014, 88.0)},
    "flash": {75.0: (0.010, 110.0), 95.0: (0.050, 70.0)},
}
CONFIG = ExperimentConfig(
    environment=AutoscalingConfig(episode_decisions=8),
    evaluation=EvaluationConfig(
        workloads=WORKLOADS,
        seeds=SEEDS,
        against=("hpa_80", "hpa_calibrated", "oracle"),
        frontier_weights=WEIGHTS,
        violation_weight=150.0,
        temperature=0.7,
    ),
)


def sizes(scenarios: ScenarioSet) -> np.ndarray:
    """[B] of the scenarios, which come in whole rounds of the seeds of each of their workloads."""
    once = np.concatenate([SIZE[workload] for workload in scenarios.workloads])
    return np.tile(once, len(scenarios.episodes) // len(once))


def playback(name: str, scenarios: ScenarioSet, cost: np.ndarray, share: np.ndarray, weight: float) -> Playback:
    size = sizes(scenarios)
    metrics = {metric: np.zeros(len(size)) for metric in METRICS}
    metrics |= {"replica_seconds": cost * size, "violating_share": share + 0.0 * size}
    metrics["objective"] = metrics["replica_seconds"] + weight * 120.0 * metrics["violating_share"]
    windows = np.zeros((len(size), 8), np.float32)
    return Playback(name, 15, metrics, np.zeros((len(size), 0)), windows, windows, windows, windows)


class Stage:
    """Stands where scenarios are played, and notes how."""

    def __init__(self) -> None:
        self.frontier_calls: list[tuple[str, tuple[float, ...], float]] = []
        self.setting_calls: list[tuple[str, tuple[str, ...], list[dict[str, float]], float]] = []

    def play(self, controller: Any, scenarios: ScenarioSet, *, violation_weight: float, **_: Any) -> Playback:
        name = controller.name
        assert name != POLICY or controller.temperature == 0.7
        shown = tuple(episode.violation_weight for episode in scenarios.episodes)
        if len(scenarios.episodes) == len(WORKLOADS) * SEEDS:
            assert set(shown) == {150.0}
            return playback(name, scenarios, np.array(COST[name]), np.array(SHARE[name]), violation_weight)
        self.frontier_calls.append((name, shown, violation_weight))
        of = [BY_WEIGHT[e.workload][e.violation_weight] for e in scenarios.episodes]
        share, cost = np.array(of).T
        return playback(name, scenarios, cost, share, violation_weight)

    def play_oracle(self, scenarios: ScenarioSet, *, violation_weight: float, **_: Any) -> Playback:
        return playback("oracle", scenarios, np.array(COST["oracle"]), np.array(0.0), violation_weight)

    def play_settings(
        self,
        rule: str,
        scenarios: ScenarioSet,
        settings: Sequence[Mapping[str, float]],
        *,
        violation_weight: float,
        **_: Any,
    ) -> list[Playback]:
        self.setting_calls.append((rule, scenarios.workloads, [dict(s) for s in settings], violation_weight))
        (workload,) = scenarios.workloads
        found = []
        for setting in settings:
            share, cost = BY_SETTING[workload][setting["target_percent"]]
            found.append(playback(rule, scenarios, np.array(cost), np.array(share), violation_weight))
        return found


def calibration() -> Calibration:
    def setting(target: float, share: float, cost: float) -> Setting:
        values = {"target_percent": target, "down_window_seconds": 60.0}
        return Setting(values=values, violating_share=share, replica_seconds=cost, scale_moves=1.0)

    swept = {
        workload: {"hpa_calibrated": tuple(setting(target, *found) for target, found in by.items())}
        for workload, by in BY_SETTING.items()
    }
    return Calibration(environment={}, seeds=2, frontiers=swept)


class Nobody:
    """A policy that is never asked: the stage plays."""

    def act(self, *_: Any, **__: Any) -> Any:
        raise AssertionError


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage()


@pytest.fixture(scope="module")
def compared(stage: Stage) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("play", "play_oracle", "play_settings"):
            patch.setattr(comparison, name, getattr(stage, name))
        return compare(CONFIG, Nobody(), calibration=calibration())  # type: ignore[arg-type]


def test_frontiers_are_each_workloads_own(compared: Evaluation, stage: Stage) -> None:
    for workload in WORKLOADS:
        found = compared.frontiers[workload]
        assert list(found) == [POLICY, "hpa_calibrated"]
        for name, points in ((POLICY, BY_WEIGHT), ("hpa_calibrated", BY_SETTING)):
            shares, costs = np.array(list(points[workload].values())).T
            np.testing.assert_allclose(found[name].replica_seconds, costs[:, None] * SIZE[workload], rtol=1e-12)
            np.testing.assert_allclose(found[name].violating_share, np.repeat(shares[:, None], SEEDS, 1), rtol=1e-12)
    assert compared.frontiers["noisy"][POLICY].labels == ("a = 20", "a = 800")
    assert compared.frontiers["flash"]["hpa_calibrated"].labels == ("75, 60", "95, 60")
    # Each weight was shown to the whole round of scenarios; a frontier is not charged the objective's weight.
    assert stage.frontier_calls == [(POLICY, (20.0,) * 6 + (800.0,) * 6, 0.0)]
    assert [call[:2] for call in stage.setting_calls] == [("hpa_calibrated", (workload,)) for workload in WORKLOADS]
    for _, (workload,), settings, weight in stage.setting_calls:
        assert [setting["target_percent"] for setting in settings] == list(BY_SETTING[workload])
        assert weight == 0.0


def test_what_is_played_is_held_out_and_without_churn_unless_asked(compared: Evaluation) -> None:
    scenarios = compared.scenarios
    assert (scenarios.split, scenarios.seeds) == (Split.HELD_OUT, SEEDS)
    still = replace(CONFIG.environment, churn=ChurnConfig())
    for k, episode in enumerate(scenarios.episodes):
        drawn = draw_episode(still, Split.HELD_OUT, k % SEEDS, workload=WORKLOADS[k // SEEDS], violation_weight=150.0)
        np.testing.assert_array_equal(episode.rps, drawn.rps)
        assert episode.mesh == drawn.mesh
    restless = ChurnConfig(pod_crashed_per_hour=200.0)
    config = replace(CONFIG, environment=replace(CONFIG.environment, churn=restless, episode_decisions=40))
    stage = Stage()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison, "play", stage.play)
        for churn in ("none", "gated", "hard"):
            asked = {"against": ("hpa_80",), "frontiers": False, "churn": churn, "split": Split.VALIDATION}
            found = compare(config, Nobody(), calibration=calibration(), **asked)  # type: ignore[arg-type]
            assert found.scenarios.split == Split.VALIDATION
            assert any(episode.churn.events for episode in found.scenarios.episodes) == (churn != "none")


def test_savings_are_the_workloads_own_at_equal_and_at_unequal_violation(compared: Evaluation) -> None:
    # At 1 %: half of the way from 74 to 50, a third of the way from 88 to 100. At 3 %: half of the ways.
    expected = {"noisy": 1 - 62.0 / 92.0, "flash": 1 - 55.0 / 90.0}
    for workload in WORKLOADS:
        found = compared.equal_violation_saving(workload, POLICY, "hpa_calibrated")
        assert found is not None
        assert (found.mean, found.low, found.high) == pytest.approx((expected[workload],) * 3)
        saved = compared.saving(workload, POLICY, "hpa_80")
        assert (saved.mean, saved.low, saved.high) == pytest.approx((0.4, 0.4, 0.4))
        added = compared.added_violation(workload, POLICY, "hpa_80")
        assert (added.mean, added.low, added.high) == pytest.approx((0.005, 0.005, 0.005))
        assert compared.mean(workload, POLICY, "replica_seconds").mean == pytest.approx(60.0 * SIZE[workload].mean())
        np.testing.assert_allclose(compared.values(workload, POLICY, "replica_seconds"), 60.0 * SIZE[workload])
    document = compared.to_json()
    assert document["equal_violation"]["flash"]["violating_share"] == 0.03
    told = document["equal_violation"]["flash"]["replica_seconds_saving"]["hpa_calibrated"]
    assert told[POLICY]["mean"] == pytest.approx(expected["flash"])
    assert document["paired"]["noisy"]["hpa_calibrated"][POLICY]["replica_seconds_saving"]["mean"] == pytest.approx(
        0.25
    )
    points = document["frontiers"]["flash"][POLICY]
    mean = SIZE["flash"].mean()
    assert [p["violating_share"] for p in points] == pytest.approx([0.04, 0.02])
    assert [p["replica_seconds"] for p in points] == pytest.approx([45.0 * mean, 65.0 * mean])


def test_the_lowest_objective_is_that_of_the_workload_and_never_the_oracles(compared: Evaluation) -> None:
    # Beside 150 x 120 x the share: 108 for the policy, 18 for hpa_80, 54 for hpa_calibrated. On small scenarios (1.5 on average) that
    # is more than the replicas: 198, 168 and 174. On large ones the replicas decide.
    objective = {
        workload: {name: compared.mean(workload, name, "objective").mean for name in COST} for workload in WORKLOADS
    }
    for workload, found in objective.items():
        for name, value in found.items():
            assert value == pytest.approx(COST[name] * SIZE[workload].mean() + 150.0 * 120.0 * SHARE[name])
        others = {name: value for name, value in found.items() if name != "oracle"}
        assert compared.best(workload) == min(others, key=others.__getitem__)
    assert [compared.best(workload) for workload in WORKLOADS] == ["hpa_80", POLICY]
    assert compared.objective_weights() == {"violation_weight": 150.0, "change_weight": pytest.approx(0.02 * 15)}


def window(k: int, **more: Any) -> SimpleNamespace:
    """A scraped window of two scenarios of 10 s; the second scenario is twice the first, and has no requests at first."""
    both = np.array([1.0, 2.0])
    bins = np.zeros((2, len(LATENCY_EDGES_MS) + 1))
    bins[:, 10 + k] = 5.0
    values: dict[str, Any] = {
        "seconds": np.array([10.0, 10.0]),
        "replica_seconds": both * (30.0 + 20.0 * k),
        "core_seconds": both * (4.0 + k),
        "cpu_millicores": np.array([[100.0, 50.0], [300.0, 100.0]]) * (1 + k),
        "latency_mean_ms": both * 50.0 * (k + 1),
        "external_rps": np.array([2.0 * (k + 1), 0.0]),
        "mesh_error_share": np.array([0.1 * k, 0.5]),
        "latency_histogram": bins,
        "latency_p95_ms": both * 7.0 * k,
        "violating_seconds": np.array([1.0 + k, 2.0 * k]),
    }
    return SimpleNamespace(**{**values, **more})


def test_a_score_adds_up_its_windows_in_their_units() -> None:
    score = _Score((2, len(LATENCY_EDGES_MS) + 1), 3)
    for k, changes in enumerate(([[2, 0], [1, 1]], [[0, 0], [0, 3]], [[1, 4], [0, 0]])):
        score.add(window(k), np.array(changes))
    found = score.metrics(200.0, 0.3)
    assert found["replica_seconds"].tolist() == [150.0, 300.0]
    assert found["core_seconds"].tolist() == [15.0, 30.0]
    assert found["violating_share"] == pytest.approx([6.0 / 30.0, 6.0 / 30.0])
    assert found["scale_moves"].tolist() == [3.0, 3.0]
    assert found["replica_changes"].tolist() == [7.0, 5.0]
    assert found["objective"] == pytest.approx([150 + 200 * 6 + 0.3 * 7, 300 + 200 * 6 + 0.3 * 5])
    # 20, 40 and 60 requests at 50, 100 and 150 ms, of which 0, 10 and 20 % failed.
    assert found["latency_mean_ms"][0] == pytest.approx((20 * 50 + 40 * 100 + 60 * 150) / 120)
    assert found["error_share"][0] == pytest.approx((40 * 0.1 + 60 * 0.2) / 120)
    assert np.isnan(found["latency_mean_ms"][1]) and np.isnan(found["error_share"][1])
    # 0.15 cores for 10 s, twice and three times that: 9 core-seconds of 15; 0.4 cores: 24 of 30.
    assert found["utilisation"] == pytest.approx([9.0 / 15.0, 24.0 / 30.0])
    assert found["peak_replicas"] == pytest.approx([7.0, 14.0])
    assert score.replicas.tolist() == [[3.0, 5.0, 7.0], [6.0, 10.0, 14.0]]
    assert score.external_rps[0].tolist() == [2.0, 4.0, 6.0]
    assert score.latency_p95_ms[1].tolist() == [0.0, 14.0, 28.0]
    assert score.violating.tolist() == [[1.0, 2.0, 3.0], [0.0, 2.0, 4.0]]
    for quantile, name in ((0.5, "latency_p50_ms"), (0.95, "latency_p95_ms"), (0.99, "latency_p99_ms")):
        # A third of the requests in each of three neighbouring bins.
        inside = 3 * quantile
        k = min(int(inside), 2)
        low, high = np.log(LATENCY_EDGES_MS[9 + k]), np.log(LATENCY_EDGES_MS[10 + k])
        assert found[name] == pytest.approx([np.exp(low + (inside - k) * (high - low))] * 2)
    assert np.isnan(histogram_quantile(np.zeros((1, len(LATENCY_EDGES_MS) + 1)), 0.5)).all()


def test_what_follows_an_event_is_counted_for_five_minutes_from_its_window_on() -> None:
    score = _Score((2, 0), 40)
    for k in range(40):
        score.add(
            window(0, violating_seconds=np.array([float(k), 1.0]), latency_histogram=np.zeros((2, 0))), np.zeros((2, 1))
        )
    # Windows of 15 s: 20 of them are five minutes. The first event is in window 2, the second, at the end, has 5 left.
    found = score.after([(0, 44), (0, 525), (1, 30)], 15)
    assert found == pytest.approx([(sum(range(2, 22)) + sum(range(35, 40))) / 2, 20.0])
    assert np.isnan(score.after([(1, 0)], 15)[0])


def test_intervals_are_the_resamples_quantiles_at_students_tail() -> None:
    # 97.5 % quantiles of Student's t, from tables.
    for count, t in ((5, 2.776), (6, 2.571), (16, 2.131), (31, 2.042)):
        tail = 0.5 * math.erfc(math.sqrt(count / (count - 1)) * t / math.sqrt(2.0))
        assert _tail_share(count) == pytest.approx(tail, rel=0.03)
    values = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
    drawn = np.random.default_rng(0).integers(5, size=(2000, 5))
    means = np.sort(values[drawn].mean(axis=1))
    tail = _tail_share(5)
    found = mean_interval(values)
    assert (found.mean, found.low, found.high) == (
        pytest.approx(6.2),
        means[math.ceil(tail * 2000) - 1],
        means[math.ceil((1 - tail) * 2000) - 1],
    )
    reference = np.array([2.0, 8.0, 3.0, 9.0, 30.0])
    saved = np.sort(1.0 - values[drawn].mean(axis=1) / reference[drawn].mean(axis=1))
    found = relative_saving(values, reference)
    assert found.mean == pytest.approx(1.0 - 31.0 / 52.0)
    assert (found.low, found.high) == (saved[math.ceil(tail * 2000) - 1], saved[math.ceil((1 - tail) * 2000) - 1])


def test_few_runs_have_students_interval() -> None:
    told = [Interval(mean, mean - 9.0, mean + 9.0) for mean in (0.0, 1.0, 2.0)]
    reach = 4.303 / math.sqrt(3.0)
    assert over_runs(told) == Interval(1.0, pytest.approx(1.0 - reach), pytest.approx(1.0 + reach))
    reach = 12.706 / math.sqrt(2.0) * math.sqrt(0.5)
    assert over_runs(told[:2]) == Interval(0.5, pytest.approx(0.5 - reach), pytest.approx(0.5 + reach))
    four = over_runs([*told, Interval(5.0, 5.0, 5.0)])
    assert four.high - four.mean == pytest.approx(3.182 * np.std([0, 1, 2, 5], ddof=1) / 2.0)


def test_routing_changes_are_shares_of_the_reference_paired_by_stream() -> None:
    ours, theirs = np.array([1.0, 2.0, 6.0]), np.array([2.0, 5.0, 5.0])
    by_row = {"policy": ours, "least_outstanding": theirs, "random": 3.0 * theirs}
    played = {
        row: SimpleNamespace(values=lambda metric, v=v: v if metric == "e2e_mean_s" else v**2)
        for row, v in by_row.items()
    }
    llm = LLMSystem(name="x", environment=None, playbacks=played)  # type: ignore[arg-type]
    drawn = np.random.default_rng(0).integers(3, size=(2000, 3))
    tail = _tail_share(3)
    ends = [math.ceil(share * 2000) - 1 for share in (tail, 1 - tail)]
    changed = np.sort(ours[drawn].mean(axis=1) / theirs[drawn].mean(axis=1) - 1.0)
    found = llm.change("policy", "e2e_mean_s")
    assert found.mean == pytest.approx(9.0 / 12.0 - 1.0)
    assert found.low == pytest.approx(changed[ends[0]], abs=1e-12) and found.high == pytest.approx(
        changed[ends[1]], abs=1e-12
    )
    assert llm.change("random", "e2e_p99_s").mean == pytest.approx(8.0)
    assert llm.change("policy", "e2e_p99_s", "random").mean == pytest.approx((1 + 4 + 36) / (9 * 54) - 1)
    assert llm.mean("policy", "e2e_mean_s").mean == pytest.approx(3.0)
    queue = System(
        name="x",
        environment=None,  # type: ignore[arg-type]
        playbacks={row: SimpleNamespace(mean_latency=v) for row, v in by_row.items()},  # type: ignore[misc]
    )
    regret = queue.regret("policy", "least_outstanding", "mean_latency")
    assert regret.mean == pytest.approx(-0.25)
    assert (regret.low, regret.high) == (pytest.approx(changed[ends[0]]), pytest.approx(changed[ends[1]]))


def test_rules_that_know_more_than_the_policy_are_not_said_to_be_ahead_of_it() -> None:
    told = next(name for name, router in LLM_ROUTERS.items() if router.told)
    figures = {"policy": 2.0, told: 1.0, "least_outstanding": 1.5, "random": 3.0}
    played = {row: SimpleNamespace(values=lambda _, v=v: np.full(3, v)) for row, v in figures.items()}
    llm = LLMSystem(name="x", environment=None, playbacks=played)  # type: ignore[arg-type]
    cost = "least_outstanding (1.5 against 2)"
    assert llm.rules_ahead == f"Where a rule has less than policy: TTFT p99 {cost}; e2e mean {cost}; e2e p99 {cost}"
    figures = {"policy": 2.0, "oracle": 1.0, "sed_own_rate": 1.5, "random": 3.0}
    routed = {
        row: SimpleNamespace(
            mean_latency=np.full(3, v), p99=lambda v=v: 3.0 - v, p99_of=lambda index, v=v: np.full(len(index), 3.0 - v)
        )
        for row, v in figures.items()
    }
    queue = System(name="x", environment=None, playbacks=routed)  # type: ignore[arg-type]
    # Of the percentile they have in this case the policy is third: 1 s against 2, 1.5 and 0.
    assert queue.rules_ahead == (
        "Where a rule has less than policy: mean latency sed_own_rate (1.5 against 2); p99 latency random (0 against 1)"
    )
    regret = queue.regret("policy", "sed_own_rate", "p99_latency")
    assert (regret.mean, regret.low, regret.high) == pytest.approx((-1.0 / 3.0,) * 3)
    assert queue.mean("policy", "p99_latency").mean == 1.0


def test_a_step_is_where_half_of_the_rise_is_done_and_a_smaller_one_than_by_six_tenths_is_none() -> None:
    def ramp(to: float) -> np.ndarray:
        """100 requests/s for 100 s, then in 28 s up."""
        return np.concatenate([np.full(100, 100.0), 100.0 + (to - 100.0) * np.arange(1, 29) / 28.0, np.full(80, to)])

    assert step_second(ramp(180.0)) == 113  # 140 there
    assert step_second(ramp(161.0)) == 113
    assert step_second(ramp(159.0)) is None
    assert step_second(ramp(180.0)[:89]) is None
