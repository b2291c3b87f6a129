"""The guardrails of births, errors and the SLO integrator around a comparison: what a live loop would be shown, as late as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig, RandomisationConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.churn import ChurnEvent, ChurnSchedule
from gnnrl.domains.autoscaling.episode import Episode, Split
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.telemetry import Telemetry, make_telemetry
from gnnrl.evaluation.guarding import Guard
from gnnrl.evaluation.runner import Playback, play
from gnnrl.evaluation.scenarios import ScenarioSet, draw_scenarios
from tests.cluster.guardrail_cases import WIDE

CONFIG = AutoscalingConfig(episode_decisions=24, max_edges=64, metrics_lag_seconds=15)
FREE = replace(WIDE, violation_hold_share=0.0)
RENAMED = ChurnSchedule(events=(ChurnEvent(second=60, kind="service_renamed", draw=3),))


def scenarios(churn: ChurnSchedule, config: AutoscalingConfig = CONFIG, replicas: int = 20) -> ScenarioSet:
    """The first with this churn, the second without any; every service begins with so many replicas."""
    drawn = draw_scenarios(config, ["diurnal"], 2, split=Split.VALIDATION, violation_weight=200.0)
    episodes = []
    for episode, events in zip(drawn.episodes, (churn, ChurnSchedule()), strict=True):
        services = tuple(replace(s, replicas=s.replicas if s.stateful else replicas) for s in episode.mesh.services)
        episodes.append(replace(episode, churn=events, mesh=replace(episode.mesh, services=services)))
    return replace(drawn, episodes=tuple(episodes))


class Lowering:
    """Wants one replica less of everything in every interval, and keeps what was there, by name."""

    name, period_seconds = "lowering", 15

    def __init__(self, config: AutoscalingConfig = CONFIG) -> None:
        self.config = config

    def reset(self, episodes: Sequence[Episode]) -> None:
        self.meshes = [episode.mesh for episode in episodes]
        self.seen: list[list[dict[str, int]]] = []

    def observe(self, window: Any) -> None:
        pass

    def decide(self, window: Any, now_seconds: float) -> NDArray[np.int64]:  # noqa: ARG002
        wish = window.desired.astype(np.int64)
        for b, mesh in enumerate(self.meshes):
            free = [not service.stateful for service in mesh.services]
            wish[b, : len(free)] -= np.array(free) & (wish[b, : len(free)] > 1)
        self.seen.append(
            [
                dict(zip(mesh.names, row.tolist(), strict=False))
                for mesh, row in zip(self.meshes, window.desired, strict=True)
            ]
        )
        return wish

    def remesh(self, b: int, old: Mesh, new: Mesh) -> None:  # noqa: ARG002
        self.meshes[b] = new


def played(drawn: ScenarioSet, guardrails: GuardrailConfig) -> tuple[Lowering, Playback]:
    controller = Lowering(drawn.config)
    return controller, play(controller, drawn, violation_weight=200.0, guardrails=guardrails)


def lowered_at(controller: Lowering, b: int) -> list[int]:
    """Decisions after which some service that was there before has fewer replicas."""
    return [
        k
        for k, (before, after) in enumerate(zip(controller.seen, controller.seen[1:], strict=False))
        if any(after[b][name] < before[b][name] for name in before[b].keys() & after[b].keys())
    ]


@pytest.mark.parametrize("telemetry", ["exact", "kiali"])
def test_after_a_rename_its_mesh_is_not_lowered_for_two_minutes_and_the_start_is_no_birth(telemetry: Any) -> None:
    drawn = scenarios(RENAMED, replace(CONFIG, telemetry=telemetry))
    held, playback = played(drawn, replace(FREE, birth_hold_seconds=120.0))
    assert lowered_at(held, 0)[:4] == [0, 1, 2, 3], "nobody is young at the start"
    # Renamed at second 60, before the decision of number 4: 120 s are eight decisions.
    assert not set(range(4, 12)) & set(lowered_at(held, 0)) and 12 in lowered_at(held, 0)
    assert set(range(4, 8)) <= set(lowered_at(held, 1)), "the other mesh goes on"
    assert playback.guardrails["birth_hold"][0] > 0 == playback.guardrails["birth_hold"][1]
    free, _ = played(drawn, FREE)
    assert 4 in lowered_at(free, 0), "the negative control"


def test_who_was_renamed_is_young_and_has_its_replicas() -> None:
    drawn = scenarios(RENAMED, replicas=8)
    controller, playback = played(drawn, replace(FREE, young_seconds=120.0, newborn_replicas=9))
    (born,) = controller.seen[4][0].keys() - controller.seen[3][0].keys()
    counts = [there[0][born] for there in controller.seen[4:]]
    assert counts[0] < 9 and counts[1:9] == [9] * 8 and counts[9] == 8
    assert playback.guardrails["newborn"].tolist() == [8.0, 0.0]
    assert 5 in lowered_at(controller, 0), "the others are"


def test_without_metrics_nobody_is_lowered_however_old() -> None:
    """Its pods take 30 s to start and are shown a window later: until then it was never measured."""
    drawn = scenarios(RENAMED)
    controller, _ = played(drawn, replace(FREE, young_seconds=1.0))
    (born,) = controller.seen[4][0].keys() - controller.seen[3][0].keys()
    counts = [there[0][born] for there in controller.seen[4:]]
    first = next(k for k in range(1, len(counts)) if counts[k] < counts[0])
    startup = drawn.episodes[0].mesh.services[0].startup_seconds
    assert first * 15.0 >= 15.0 + startup / 2 and first < 8


@dataclass(frozen=True)
class Told:
    """What a guard is told of a scenario."""

    mesh: Mesh
    metrics_lag_seconds: float
    slo_ms: float = 500.0
    violation_weight: float = 200.0


class Shown:
    """A guard, and the windows that it is shown; services and calls by name."""

    def __init__(
        self, guardrails: GuardrailConfig, config: AutoscalingConfig = CONFIG, lags: Sequence[int] | None = None
    ) -> None:
        self.mesh = scenarios(ChurnSchedule()).episodes[0].mesh
        self.guard, self.config = Guard(guardrails, config, 2, 15), config
        self.guard.start([Told(self.mesh, lag) for lag in lags or [config.metrics_lag_seconds] * 2])
        self.mask = np.arange(config.max_nodes)[None].repeat(2, axis=0) < len(self.mesh.services)

    def window(self, **figures: dict[str, float] | float) -> Telemetry:
        """By service, or of the mesh; the same in both."""
        window = make_telemetry(2, self.config.max_nodes, self.config.max_edges, histogram=False)
        window.seconds[:] = 15.0
        window.metric_ready[:] = 1
        for name, value in figures.items():
            if isinstance(value, dict):
                for service, figure in value.items():
                    getattr(window, name)[:, self.mesh.names.index(service)] = figure
            else:
                getattr(window, name)[:] = value
        return window

    def final(self, wish: int = 3, current: int = 5) -> list[dict[str, int]]:
        numbers = np.where(self.mask, current, 0).astype(np.int64)
        final = self.guard.apply(numbers, np.where(self.mask, wish, 0).astype(np.int64), self.mask, self.mask)
        return [dict(zip(self.mesh.names, row.tolist(), strict=False)) for row in final]


def test_errors_hold_what_they_lead_to_once_they_are_shown() -> None:
    """With the lag of each scenario: a window old, and two."""
    config = replace(CONFIG, randomisation=RandomisationConfig(metrics_lag_added_seconds=(0, 15)))
    shown = Shown(replace(FREE, error_hold_share=0.01), config, lags=(15, 30))
    behind = {"checkoutservice"}
    for _ in range(5):
        behind |= {call.target for call in shown.mesh.calls if call.source in behind}
    assert 3 < len(behind) < len(shown.mesh.services) - 2

    def held() -> list[set[str]]:
        return [{name for name, replicas in mesh.items() if replicas == 5} for mesh in shown.final()]

    shown.guard.observe(shown.window())
    shown.guard.observe(shown.window())
    shown.guard.observe(shown.window(error_share={"checkoutservice": 0.02}))
    assert held() == [set(), set()]
    shown.guard.observe(shown.window(error_share={"checkoutservice": 0.01}))
    assert held() == [behind, set()]
    shown.guard.observe(shown.window())
    assert held() == [set(), behind], "above the share, not at it"
    shown.guard.observe(shown.window())
    assert held() == [set(), set()]


def test_errors_and_work_follow_the_names_through_a_change_of_the_mesh() -> None:
    shown = Shown(replace(FREE, error_hold_share=0.01))
    for _ in range(2):
        shown.guard.observe(shown.window(error_share={"emailservice": 0.5}))
    old, last = shown.mesh, shown.mesh.services[-1]
    assert not any(call.source == "emailservice" for call in old.calls)
    shown.mesh = replace(old, services=(last, *old.services[:-1]))
    shown.guard.remesh(0, old, shown.mesh)
    first, _ = shown.final()
    assert {name for name, replicas in first.items() if replicas == 5} == {"emailservice"}


def test_the_integrator_sees_violations_and_work_as_they_are_shown() -> None:
    config = replace(FREE, slo_integrator=True)
    shown = Shown(config, replace(CONFIG, metrics_lag_seconds=0))
    limit = {service.name: service.cpu_limit_millicores for service in shown.mesh.services}["frontend"]
    # Six replicas' worth of work: 8 at a factor of 1, 8.4 at 1.05; and violations within and above a fifth of the window.
    for violating, expected in ((3.0, 8), (4.0, 9), (0.0, 9), (0.0, 9), (15.0, 9)):
        shown.guard.observe(shown.window(app_cpu_millicores={"frontend": 6.0 * limit}, violating_seconds=violating))
        first, _ = shown.final()
        assert first["frontend"] == expected, violating
        assert first["adservice"] == 3
    assert shown.guard.acted["slo_integrator"].tolist() == [5.0, 5.0]
