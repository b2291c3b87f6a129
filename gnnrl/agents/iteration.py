"""Rollout after rollout on a vector environment: the one loop under `PPO_GNN.learn` and the trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from encoders.state import EncoderState
from gnnrl.agents.divergence import DivergenceError
from gnnrl.agents.episode_statistics import EpisodeStatistics
from gnnrl.agents.schedules import clone_coefficient
from gnnrl.rl.storage import Array, Observation

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["Collector", "Iteration", "iterations", "prime"]

EPISODES = ("episode_return", "episode_length")


@dataclass
class Iteration:
    """One rollout and its update."""

    steps: int
    """Environment steps since training began."""
    new_steps: int
    """Those of this rollout."""
    statistics: dict[str, float]
    """Of the update, named as in the logs without `train/`."""
    metrics: dict[str, float]
    """Means of the environment's own metrics over live steps."""


@dataclass
class _Means:
    """Values are kept and averaged at the end: a sum at every step would cost more than some environments' step."""

    kept: dict[str, list[tuple[Array, Array]]] = field(default_factory=dict)

    def add(self, name: str, values: Array, live: Array) -> None:
        self.kept.setdefault(name, []).append((values.copy(), live))

    def result(self) -> dict[str, float]:
        means = {}
        for name, pairs in self.kept.items():
            live = np.stack([mask for _, mask in pairs])
            if live.any():
                means[name] = float(np.mean(np.stack([values for values, _ in pairs]), where=live, dtype=np.float64))
        return means


class Collector:
    """An environment, what was last observed in it, and what the agent remembers of it.

    Args:
        env: vector environment with NEXT_STEP autoreset.
        seed: of the environment's first reset.

    Raises:
        ValueError: the environment resets in another way.
    """

    def __init__(self, env: VectorEnv, seed: int | None) -> None:
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.NEXT_STEP:
            raise ValueError(
                f"the environment's autoreset_mode is {mode}; training needs AutoresetMode.NEXT_STEP, as in "
                "SyncVectorEnv(..., autoreset_mode=AutoresetMode.NEXT_STEP)"
            )
        self.env = env
        self.seed = seed
        self.obs: Observation | None = None
        self.state: EncoderState | None = None
        self.episodes = EpisodeStatistics(env.num_envs)

    def reset(self, agent: PPO_GNN) -> None:
        """Start all environments and forget; the seed counts once, so that later starts play other episodes."""
        self.obs, _ = self.env.reset(seed=self.seed)
        self.seed = None
        self.state = agent.initial_state(self.env.num_envs)
        self.episodes = EpisodeStatistics(self.env.num_envs)
        agent.record(self.env.num_envs)

    def collect(self, agent: PPO_GNN) -> dict[str, float]:
        """Play until the agent's rollout is full.

        Returns:
            `reward` and the environment's own metrics, means over the live steps; `episode_return` and `episode_length`, means over the
            episodes that ended, where one did.
        """
        agent.train()
        if self.obs is None:
            self.reset(agent)
        assert self.obs is not None
        means = _Means()
        self.episodes.clear()
        while not agent.ready:
            action, self.state = agent.act(self.obs, self.state)
            assert agent.recorder is not None
            live = agent.recorder.live
            self.obs, reward, terminated, truncated, infos = self.env.step(action)
            agent.store_transition(reward, terminated, truncated, infos)
            means.add("reward", np.asarray(reward), live)
            self.episodes.add(np.asarray(reward), live, np.asarray(terminated) | np.asarray(truncated))
            for name, values in infos.items():
                if _is_metric(values, self.env.num_envs) and not name.startswith("_"):
                    present = infos.get(f"_{name}")
                    means.add(name, values, live if present is None else live & present)
        return means.result() | self.episodes.means()

    @property
    def savable(self) -> bool:
        """Whether the environment can be saved, so that a training can go on bit for bit; Gymnasium's own vector environments cannot."""
        return hasattr(self.env.unwrapped, "state_dict")

    def state_dict(self) -> dict[str, Any] | None:
        """Environment, observation, memory and episodes in progress; None where the environment cannot be saved."""
        if not self.savable:
            return None
        env: Any = self.env.unwrapped
        assert self.obs is not None
        assert self.state is not None
        return {
            "env": env.state_dict(),
            "obs": dict(self.obs),
            "state": list(self.state),
            "episodes": self.episodes.state_dict(),
        }

    def load_state_dict(self, saved: Mapping[str, Any] | None, seed: int | None = None) -> None:
        """Continue where `state_dict` was taken.

        Args:
            saved: by it; None = the environment could not be saved, so new episodes begin, and nothing is remembered.
            seed: of those.
        """
        if saved is None:
            self.obs, self.seed = None, seed
            return
        env: Any = self.env.unwrapped
        env.load_state_dict(saved["env"])
        # The first reset lies behind, so that a later one plays other episodes.
        self.seed = None
        self.obs = saved["obs"]
        self.state = EncoderState(*saved["state"])
        self.episodes.load_state_dict(saved["episodes"])


def _is_metric(values: Any, num_envs: int) -> bool:
    return isinstance(values, np.ndarray) and values.shape == (num_envs,) and values.dtype.kind in "fiub"


def prime(agent: PPO_GNN, collector: Collector) -> None:
    """Give the observation statistics a first content: one rollout of the untrained policy that nothing is learned
    from.

    Otherwise the first rollouts would be seen through mean 0 and deviation 1, and memory would start from clipped
    features.
    """
    collector.collect(agent)
    agent.absorb()
    collector.reset(agent)


def iterations(
    agent: PPO_GNN, env: VectorEnv, total_steps: int, collector: Collector | None = None, steps: int = 0
) -> Iterator[Iteration]:
    """Collect and update until `total_steps` environment steps.

    Args:
        agent: what learns.
        env: what it learns on.
        total_steps: over the whole training; the schedules run to it.
        collector: of a training to be continued.
        steps: done already.

    Raises:
        DivergenceError: loss, gradient, weights or logits are not finite; it says after how many steps.
    """
    if collector is None:
        collector = Collector(env, agent.seed)
    if agent.scaler.count == 0:
        prime(agent, collector)
    per_rollout = env.num_envs * agent.config.rollout_length
    while steps < total_steps:
        began = time.perf_counter()
        agent.progress = min(1.0, steps / total_steps)
        agent.clone_coef = clone_coefficient(*agent.clone_schedule, steps)
        try:
            metrics = collector.collect(agent)
            assert collector.obs is not None
            assert collector.state is not None
            statistics = agent.update(collector.obs, collector.state)
        except DivergenceError as error:
            error.steps = steps
            raise
        steps += per_rollout
        # No live step: a rollout of one step in which every environment began anew.
        statistics["reward"] = metrics.pop("reward", math.nan)
        statistics |= {name: metrics.pop(name) for name in EPISODES if name in metrics}
        statistics["steps_per_second"] = per_rollout / (time.perf_counter() - began)
        yield Iteration(steps, per_rollout, statistics, metrics)
