"""Gymnasium environments by name: `gymnasium.make("gnnrl/OnlineBoutique-v0")` and `make_vec(..., num_envs=64)`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.env import MeshEnv, MeshVectorEnv
from graph_space.schema import GLOBALS, NODE_MASK, NODES

__all__ = ["FlatObservation", "OnlineBoutique", "make_online_boutique", "make_online_boutique_vector"]

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

    def __new__(cls, *args: Any, use_graph: bool = True, **kwargs: Any) -> Any:
        if use_graph:
            return super().__new__(cls)
        return FlatObservation(cls(*args, use_graph=True, **kwargs))

    def __init__(
        self,
        k8s: bool = False,
        goal_reward: Goal = "slo",
        use_graph: bool = True,
        config: AutoscalingConfig | None = None,
        **changes: Any,
    ) -> None:
        del use_graph  # decided in __new__
        if k8s:
            raise ValueError(
                "OnlineBoutique(k8s=True): this release has no live cluster; use k8s=False for the simulated mesh"
            )
        if goal_reward not in ("slo", "latency", "cost"):
            raise ValueError(f"OnlineBoutique(goal_reward={goal_reward!r}): choose 'slo', 'latency' or 'cost'")
        base = config or AutoscalingConfig()
        super().__init__(replace(base, goal=goal_reward), **changes)


class FlatObservation(gymnasium.ObservationWrapper):
    """The node features of every slot, the globals and the node mask as one float32 vector, no graph."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        assert isinstance(env.observation_space, spaces.Dict)
        size = sum(int(np.prod(env.observation_space[key].shape)) for key in (NODES, NODE_MASK, GLOBALS))
        self.observation_space = spaces.Box(-np.inf, np.inf, (size,), np.float32)

    def observation(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        """[N * F + N + G]."""
        return np.concatenate([observation[key].astype(np.float32).reshape(-1) for key in (NODES, NODE_MASK, GLOBALS)])


def make_online_boutique(**kwargs: Any) -> gymnasium.Env:
    """Entry point of `gymnasium.make`."""
    return OnlineBoutique(**kwargs)


def make_online_boutique_vector(num_envs: int = 1, goal_reward: Goal = "slo", **kwargs: Any) -> MeshVectorEnv:
    """Entry point of `gymnasium.make_vec`: the batched environment, one kernel for all."""
    return MeshVectorEnv(num_envs, goal=goal_reward, **kwargs)
