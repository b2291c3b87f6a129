"""Statistics before learning: random legal actions that fill what observations and rewards are measured by, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from gnnrl.agents.iteration import Collector
from gnnrl.agents.update import note_returns
from gnnrl.agents.warm_start import play
from gnnrl.rl.storage import Array, Observation
from graph_space.schema import ACTION_MASK

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["random_actions", "stabilise"]


def random_actions(obs: Observation, joint: bool, rng: np.random.Generator) -> Array:
    """Uniform over the legal ones: a move per node [B, N] (`joint`), or slot * K + move [B]."""
    mask = obs[ACTION_MASK] != 0
    if not joint:
        mask = mask.reshape(len(mask), -1)
    # 1 - U is above 0, so that an illegal action never wins.
    chosen: Array = ((1.0 - rng.random(mask.shape)) * mask).argmax(axis=-1)
    return chosen


def stabilise(agent: PPO_GNN, collector: Collector, steps: int, report: Callable[[str], Any] = print) -> float:
    """Fill the observation statistics and the return deviation from random routing; weights and optimiser stay as they are.

    Afterwards the environments start anew. A warm start that follows merges what its teacher meets into the same statistics.

    Args:
        agent: untrained.
        collector: of the training environment.
        steps: environment steps, rounded up to whole rollouts.
        report: is told one line.

    Returns:
        The mean reward of random actions.
    """
    collector.reset(agent)
    recorder = agent.recorder
    assert recorder is not None
    storage, rewards = recorder.storage, []
    for _ in range(max(1, -(-steps // storage.loss_mask.size))):
        play(agent, recorder, collector, lambda obs: random_actions(obs, agent.mode == "joint", agent.rng), storage)
        note_returns(agent, recorder, storage)
        rewards.append(float(storage.reward[storage.loss_mask].mean()))
        agent.absorb()
    collector.reset(agent)
    reward = float(np.mean(rewards))
    report(f"statistics of {len(rewards) * storage.loss_mask.size:,} random steps: mean reward {reward:.4g}")
    return reward
