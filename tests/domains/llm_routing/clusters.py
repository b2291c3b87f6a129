"""Small clusters that several tests play."""

from __future__ import annotations

import numpy as np

from gnnrl.domains.llm_routing.model import Change, Replica, Scheduler
from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.workloads import LENGTHS, Arrivals, Requests, draw_requests


def conversations(count: int, qps: float, seed: int = 0, kind: str = "poisson", cv: float = 1.0) -> Requests:
    """Requests with the lengths of conversations."""
    return draw_requests(count, Arrivals(kind=kind, qps=qps, cv=cv), LENGTHS["conversation"], seed)


def short_requests(count: int, qps: float, seed: int = 0, longest: int = 400) -> Requests:
    """Requests that fit small memories."""
    rng = np.random.default_rng(seed)
    return Requests(
        np.cumsum(rng.exponential(1 / qps, count)),
        rng.integers(1, longest, count),
        rng.integers(1, longest, count),
    )


def simulate(
    requests: Requests,
    replicas: list[Replica],
    router: int,
    changes: list[Change] | None = None,
    seed: int = 0,
    scheduler: str = "sarathi",
    **settings: object,
) -> LLMSimulation:
    """One cluster played to its end."""
    most_changes = max(64, len(changes or ()))
    simulation = LLMSimulation(
        1,
        len(replicas),
        len(requests),
        PhysicsSettings(scheduler=Scheduler(name=scheduler), most_changes=most_changes, **settings),  # type: ignore[arg-type]
    )
    simulation.load(0, replicas, requests, changes or (), seed=seed)
    assert simulation.run(router)
    return simulation
