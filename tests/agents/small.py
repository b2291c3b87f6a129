"""Small agents on the toy mesh."""

from typing import Any

from gnnrl.agents import PPO_GNN
from gnnrl.agents.iteration import Collector, prime
from gnnrl.config.experiment import EncoderConfig, PPOConfig
from tests.toy_mesh import ToyMesh

ENCODER = {"hidden": 16, "memory_dim": 8, "message_dim": 8, "time_dim": 4}


def small_agent(env: ToyMesh, kind: str = "tgn+gnn", seed: int = 0, **ppo: Any) -> PPO_GNN:
    settings = {"rollout_length": 16, "chunk_length": 8, "minibatch_rows": 64, "gamma": 0.9, **ppo}
    return PPO_GNN(
        env.single_observation_space,
        env.single_action_space,
        config=PPOConfig(**settings),
        encoder=EncoderConfig(kind=kind, **ENCODER),
        seed=seed,
    )


def collected(agent: PPO_GNN, env: ToyMesh) -> Collector:
    """A primed agent with a full rollout."""
    collector = Collector(env, 0)
    prime(agent, collector)
    collector.collect(agent)
    return collector
