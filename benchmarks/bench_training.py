"""Training and deciding: environment steps/s against Stable-Baselines3, and the latency of one decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from benchmarks.timing import percentiles
from gnnrl.agents import PPO_GNN
from gnnrl.agents.iteration import iterations
from gnnrl.config.experiment import AutoscalingConfig, EncoderConfig, PPOConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from graph_space.schema import EDGES, GLOBALS, NODE_MASK, NODES

ENVS, ROLLOUT, EPOCHS, MINIBATCH, HIDDEN, MEMORY, HEADS = 64, 64, 4, 2048, 64, 32, 2
ROUNDS = 2


def measure() -> list[dict[str, Any]]:
    """Figures of both parts; Stable-Baselines3 comes with `pip install gnnrl[bench]`."""
    return [*training(), *decisions()]


class PyGEncoder(nn.Module):
    """The `tgn+gnn` encoder in PyG, on padded observations: messages, mean, GRU, attention; plus two attention layers.

    Stable-Baselines3 hands no memory from step to step, so every observation starts from zeros, at the same price.
    """

    def __init__(self, space: spaces.Dict) -> None:
        from torch_geometric.nn import TransformerConv

        super().__init__()
        node, edge, whole = (space[key].shape[-1] for key in (NODES, EDGES, GLOBALS))
        self.features_dim = space[NODE_MASK].shape[0] * HIDDEN
        features, edge_dim = node + whole, edge + 1
        self.message = nn.Linear(2 * MEMORY + 2 * features + edge_dim + 8, MEMORY)
        self.clock = nn.Linear(1, 8)
        self.gru = nn.GRUCell(MEMORY, MEMORY)
        width = HIDDEN // HEADS
        self.temporal = TransformerConv(MEMORY + features, width, HEADS, edge_dim=edge_dim)
        self.first = TransformerConv(features, width, HEADS, edge_dim=edge_dim)
        self.second = TransformerConv(HIDDEN, width, HEADS, edge_dim=edge_dim)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        from torch_geometric.utils import scatter

        batch, slots, _ = obs[NODES].shape
        real, calls = obs["node_mask"].bool(), obs["edge_mask"].bool()
        place = torch.full((batch * slots,), -1, dtype=torch.long)
        place[real.flatten()] = torch.arange(int(real.sum()))
        x = torch.cat([obs[NODES], obs[GLOBALS].unsqueeze(1).expand(-1, slots, -1)], dim=2)[real]
        offset = (torch.arange(batch) * slots).unsqueeze(1)
        source, target = (place[(obs["edge_index"][:, end].long() + offset)[calls]] for end in (0, 1))
        features = obs[EDGES][calls]
        one = torch.ones(len(features), 1)
        index = torch.stack([torch.cat([source, target]), torch.cat([target, source])])
        edges = torch.cat([torch.cat([features, 0 * one], 1), torch.cat([features, one], 1)])
        memory = x.new_zeros(len(x), MEMORY)
        age = torch.cos(self.clock(obs["elapsed_seconds"].reshape(-1, 1).expand(-1, slots)[real].unsqueeze(1)))
        speaker, hearer = index
        said = torch.cat([memory[hearer], memory[speaker], x[hearer], x[speaker], edges, age[hearer]], dim=1)
        heard = scatter(torch.relu(self.message(said)), hearer, dim_size=len(x), reduce="mean")
        memory = self.gru(heard, memory)
        rows = torch.relu(self.temporal(torch.cat([memory, x], dim=1), index, edges))
        rows = rows + torch.relu(self.second(torch.relu(self.first(x, index, edges)), index, edges))
        padded = rows.new_zeros(batch * slots, HIDDEN)
        padded[real.flatten()] = rows
        return padded.view(batch, -1)


def _sb3(env_config: AutoscalingConfig, graph: bool, threads: int) -> Callable[[], object]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import VecEnv

    class Extractor(BaseFeaturesExtractor):
        def __init__(self, observation_space: spaces.Dict) -> None:
            encoder = PyGEncoder(observation_space)
            super().__init__(observation_space, encoder.features_dim)
            self.encoder = encoder

        def forward(self, observations: dict[str, Tensor]) -> Tensor:
            return self.encoder(observations)

    class Meshes(VecEnv):
        """The same vector environment under the interface of Stable-Baselines3; episodes are longer than what is timed."""

        def __init__(self) -> None:
            self.inner = MeshVectorEnv(ENVS, env_config, copy=True)
            # A plain Dict without scalars, as Stable-Baselines3 flattens it.
            members = dict(self.inner.single_observation_space.spaces)
            members["elapsed_seconds"] = spaces.Box(0.0, np.inf, (1,), np.float32)
            observed = spaces.Dict(members)
            super().__init__(ENVS, observed, self.inner.single_action_space)

        def reset(self) -> Any:
            return self.flat(self.inner.reset(seed=0)[0])

        def flat(self, obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            return {**obs, "elapsed_seconds": obs["elapsed_seconds"].reshape(ENVS, 1)}

        def step_async(self, actions: np.ndarray) -> None:
            self.chosen = actions

        def step_wait(self) -> Any:
            obs, reward, terminated, truncated, _ = self.inner.step(self.chosen)
            return self.flat(obs), reward, terminated | truncated, [{} for _ in range(ENVS)]

        def close(self) -> None:
            """Nothing is open."""

        def get_attr(self, *_: Any, **__: Any) -> list[Any]:
            return [None] * ENVS

        def env_is_wrapped(self, *_: Any, **__: Any) -> list[bool]:
            return [False] * ENVS

        env_method = get_attr
        set_attr = get_attr

    policy: dict[str, Any] = {"net_arch": [HIDDEN, HIDDEN]}
    if graph:
        policy = {"features_extractor_class": Extractor, "net_arch": [HIDDEN]}
    model = PPO(
        "MultiInputPolicy",
        Meshes(),
        n_steps=ROLLOUT,
        batch_size=MINIBATCH,
        n_epochs=EPOCHS,
        policy_kwargs=policy,
        device="cpu",
        seed=0,
    )

    def run() -> None:
        torch.set_num_threads(threads)
        model.learn(ENVS * ROLLOUT, reset_num_timesteps=False)

    return run


def _ours(env_config: AutoscalingConfig, hidden: int, threads: int) -> Callable[[], object]:
    env = MeshVectorEnv(ENVS, env_config, copy=False)
    agent = PPO_GNN(
        env.single_observation_space,
        env.single_action_space,
        config=PPOConfig(
            rollout_length=ROLLOUT,
            epochs=EPOCHS,
            minibatch_rows=MINIBATCH,
            target_kl=0.0,
            threads=threads,
            credit="node",
        ),
        encoder=EncoderConfig(hidden=hidden, memory_dim=MEMORY, message_dim=MEMORY, heads=HEADS),
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
            "ours": _ours(config, HIDDEN, threads),
            "ours, hidden 32": _ours(config, 32, threads),
            "SB3 with the encoder in PyG": _sb3(config, True, threads),
            "SB3 with its MLP": _sb3(config, False, threads),
        }
        spent: dict[str, list[float]] = {label: [] for label in runs}
        for turn in range(ROUNDS + 1):
            for label, run in runs.items():
                start = clock()
                run()
                if turn:
                    spent[label].append(clock() - start)
        rate = {label: ENVS * ROLLOUT / float(np.median(seconds)) for label, seconds in spent.items()}
        for label, value in rate.items():
            yield {"figure": f"training, {name}: {label}", "value": value, "unit": "steps/s"}
        for label, aim in (("SB3 with the encoder in PyG", ">= 3"), ("SB3 with its MLP", ">= 1")):
            yield {"figure": f"{name}: ours / {label}", "value": rate["ours"] / rate[label], "unit": "x", "aim": aim}


def decisions() -> Iterator[dict[str, Any]]:
    """Observation to legal action, one environment, memory on."""
    torch.set_num_threads(1)
    for slots, calls, mesh, aims in (
        (20, 400, "online_boutique", ("<= 0.4", "<= 1")),
        (20, 400, "random:20-20", ("<= 0.4", "<= 1")),
        (1000, 4000, "random:1000-1000", ("<= 5", None)),
    ):
        config = AutoscalingConfig(mesh=(mesh,), max_nodes=slots, max_edges=calls)
        env = MeshVectorEnv(1, config)
        obs, _ = env.reset(seed=0)
        agent = PPO_GNN(env.single_observation_space, env.single_action_space, encoder=EncoderConfig(hidden=HIDDEN))
        state = agent.initial_state(1)

        def act() -> None:
            nonlocal state
            _, state = agent.act(obs, state)  # noqa: B023

        half, most = percentiles(act, repeats=1000 if slots < 100 else 100)
        name = f"{int(obs[NODE_MASK].sum())} services in {slots} slots"
        for figure, value, aim in (("p50", half, aims[0]), ("p99", most, aims[1])):
            row = {"figure": f"decision {figure}, {name}", "value": 1e3 * value, "unit": "ms"}
            yield row if aim is None else {**row, "aim": aim}
