"""Agents: what decides and learns."""

from gnnrl.agents.actor_critic import ActorCritic
from gnnrl.agents.archive import CheckpointError
from gnnrl.agents.graph_actor_critic import GraphActorCritic
from gnnrl.agents.interruption import TrainingInterrupted
from gnnrl.agents.own_environment import EvaluateEvery, PlayedEpisodes
from gnnrl.agents.policy_head import PolicyHead, ValueHead
from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.agents.update import ReplayError

__all__ = [
    "PPO_GNN",
    "ActorCritic",
    "CheckpointError",
    "EvaluateEvery",
    "GraphActorCritic",
    "PlayedEpisodes",
    "PolicyHead",
    "ReplayError",
    "TrainingInterrupted",
    "ValueHead",
]
