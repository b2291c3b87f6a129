"""The routing environment: a request arrives, a replica is chosen; B systems in one kernel, as a Gymnasium `VectorEnv` and as an `Env`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gnnrl.config.checked import configured
from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.queue_routing.config_rules import CONFIG_RULES
from gnnrl.domains.queue_routing.objective import RoutingReward
from gnnrl.domains.queue_routing.observation import RoutingObservation
from gnnrl.domains.queue_routing.physics import QueueSimulation
from gnnrl.domains.queue_routing.systems import configured_model, drawn_model
from graph_space import DynamicGraphConfig
from graph_space.batch_of_one import BatchOfOne
from graph_space.schema import GraphObservation, queue_routing_schema
from graph_space.vector_env import GraphVectorEnv, Stepped

__all__ = ["QueueRoutingEnv", "QueueRoutingVectorEnv", "graph_config"]


def graph_config(config: QueueRoutingConfig) -> DynamicGraphConfig:
    """Shape of the observations: a slot for each replica, the last one for the request; a choice is a slot."""
    return DynamicGraphConfig.from_schema(
        queue_routing_schema(config.show_work),
        max_nodes=config.max_replicas + 1,
        max_edges=config.max_replicas,
        num_moves=1,
    )


class QueueRoutingVectorEnv(GraphVectorEnv):
    """B systems; a step is one arrival and one choice in each. Autoreset in the next step.

    Replicas may be lost and come back (`replica_changes_per_1000`); one is always left, so that there always is a choice. A choice without
    a replica is counted (`infos["illegal_actions"]`) and goes to the shortest queue; with `strict_actions` it raises.

    Args:
        config: the environment's configuration; keyword arguments in `changes` replace its fields.
        num_envs: B.
        copy: observations are copies; False gives the environment's own arrays, valid until the next step.
        strict_actions: see above.

    Raises:
        ConfigError: what the configuration says cannot be; every fault at once.
        ValueError: `num_envs` is not an integer >= 1.
    """

    def __init__(
        self,
        num_envs: int = 1,
        config: QueueRoutingConfig | None = None,
        *,
        copy: bool = True,
        strict_actions: bool = False,
        **changes: Any,
    ) -> None:
        self.config = configured(QueueRoutingConfig, config, changes, CONFIG_RULES, where=type(self).__name__)
        super().__init__(num_envs, graph_config(self.config), spaces.Discrete(self.config.max_replicas + 1), copy=copy)
        self.strict_actions = strict_actions
        self.simulation = QueueSimulation(num_envs, self.config.max_replicas, len(self.config.types))
        self.observation = RoutingObservation(self.config, num_envs)
        self.reward = RoutingReward(queue_weight=self.config.queue_weight, routing_bonus=self.config.routing_bonus)
        self._model = configured_model(self.config)
        self._arrivals = np.zeros(num_envs, np.int64)
        self._rng = [np.random.default_rng(b) for b in range(num_envs)]

    @property
    def _arrays(self) -> GraphObservation:
        return self.observation.arrays

    def _begin_episodes(self, starting: NDArray[np.bool_], options: dict[str, Any]) -> None:  # noqa: ARG002
        for b in np.flatnonzero(starting).tolist():
            self._begin(b)
        self.observation.write(self.simulation.state)

    def _begin(self, b: int) -> None:
        self.simulation.reset(self._load(b), [b])
        self._arrivals[b] = 0
        self.observation.begin(b)

    def _load(self, b: int) -> int:
        """Give system `b` the model and the generator of its episode; returns the seed of the episode's requests."""
        sequence = self._sequence(b)
        self._rng[b] = np.random.default_rng(sequence)
        low, high = self.config.drawn_replicas
        model = self._model
        if high > 0:
            model = drawn_model(self.config, int(self._rng[b].integers(low, high + 1)), self._rng[b])
        self.simulation.load(b, model)
        return int(sequence.generate_state(1)[0])

    def _play(self, choices: NDArray[np.int64]) -> Stepped:
        """Route the awaiting requests and go to the next arrivals."""
        starting, state = self._done, self.simulation.state
        legal = choices < self.config.max_replicas
        legal[legal] = state.present_mask[np.flatnonzero(legal), choices[legal]]
        illegal = ~legal & ~starting
        if self.strict_actions and illegal.any():
            b = int(np.flatnonzero(illegal)[0])
            raise ValueError(
                f"environment {b}: action {choices[b]} is no present replica; mask with observation['action_mask']"
            )
        if not legal.all():
            shortest = np.where(state.present_mask, state.queue, np.iinfo(np.int64).max).argmin(axis=1)
            choices = np.where(legal, choices, shortest)
        self.simulation.step(choices)
        terms = self.reward.terms(state)
        acting = ~starting
        infos: dict[str, Any] = {
            "latency_s": np.where(acting, state.integral, 0.0),
            "routing_accuracy": state.last_fast_mask.astype(np.float64),
            "reward_queue": terms.queue,
            "reward_bonus": terms.bonus,
            "illegal_actions": illegal.astype(np.float64),
        }
        reward = np.where(acting, terms.total, 0.0)
        self._arrivals += 1
        for b in np.flatnonzero(starting).tolist():
            self._episode[b] += 1
            self._begin(b)
        self._change_replicas(acting)
        truncated = self._arrivals >= self.config.episode_arrivals
        self._done = truncated
        self.observation.write(state)
        return self._observed(), reward, np.zeros(self.num_envs, np.bool_), truncated.copy(), infos

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on in mid-episode, as arrays and plain values."""
        return {
            **self._numbers_state(),
            "shown": {key: array.copy() for key, array in self._arrays.items()},
            "arrivals": self._arrivals.copy(),
            "generators": json.dumps([rng.bit_generator.state for rng in self._rng]),
            "simulation": self.simulation.state_dict(),
            "observation": self.observation.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Restore `state_dict` into an environment of the same configuration: systems are drawn again from their episode's number.

        Raises:
            ValueError: it was taken from an environment of other sizes.
        """
        for b, state in enumerate(json.loads(saved["generators"])):
            self._load(b)
            self._rng[b].bit_generator.state = state
        self.simulation.load_state_dict(saved["simulation"])
        self.observation.load_state_dict(saved["observation"])
        self._arrivals[:] = saved["arrivals"]
        self._load_numbers(saved)

    def _change_replicas(self, acting: NDArray[np.bool_]) -> None:
        rate = self.config.replica_changes_per_1000 / 1000.0
        if rate == 0.0:
            return
        for b in np.flatnonzero(acting).tolist():
            rng = self._rng[b]
            if rng.random() >= rate:
                continue
            known = self.simulation.state.service_rates[b].any(axis=1)
            present = self.simulation.state.present_mask[b]
            absent = np.flatnonzero(known & ~present)
            if absent.size and (present.sum() == 1 or rng.random() < 0.5):
                self.simulation.add(b, int(rng.choice(absent)))
            elif present.sum() > 1:
                self.simulation.lose(b, int(rng.choice(np.flatnonzero(present))))


class QueueRoutingEnv(BatchOfOne):
    """One system as a Gymnasium environment: the batch of one of the same code."""

    def __init__(
        self, config: QueueRoutingConfig | None = None, *, strict_actions: bool = False, **changes: Any
    ) -> None:
        self._vector = QueueRoutingVectorEnv(1, config, strict_actions=strict_actions, **changes)
        self.config = self._vector.config
        super().__init__(self._vector)

    def flat_state(self) -> NDArray[np.float64]:
        """The documented state, [q1, u1, q2, u2, ..., type, seconds since the last arrival]; 2 R + 2 numbers."""
        state = self._vector.simulation.state
        pairs = np.stack([state.queue[0], state.utilisation[0]], axis=1).reshape(-1)
        return np.concatenate([pairs, [state.request_type[0], state.elapsed_seconds[0]]])

    def action_masks(self) -> NDArray[np.bool_]:
        """[max_replicas + 1] true = a replica is there, as sb3-contrib's MaskablePPO asks for it."""
        return np.append(self._vector.simulation.state.present_mask[0], False)
