"""The LLM simulator's speed: requests/s alone and batched, with every scheduler, with observations, beside Vidur's; its start-up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.timing import alternate, percentiles
from gnnrl.domains.llm_routing.baselines import ROUTERS
from gnnrl.domains.llm_routing.metrics import latency_report
from gnnrl.domains.llm_routing.model import SCHEDULERS, Replica, Scheduler
from gnnrl.domains.llm_routing.observation import Watch
from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.workloads import LENGTHS, Arrivals, draw_requests

REQUESTS = 20_000
BATCH, EPISODE = 64, 500
RATE = 16.0
LEAST = ROUTERS["least_outstanding"].code
VIDUR_REQUESTS_PER_SECOND = 575.0


def measure() -> Iterator[dict[str, Any]]:
    """Routed requests a second of one core, four replicas at 16/s, least outstanding, unless the figure says otherwise."""
    start = time.perf_counter()
    conversations = draw_requests(REQUESTS, Arrivals(qps=RATE), LENGTHS["conversation"], 0)
    episodes = [draw_requests(EPISODE, Arrivals(qps=RATE), LENGTHS["conversation"], seed) for seed in range(BATCH)]
    alone = {
        name: LLMSimulation(1, 4, REQUESTS, PhysicsSettings(scheduler=Scheduler(name=name), queue_heads=0))
        for name in SCHEDULERS
    }
    plain = LLMSimulation(1, 4, REQUESTS, PhysicsSettings(skip_ahead=False, queue_heads=0))
    wide = LLMSimulation(1, 16, REQUESTS, PhysicsSettings(queue_heads=0))
    busy = draw_requests(REQUESTS, Arrivals(qps=4 * RATE), LENGTHS["conversation"], 0)
    batch = LLMSimulation(BATCH, 4, EPISODE, PhysicsSettings(queue_heads=0))
    stepped = LLMSimulation(BATCH, 4, EPISODE)
    watch = Watch(stepped)

    def play(simulation: LLMSimulation, router: str = "least_outstanding") -> None:
        simulation.load(0, [Replica()] * 4, conversations)
        simulation.run(ROUTERS[router].code)
        latency_report(simulation.table(0))

    def play_wide() -> None:
        wide.load(0, [Replica()] * 16, busy)
        wide.run(LEAST)
        latency_report(wide.table(0))

    def load(simulation: LLMSimulation) -> None:
        for b, episode in enumerate(episodes):
            simulation.load(b, [Replica()] * 4, episode, seed=b)

    def play_batch() -> None:
        load(batch)
        batch.run(LEAST)
        for b in range(BATCH):
            latency_report(batch.table(b))

    def play_steps(*, observing: bool) -> None:
        load(stepped)
        while stepped.deciding.any():
            if observing:
                watch.observe()
            stepped.step(stepped.choose(LEAST))

    spent = alternate(
        {
            **{name: (lambda simulation=simulation: play(simulation)) for name, simulation in alone.items()},
            "round_robin": lambda: play(alone["sarathi"], "round_robin"),
            "plain": lambda: play(plain),
            "wide": play_wide,
            "batch": play_batch,
            "steps": lambda: play_steps(observing=False),
            "observed": lambda: play_steps(observing=True),
        },
        repeats=5,
    )
    sarathi = REQUESTS / spent["sarathi"]
    yield {"figure": "sarathi, one cluster, with the report", "value": sarathi, "unit": "requests/s", "aim": ">= 50000"}
    yield {"figure": "over Vidur", "value": sarathi / VIDUR_REQUESTS_PER_SECOND, "unit": "x", "aim": ">= 87"}
    batched = BATCH * EPISODE / spent["batch"]
    yield {
        "figure": f"sarathi, {BATCH} clusters, with reports",
        "value": batched,
        "unit": "requests/s",
        "aim": ">= 200000",
    }
    for name in SCHEDULERS[1:]:
        yield {"figure": f"{name}, one cluster", "value": REQUESTS / spent[name], "unit": "requests/s"}
    for name, figure in (
        ("round_robin", "sarathi, one cluster, round robin"),
        ("plain", "sarathi, one cluster, nothing skipped"),
        ("wide", "sarathi, one cluster of 16 replicas at 64/s"),
    ):
        yield {"figure": figure, "value": REQUESTS / spent[name], "unit": "requests/s"}
    for name, figure in (
        ("steps", "decisions from outside"),
        ("observed", "decisions from outside, with observations"),
    ):
        value = BATCH * EPISODE / spent[name]
        yield {"figure": f"{BATCH} clusters, {figure}", "value": value, "unit": "requests/s"}
    yield {"figure": "decision of least_outstanding at 16 replicas, p99", "value": _decision(wide), "unit": "us"}
    yield {"figure": "this benchmark, compilation included", "value": time.perf_counter() - start, "unit": "s"}


def _decision(simulation: LLMSimulation) -> float:
    """99th percentile of microseconds that one choice takes through the library."""
    requests = draw_requests(600, Arrivals(qps=4 * RATE), LENGTHS["conversation"], 1)
    simulation.load(0, [Replica()] * 16, requests)
    simulation.run(LEAST, most=500)
    assert np.all(simulation.deciding)
    return 1e6 * percentiles(lambda: simulation.choose(LEAST))[1]


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure['figure']:60s} {figure['value']:12,.4g} {figure['unit']:12s} {figure.get('aim', '')}")
