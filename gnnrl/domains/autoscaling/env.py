"""The autoscaling environment: a batch of simulated meshes, as a Gymnasium `VectorEnv` and, as the batch of one, as an `Env`."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gnnrl.config.checked import configured
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.batch import MeshBatch
from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES
from gnnrl.domains.autoscaling.episode import Episode, Split, draw_episode
from gnnrl.domains.autoscaling.mesh import Mesh
from graph_space import DynamicGraphConfig
from graph_space.batch_of_one import BatchOfOne
from graph_space.schema import MOVES, GraphObservation, autoscaling_schema
from graph_space.vector_env import GraphVectorEnv, Stepped

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


class MeshVectorEnv(GraphVectorEnv):
    """B meshes as a Gymnasium vector environment, autoreset in the next step.

    Args:
        config: the environment's configuration; keyword arguments in `changes` replace its fields.
        num_envs: B.
        split: the stream of episodes; seed `s` plays the episodes of environment b that `SeedSequence([s, b, k])` numbers.
        copy: observations are copies; False gives the environment's own arrays, valid until the next step.
        strict_actions: an action outside the mask raises instead of being counted (`infos["illegal_actions"]`) and taken as 0.

    Raises:
        ConfigError: what the configuration says cannot be; every fault at once.
        ValueError: `num_envs` is not an integer >= 1.
    """

    reset_options = ("episodes",)

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
        self.config = configured(AutoscalingConfig, config, changes, CONFIG_RULES, where=type(self).__name__)
        super().__init__(num_envs, graph_config(self.config), action_space(self.config), copy=copy)
        self.split = split
        self.batch = MeshBatch(self.config, self.num_envs, strict_actions=strict_actions)
        self._decisions = np.zeros(self.num_envs, dtype=np.int64)
        self._lag_windows = self.config.longest_lag_seconds // self.config.decision_seconds

    @property
    def _arrays(self) -> GraphObservation:
        return self.batch.builder.observation

    def _drawn(self, b: int) -> Episode:
        return draw_episode(self.config, self.split, int(self._sequence(b).generate_state(1)[0]))

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[GraphObservation, dict[str, Any]]:
        """Start every environment anew, see `GraphVectorEnv.reset`; `options={"episodes": [...]}`, B of them, plays those first."""
        return super().reset(seed=seed, options=options)

    def _check_options(self, options: dict[str, Any]) -> None:
        given = options.get("episodes")
        if given is None:
            return
        if not isinstance(given, list | tuple) or len(given) != self.num_envs:
            raise ValueError(
                f"MeshVectorEnv.reset: option 'episodes' is {given!r:.80}, expected a list of {self.num_envs} episodes, one "
                "an environment"
            )
        for b, episode in enumerate(given):
            if not isinstance(episode, Episode):
                raise ValueError(
                    f"MeshVectorEnv.reset: item {b} of option 'episodes' is {episode!r:.80}, expected an Episode, as "
                    "draw_episode makes one"
                )
            self.batch.check_room(b, episode.mesh)

    def _begin_episodes(self, starting: NDArray[np.bool_], options: dict[str, Any]) -> None:
        given = options.get("episodes")
        for b in np.flatnonzero(starting).tolist():
            self.batch.begin(b, self._drawn(b) if given is None else given[b])
        self.batch.warm_up(starting, self._lag_windows + 1)
        self._decisions[starting] = 0
        self.batch.observe()

    def _play(self, actions: NDArray[np.int64]) -> Stepped:
        batch, starting = self.batch, self._done
        acting = ~starting
        if starting.any():
            for b in np.flatnonzero(starting).tolist():
                self._episode[b] += 1
                batch.begin(b, self._drawn(b))
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
        batch.observe()
        return self._observed(), reward, np.zeros(self.num_envs, dtype=np.bool_), truncated.copy(), infos

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on in mid-episode, as arrays and plain values."""
        return {
            **self._numbers_state(),
            "decisions": self._decisions.copy(),
            "batch": self.batch.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` into an environment of the same configuration (episodes drawn from the seed, not given)."""
        self._load_numbers(state)
        self._decisions = np.asarray(state["decisions"]).copy()
        self.batch.load_state_dict(state["batch"], [self._drawn(b) for b in range(self.num_envs)])


class MeshEnv(BatchOfOne):
    """One mesh as a Gymnasium environment: the batch of one of the same code. `reset` takes the option `episode`, which is played then."""

    reset_options = ("episode",)

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

    def _batched(self, options: dict[str, Any]) -> dict[str, Any]:
        episode = options.get("episode")
        return {} if episode is None else {"episodes": [episode]}

    def action_masks(self) -> NDArray[np.bool_]:
        """[max_nodes * 15] true = legal, as sb3-contrib's MaskablePPO asks for it; the padding's no-op counts as legal in `joint`."""
        mask = self._vector.batch.builder.observation["action_mask"][0].astype(np.bool_)
        if self.config.action_mode == "joint":
            mask = mask.copy()
            mask[:, 0] = True
        return mask.reshape(-1)
