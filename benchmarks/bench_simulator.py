"""The mesh simulator's speed: ticks with telemetry and with observations, against NumPy, one by one, and in `SyncVectorEnv`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium.vector import SyncVectorEnv

from benchmarks.numpy_mesh import NumpyMeshes
from benchmarks.timing import alternate
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.env import MeshEnv, MeshVectorEnv
from gnnrl.domains.autoscaling.online_boutique import online_boutique
from gnnrl.domains.autoscaling.physics import MeshSimulation

BATCH = 64
TICKS = 15
MAX_NODES, MAX_EDGES, MAX_CLASSES = 20, 400, 6


def boutiques(batch: int) -> MeshSimulation:
    """A batch of Online Boutiques at 60 % load, warmed up."""
    simulation = MeshSimulation(batch, MAX_NODES, MAX_EDGES, MAX_CLASSES)
    for b in range(batch):
        simulation.load(b, online_boutique())
    simulation.advance(np.full((batch, 60), 20.0))
    simulation.scrape()
    return simulation


def measure() -> Iterator[dict[str, Any]]:
    """Ticks of one environment a second of one core, unless the figure says otherwise."""
    many, one = boutiques(BATCH), boutiques(1)
    plain = NumpyMeshes(many)
    load = np.full((BATCH, TICKS), 20.0, dtype=np.float32)
    config = AutoscalingConfig()
    in_place, copying = MeshVectorEnv(BATCH, config, copy=False), MeshVectorEnv(BATCH, config, copy=True)
    sync = SyncVectorEnv([lambda: MeshEnv(config) for _ in range(BATCH)])
    still = np.zeros((BATCH, config.max_nodes), dtype=np.int64)
    for env in (in_place, copying, sync):
        env.reset(seed=0)

    def scraped() -> None:
        for _ in range(20):
            many.advance(load)
            many.scrape()

    def alone() -> None:
        for _ in range(20):
            one.advance(load[:1])
            one.scrape()

    def ticks() -> None:
        for _ in range(20):
            many.advance(load)

    def steps(env: Any, count: int) -> None:
        for _ in range(count):
            env.step(still)

    spent = alternate(
        {
            "ticks": ticks,
            "scraped": scraped,
            "alone": alone,
            "numpy": lambda: plain.advance(load),
            "in_place": lambda: steps(in_place, 10),
            "copying": lambda: steps(copying, 10),
            "sync": lambda: steps(sync, 1),
        },
        repeats=5,
    )
    batch_ticks = BATCH * TICKS
    rate = {
        "ticks": 20 * batch_ticks / spent["ticks"],
        "scraped": 20 * batch_ticks / spent["scraped"],
        "alone": 20 * TICKS / spent["alone"],
        "numpy": batch_ticks / spent["numpy"],
        "in_place": 10 * batch_ticks / spent["in_place"],
        "copying": 10 * batch_ticks / spent["copying"],
        "sync": batch_ticks / spent["sync"],
    }
    yield {"figure": f"batch {BATCH}, ticks alone", "value": rate["ticks"], "unit": "ticks/s"}
    yield {"figure": f"batch {BATCH}, telemetry every {TICKS} ticks", "value": rate["scraped"], "unit": "ticks/s"}
    yield {
        "figure": f"batch {BATCH}, environment with observations in place",
        "value": rate["in_place"],
        "unit": "ticks/s",
        "aim": ">= 3000000",
    }
    yield {"figure": "batch 1, with telemetry", "value": rate["alone"], "unit": "ticks/s"}
    yield {"figure": f"batch {BATCH}, the same tick in NumPy", "value": rate["numpy"], "unit": "ticks/s"}
    yield {"figure": "over NumPy", "value": rate["ticks"] / rate["numpy"], "unit": "x", "aim": ">= 15"}
    yield {"figure": "SyncVectorEnv", "value": rate["sync"] / TICKS, "unit": "steps/s"}
    yield {
        "figure": "over SyncVectorEnv, observations copied",
        "value": rate["copying"] / rate["sync"],
        "unit": "x",
        "aim": ">= 9",
    }
    yield {
        "figure": "over SyncVectorEnv, observations in place",
        "value": rate["in_place"] / rate["sync"],
        "unit": "x",
        "aim": ">= 100",
    }


if __name__ == "__main__":
    for figure in measure():
        print(f"{figure['figure']:55s} {figure['value']:12,.4g} {figure['unit']:10s} {figure.get('aim', '')}")
