"""The autoscaling environment: a batch of simulated meshes, as a Gymnasium `VectorEnv` and, as the batch of one, as an `Env`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.batch import MeshBatch
from gnnrl.domains.autoscaling.episode import Episode, Split, draw_episode
from gnnrl.domains.autoscaling.mesh import Mesh
from graph_space import DynamicGraphConfig, DynamicGraphSpace
from graph_space.batch_of_one import BatchOfOne
from graph_space.schema import MOVES, GraphObservation, autoscaling_schema

__all__ = ["MeshEnv", "MeshVectorEnv", "action_space", "graph_config"]


def graph_config(config: AutoscalingConfig) -> DynamicGraphConfig:
    """Shape of the observations of this configuration."""
    schema = autoscaling_schema(config.node_columns)
    return DynamicGraphConfig.from_schema(
        schema, max_nodes=config.max_nodes, max_edges=config.max_edges, num_moves=len(MOVES)
    )


def action_space(config: AutoscalingConfig) -> spaces.MultiDiscrete | spaces.Discrete:
    """`joint`: MultiDiscrete [15] * max_nodes; `select`: Discrete(max_nodes * 15), slot * 15 + move."""
    moves = len(MOVES)
    if config.action_mode == "joint":
        return spaces.MultiDiscrete(np.full(config.max_nodes, moves))
    return spaces.Discrete(config.max_nodes * moves)


class MeshVectorEnv(VectorEnv):
    """B meshes as a Gymnasium vector environment, autoreset in the next step.

    Args:
        config: the environment's configuration; keyword arguments in `changes` replace its fields.
        num_envs: B.
        split: the stream of episodes; seed `s` plays the episodes of environment b that `SeedSequence([s, b, k])` numbers.
        copy: observations are copies; False gives the environment's own arrays, valid until the next step.
        strict_actions: an action outside the mask raises instead of being counted (`infos["illegal_actions"]`) and taken as 0.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}  # noqa: RUF012 - declared so by Gymnasium

    def __init__(
        self,
        num_envs: int = 1,
        config: AutoscalingConfig | None = None,
        *,
        split: Split = Split.TRAIN,
        copy: bool = True,
        strict_actions: bool = False,
        **changes: Any,
    ) -> None:
        self.config = replace(config or AutoscalingConfig(), **changes)
        self.num_envs = num_envs
        self.split = split
        self.copy = copy
        self.batch = MeshBatch(self.config, num_envs, strict_actions=strict_actions)
        self.single_observation_space = DynamicGraphSpace(graph_config(self.config))
        self.single_action_space = action_space(self.config)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._seed: int | None = None
        self._episode_number = np.zeros(num_envs, dtype=np.int64)
        self._decisions = np.zeros(num_envs, dtype=np.int64)
        self._done = np.zeros(num_envs, dtype=np.bool_)
        self._lag_windows = self.config.metrics_lag_seconds // self.config.decision_seconds

    def _episode(self, b: int) -> Episode:
        number = np.random.SeedSequence([self._seed or 0, b, int(self._episode_number[b])]).generate_state(1)[0]
        return draw_episode(self.config, self.split, int(number))

    def _observed(self) -> GraphObservation:
        observation = self.batch.observe()
        return {key: value.copy() for key, value in observation.items()} if self.copy else observation

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Start every environment anew; with `seed` from the first episode of that seed.

        `options={"episodes": [...]}` plays the given episodes first.
        """
        if seed is not None or self._seed is None:
            self._seed = seed if seed is not None else int(np.random.SeedSequence().generate_state(1)[0])
            self._episode_number[:] = 0
        else:
            self._episode_number += 1
        given = (options or {}).get("episodes")
        for b in range(self.num_envs):
            self.batch.begin(b, given[b] if given is not None else self._episode(b))
        self.batch.warm_up(np.ones(self.num_envs, dtype=np.bool_), self._lag_windows + 1)
        self._decisions[:] = 0
        self._done[:] = False
        return self._observed(), {}

    def step(
        self, actions: NDArray[np.int64]
    ) -> tuple[GraphObservation, NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """One decision interval; an environment whose episode had ended starts its next one instead, with reward 0."""
        batch, starting = self.batch, self._done
        acting = ~starting
        if starting.any():
            for b in np.flatnonzero(starting):
                self._episode_number[b] += 1
                batch.begin(int(b), self._episode(int(b)))
            batch.warm_up(starting, self._lag_windows)
        reward = np.where(acting, batch.decide(actions, acting), 0.0)
        batch.node_reward[starting] = 0.0
        # Before churn, which clears the window of a mesh that changes.
        infos: dict[str, Any] = batch.outcome()
        batch.churn()
        self._decisions = np.where(acting, self._decisions + 1, 0)
        infos["node_reward"] = batch.node_reward.copy() if self.copy else batch.node_reward
        truncated = self._decisions >= self.config.episode_decisions
        self._done = truncated
        return self._observed(), reward, np.zeros(self.num_envs, dtype=np.bool_), truncated.copy(), infos

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on in mid-episode, as arrays and plain values."""
        return {
            "seed": self._seed,
            "episode_number": self._episode_number.copy(),
            "decisions": self._decisions.copy(),
            "done": self._done.copy(),
            "batch": self.batch.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` into an environment of the same configuration (episodes drawn from the seed, not given)."""
        self._seed = int(state["seed"])
        self._episode_number[:] = np.asarray(state["episode_number"])
        self._decisions = np.asarray(state["decisions"]).copy()
        self._done = np.asarray(state["done"]).copy()
        self.batch.load_state_dict(state["batch"], [self._episode(b) for b in range(self.num_envs)])


class MeshEnv(BatchOfOne):
    """One mesh as a Gymnasium environment: the batch of one of the same code."""

    def __init__(
        self,
        config: AutoscalingConfig | None = None,
        *,
        split: Split = Split.TRAIN,
        strict_actions: bool = False,
        **changes: Any,
    ) -> None:
        self._vector = MeshVectorEnv(1, config, split=split, strict_actions=strict_actions, **changes)
        self.config = self._vector.config
        super().__init__(self._vector)

    @property
    def mesh(self) -> Mesh:
        """The mesh as it stands, after churn.

        Raises:
            RuntimeError: before the first reset.
        """
        mesh = self._vector.batch.meshes[0]
        if mesh is None:
            raise RuntimeError("MeshEnv.mesh: there is no mesh before reset(); call reset() first")
        return mesh

    def slot_names(self) -> dict[int, str]:
        """Slot -> name of the service that stands there."""
        slots = self._vector.batch.builder.slot_of_service[0]
        return {int(slots[s]): service.name for s, service in enumerate(self.mesh.services)}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Start the next episode; `options={"episode": Episode}` plays that one."""
        episode = (options or {}).get("episode")
        return super().reset(seed=seed, options={"episodes": [episode]} if episode else None)

    def action_masks(self) -> NDArray[np.bool_]:
        """[max_nodes * 15] true = legal, as sb3-contrib's MaskablePPO asks for it; the padding's no-op counts as legal in `joint`."""
        mask = self._vector.batch.builder.observation["action_mask"][0].astype(np.bool_)
        if self.config.action_mode == "joint":
            mask = mask.copy()
            mask[:, 0] = True
        return mask.reshape(-1)
