"""`GraphVectorEnv`: what the batched environments of all domains have in common; seeds, resets, options, and the door of `step`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from graph_space.actions import ActionCheck
from graph_space.arguments import whole_number
from graph_space.config import DynamicGraphConfig
from graph_space.schema import GraphObservation
from graph_space.space import DynamicGraphSpace

__all__ = ["RESET_MASK", "GraphVectorEnv", "Stepped", "checked_options"]

RESET_MASK = "reset_mask"
"""Option of `reset`: bool [B], which environments begin anew."""

Stepped = tuple[GraphObservation, NDArray[Any], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]
"""Observation, reward, terminated, truncated and infos of a step, arrays [B, ...]."""


def checked_options(options: Any, known: Iterable[str], where: str) -> dict[str, Any]:
    """The options of a `reset`, as a dictionary of one's own.

    Raises:
        ValueError: they are no dictionary, or one is not known.
    """
    if options is None:
        return {}
    if not isinstance(options, Mapping):
        raise ValueError(f"{where}: options {options!r:.80} are not a dictionary")
    known = tuple(known)
    for name in options:
        if name not in known:
            right = f"known: {', '.join(known)}" if known else "there are none"
            raise ValueError(f"{where}: option {name!r} is not known; {right}")
    return dict(options)


class GraphVectorEnv(VectorEnv):
    """B systems of one kind, autoreset in the next step.

    A domain says how an episode begins (`_begin_episodes`) and what a step is (`_play`). Here stand the numbers of the episodes, which
    environments a reset is for, and that nothing but an action of the action space gets into `_play`, and only between `reset` and `close`.

    Environment b plays the episodes (seed, b, 0), (seed, b, 1), ...: `np.random.SeedSequence([seed, b, k])` draws them. The first `reset`
    without a seed draws one; each later one goes on to the next episode.

    Args:
        num_envs: B, >= 1.
        graph: shape of the observations.
        action_space: of a single environment.
        copy: observations are copies; False gives the environment's own arrays, valid until the next step.

    Raises:
        ValueError: `num_envs` is not an integer >= 1.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - declared so by Gymnasium

    reset_options: ClassVar[tuple[str, ...]] = ()
    """What `reset` takes beside `reset_mask`."""

    def __init__(
        self, num_envs: int, graph: DynamicGraphConfig, action_space: spaces.Space[Any], *, copy: bool = True
    ) -> None:
        self.num_envs = whole_number(num_envs, f"{type(self).__name__}: num_envs", 1)
        self.copy = copy
        self.single_observation_space = DynamicGraphSpace(graph)
        self.single_action_space = action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(action_space, self.num_envs)
        self._check = ActionCheck(action_space, self.num_envs, f"{type(self).__name__}.step")
        self._seeds: list[int | None] = [None] * self.num_envs
        self._episode = np.zeros(self.num_envs, np.int64)
        self._done = np.zeros(self.num_envs, np.bool_)
        self._begun = False

    @property
    @abstractmethod
    def _arrays(self) -> GraphObservation:
        """The environment's own arrays of the last observation, [B, ...]."""

    def _check_options(self, options: dict[str, Any]) -> None:
        """Raise ValueError where the domain's own options cannot be; nothing has begun then."""

    @abstractmethod
    def _begin_episodes(self, starting: NDArray[np.bool_], options: dict[str, Any]) -> None:
        """Begin the episodes (`_sequence(b)`) of the environments in `starting` [B], and write `_arrays`; the others stand still."""

    @abstractmethod
    def _play(self, actions: NDArray[np.int64]) -> Stepped:
        """One step with actions that are in the space; an environment in `_done` starts its next episode instead, with reward 0."""

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Start every environment anew; with `seed` from the first episode of that seed.

        Args:
            seed: of all environments, or a list of one each; None = the next episode of the seed there is, drawn where there is none.
            options: `reset_mask`, bool [B]: only these environments begin anew, the others stand still and show what they showed last;
                and the options of the domain (`reset_options`).

        Raises:
            ValueError: a seed or an option that cannot be; nothing has begun then.
            ClosedEnvironmentError: after `close`.
        """
        where = f"{type(self).__name__}.reset"
        self._require_open(where)
        given = checked_options(options, (RESET_MASK, *self.reset_options), where)
        starting = self._starting(given.pop(RESET_MASK, None), where)
        numbers = self._numbers(seed, starting, where)
        self._check_options(given)
        before = None if starting.all() else {key: array.copy() for key, array in self._arrays.items()}
        self._begun = False  # until all have: an episode that cannot be may stop half-way
        self._seeds, self._episode = numbers
        self._begin_episodes(starting, given)
        self._done = self._done & ~starting
        if before is not None:
            for key, array in self._arrays.items():
                array[~starting] = before[key][~starting]
        self._begun = True
        return self._observed(), {}

    def step(self, actions: Any) -> Stepped:
        """One decision in each environment; one whose episode had ended starts its next one instead, with reward 0.

        Raises:
            ResetNeeded: before the first `reset`.
            ClosedEnvironmentError: after `close`.
            ActionError: the actions are not in the action space (those of environments that start anew are not read). Nothing has
                moved then.
        """
        if self.closed or not self._begun:
            self._require_begun(f"{type(self).__name__}.step")
        return self._play(self._check(actions, self._done))

    def _require_open(self, where: str) -> None:
        if self.closed:
            raise ClosedEnvironmentError(f"{where}: the environment is closed; make another")

    def _require_begun(self, where: str) -> None:
        self._require_open(where)
        if not self._begun:
            raise ResetNeeded(f"{where}: no episode has begun; call reset() first")

    def _observed(self) -> GraphObservation:
        return {key: array.copy() for key, array in self._arrays.items()} if self.copy else self._arrays

    def _sequence(self, b: int) -> np.random.SeedSequence:
        """What the present episode of environment `b` is drawn from."""
        return np.random.SeedSequence([self._seeds[b] or 0, b, int(self._episode[b])])

    def _starting(self, mask: Any, where: str) -> NDArray[np.bool_]:
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            found = f"{mask.dtype} {mask.shape}" if isinstance(mask, np.ndarray) else f"{mask!r:.60}"
            raise ValueError(f"{where}: {RESET_MASK} is {found}, expected a numpy array of bool ({self.num_envs},)")
        if not mask.any():
            raise ValueError(f"{where}: {RESET_MASK} is false everywhere; one environment at least begins anew")
        if not mask.all() and not self._begun:
            raise ValueError(
                f"{where}: {RESET_MASK} leaves out environments that have not begun; reset all of them first"
            )
        return mask.copy()

    def _numbers(
        self, seed: Any, starting: NDArray[np.bool_], where: str
    ) -> tuple[list[int | None], NDArray[np.int64]]:
        """Seed and number of the episode of each environment after a reset of those in `starting`."""
        if isinstance(seed, np.ndarray) and seed.ndim != 1:
            if seed.ndim > 1:
                raise ValueError(
                    f"{where}: seeds of shape {seed.shape} for {self.num_envs} environments; give one each"
                )
            seed = seed.item()
        if isinstance(seed, list | tuple | np.ndarray):
            if len(seed) != self.num_envs:
                raise ValueError(f"{where}: {len(seed)} seeds for {self.num_envs} environments")
            asked = [None if one is None else whole_number(one, f"{where}: seed") for one in seed]
        else:
            asked = [None if seed is None else whole_number(seed, f"{where}: seed")] * self.num_envs
        drawn = int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
        seeds, episode = list(self._seeds), self._episode.copy()
        for b in np.flatnonzero(starting).tolist():
            if asked[b] is None and seeds[b] is not None:
                episode[b] += 1
            else:
                seeds[b], episode[b] = drawn if asked[b] is None else asked[b], 0
        return seeds, episode

    def _numbers_state(self) -> dict[str, Any]:
        """For `state_dict`: which episodes are played, and which of them are over."""
        return {"seed": list(self._seeds), "episode": self._episode.copy(), "done": self._done.copy()}

    def _load_numbers(self, saved: Mapping[str, Any]) -> None:
        """Continue where `_numbers_state` was taken, and show what is `shown` there; older files have one seed for all."""
        seed = saved["seed"]
        self._seeds = list(seed) if isinstance(seed, list | tuple) else [int(seed)] * self.num_envs
        self._episode[:] = saved["episode"] if "episode" in saved else saved["episode_number"]
        for key, array in saved.get("shown", {}).items():
            self._arrays[key][:] = array
        self._done = np.array(saved["done"])
        self._begun = True
