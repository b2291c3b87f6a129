"""The queue simulator's speed and its figures: routed requests a second, and the known latencies of the routers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.timing import alternate
from gnnrl.domains.queue_routing.baselines import Router
from gnnrl.domains.queue_routing.model import base_model, uniform_model
from gnnrl.domains.queue_routing.physics import QueueSimulation

BATCH = 64
STEPS = 2000
MEASURED = 200_000

MEAN_SECONDS = {
    Router.RANDOM: 1.65,
    Router.ROUND_ROBIN: 1.2855,
    Router.JSQ: 0.8975,
    Router.JSQ_AFFINITY: 0.408,
    Router.SED: 0.2705,
    Router.AFFINITY: 0.25,
    Router.SED_OWN_RATE: 0.2423,
    Router.COUNT_GAP: 0.2385,
    Router.WORK_GAP: 0.2365,
    Router.ORACLE: 0.2332,
}
"""What each reaches in the base model: exact for random and affinity, else from long independent runs; oracle's is the optimum."""


def warmed_up(batch: int, replicas: int = 0) -> QueueSimulation:
    """Environments of the base model, or of so many equal replicas at a load of 0.8."""
    model = uniform_model(replicas, service_rate=1.0, arrival_rate=0.8 * replicas) if replicas else base_model()
    simulation = QueueSimulation.of(model, batch)
    simulation.reset(0)
    simulation.run(Router.JSQ, 1000)
    simulation.forget_measurements()
    return simulation


def measure() -> Iterator[dict[str, Any]]:
    """Routed requests a second of one core, and mean latencies of 12.8 million requests."""
    many, one, wide, huge = warmed_up(BATCH), warmed_up(1), warmed_up(BATCH, 16), warmed_up(1024)
    runs = {
        f"batch {BATCH}, {router.name.lower()}": (lambda router=router: many.run(router, STEPS))
        for router in (Router.RANDOM, Router.SED, Router.AFFINITY, Router.ORACLE)
    }

    def stepped(simulation: QueueSimulation) -> None:
        for _ in range(STEPS // 10):
            simulation.step(simulation.state.request_type)

    spent = alternate(
        {
            **runs,
            "one": lambda: one.run(Router.ORACLE, BATCH * STEPS),
            "wide": lambda: wide.run(Router.SED, STEPS // 4),
            "step": lambda: stepped(many),
            "step huge": lambda: stepped(huge),
        },
        repeats=5,
    )
    requests = BATCH * STEPS
    for name in runs:
        yield {"figure": name, "value": requests / spent[name], "unit": "requests/s", "aim": ">= 15000000"}
    yield {"figure": "one environment, oracle", "value": requests / spent["one"], "unit": "requests/s"}
    yield {
        "figure": f"batch {BATCH}, 16 replicas, sed",
        "value": requests / 4 / spent["wide"],
        "unit": "requests/s",
    }
    yield {"figure": f"batch {BATCH}, step by step", "value": requests / 10 / spent["step"], "unit": "requests/s"}
    yield {
        "figure": "batch 1024, step by step",
        "value": 1024 * STEPS / 10 / spent["step huge"],
        "unit": "requests/s",
    }
    for router, seconds in MEAN_SECONDS.items():
        simulation = warmed_up(BATCH)
        simulation.run(router, MEASURED // 10)
        simulation.forget_measurements()
        simulation.run(router, MEASURED)
        metrics = simulation.metrics()
        yield {
            "figure": f"{router.name.lower()}: mean latency against {seconds}",
            "value": abs(metrics.mean_latency_seconds / seconds - 1.0),
            "unit": "relative",
            "aim": "<= 0.01",
        }


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure['figure']:55s} {figure['value']:14,.4g} {figure['unit']:10s} {figure.get('aim', '')}")
