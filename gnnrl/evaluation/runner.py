"""Plays one controller on many scenarios at once, in one batched simulation, and scores it.

Every controller meets the same meshes, loads, churn and starting replicas, decides at its own period, and is scored
over the same seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.config.live import GuardrailConfig
from gnnrl.domains.autoscaling.episode import warm_up_seconds
from gnnrl.domains.autoscaling.mesh import Mesh
from gnnrl.domains.autoscaling.objective import objective
from gnnrl.domains.autoscaling.physics import LATENCY_EDGES_MS, MeshSimulation, PhysicsSettings
from gnnrl.domains.autoscaling.rollouts import Rollouts
from gnnrl.evaluation.controllers import Controller
from gnnrl.evaluation.guarding import Guard
from gnnrl.evaluation.scenarios import ScenarioSet

__all__ = ["METRICS", "Playback", "histogram_quantile", "play", "step_second"]

Floats = NDArray[np.float64]

METRICS: Mapping[str, str] = {
    "replica_seconds": "billed replicas (ready, starting, draining) x seconds",
    "violating_share": "share of seconds in which the SLO is violated",
    "latency_mean_ms": "end-to-end latency, mean over requests",
    "latency_p50_ms": "median over requests",
    "latency_p95_ms": "95th percentile over requests",
    "latency_p99_ms": "99th percentile over requests",
    "error_share": "share of failed requests",
    "scale_moves": "decisions that changed a service's replicas, counted per service",
    "replica_changes": "replicas started and removed",
    "objective": "J = replica-seconds + w x violating seconds + c x replica changes",
    "core_seconds": "CPU cores requested x seconds",
    "utilisation": "CPU used over CPU requested",
    "peak_replicas": "most replicas billed at once",
    "recovery_seconds": "violating seconds in the five minutes after the steepest doubling of the load",
    "change_response_seconds": "violating seconds in the five minutes after a topology change, mean over changes",
}
"""Metric -> what it is; one number a scenario."""

RESPONSE_SECONDS = 300
STEP_FACTOR = 1.6
STEP_BEFORE_SECONDS = 60
STEP_WITHIN_SECONDS = 30


@dataclass(frozen=True, eq=False)
class Playback:
    """What came of one controller on B scenarios."""

    name: str
    period_seconds: int
    metrics: Mapping[str, Floats]
    """Metric -> [B]; not-a-number where a scenario has none (no step, no churn, no request)."""
    latency_histogram: Floats
    """[B, bins] requests by end-to-end latency: below the first of `LATENCY_EDGES_MS`, between them, above the last."""
    replicas: NDArray[np.float32]
    """[B, W] billed replicas, mean over each window of `period_seconds`."""
    external_rps: NDArray[np.float32]
    """[B, W] load."""
    latency_p95_ms: NDArray[np.float32]
    """[B, W] 95th percentile of each window."""
    violating_seconds: NDArray[np.float32]
    """[B, W] violating seconds of each window."""
    guardrails: Mapping[str, Floats] = field(default_factory=dict)
    """Guardrail -> [B] decisions for a service that it changed; empty where none ran."""

    def part(self, rows: slice) -> Playback:
        """The playback of some of the scenarios."""
        return Playback(
            name=self.name,
            period_seconds=self.period_seconds,
            metrics={name: values[rows] for name, values in self.metrics.items()},
            latency_histogram=self.latency_histogram[rows],
            replicas=self.replicas[rows],
            external_rps=self.external_rps[rows],
            latency_p95_ms=self.latency_p95_ms[rows],
            violating_seconds=self.violating_seconds[rows],
            guardrails={name: acted[rows] for name, acted in self.guardrails.items()},
        )


def histogram_quantile(counts: Floats, quantile: float) -> Floats:
    """Quantile of the latency histograms [B, bins] in ms, log-linear within a bin; not-a-number where one is empty.

    The error is at most the width of a bin, 12 %.
    """
    if counts.shape[1] == 0:
        return np.full(len(counts), np.nan)
    edges = np.concatenate([LATENCY_EDGES_MS[:1] / 2, LATENCY_EDGES_MS, LATENCY_EDGES_MS[-1:]])
    cumulative = np.cumsum(counts, axis=1)
    total = cumulative[:, -1]
    wanted = quantile * total
    column = (cumulative < wanted[:, None]).sum(axis=1).clip(0, counts.shape[1] - 1)
    rows = np.arange(len(counts))
    inside = counts[rows, column]
    share = np.where(inside > 0, (wanted - (cumulative[rows, column] - inside)) / np.maximum(inside, 1e-300), 0.0)
    low, high = np.log(edges[column]), np.log(edges[column + 1])
    return np.where(total > 0, np.exp(low + np.clip(share, 0.0, 1.0) * (high - low)), np.nan)


def step_second(rps: NDArray[Any]) -> int | None:
    """The second at which a load [T] jumps the most, if it reaches `STEP_FACTOR` times the minute before within 30
    s."""
    load = np.asarray(rps, dtype=np.float64)
    total = np.concatenate([[0.0], np.cumsum(load)])
    starts = np.arange(STEP_BEFORE_SECONDS, len(load) - STEP_WITHIN_SECONDS)
    if len(starts) == 0:
        return None
    before = (total[starts] - total[starts - STEP_BEFORE_SECONDS]) / STEP_BEFORE_SECONDS
    after = load[starts + STEP_WITHIN_SECONDS - 1]
    rise = after - np.maximum(before, 1e-9)
    found = int(rise.argmax())
    if after[found] < STEP_FACTOR * before[found]:
        return None
    climb = load[starts[found] : starts[found] + STEP_WITHIN_SECONDS]
    return int(starts[found] + np.argmax(climb >= 0.5 * (before[found] + after[found])))


class _Churn:
    """Applies each scenario's topology changes when they are due, to the simulation and to whoever watches it."""

    def __init__(
        self, scenarios: ScenarioSet, simulation: MeshSimulation, controller: Controller, guard: Guard | None
    ) -> None:
        self._config = scenarios.config
        self._rollouts = Rollouts(scenarios.config, simulation)
        self._watching = (controller,) if guard is None else (controller, guard)
        self.meshes: list[Mesh] = [episode.mesh for episode in scenarios.episodes]
        self.mask, self.scalable_mask = np.zeros((2, len(self.meshes), self._config.max_nodes), dtype=np.bool_)
        for b, episode in enumerate(scenarios.episodes):
            self._rollouts.start(b, episode.mesh, episode.churn.events)
            self._install(b, episode.mesh)
        self.changed: list[tuple[int, int]] = []
        """(scenario, scored second) of every topology change, when its first calls went elsewhere."""

    def _install(self, b: int, mesh: Mesh) -> None:
        self.meshes[b] = mesh
        self.mask[b] = np.arange(self._config.max_nodes) < len(mesh.services)
        self.scalable_mask[b] = False
        self.scalable_mask[b, : len(mesh.services)] = [not service.stateful for service in mesh.services]

    def apply(self, scored_second: int) -> None:
        """Let happen what is due by this second."""
        for b in self._rollouts.due(scored_second):
            for change in self._rollouts.happen(b, scored_second):
                if change.new is not change.old:
                    for each in self._watching:
                        each.remesh(b, change.old, change.new)
                    self._install(b, change.new)
                if change.moves_calls:
                    self.changed.append((b, scored_second))


def play(
    controller: Controller,
    scenarios: ScenarioSet,
    *,
    violation_weight: float,
    histogram: bool = True,
    guardrails: GuardrailConfig | None = None,
) -> Playback:
    """Play `controller` on all scenarios and score it.

    Args:
        controller: who scales.
        scenarios: what is scaled.
        violation_weight: `w` of the objective, replica-seconds a violating second.
        histogram: whether latencies are collected (percentiles are not-a-number without).
        guardrails: those of a live loop that every wish passes, the controller's period being their interval; None = none.

    Raises:
        ValueError: the period does not divide warm-up and length, replicas outside the bounds are wanted, or no
            number of replicas is within both the environment's bounds and the guardrails'.
    """
    config, episodes = scenarios.config, scenarios.episodes
    period, warm_up = controller.period_seconds, warm_up_seconds(config)
    rps = scenarios.rps
    end = rps.shape[1]
    if warm_up % period or end % period:
        raise ValueError(
            f"{controller.name}: a period of {period} s does not divide {warm_up} s of warm-up and {end} s in all"
        )
    classes = max(len(episode.mesh.classes) for episode in episodes)
    settings = PhysicsSettings(histogram=histogram)
    simulation = MeshSimulation(len(episodes), config.max_nodes, config.max_edges, classes, settings)
    for b, episode in enumerate(episodes):
        simulation.load(b, episode.mesh, slo_ms=episode.slo_ms)
    controller.reset(episodes)
    guard = None if guardrails is None else Guard(guardrails, config, len(episodes), period)
    if guard is not None:
        guard.start(episodes)
    watching = (controller,) if guard is None else (controller, guard)
    for second in range(0, warm_up, period):
        simulation.advance(rps[:, second : second + period])
        window = simulation.scrape()
        for each in watching:
            each.observe(window)

    score = _Score(simulation.window.latency_histogram.shape, (end - warm_up) // period)
    churn = _Churn(scenarios, simulation, controller, guard)
    for second in range(warm_up, end, period):
        churn.apply(second - warm_up)
        current = simulation.window.desired.astype(np.int64)
        desired = np.asarray(controller.decide(simulation.window, float(second)), dtype=np.int64)
        _check(controller.name, desired, current, config, churn)
        if guard is not None:
            desired = guard.apply(current, desired, churn.mask, churn.scalable_mask)
        simulation.set_desired(desired)
        simulation.advance(rps[:, second : second + period])
        window = simulation.scrape()
        for each in watching:
            each.observe(window)
        score.add(window, np.abs(desired - current))
    steps = [step_second(episode.rps[warm_up:]) for episode in episodes]
    metrics = score.metrics(violation_weight, config.change_weight * config.decision_seconds)
    metrics["recovery_seconds"] = score.after([(b, s) for b, s in enumerate(steps) if s is not None], period)
    metrics["change_response_seconds"] = score.after(churn.changed, period)
    return Playback(
        name=controller.name,
        period_seconds=period,
        metrics=metrics,
        latency_histogram=score.histogram,
        replicas=score.replicas,
        external_rps=score.external_rps,
        latency_p95_ms=score.latency_p95_ms,
        violating_seconds=score.violating,
        guardrails={} if guard is None else guard.acted,
    )


def _check(
    name: str, desired: NDArray[np.int64], current: NDArray[np.int64], config: AutoscalingConfig, churn: _Churn
) -> None:
    """The same bounds for everybody, and stateful services untouched: a wish beyond them is an error, guardrails or not."""
    outside = (desired < config.min_replicas) | (desired > config.max_replicas) | ~churn.scalable_mask
    wrong = (desired != current) & outside
    if not wrong.any():
        return
    b, column = (int(index[0]) for index in np.nonzero(wrong))
    services = churn.meshes[b].services
    service = services[column].name if column < len(services) else f"padding column {column}"
    raise ValueError(
        f"{name}: {desired[b, column]} replicas of {service} in scenario {b} (has {current[b, column]}); bounds are "
        f"{config.min_replicas} to {config.max_replicas}, and stateful services are not scaled"
    )


class _Score:
    """Sums over the windows of one playback."""

    def __init__(self, histogram: tuple[int, ...], windows: int) -> None:
        batch = histogram[0]
        self.histogram = np.zeros(histogram)
        self.replicas, self.external_rps, self.latency_p95_ms, self.violating = (
            np.zeros((batch, windows), dtype=np.float32) for _ in range(4)
        )
        names = (
            "seconds", "replica_seconds", "core_seconds", "used", "latency", "requests", "errors", "moves", "changes",
        )  # fmt: skip
        self._sums = {name: np.zeros(batch) for name in names}
        self._window = 0

    def add(self, window: Any, changes: NDArray[np.int64]) -> None:
        """Add one scraped window, and the changes [B, S] that were decided before it."""
        k, seconds, sums = self._window, window.seconds, self._sums
        requests = window.external_rps * seconds
        for name, value in (
            ("seconds", seconds),
            ("replica_seconds", window.replica_seconds),
            ("core_seconds", window.core_seconds),
            ("used", window.cpu_millicores.sum(axis=1) / 1000.0 * seconds),
            ("latency", window.latency_mean_ms * requests),
            ("requests", requests),
            ("errors", window.mesh_error_share * requests),
            ("moves", (changes > 0).sum(axis=1)),
            ("changes", changes.sum(axis=1)),
        ):
            sums[name] += value
        self.histogram += window.latency_histogram
        self.replicas[:, k] = window.replica_seconds / np.maximum(seconds, 1.0)
        self.external_rps[:, k] = window.external_rps
        self.latency_p95_ms[:, k] = window.latency_p95_ms
        self.violating[:, k] = window.violating_seconds
        self._window += 1

    def metrics(self, violation_weight: float, change_weight_seconds: float) -> dict[str, Floats]:
        """One number a scenario and metric."""
        sums = self._sums
        violating = self.violating.sum(axis=1, dtype=np.float64)
        requests = np.where(sums["requests"] > 0, sums["requests"], np.nan)
        return {
            "replica_seconds": sums["replica_seconds"],
            "violating_share": violating / sums["seconds"],
            "latency_mean_ms": sums["latency"] / requests,
            "latency_p50_ms": histogram_quantile(self.histogram, 0.50),
            "latency_p95_ms": histogram_quantile(self.histogram, 0.95),
            "latency_p99_ms": histogram_quantile(self.histogram, 0.99),
            "error_share": sums["errors"] / requests,
            "scale_moves": sums["moves"],
            "replica_changes": sums["changes"],
            "objective": objective(
                sums["replica_seconds"], violating, sums["changes"], violation_weight, change_weight_seconds
            ).astype(np.float64),
            "core_seconds": sums["core_seconds"],
            "utilisation": sums["used"] / sums["core_seconds"],
            "peak_replicas": self.replicas.max(axis=1).astype(np.float64),
        }

    def after(self, events: Sequence[tuple[int, int]], period: int) -> Floats:
        """Violating seconds in the five minutes after each (scenario, second), mean over a scenario's events; [B]."""
        total, count = np.zeros(len(self.violating)), np.zeros(len(self.violating))
        for b, second in events:
            first = second // period
            total[b] += self.violating[b, first : first + RESPONSE_SECONDS // period].sum()
            count[b] += 1
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)
