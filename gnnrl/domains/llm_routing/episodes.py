"""Which fleet, load and mishaps an episode has: a named scenario or the configured one, and changes drawn beside its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.domains.llm_routing.errors import LLMRoutingError
from gnnrl.domains.llm_routing.model import Change, Replica
from gnnrl.domains.llm_routing.scenarios import Scenario, scenario_named
from gnnrl.domains.llm_routing.workloads import Arrivals, LengthHint, Requests

__all__ = ["MOST_CHANGES", "Episode", "configured_scenarios", "draw_episode"]

MOST_CHANGES = 256
"""Changes of one episode; more are not drawn."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Episode:
    """What `LLMSimulation.load` asks for."""

    replicas: tuple[Replica, ...]
    requests: Requests
    changes: tuple[Change, ...]
    seed: int
    """Of the cluster's own generator."""


def configured_scenarios(config: LLMRoutingConfig) -> tuple[Scenario, ...]:
    """The scenarios that episodes are drawn from.

    Raises:
        LLMRoutingError: one is not known or cannot be.
    """
    if config.scenarios:
        return tuple(scenario_named(name) for name in config.scenarios)
    return (
        Scenario(
            description="as configured",
            replicas=tuple(Replica(time_factor=factor) for factor in config.time_factors),
            arrivals=Arrivals(kind=config.arrivals, qps=config.qps, cv=config.cv),
            lengths=config.lengths,
        ),
    )


def draw_episode(
    config: LLMRoutingConfig, scenarios: Sequence[Scenario], count: int, sequence: np.random.SeedSequence
) -> Episode:
    """An episode of `count` requests; the same sequence gives the same one.

    Raises:
        LLMRoutingError: what the configuration says cannot be drawn.
    """
    rng = np.random.default_rng(sequence)
    scenario = scenarios[int(rng.integers(len(scenarios)))]
    seeds = sequence.generate_state(2)
    requests = scenario.requests(count, int(seeds[0]), LengthHint(kind=config.length_hint, sigma=config.hint_sigma))
    planned = scenario.timed_changes(requests)
    drawn = _draw_changes(config, scenario, requests, MOST_CHANGES - len(planned), rng)
    return Episode(replicas=scenario.replicas, requests=requests, changes=tuple(planned + drawn), seed=int(seeds[1]))


def _draw_changes(
    config: LLMRoutingConfig, scenario: Scenario, requests: Requests, most: int, rng: np.random.Generator
) -> list[Change]:
    """Failures, returns and changes of speed of replicas that the scenario leaves alone; one of those is always up."""
    free = sorted(set(range(len(scenario.replicas))) - {change.replica for change in scenario.changes})
    up = {r: scenario.replicas[r].up for r in free}
    count = min(int(rng.poisson(config.changes_per_1000 * len(requests) / 1000.0)), most) if free else 0
    if config.slow_factor[0] > config.slow_factor[1]:
        raise LLMRoutingError(f"slow_factor {config.slow_factor} is not a range, its low end is above its high end")
    low, high = np.log(config.slow_factor)
    changes: list[Change] = []
    for at in np.sort(rng.uniform(0.0, float(requests.arrived_at[-1]), count)).tolist():
        kind = ("fail", "join", "slow")[int(rng.integers(3))]
        able = [r for r in free if up[r] != (kind == "join")]
        if not able or (kind == "fail" and len(able) < 2):
            continue
        r = able[int(rng.integers(len(able)))]
        factor = scenario.replicas[r].time_factor * float(np.exp(rng.uniform(low, high))) if kind == "slow" else 1.0
        up[r] = kind != "fail"
        changes.append(Change(at_seconds=at, kind=kind, replica=r, time_factor=factor))
    return changes
