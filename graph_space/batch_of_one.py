"""A vector environment of one as an ordinary one: every domain writes its environment once, batched."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded

from graph_space.actions import ActionCheck
from graph_space.arguments import whole_number
from graph_space.schema import GraphObservation
from graph_space.vector_env import GraphVectorEnv, checked_options

__all__ = ["BatchOfOne"]


class BatchOfOne(gymnasium.Env):
    """Base of the single environments.

    Args:
        vector: environment with `num_envs = 1`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - declared so by Gymnasium

    reset_options: ClassVar[tuple[str, ...]] = ()
    """What `reset` takes as options."""

    def __init__(self, vector: GraphVectorEnv) -> None:
        self.observation_space = vector.single_observation_space
        self.action_space = vector.single_action_space
        self._one = vector
        self._check = ActionCheck(self.action_space, None, f"{type(self).__name__}.step")
        self._playing = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Start the next episode; with `seed` the first of that seed. Without one the first reset draws a seed.

        Raises:
            ValueError: a seed or an option that cannot be.
            ClosedEnvironmentError: after `close`.
        """
        where = f"{type(self).__name__}.reset"
        if self._one.closed:
            raise ClosedEnvironmentError(f"{where}: the environment is closed; make another")
        given = checked_options(options, self.reset_options, where)
        seed = None if seed is None else whole_number(seed, f"{where}: seed")
        super().reset(seed=seed)
        observation, _ = self._one.reset(seed=seed, options=self._batched(given))
        self._playing = True
        return {key: np.asarray(value[0]) for key, value in observation.items()}, {}

    def _batched(self, options: dict[str, Any]) -> dict[str, Any]:
        """The options of this environment as those of the batch."""
        return options

    def step(self, action: Any) -> tuple[GraphObservation, float, bool, bool, dict[str, Any]]:
        """One decision.

        Raises:
            ResetNeeded: before the first `reset`, and after the end of an episode.
            ClosedEnvironmentError: after `close`.
            ActionError: the action is not in the action space. Nothing has moved then.
        """
        if not self._playing:
            self._refuse()
        observation, reward, terminated, truncated, infos = self._one.step(self._check(action)[None])
        ended, cut = bool(terminated[0]), bool(truncated[0])
        self._playing = not (ended or cut)
        return (
            {key: np.asarray(value[0]) for key, value in observation.items()},
            float(reward[0]),
            ended,
            cut,
            {key: value[0] for key, value in infos.items()},
        )

    def _refuse(self) -> None:
        where = f"{type(self).__name__}.step"
        if self._one.closed:
            raise ClosedEnvironmentError(f"{where}: the environment is closed; make another")
        raise ResetNeeded(f"{where}: no episode is being played, it has ended or has not begun; call reset() first")

    def close(self) -> None:
        """Nothing can be played afterwards."""
        self._one.close()
        self._playing = False
