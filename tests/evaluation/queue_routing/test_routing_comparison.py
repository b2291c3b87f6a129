"""Routers on the same requests: the known figures, pairing, what is stated of a policy, the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnnrl.config.queue_routing import QueueRoutingConfig, QueueRoutingEvaluation, QueueRoutingExperiment
from gnnrl.domains.queue_routing.teachers import taught
from gnnrl.evaluation.queue_routing import report
from gnnrl.evaluation.queue_routing.comparison import POLICY, RoutingEvaluation, compare
from gnnrl.evaluation.queue_routing.play import PolicyChooser, RouterChooser, play, validate

KNOWN = {
    # mean s, p99 s, share to the fast replica
    "jsq": (0.8975, 4.16, 0.5),
    "sed": (0.2705, 1.26, 0.861),
    "sed_own_rate": (0.2423, 1.077, 0.903),
    "affinity": (0.25, 1.1513, 1.0),
    "oracle": (0.2333, 1.02, 0.954),
}


class RoutesBy:
    """A policy that decides as a router does, from the observation alone."""

    def __init__(self, router: str) -> None:
        self.router = router

    def act(self, obs: Any, state: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
        return taught(self.router, obs), state


def experiment(environment: QueueRoutingConfig | None = None, **evaluation: Any) -> QueueRoutingExperiment:
    return QueueRoutingExperiment(
        environment=environment or QueueRoutingConfig(), evaluation=QueueRoutingEvaluation(**evaluation)
    )


@pytest.fixture(scope="module")
def compared() -> RoutingEvaluation:
    config = experiment(seeds=256, arrivals=2_500, warm_up=400, against=tuple(KNOWN))
    return compare(config, RoutesBy("affinity"), label="affinity as a policy")


def test_the_routers_have_their_known_figures(compared: RoutingEvaluation) -> None:
    (system,) = compared.systems
    for name, (mean, p99, accuracy) in KNOWN.items():
        tolerance = 0.06 if name == "jsq" else 0.015
        assert system.mean(name, "mean_latency").mean == pytest.approx(mean, rel=tolerance)
        assert system.mean(name, "p99_latency").mean == pytest.approx(p99, rel=2 * tolerance)
        assert system.mean(name, "routing_accuracy").mean == pytest.approx(accuracy, abs=0.005)
        assert system.mean(name, "throughput").mean == pytest.approx(12.0, rel=0.01)
        for metric in ("mean_latency", "p99_latency"):
            interval = system.mean(name, metric)
            assert interval.low < interval.mean < interval.high


def test_a_policy_that_decides_as_a_router_fares_as_the_router(compared: RoutingEvaluation) -> None:
    (system,) = compared.systems
    policy, router = system.playbacks[POLICY], system.playbacks["affinity"]
    assert np.array_equal(policy.histograms, router.histograms)
    assert np.array_equal(policy.to_first, router.to_first)
    assert np.array_equal(policy.trace_queue, router.trace_queue)
    regret = system.regret(POLICY, "affinity", "p99_latency")
    assert (regret.mean, regret.low, regret.high) == (0.0, 0.0, 0.0)


def test_regret_is_paired(compared: RoutingEvaluation) -> None:
    (system,) = compared.systems
    regret = system.regret("sed_own_rate", "oracle", "mean_latency")
    means = [system.mean(name, "mean_latency") for name in ("sed_own_rate", "oracle")]
    assert regret.mean == pytest.approx(means[0].mean / means[1].mean - 1.0)
    assert regret.mean == pytest.approx(0.2423 / 0.2333 - 1.0, abs=0.006)
    assert 0.02 < regret.low < regret.high < 0.06
    # Much of what a stream does to one router it does to the other.
    assert regret.high - regret.low < 0.5 * (means[0].high - means[0].low) / means[1].mean


def test_where_requests_go_is_counted_by_type_and_queues(compared: RoutingEvaluation) -> None:
    (system,) = compared.systems
    affinity, oracle = system.playbacks["affinity"], system.playbacks["oracle"]
    assert affinity.visits.sum() == 256 * 2_500
    assert np.array_equal(affinity.to_first[0], affinity.visits[0])
    assert not affinity.to_first[1].any()
    # An idle replica_1 takes requests of type A from four on at replica_0, and the other way round.
    assert oracle.to_first[0, 5, 0] == 0 < oracle.visits[0, 5, 0]
    assert oracle.to_first[1, 0, 5] == oracle.visits[1, 0, 5] > 0


def test_figures_are_reached_or_missed_by_what_was_measured(compared: RoutingEvaluation) -> None:
    found = {figure.target: figure.reached for figure in compared.figures()}
    assert found == {"<= 0.256 s": True, "<= 0.245 s": False, "<= 1.10 s": False, ">= 0.90": True}
    alone = replace(compared, systems=(replace(compared.systems[0], playbacks={}),))
    assert alone.figures() == []


def test_drawn_systems_are_the_same_for_everybody() -> None:
    config = experiment(
        QueueRoutingConfig(max_replicas=5, drawn_replicas=(2, 3), replica_changes_per_1000=20.0),
        seeds=12,
        arrivals=300,
        warm_up=50,
        against=("sed_own_rate", "random"),
        replicas=(4, 5),
    )
    evaluation = compare(config, RoutesBy("sed_own_rate"))
    assert [system.name for system in evaluation.systems] == ["configured", "4 replicas, drawn", "5 replicas, drawn"]
    for system in evaluation.systems:
        ours, theirs = system.playbacks[POLICY], system.playbacks["sed_own_rate"]
        # Rates are shown in single precision, which may decide a tie.
        assert ours.mean_latency == pytest.approx(theirs.mean_latency, rel=0.02)
        assert np.array_equal(ours.trace_seconds, system.playbacks["random"].trace_seconds)
        assert system.optimum == {}
    assert evaluation.systems[1].playbacks[POLICY].trace_queue[:, 4].max() == 0
    targets = [figure.claim for figure in evaluation.figures()]
    assert targets == [f"{count} replicas, drawn: mean latency over that of sed_own_rate" for count in (4, 5)]


def test_validation_meets_other_requests_than_the_comparison() -> None:
    config = QueueRoutingConfig()
    found = validate(config, RoutesBy("affinity"))
    assert found["mean_latency"] == pytest.approx(0.25, rel=0.1)
    assert found["routing_accuracy"] == 1.0
    assert found["throughput"] == pytest.approx(12.0, rel=0.05)
    assert found["p99_latency"] == pytest.approx(1.15, rel=0.15)
    again = play(config, RouterChooser("affinity"), seed=1 << 64, streams=64, warm_up=100, arrivals=400)
    assert float(again.mean_latency.mean()) != found["mean_latency"]


def test_a_choice_that_is_none_is_an_error() -> None:
    class Astray(RoutesBy):
        def act(self, obs: Any, state: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
            return np.full(len(obs["nodes"]), 2), state

    with pytest.raises(ValueError, match="environment 0: action 2 is no present replica"):
        play(QueueRoutingConfig(), PolicyChooser(Astray("sed")), seed=0, streams=2, warm_up=0, arrivals=5)


def test_the_report_is_whole_and_names_everybody(compared: RoutingEvaluation, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    lines = [{"step": step, "train/reward": -1.0 / step, "eval/mean_latency": 0.3} for step in (10, 20, 30)]
    (run / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report.compose(compared, run).write(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    for expected in (
        *KNOWN,
        "policy, type A",
        "oracle, type B",
        "Load over time",
        "optimum, exact",
        "0.2332",
        "missed",
    ):
        assert expected in text
    assert text.count("<figure>") == 4
    assert text.count("<tr") == text.count("</tr>")
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    json.dumps(compared.to_json(), allow_nan=False)


def test_a_report_of_many_replicas_leaves_out_what_cannot_be_drawn() -> None:
    config = experiment(
        QueueRoutingConfig(service_rates=((5.0, 5.0),) * 3, max_replicas=3), seeds=5, arrivals=100, against=("jsq",)
    )
    text = report.compose(compare(config)).html()
    assert "Where requests go" not in text
    assert "Figures to reach" not in text
    assert text.count("<figure>") == 2
