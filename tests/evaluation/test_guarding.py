"""The live loop's guardrails around a comparison: wide ones change nothing, narrow ones change what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gnnrl.cluster.guardrails import GUARDRAILS
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig, EvaluationConfig, ExperimentConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.baselines import FeedForward, HorizontalPodAutoscaler, RandomMoves, ReplicaBounds
from gnnrl.domains.autoscaling.episode import Episode, Split
from gnnrl.evaluation import report
from gnnrl.evaluation.comparison import compare
from gnnrl.evaluation.controllers import BaselineController, Controller, PolicyController, TeacherPolicy
from gnnrl.evaluation.guarding import Guard, replica_limits
from gnnrl.evaluation.runner import METRICS, Playback, play
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios

BOUNDS = ReplicaBounds(min_replicas=1, max_replicas=20)
CHURN = ChurnConfig(
    service_added_per_hour=10.0,
    service_removed_per_hour=5.0,
    service_renamed_per_hour=5.0,
    call_removed_per_hour=5.0,
    pod_crashed_per_hour=10.0,
)
CONFIG = AutoscalingConfig(episode_decisions=40, max_edges=64, churn=CHURN)
WIDEST = 2**31 - 1
WIDE = GuardrailConfig(
    max_replicas=WIDEST,
    max_up_replicas=WIDEST,
    max_down_replicas=WIDEST,
    change_budget_replicas=WIDEST,
    brake_share=1.0,
    half_window_seconds=0.0,
    start_hold_seconds=0.0,
    violation_hold_share=0.0,
    young_seconds=0.0,
    newborn_replicas=0,
    birth_hold_seconds=0.0,
    error_hold_share=1.0,
)
NARROW = replace(WIDE, max_up_replicas=1, max_up_share=1e-6, max_down_replicas=1, max_down_share=0.0)


@pytest.fixture(scope="module")
def drawn() -> ScenarioSet:
    found = draw_scenarios(CONFIG, ["bursty", "flash"], 3, split=Split.VALIDATION, violation_weight=200.0)
    assert sum(len(episode.churn.events) for episode in found.episodes) > 10
    return found


def controllers() -> Sequence[Controller]:
    columns = CONFIG.max_nodes
    baselines = (
        HorizontalPodAutoscaler(BOUNDS, columns, target_percent=110, down_window_seconds=60),
        FeedForward(BOUNDS, columns, headroom=0.6),
        RandomMoves(BOUNDS, columns, seed=3),
    )
    return (
        PolicyController(TeacherPolicy(CONFIG, 0.6), CONFIG),
        *(BaselineController(baseline, CONFIG) for baseline in baselines),
    )


def played(controller: Controller, drawn: ScenarioSet, guardrails: GuardrailConfig | None) -> Playback:
    return play(controller, drawn, violation_weight=200.0, guardrails=guardrails)


def test_wide_guardrails_change_no_bit_of_anybodys_playback(drawn: ScenarioSet) -> None:
    for controller in controllers():
        without, within = played(controller, drawn, None), played(controller, drawn, WIDE)
        assert without.guardrails == {}
        assert list(within.guardrails) == list(GUARDRAILS)
        assert all((acted == 0).all() for acted in within.guardrails.values())
        for metric in METRICS:
            np.testing.assert_array_equal(within.metrics[metric], without.metrics[metric])
        for name in ("latency_histogram", "replicas", "external_rps", "latency_p95_ms", "violating_seconds"):
            np.testing.assert_array_equal(getattr(within, name), getattr(without, name))


class Watched:
    """A controller that keeps what was there and what it wanted at each decision, by service name."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self.name, self.period_seconds = controller.name, controller.period_seconds

    def reset(self, episodes: Sequence[Episode]) -> None:
        self._controller.reset(episodes)
        self.meshes = [episode.mesh for episode in episodes]
        self.seen: list[tuple[list[dict[str, int]], list[dict[str, int]]]] = []

    def observe(self, window: Any) -> None:
        self._controller.observe(window)

    def decide(self, window: Any, now_seconds: float) -> NDArray[np.int64]:
        wish = self._controller.decide(window, now_seconds)
        there, wanted = (
            [
                {service.name: int(row[s]) for s, service in enumerate(mesh.services)}
                for mesh, row in zip(self.meshes, rows, strict=True)
            ]
            for rows in (window.desired, wish)
        )
        self.seen.append((there, wanted))
        return wish

    def remesh(self, b: int, old: Any, new: Any) -> None:
        self._controller.remesh(b, old, new)
        self.meshes[b] = new


def changes(watched: Watched) -> list[int]:
    """Change of each service that lived on, from one decision to the next, over all scenarios."""
    found = []
    for (before, _), (after, _) in zip(watched.seen, watched.seen[1:], strict=False):
        for there, then in zip(before, after, strict=True):
            found += [then[name] - there[name] for name in there.keys() & then.keys()]
    return found


def test_a_rate_of_one_changes_a_service_by_one_replica_an_interval(drawn: ScenarioSet) -> None:
    for controller in controllers():
        watched = Watched(controller)
        narrow = played(watched, drawn, NARROW)
        assert set(changes(watched)) == {-1, 0, 1}
        wanted = [abs(wish[name] - there[name]) for theres, wishes in watched.seen
                  for there, wish in zip(theres, wishes, strict=True) for name in there]  # fmt: skip
        # Every larger wish was cut, and is counted once.
        cut = sum(size > 1 for size in wanted)
        assert cut > 0
        assert sum(narrow.guardrails[name].sum() for name in ("rate_up", "rate_down")) == cut
        free = Watched(controller)
        played(free, drawn, WIDE)
        assert max(map(abs, changes(free))) > 1  # the negative control


def test_a_budget_of_the_mesh_holds_in_every_interval(drawn: ScenarioSet) -> None:
    watched = Watched(controllers()[3])
    played(watched, drawn, replace(WIDE, change_budget_replicas=5))
    moved = []
    for (before, _), (after, _) in zip(watched.seen, watched.seen[1:], strict=False):
        for there, then in zip(before, after, strict=True):
            moved.append(sum(abs(then[name] - there[name]) for name in there.keys() & then.keys()))
    assert max(moved) == 5


def test_a_window_follows_a_service_through_churn(drawn: ScenarioSet) -> None:
    """The down-window of the guardrails is that of the HPA: with it, an HPA without one lowers no sooner than one with it."""
    window = 60.0
    watched = Watched(
        BaselineController(HorizontalPodAutoscaler(BOUNDS, CONFIG.max_nodes, down_window_seconds=0), CONFIG)
    )
    played(watched, drawn, replace(WIDE, stabilise_down_seconds=window))
    depth = int(window) // 15
    lowered = 0
    for k in range(depth, len(watched.seen) - 1):
        for b, there in enumerate(watched.seen[k][0]):
            then = watched.seen[k + 1][0][b]
            for name in there.keys() & then.keys():
                if then[name] < there[name]:
                    wishes = [watched.seen[k - back][1][b].get(name) for back in range(depth)]
                    assert None not in wishes  # a service that is new is not lowered within the window
                    assert then[name] == max(wishes)
                    lowered += 1
    assert lowered > 10


def test_the_narrower_of_two_limits_holds(drawn: ScenarioSet) -> None:
    environment = replace(CONFIG, min_replicas=2, max_replicas=9)
    assert replica_limits(GuardrailConfig(min_replicas=1, max_replicas=20), environment) == (2, 9)
    assert replica_limits(GuardrailConfig(min_replicas=3, max_replicas=5), environment) == (3, 5)
    with pytest.raises(ValueError, match="guardrails allow 10 to 12 replicas, the environment 2 to 9"):
        replica_limits(GuardrailConfig(min_replicas=10, max_replicas=12), environment)
    watched = Watched(controllers()[3])
    bounded = played(watched, drawn, replace(WIDE, min_replicas=2, max_replicas=4))
    stateful = {service.name for mesh in watched.meshes for service in mesh.services if service.stateful}
    late = [there for theres, _ in watched.seen[-3:] for there in theres]
    counts = {count for there in late for name, count in there.items() if name not in stateful}
    assert counts <= {2, 3, 4}
    assert bounded.guardrails["min_max"].sum() > 0


def test_a_wish_outside_the_bounds_stays_an_error_with_guardrails(drawn: ScenarioSet) -> None:
    class Beyond(RandomMoves):
        def decide(self, telemetry: Any, now_seconds: float) -> NDArray[np.int64]:  # noqa: ARG002
            return np.where(self.table.scalable_mask, 21, telemetry.desired).astype(np.int64)

    controller = BaselineController(Beyond(BOUNDS, CONFIG.max_nodes, seed=0), CONFIG)
    with pytest.raises(ValueError, match=r"21 replicas of .* bounds are 1 to 20"):
        played(controller, drawn, GuardrailConfig())


def test_parts_of_a_playback_keep_their_own_counts(drawn: ScenarioSet) -> None:
    whole = played(controllers()[3], drawn, NARROW)
    rows = drawn.rows("flash")
    part = whole.part(rows)
    np.testing.assert_array_equal(part.guardrails["rate_up"], whole.guardrails["rate_up"][rows])
    assert part.guardrails["rate_up"].shape == (3,)


def test_padding_is_never_touched() -> None:
    guard = Guard(GuardrailConfig(), CONFIG, 1, 15)
    mask = np.arange(CONFIG.max_nodes)[None] < 3
    current = np.where(mask, 4, 0).astype(np.int64)
    final = guard.apply(current, current + 1, mask, mask)
    assert final[0].tolist() == [5] * 3 + [0] * (CONFIG.max_nodes - 3)


def test_the_document_and_the_report_say_what_ran_and_how_often_it_acted() -> None:
    environment = AutoscalingConfig(episode_decisions=30, max_edges=64)
    asked = EvaluationConfig(workloads=("bursty",), seeds=2, against=("hpa_80", "random"), frontier_weights=())
    config = ExperimentConfig(environment=environment, evaluation=asked)
    without = compare(config, frontiers=False)
    guarded = compare(config, frontiers=False, guardrails=NARROW)
    document = json.loads(json.dumps(guarded.to_json(), allow_nan=False))
    assert without.to_json()["guardrails"] is None
    assert document["guardrails"]["config"]["max_up_replicas"] == 1
    acted = document["guardrails"]["service_decisions_changed"]["bursty"]
    assert list(acted) == ["hpa_80", "random"]
    assert list(acted["random"]) == list(GUARDRAILS)
    shown = guarded.playbacks["random"].guardrails["rate_down"]
    assert acted["random"]["rate_down"]["mean"] == shown.mean() > 0
    text = report.compose(guarded).html()
    assert "<h2>Guardrails</h2>" in text
    assert "rate_down" in text
    assert "max_up_replicas 1" in text
    plain = report.compose(without).html()
    assert "<h2>Guardrails</h2>" not in plain
    assert "none but the bounds" in plain
