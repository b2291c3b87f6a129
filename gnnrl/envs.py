"""Gymnasium environments by name: `gymnasium.make("gnnrl/OnlineBoutique-v0")` and `make_vec(..., num_envs=64)`; simulated, or live."""

from __future__ import annotations

import math
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray

from gnnrl.config.checked import configured
from gnnrl.config.errors import ConfigError
from gnnrl.config.experiment import AutoscalingConfig
from gnnrl.domains.autoscaling.env import MeshEnv, MeshVectorEnv
from gnnrl.domains.autoscaling.live_env import LiveMeshEnv
from graph_space.schema import GLOBALS, NODE_MASK, NODES

__all__ = [
    "LiveOnlineBoutique",
    "OnlineBoutique",
    "flat_observation",
    "flat_space",
    "make_online_boutique",
    "make_online_boutique_vector",
]

Goal = Literal["slo", "latency", "cost"]


class _Flattening(gymnasium.Env):
    """Hides the graph of a mesh environment, if told to."""

    use_graph = True

    def _show(self, use_graph: Any) -> None:
        if not isinstance(use_graph, bool):
            raise ValueError(f"use_graph: {use_graph!r:.80} is not True or False")
        if not use_graph:
            self.hide_graph()

    def hide_graph(self) -> None:
        """Observe one flat vector from now on."""
        self.use_graph = False
        self.observation_space = flat_space(self.observation_space)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start the next episode, see `MeshEnv.reset` and `LiveMeshEnv.reset`."""
        observation, info = super().reset(seed=seed, options=options)
        return (observation if self.use_graph else flat_observation(observation)), info

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One decision interval."""
        observation, *outcome = super().step(action)
        return (observation if self.use_graph else flat_observation(observation)), *outcome  # type: ignore[return-value]


class OnlineBoutique(_Flattening, MeshEnv):
    """Autoscaling of the Online Boutique: 11 known services plus whatever appears at run time.

    Args:
        k8s: act on a live cluster: what is made is then a `LiveOnlineBoutique`.
        goal_reward: `slo` (the objective), `latency` or `cost`; see `domains/autoscaling/objective.py`.
        use_graph: False hides the graph: the observation is one flat vector (`FlatObservation`).
        config: the environment's configuration; its goal is replaced by `goal_reward`.
        changes: fields of the configuration to replace, as in `OnlineBoutique(episode_decisions=40)`; with `k8s=True` also the
            arguments of `LiveMeshEnv`, as in `OnlineBoutique(k8s=True, kiali_url="http://127.0.0.1:20001/kiali")`.

    Raises:
        ConfigError: what the configuration says cannot be; every fault at once. With `k8s=True` also what `LiveMeshEnv` raises.
    """

    def __new__(cls, k8s: bool = False, *args: Any, **changes: Any) -> Any:
        """A live environment where one is asked for: it has a cluster, and no mesh of its own."""
        if not isinstance(k8s, bool):
            raise ValueError(f"k8s: {k8s!r:.80} is not True or False")
        return LiveOnlineBoutique(*args, **changes) if k8s else super().__new__(cls)

    def __init__(
        self,
        k8s: bool = False,  # noqa: ARG002 - read by __new__
        goal_reward: Goal = "slo",
        use_graph: bool = True,
        config: AutoscalingConfig | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(_aimed(config, goal_reward), **changes)
        self._show(use_graph)


class LiveOnlineBoutique(_Flattening, LiveMeshEnv):
    """The Online Boutique, or any other mesh, of a live cluster: `OnlineBoutique(k8s=True, ...)`.

    Args:
        goal_reward, use_graph, config: see `OnlineBoutique`.
        arguments: those of `LiveMeshEnv`, and fields of the configuration to replace.

    Raises:
        ConfigError: an unknown goal; and what `LiveMeshEnv` raises.
    """

    def __init__(
        self,
        goal_reward: Goal = "slo",
        use_graph: bool = True,
        config: AutoscalingConfig | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(_aimed(config, goal_reward), **arguments)
        self._show(use_graph)


def _aimed(config: AutoscalingConfig | None, goal_reward: Goal) -> AutoscalingConfig:
    if goal_reward not in ("slo", "latency", "cost"):
        raise ConfigError([f"OnlineBoutique: goal_reward: {goal_reward!r} is not one of slo, latency, cost"])
    return configured(AutoscalingConfig, config, {"goal": goal_reward}, where="OnlineBoutique")


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


def make_online_boutique_vector(
    num_envs: int = 1,
    goal_reward: Goal = "slo",
    config: AutoscalingConfig | None = None,
    *,
    k8s: bool = False,
    **kwargs: Any,
) -> VectorEnv:
    """Entry point of `gymnasium.make_vec`: the batched environment, one kernel for all; with `k8s=True` the one live environment.

    Raises:
        ConfigError: what the configuration says cannot be; every fault at once.
        ValueError: several environments of one cluster.
    """
    if not k8s:
        return MeshVectorEnv(num_envs, _aimed(config, goal_reward), **kwargs)
    if num_envs != 1:
        raise ValueError(f"num_envs={num_envs} of a live cluster: there is one of it; make num_envs=1")
    return SyncVectorEnv(
        [lambda: LiveOnlineBoutique(goal_reward, config=config, **kwargs)], autoreset_mode=AutoresetMode.NEXT_STEP
    )
