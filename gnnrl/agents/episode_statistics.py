"""Return and length of episodes while many are played side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.rl.storage import Array

__all__ = ["EpisodeStatistics"]


class EpisodeStatistics:
    """Sums over the episodes in progress, and what those that ended came to, in the order of their ends.

    Args:
        num_envs: B.

    Attributes:
        environments: of each episode that ended.
        returns: of each, undiscounted.
        lengths: of each, in steps.
    """

    def __init__(self, num_envs: int) -> None:
        self._return: NDArray[np.float64] = np.zeros(num_envs)
        self._length: NDArray[np.int64] = np.zeros(num_envs, np.int64)
        self.clear()

    def clear(self) -> None:
        """Forget the episodes that ended; those in progress go on."""
        self.environments: list[int] = []
        self.returns: list[float] = []
        self.lengths: list[int] = []

    def add(self, reward: Array, live: Array, ended: Array) -> None:
        """Take in a step.

        Args:
            reward: [B].
            live: [B] bool, false where the step only began the next episode (NEXT_STEP autoreset).
            ended: [B] bool, terminated or truncated.
        """
        self._return += np.where(live, reward, 0.0)
        self._length += live
        for env in np.flatnonzero(ended & live).tolist():
            self.environments.append(env)
            self.returns.append(float(self._return[env]))
            self.lengths.append(int(self._length[env]))
            self._return[env], self._length[env] = 0.0, 0

    def means(self) -> dict[str, float]:
        """`episode_return` and `episode_length` over those that ended; empty where none did."""
        if not self.returns:
            return {}
        return {"episode_return": float(np.mean(self.returns)), "episode_length": float(np.mean(self.lengths))}

    def state_dict(self) -> dict[str, Any]:
        """The episodes in progress."""
        return {"return": self._return.copy(), "length": self._length.copy()}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._return = np.array(saved["return"])
        self._length = np.array(saved["length"])
        self.clear()
