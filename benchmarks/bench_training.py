"""Training and deciding: environment steps/s against Stable-Baselines3, and the latency of one decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from benchmarks.timing import percentiles
from gnnrl.agents import PPO_GNN
from gnnrl.agents.iteration import iterations
from gnnrl.config.experiment import AutoscalingConfig, EncoderConfig, PPOConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from graph_space.schema import NODE_MASK

if TYPE_CHECKING:
    from benchmarks.sb3_peers import Encoder

ENVS = 64
PPO = PPOConfig(rollout_length=64, epochs=4, minibatch_rows=2048, target_kl=0.0, threads=1, credit="node")
NETWORK = EncoderConfig(hidden=64, memory_dim=32, message_dim=32, heads=2)
ROUNDS = 2


def measure() -> list[dict[str, Any]]:
    """Figures of both parts; Stable-Baselines3 comes with `pip install gnnrl[bench]`."""
    return [*training(), *decisions()]


def _sb3(environment: AutoscalingConfig, encoder: Encoder, threads: int) -> Callable[[], object]:
    from benchmarks.sb3_peers import Peer

    peer = Peer.of(encoder, environment, num_envs=ENVS, ppo=PPO, network=NETWORK)

    def run() -> None:
        torch.set_num_threads(threads)
        peer.advance()

    return run


def _ours(environment: AutoscalingConfig, network: EncoderConfig, threads: int) -> Callable[[], object]:
    env = MeshVectorEnv(ENVS, environment, copy=False)
    agent = PPO_GNN(
        env.single_observation_space,
        env.single_action_space,
        config=replace(PPO, threads=threads),
        encoder=network,
    )
    loop = iterations(agent, env, 10**9)

    def run() -> None:
        torch.set_num_threads(1)
        next(loop)

    return run


def training() -> Iterator[dict[str, Any]]:
    """Steps/s of collecting and learning, taken in turn: CPU time on one core, and wall clock on two.

    The wall clock only means something on an otherwise idle machine: torch's threads wait for each other on a busy one.
    """
    config = AutoscalingConfig()
    for threads, clock, name in ((1, time.process_time, "one core, CPU time"), (2, time.perf_counter, "two cores")):
        runs = {
            "ours": _ours(config, NETWORK, threads),
            "ours, hidden 32": _ours(config, replace(NETWORK, hidden=32), threads),
            "SB3 with the encoder in PyG": _sb3(config, "pyg", threads),
            "SB3 with its MLP": _sb3(config, "mlp", threads),
        }
        spent: dict[str, list[float]] = {label: [] for label in runs}
        for turn in range(ROUNDS + 1):
            for label, run in runs.items():
                start = clock()
                run()
                if turn:
                    spent[label].append(clock() - start)
        rate = {label: ENVS * PPO.rollout_length / float(np.median(seconds)) for label, seconds in spent.items()}
        for label, value in rate.items():
            yield {"figure": f"training, {name}: {label}", "value": value, "unit": "steps/s"}
        for label, aim in (("SB3 with the encoder in PyG", ">= 3.5"), ("SB3 with its MLP", ">= 1")):
            yield {"figure": f"{name}: ours / {label}", "value": rate["ours"] / rate[label], "unit": "x", "aim": aim}


def decisions() -> Iterator[dict[str, Any]]:
    """Observation to legal action, one environment, memory on."""
    torch.set_num_threads(1)
    for slots, calls, mesh, aims in (
        (20, 400, "online_boutique", ("<= 0.35", "<= 1")),
        (20, 400, "random:20-20", ("<= 0.35", "<= 1")),
        (1000, 4000, "random:1000-1000", ("<= 4", None)),
    ):
        config = AutoscalingConfig(mesh=(mesh,), max_nodes=slots, max_edges=calls)
        env = MeshVectorEnv(1, config)
        obs, _ = env.reset(seed=0)
        agent = PPO_GNN(env.single_observation_space, env.single_action_space, encoder=NETWORK)
        state = agent.initial_state(1)

        def act() -> None:
            nonlocal state
            _, state = agent.act(obs, state)  # noqa: B023

        half, most = percentiles(act, repeats=1000 if slots < 100 else 100)
        name = f"{int(obs[NODE_MASK].sum())} services in {slots} slots"
        for figure, value, aim in (("p50", half, aims[0]), ("p99", most, aims[1])):
            row = {"figure": f"decision {figure}, {name}", "value": 1e3 * value, "unit": "ms"}
            yield row if aim is None else {**row, "aim": aim}
