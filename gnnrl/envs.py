"""Gymnasium environments by name: `gymnasium.make("gnnrl/OnlineBoutique-v0")` and `make_vec(..., num_envs=64)`."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.env import MeshEnv, MeshVectorEnv
from graph_space.schema import GLOBALS, NODE_MASK, NODES

__all__ = ["OnlineBoutique", "flat_observation", "flat_space", "make_online_boutique", "make_online_boutique_vector"]

Goal = Literal["slo", "latency", "cost"]


class OnlineBoutique(MeshEnv):
    """Autoscaling of the Online Boutique: 11 known services plus whatever appears at run time.

    Args:
        k8s: act on a live cluster. The live cluster is not part of this release: True raises.
        goal_reward: `slo` (the objective), `latency` or `cost`; see `domains/autoscaling/objective.py`.
        use_graph: False hides the graph: the observation is one flat vector (`FlatObservation`).
        config: the environment's configuration; its goal is replaced by `goal_reward`.
        changes: fields of the configuration to replace, as in `OnlineBoutique(episode_decisions=40)`.

    Raises:
        ValueError: `k8s=True`, or an unknown goal.
    """

    def __init__(
        self,
        k8s: bool = False,
        goal_reward: Goal = "slo",
        use_graph: bool = True,
        config: AutoscalingConfig | None = None,
        **changes: Any,
    ) -> None:
        if k8s:
            raise ValueError(
                "OnlineBoutique(k8s=True): this release has no live cluster; use k8s=False for the simulated mesh"
            )
        if goal_reward not in ("slo", "latency", "cost"):
            raise ValueError(f"OnlineBoutique(goal_reward={goal_reward!r}): choose 'slo', 'latency' or 'cost'")
        base = config or AutoscalingConfig()
        super().__init__(replace(base, goal=goal_reward), **changes)
        self.use_graph = use_graph
        if not use_graph:
            self.observation_space = flat_space(self.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode, see `MeshEnv.reset`."""
        observation, info = super().reset(seed=seed, options=options)
        return (observation if self.use_graph else flat_observation(observation)), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One decision interval."""
        observation, *outcome = super().step(action)
        return (observation if self.use_graph else flat_observation(observation)), *outcome  # type: ignore[return-value]


def flat_space(space: spaces.Space[Any]) -> spaces.Box:
    """The space of `flat_observation`: [N * F + N + G]."""
    assert isinstance(space, spaces.Dict)
    size = sum(math.prod(space[key].shape or ()) for key in (NODES, NODE_MASK, GLOBALS))
    return spaces.Box(-np.inf, np.inf, (size,), np.float32)


def flat_observation(observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The node features of every slot, the node mask and the globals as one float32 vector, no graph."""
    return np.concatenate([observation[key].astype(np.float32).reshape(-1) for key in (NODES, NODE_MASK, GLOBALS)])


def make_online_boutique(**kwargs: Any) -> gymnasium.Env:
    """Entry point of `gymnasium.make`."""
    return OnlineBoutique(**kwargs)


def make_online_boutique_vector(num_envs: int = 1, goal_reward: Goal = "slo", **kwargs: Any) -> MeshVectorEnv:
    """Entry point of `gymnasium.make_vec`: the batched environment, one kernel for all."""
    return MeshVectorEnv(num_envs, goal=goal_reward, **kwargs)
