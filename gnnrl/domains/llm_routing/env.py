"""The environment: a request arrives, a replica is chosen; B clusters in one kernel, as a Gymnasium `VectorEnv` and as an `Env`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gnnrl.config.checked import configured
from gnnrl.config.llm_routing import LLMRoutingConfig
from gnnrl.domains.llm_routing import cluster as c
from gnnrl.domains.llm_routing.config_rules import CONFIG_RULES
from gnnrl.domains.llm_routing.episodes import MOST_CHANGES, configured_scenarios, draw_episode
from gnnrl.domains.llm_routing.expectation import outstanding_waits
from gnnrl.domains.llm_routing.graph_observation import LLMGraphObservation
from gnnrl.domains.llm_routing.model import Scheduler
from gnnrl.domains.llm_routing.objective import LLMRoutingReward
from gnnrl.domains.llm_routing.observation import BASE_FEATURES, GLOBAL_FEATURES
from gnnrl.domains.llm_routing.physics import LLMSimulation, PhysicsSettings
from gnnrl.domains.llm_routing.totals import totals
from graph_space import DynamicGraphConfig
from graph_space.batch_of_one import BatchOfOne
from graph_space.schema import GraphObservation, llm_routing_schema
from graph_space.vector_env import GraphVectorEnv, Stepped

__all__ = ["LLMRoutingEnv", "LLMRoutingVectorEnv", "graph_config"]

SHOWN = {
    "queue_length": GLOBAL_FEATURES.index("queue_length"),
    "throughput": GLOBAL_FEATURES.index("throughput"),
    "mean_latency": GLOBAL_FEATURES.index("mean_latency"),
    "qps": GLOBAL_FEATURES.index("qps_current"),
    "load_balance": GLOBAL_FEATURES.index("system_load_balance"),
}
"""Metrics in `infos` -> column of the clusters' features."""
UTILISATION, REPLICAS_UP = BASE_FEATURES.index("utilization_fraction"), GLOBAL_FEATURES.index("replicas_up")


def graph_config(config: LLMRoutingConfig) -> DynamicGraphConfig:
    """Shape of the observations: a slot for each replica, the last one for the request; a choice is a slot."""
    return DynamicGraphConfig.from_schema(
        llm_routing_schema(config.features),
        max_nodes=config.max_replicas + 1,
        max_edges=config.max_replicas,
        num_moves=1,
    )


class LLMRoutingVectorEnv(GraphVectorEnv):
    """B clusters; a step is one routing decision in each. Autoreset in the next step.

    An episode is truncated after `episode_requests` decisions; a cluster in which nobody is left to serve what waits terminates. A choice
    that is no replica, or none that can take the request, is counted (`infos["illegal_actions"]`) and goes where fewest are outstanding;
    with `strict_actions` it raises.

    Args:
        config: the environment's configuration; keyword arguments in `changes` replace its fields.
        num_envs: B.
        copy: observations are copies; False gives the environment's own arrays, valid until the next step.
        strict_actions: see above.
        to_the_end: an episode has `episode_requests` requests and terminates when all are served, for comparisons; the last reward holds
            all that was spent after the last decision.
        staggered: the first episodes after a reset end one after the other, so that the clusters of a batch are not all empty, and
            all full, at the same steps.

    Raises:
        ConfigError: what the configuration says cannot be; every fault at once.
        ValueError: `num_envs` is not an integer >= 1.
    """

    def __init__(
        self,
        num_envs: int = 1,
        config: LLMRoutingConfig | None = None,
        *,
        copy: bool = True,
        strict_actions: bool = False,
        to_the_end: bool = False,
        staggered: bool = False,
        **changes: Any,
    ) -> None:
        self.config = configured(LLMRoutingConfig, config, changes, CONFIG_RULES, where=type(self).__name__)
        super().__init__(num_envs, graph_config(self.config), spaces.Discrete(self.config.max_replicas + 1), copy=copy)
        self.strict_actions, self.to_the_end, self.staggered = strict_actions, to_the_end, staggered
        # One request more, so that there is a decision to look at when an episode is cut.
        self._requests = self.config.episode_requests + (0 if to_the_end else 1)
        self.simulation = LLMSimulation(
            num_envs,
            self.config.max_replicas,
            self._requests,
            PhysicsSettings(
                scheduler=Scheduler(name=self.config.scheduler),
                report_seconds=self.config.report_seconds,
                most_changes=MOST_CHANGES,
            ),
        )
        self.observation = LLMGraphObservation(self.config, self.simulation)
        self.reward = LLMRoutingReward(self.config, num_envs)
        self._scenarios = configured_scenarios(self.config)
        self._decisions = np.zeros(num_envs, np.int64)
        self._limit = np.full(num_envs, self.config.episode_requests)
        self._counted = np.zeros((3, num_envs))

    @property
    def _arrays(self) -> GraphObservation:
        return self.observation.arrays

    def _begin_episodes(self, starting: NDArray[np.bool_], options: dict[str, Any]) -> None:  # noqa: ARG002
        longest = self.config.episode_requests
        number = np.arange(1, self.num_envs + 1)
        limits = -(-longest * number // self.num_envs) if self.staggered else np.full(self.num_envs, longest)
        self._limit[starting] = limits[starting]
        for b in np.flatnonzero(starting).tolist():
            self._begin(b)
        before = self.observation.state_dict()
        self.observation.write()
        # To look twice at one decision would be taken for two.
        self.observation.load_state_dict(before, ~starting)
        self._terms(starting)

    def _begin(self, b: int) -> None:
        episode = draw_episode(self.config, self._scenarios, self._requests, self._sequence(b))
        self.simulation.load(b, episode.replicas, episode.requests, episode.changes, seed=episode.seed)
        self._decisions[b] = 0
        self.observation.begin(b)

    def _play(self, actions: NDArray[np.int64]) -> Stepped:
        """Route the awaiting requests and go to the next decisions."""
        starting = self._done
        choices, illegal = self._legal(actions, ~starting)
        self.simulation.deciding[starting] = False
        self.simulation.step(choices)
        self._decisions += 1
        for b in np.flatnonzero(starting).tolist():
            self._episode[b] += 1
            self._limit[b] = self.config.episode_requests
            self._begin(b)
        self.observation.write()
        terms = self._terms(starting)
        reward = np.sum([part for name, part in terms.items() if name.startswith("reward_")], axis=0)
        terminated = ~self.simulation.deciding
        truncated = ~terminated & (self._decisions >= self._limit) & (not self.to_the_end)
        self._done = terminated | truncated
        infos = terms | self._shown() | {"illegal_actions": illegal.astype(np.float64)}
        return self._observed(), reward, terminated, truncated, infos

    def _legal(
        self, actions: NDArray[np.int64], acting: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The choices, mended, and [B] which acting clusters' were not legal."""
        able = self.observation.able
        legal = actions < self.config.max_replicas
        legal[legal] = able[np.flatnonzero(legal), actions[legal]]
        illegal = ~legal & acting
        if not illegal.any():
            return actions, illegal
        if self.strict_actions:
            b = int(np.flatnonzero(illegal)[0])
            raise ValueError(
                f"environment {b}: action {actions[b]} is no replica that can take the request; "
                "mask with observation['action_mask']"
            )
        outstanding = np.where(able, self.simulation.arrays.replica[:, :, c.OUTSTANDING], np.iinfo(np.int64).max)
        return np.where(illegal, outstanding.argmin(axis=1), actions), illegal

    def _terms(self, starting: NDArray[np.bool_]) -> dict[str, NDArray[np.float64]]:
        simulation = self.simulation
        if self.reward.counts_waits:
            ahead = self.config.charge_ahead
            outstanding_waits(simulation.arrays, simulation.rules, simulation.timing, ahead, self._counted)
        return self.reward.terms(totals(simulation.arrays), self._counted, self.observation.watch.globals, starting)

    def _shown(self) -> dict[str, NDArray[np.float64]]:
        """What the clusters look like to a router at this decision, [B] each; for logs, and for who follows them (`SHOWN`)."""
        watch = self.observation.watch
        shown = {name: watch.globals[:, column].astype(np.float64) for name, column in SHOWN.items()}
        used = watch.replicas[:, :, UTILISATION].sum(axis=1, dtype=np.float64)
        return shown | {"utilisation": used / np.maximum(watch.globals[:, REPLICAS_UP], 1.0)}

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on in mid-episode, as arrays and plain values."""
        return {
            **self._numbers_state(),
            "shown": {key: array.copy() for key, array in self._arrays.items()},
            "decisions": self._decisions.copy(),
            "limit": self._limit.copy(),
            "simulation": self.simulation.state_dict(),
            "observation": self.observation.state_dict(),
            "reward": self.reward.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore `state_dict` into an environment of the same configuration.

        Raises:
            ValueError: it was taken from an environment of other sizes.
        """
        self.simulation.load_state_dict(saved["simulation"])
        self.observation.load_state_dict(saved["observation"])
        self.reward.load_state_dict(saved["reward"])
        self._load_numbers(saved)
        self._decisions[:] = saved["decisions"]
        self._limit = np.array(saved["limit"])


class LLMRoutingEnv(BatchOfOne):
    """One cluster as a Gymnasium environment: the batch of one of the same code."""

    def __init__(self, config: LLMRoutingConfig | None = None, **options: Any) -> None:
        self._vector = LLMRoutingVectorEnv(1, config, **options)
        self.config = self._vector.config
        super().__init__(self._vector)

    def action_masks(self) -> NDArray[np.bool_]:
        """[max_replicas + 1] true = may be chosen, as sb3-contrib's MaskablePPO asks for it."""
        return np.append(self._vector.observation.able[0], False)
