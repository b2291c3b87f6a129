"""A vector environment of one as an ordinary one: every domain writes its environment once, batched."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorEnv

from graph_space.schema import GraphObservation

__all__ = ["BatchOfOne"]


class BatchOfOne(gymnasium.Env):
    """Base of the single environments.

    Args:
        vector: environment with `num_envs = 1` and observations that are dictionaries.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - declared so by Gymnasium

    def __init__(self, vector: VectorEnv) -> None:
        self.observation_space = vector.single_observation_space
        self.action_space = vector.single_action_space
        self._one = vector

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Start the next episode; with `seed` the first of that seed."""
        super().reset(seed=seed)
        observation, _ = self._one.reset(seed=seed, options=options)
        return {key: np.asarray(value[0]) for key, value in observation.items()}, {}

    def step(self, action: Any) -> tuple[GraphObservation, float, bool, bool, dict[str, Any]]:
        """One decision."""
        observation, reward, terminated, truncated, infos = self._one.step(np.asarray(action)[None])
        return (
            {key: np.asarray(value[0]) for key, value in observation.items()},
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {key: value[0] for key, value in infos.items()},
        )
