"""Small worlds on stepped clocks for the sandbox's tests."""

from __future__ import annotations

from typing import Any

from gnnrl.cluster.clock import SteppedClock
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.episode import Episode, Split, draw_episode
from gnnrl.live.sandbox.world import SandboxWorld

ORIGIN = 1_700_000_000.25


def small_config(**changes: Any) -> AutoscalingConfig:
    return AutoscalingConfig(**{"episode_decisions": 120, **changes})


def small_episode(config: AutoscalingConfig, seed: int = 0, workload: str = "bursty") -> Episode:
    return draw_episode(config, Split.HELD_OUT, seed, workload=workload)


def world_at(second: float, *, workload: str = "bursty", overloaded: bool = False) -> tuple[SandboxWorld, SteppedClock]:
    """A world that has lived for so long; overloaded = two of its services have too few pods, so that requests fail."""
    config, clock = small_config(), SteppedClock(ORIGIN)
    world = SandboxWorld(config, small_episode(config, workload=workload), clock)
    if overloaded:
        world.set_replicas("recommendationservice", 1)
        world.set_replicas("productcatalogservice", 1)
    clock.sleep_until(ORIGIN + second)
    world.advance()
    return world, clock
