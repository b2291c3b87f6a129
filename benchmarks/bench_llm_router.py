"""How long a routing decision takes: `LLMRouter.route` by replicas, one thread, by the wall clock and in CPU time."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from gnnrl.agents import PPO_GNN
from gnnrl.config.experiment import EncoderConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.domains.llm_routing.env import graph_config
from gnnrl.domains.llm_routing.reports import IncomingRequest, ReplicaReport
from gnnrl.live.llm_router import LLMRouter
from graph_space import DynamicGraphSpace

REPLICAS = (4, 16, 64)
AIM_MS = {16: 1.0}
DECISIONS, WARM_UP = 2_000, 50

SIZES: dict[str, Any] = {
    name: getattr(LLMRoutingExperiment().encoder, name)
    for name in ("heads", "layers", "memory_dim", "message_dim", "time_dim")
} | {"hidden": 32}


def measure() -> Iterator[dict[str, Any]]:
    """Milliseconds of a call, with reports that are new each time, for a policy of the shipped configurations' size, untrained."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for kind, replicas in itertools.product(("gnn", "tgn+gnn"), REPLICAS):
            spent = 1e3 * _spent(kind, replicas)
            aim = {"aim": f"<= {AIM_MS[replicas]:g}"} if replicas in AIM_MS else {}
            for clock, values in zip(("wall clock", "CPU"), spent, strict=True):
                name = f"route(), {replicas} replicas, {kind}, {clock}"
                yield {"figure": f"{name}, median", "value": float(np.median(values)), "unit": "ms"}
                yield {"figure": f"{name}, p99", "value": float(np.percentile(values, 99)), "unit": "ms", **aim}
    finally:
        torch.set_num_threads(threads)


def _spent(kind: str, replicas: int) -> NDArray[np.float64]:
    """[2, decisions] seconds by the wall clock and of CPU; on a machine with other work the first also holds waiting for a core."""
    config = LLMRoutingConfig(scenarios=("elastic",), max_replicas=5)
    encoder = EncoderConfig(kind=kind, **SIZES)  # type: ignore[arg-type]
    agent = PPO_GNN(DynamicGraphSpace(graph_config(config)), Discrete(config.max_replicas + 1), encoder=encoder)
    router = LLMRouter(agent, config, began_seconds=0.0)
    turns = _turns(replicas)
    spent = np.empty((WARM_UP + DECISIONS, 2))
    for k in range(len(spent)):
        request, reports = turns[k % len(turns)]
        wall, cpu = time.perf_counter(), time.thread_time()
        router.route(request, reports, 0.01 * k)
        spent[k] = time.perf_counter() - wall, time.thread_time() - cpu
    return spent[WARM_UP:].T


def _turns(replicas: int, count: int = 256) -> list[tuple[IncomingRequest, list[ReplicaReport]]]:
    """Requests with the reports of replicas of which the counters rise; the last of them is followed by engines that began anew."""
    rng = np.random.default_rng(0)
    totals = np.cumsum(rng.integers(0, 40, (count, replicas, 2)), axis=0)
    turns = []
    for k in range(count):
        reports = [
            ReplicaReport(
                id=f"10.0.0.{r}:8000",
                running_requests=int(rng.integers(1, 60)),
                waiting_requests=int(rng.integers(0, 5)),
                kv_usage=float(rng.random()),
                kv_blocks=7424,
                prompt_tokens_total=int(totals[k, r, 0]),
                generated_tokens_total=int(totals[k, r, 1]),
                finished_requests_total=k,
                latency_seconds_total=3.0 * k,
                pending_prefill_tokens=int(rng.integers(0, 2000)),
            )
            for r in range(replicas)
        ]
        turns.append((IncomingRequest(prompt_tokens=int(rng.integers(10, 2000))), reports))
    return turns
