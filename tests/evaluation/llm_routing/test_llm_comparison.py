"""LLM routers and policies on the same streams: pairing, what is stated of whom, what was seen on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gnnrl.config.experiment import PPOConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingEvaluation, LLMRoutingExperiment
from gnnrl.domains.llm_routing.baselines import router_named
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
from gnnrl.domains.llm_routing.metrics import latency_report
from gnnrl.domains.llm_routing.scenarios import SCENARIOS
from gnnrl.domains.llm_routing.teachers import taught
from gnnrl.evaluation.contenders import POLICY, Contender, over_runs
from gnnrl.evaluation.llm_routing.comparison import REFERENCE, LLMRoutingEvaluated, LLMSystem, compare
from gnnrl.evaluation.llm_routing.play import LATENCY_EDGES_S, METRICS, LLMPlayback, play_policy, play_router
from gnnrl.evaluation.llm_routing.targets import targets
from gnnrl.evaluation.statistics import Interval
from graph_space.schema import ACTION_MASK, NODES

STREAMS: dict[str, Any] = {"seed": 5, "streams": 3, "requests": 400}


class ByRule:
    """A policy that decides as a teacher does."""

    def __init__(self, rule: str = "speed_weighted_outstanding") -> None:
        self.rule = rule
        self.slots: set[int] = set()

    def act(self, obs: Any, state: Any = None, *_: Any, **__: Any) -> tuple[np.ndarray[Any, Any], Any]:
        self.slots.add(obs[NODES].shape[1])
        return taught(self.rule, obs), state


def experiment(environment: LLMRoutingConfig | None = None, name: str = "x", **evaluation: Any) -> LLMRoutingExperiment:
    return LLMRoutingExperiment(
        name=name,
        ppo=PPOConfig(credit="graph"),
        environment=environment or LLMRoutingConfig(),
        evaluation=LLMRoutingEvaluation(**evaluation),
    )


@pytest.fixture(scope="module")
def compared() -> LLMRoutingEvaluated:
    """A policy, two runs of one experiment and one of another beside it, on a case with changes and one of twice the replicas."""
    config = experiment(
        seeds=4, requests=500, scenarios=("B", "elastic8"), against=("least_outstanding", "round_robin")
    )
    beside = [
        Contender(name="same", policy=ByRule(), config=replace(config, seed=1)),
        Contender(name="other seed", policy=ByRule("least_pending_prefill"), config=replace(config, seed=2)),
        Contender(
            name="documented", policy=Straight(), config=experiment(LLMRoutingConfig(features="documented"), "y")
        ),
    ]
    return compare(config, ByRule(), beside=beside, label="by rule")


class Straight:
    """A policy of other features: always the first replica that may be chosen."""

    def act(self, obs: Any, state: Any = None, *_: Any, **__: Any) -> tuple[np.ndarray[Any, Any], Any]:
        assert obs[NODES].shape[2] > 20
        return obs[ACTION_MASK][:, :, 0].argmax(axis=1), state


def test_where_a_rule_that_is_told_nothing_is_better_the_table_begins_with_it() -> None:
    class Played:
        def __init__(self, ttft: float, mean: float, tail: float) -> None:
            self.figures = {"ttft_p99_s": ttft, "e2e_mean_s": mean, "e2e_p99_s": tail}

        def values(self, metric: str) -> np.ndarray[Any, Any]:
            return np.full(3, self.figures.get(metric, 1.0))

    played: dict[str, Any] = {
        POLICY: Played(2.0, 5.0, 9.0),
        "least_outstanding": Played(3.0, 4.5, 9.0),
        "paced_multiplicative": Played(1.5, 4.75, 10.0),
        "speed_weighted_prefill": Played(1.0, 1.0, 1.0),
        "known_length_greedy": Played(1.0, 1.0, 1.0),
    }
    system = LLMSystem(name="B", environment=LLMRoutingConfig(), playbacks=played)
    assert system.rules_ahead == (
        "Where a rule has less than policy: TTFT p99 paced_multiplicative (1.5 against 2); "
        "e2e mean least_outstanding (4.5 against 5)"
    )
    assert LLMSystem(name="B", environment=LLMRoutingConfig(), playbacks={"random": played[POLICY]}).rules_ahead == ""


def test_a_policy_meets_the_requests_that_the_routers_meet() -> None:
    """By inferred speeds it comes near the router that is told them, and both are better than the reference."""
    config = experiment(
        LLMRoutingConfig(changes_per_1000=500.0),
        seeds=4,
        requests=1500,
        against=("least_outstanding", "speed_weighted_outstanding"),
    )
    evaluation = compare(config, ByRule(), label="by rule")
    (system,) = evaluation.systems
    assert system.name == "B"
    told = system.playbacks["speed_weighted_outstanding"].values("e2e_mean_s")
    assert system.playbacks[POLICY].values("e2e_mean_s") == pytest.approx(told, rel=0.03)
    assert system.change(POLICY, "e2e_mean_s").high < 0.0
    document = evaluation.to_json()["systems"]["B"]
    assert set(document["routers"][POLICY]) == set(METRICS)
    assert document["unfinished"] == dict.fromkeys(system.playbacks, 0)


def test_pairing_is_exact(compared: LLMRoutingEvaluated) -> None:
    for system in compared.systems:
        for metric in METRICS:
            assert system.change(REFERENCE, metric) == Interval(0.0, 0.0, 0.0)
            assert system.change("same", metric, POLICY) == Interval(0.0, 0.0, 0.0)
        ours, theirs = system.playbacks[POLICY], system.playbacks["same"]
        assert np.array_equal(ours.e2e_counts, theirs.e2e_counts)
        # What differs is seen to differ.
        assert system.change("other seed", "ttft_p99_s", POLICY).mean != 0.0


def test_a_router_in_slices_is_the_router_in_one_go() -> None:
    played = play_router(LLMRoutingConfig(scenarios=("elastic",), max_replicas=5), "power_of_two", **STREAMS)
    env = LLMRoutingVectorEnv(
        3, LLMRoutingConfig(scenarios=("elastic",), max_replicas=5, episode_requests=400), to_the_end=True
    )
    env.reset(seed=5)
    env.simulation.run(router_named("power_of_two").code)
    assert played.reports == tuple(latency_report(env.simulation.table(b)) for b in range(3))


def test_slots_that_no_replica_has_change_nothing() -> None:
    few, many = (
        play_policy(LLMRoutingConfig(max_replicas=slots), ByRule(), seed=5, streams=2, requests=300) for slots in (4, 7)
    )
    assert few.reports == many.reports
    assert np.array_equal(few.share, many.share[:, :4]) and not many.share[:, 4:].any()


def test_histograms_hold_every_request_at_its_latency() -> None:
    played = play_router(LLMRoutingConfig(), "least_outstanding", **STREAMS)
    for counts, metric in ((played.ttft_counts, "ttft"), (played.e2e_counts, "e2e")):
        assert counts.sum() == sum(report.completed for report in played.reports) == 1200
        middle = np.sqrt(LATENCY_EDGES_S[1:] * LATENCY_EDGES_S[:-1])
        mean = np.mean([getattr(report, f"{metric}_mean_s") for report in played.reports])
        assert (middle * counts).sum() / counts.sum() == pytest.approx(mean, rel=0.005)


def test_the_load_is_what_the_request_table_says() -> None:
    config = LLMRoutingConfig(episode_requests=400)
    load = play_router(config, "least_outstanding", **STREAMS).load
    env = LLMRoutingVectorEnv(3, config, to_the_end=True)
    env.reset(seed=5)
    env.simulation.run(router_named("least_outstanding").code)
    table = env.simulation.table(0)
    assert len(load.seconds) == 400
    for row in range(0, 400, 37):
        now = load.seconds[row]
        there = (table.routed_at < now) & (table.completed_at > now)
        assert np.array_equal(load.outstanding[row], np.bincount(table.replica[there], minlength=4))
    assert load.time_factor == pytest.approx(np.tile([1.0, 1.0, 2.0, 2.0], (3, 1)))
    assert (load.up_share == 1.0).all() and load.changes == ()
    assert load.kv_share.max() > 0.02 > load.kv_share.min() >= 0.0


def test_the_load_shows_what_fails_and_joins() -> None:
    load = play_router(LLMRoutingConfig(scenarios=("elastic",), max_replicas=5), "round_robin", **STREAMS).load
    fail, join = load.changes
    assert (fail.kind, fail.replica, join.kind, join.replica) == ("fail", 1, "join", 4)
    failed, joined = load.seconds >= fail.at_seconds, load.seconds > join.at_seconds
    assert np.array_equal(np.isnan(load.outstanding[:, 1]), failed)
    assert np.array_equal(np.isnan(load.outstanding[:, 4]), ~joined)
    assert load.up_share[:, [0, 1, 4]].mean(axis=0) == pytest.approx([1.0, 0.4, 0.4], abs=0.05)


def test_twice_the_replicas_are_twice_the_fleet_and_load() -> None:
    assert [replica.time_factor for replica in SCENARIOS["E8"].replicas] == [1, 1, 2, 4, 1, 1, 2, 4]
    for name in ("A", "B", "E", "elastic"):
        one, two = SCENARIOS[name], SCENARIOS[f"{name}8"]
        assert two.arrivals.qps == 2 * one.arrivals.qps and two.arrivals.cv == one.arrivals.cv
        assert sum(replica.up for replica in two.replicas) == 8
        assert [change.replica for change in two.changes] == [
            change.replica + shift for shift in (0, len(one.replicas)) for change in one.changes
        ]


def test_each_run_is_shown_what_it_was_trained_on(compared: LLMRoutingEvaluated) -> None:
    """`Straight` asserts its own features; here: slots are those of training unless the fleet is larger."""
    seen = ByRule()
    config = experiment(
        LLMRoutingConfig(max_replicas=6), seeds=1, requests=100, scenarios=("B", "elastic8"), against=()
    )
    compare(config, seen)
    assert seen.slots == {7, 11}
    assert compared.systems[1].playbacks["documented"].reports[0].completed == 500


def test_runs_of_one_experiment_stand_together(compared: LLMRoutingEvaluated) -> None:
    for system in compared.systems:
        assert dict(system.together) == {"x, 3 runs": (POLICY, "same", "other seed")}
        assert system.rows == (
            POLICY, "same", "other seed", "documented", "x, 3 runs", "least_outstanding", "round_robin",
        )  # fmt: skip
        each = [system.change(run, "ttft_p99_s").mean for run in (POLICY, "same", "other seed")]
        together = system.change("x, 3 runs", "ttft_p99_s")
        assert together == over_runs([Interval(mean, mean, mean) for mean in each])
        assert together.mean == pytest.approx(np.mean(each))
        assert together.low < together.mean < together.high
        document = system.to_json()
        assert document["runs_together"] == {"x, 3 runs": [POLICY, "same", "other seed"]}
        assert document["change"][REFERENCE]["x, 3 runs"]["ttft_p99_s"] == together.to_json()
    assert set(compared.to_json()["beside"]) == {"same", "other seed", "documented"}
    json.dumps(compared.to_json(), allow_nan=False)


def test_two_rows_of_one_name_are_refused() -> None:
    config = experiment(seeds=1, requests=100)
    with pytest.raises(ValueError, match="both called 'policy'"):
        compare(config, ByRule(), beside=[Contender(name=POLICY, policy=ByRule(), config=config)])


def interval(mean: float) -> Interval:
    return Interval(mean, mean - 0.01, mean + 0.01)


CHANGES = {
    ("ttft_p99_s", REFERENCE): -0.45,
    ("e2e_p99_s", REFERENCE): -0.15,
    ("e2e_mean_s", REFERENCE): 0.015,
    ("e2e_mean_s", "round_robin"): -0.001,
}


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("fixed", [True]),
        ("A", [True, False]),
        ("B", [False, True, False, False]),
        ("E", [False, False, False, False]),
        ("elastic", [True, True, False]),
        ("E8", [True, True, False]),
        ("as configured", []),
    ],
)
def test_targets_are_reached_or_missed_by_what_was_measured(scenario: str, expected: list[bool]) -> None:
    found = list(targets(scenario, POLICY, lambda *asked: interval(CHANGES[asked]), (REFERENCE, "round_robin")))
    assert [figure.reached for figure in found] == expected
    assert list(targets(scenario, POLICY, lambda *asked: interval(CHANGES[asked]), ())) == []


def test_all_at_once_needs_every_upper_bound_below_zero() -> None:
    better = {"ttft_p99_s": -0.5, "e2e_p99_s": -0.3, "e2e_mean_s": -0.011}
    at_once, *stretch = targets("B", POLICY, lambda metric, _: interval(better[metric]), (REFERENCE,))
    assert at_once.reached and [figure.reached for figure in stretch] == [True, True, False]
    better["e2e_mean_s"] = -0.009
    assert next(iter(targets("B", POLICY, lambda metric, _: interval(better[metric]), (REFERENCE,)))).reached is False


def test_a_system_without_the_reference_states_no_change() -> None:
    config = LLMRoutingConfig()
    played: dict[str, LLMPlayback] = {"random": play_router(config, "random", seed=5, streams=2, requests=200)}
    system = LLMSystem(name="B", environment=config, playbacks=played)
    assert system.reference is None and system.figures() == []
    assert system.to_json()["change"] == {REFERENCE: {}}
