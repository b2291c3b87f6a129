"""What an agent notes while it acts: the rollout, where episodes end, and the sums behind the return's unit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gnnrl.agents.step_answer import node_rewards, step_answer
from gnnrl.config.experiment import PPOConfig
from gnnrl.rl.distributions import ActionMode
from gnnrl.rl.storage import Array, RolloutStorage
from gnnrl.rl.temperature import TemperatureController
from graph_space.schema import NODE_MASK

__all__ = ["Recorder"]


class Recorder:
    """The storage of the next update and the bookkeeping of NEXT_STEP autoreset.

    Args:
        space: observation space of one environment.
        mode: a move per node or one pair per graph.
        config: hyper-parameters.
        state_shape: of the model's memory.
        num_envs: B.
    """

    def __init__(
        self, space: spaces.Dict, mode: ActionMode, config: PPOConfig, state_shape: tuple[int, int], num_envs: int
    ) -> None:
        self.space, self.mode, self.config, self.state_shape, self.num_envs = space, mode, config, state_shape, num_envs
        self.max_nodes = (space[NODE_MASK].shape or (0,))[0]
        self.per_node = config.credit == "node"
        self.storage = self.new_storage(config.rollout_length)
        self.carry: NDArray[np.float64] = np.zeros((num_envs, self.max_nodes if self.per_node else 1))
        self.live = np.ones(num_envs, np.bool_)
        """[B], false where the next observation is the last of its episode, so that its action is ignored."""
        self.episode_start = np.ones(num_envs, np.bool_)
        """[B], true where the next observation starts an episode."""
        self.temperature = TemperatureController(config.temperature, num_envs) if config.temperature.enabled else None

    @property
    def controlled_temperature(self) -> Array | None:
        """[B] of the next draws; None = nobody moves it."""
        return None if self.temperature is None else self.temperature.temperature

    def new_storage(self, length: int) -> RolloutStorage:
        """An empty rollout of `length` steps."""
        nodes = (self.max_nodes,)
        return RolloutStorage(
            self.space,
            self.num_envs,
            length,
            self.config.chunk_length,
            nodes if self.mode == "joint" else (),
            nodes if self.per_node else (),
            self.state_shape,
        )

    def commit(
        self,
        storage: RolloutStorage,
        reward: Array | float,
        terminated: Array | bool,
        truncated: Array | bool,
        infos: Mapping[str, Any] | None,
    ) -> None:
        """Store what a step answered, and follow where episodes end and start; see `PPO_GNN.store_transition`."""
        split = node_rewards(infos, self.live, self.max_nodes) if self.per_node else None
        reward, terminated, truncated = step_answer(reward, terminated, truncated, self.num_envs)
        storage.commit(reward, terminated, truncated, split)
        # NEXT_STEP: the observation after an end is final, and the one after that starts the next episode.
        self.episode_start = ~self.live
        self.live = ~((terminated | truncated) & self.live)
        if self.temperature is not None:
            self.temperature.observe(infos, self.episode_start)

    def state_dict(self) -> dict[str, Any]:
        """What outlives an update: a rollout in progress does not."""
        return {
            "num_envs": self.num_envs,
            "carry": self.carry.copy(),
            "live": self.live.copy(),
            "episode_start": self.episode_start.copy(),
            "temperature": None if self.temperature is None else self.temperature.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.carry = np.array(saved["carry"])
        self.live = np.array(saved["live"])
        self.episode_start = np.array(saved["episode_start"])
        if self.temperature is not None:
            self.temperature.load_state_dict(saved["temperature"])
