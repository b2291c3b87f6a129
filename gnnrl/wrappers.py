"""Observation wrappers: for models written against the documented layout, and for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from graph_space.arguments import whole_number
from graph_space.schema import ACTION_MASK, EDGE_INDEX, EDGE_MASK, EDGES, GLOBALS, NODE_MASK, NODES

__all__ = ["DocumentedObservation", "StableBaselines3Observation"]

NODE_COLUMNS = 6
EDGE_COLUMNS = 7
GLOBAL_COLUMNS = 4


class DocumentedObservation(gymnasium.ObservationWrapper):
    """The documented keys, shapes and column order.

    `svc_df` [N, 6]: pods, desired replicas, CPU millicores, memory MiB, requests/s in, requests/s out;
    `edge_df` [E, 7]: src, dst, active, qps, p95 ms, err_rate, mtls;
    `global_feats` [4]: total pods, mean CPU, mean memory, total traffic;
    `node_mask` [N], `edge_mask` [E], `num_nodes` []; `invalid_action_mask` [services * 15], 1 = illegal, of the first `services` slots
    (11 known services of the Online Boutique: 165).

    Args:
        env: a mesh environment with a graph observation.
        services: slots of the flattened mask.

    Raises:
        ValueError: more services than slots, or an environment without a graph.
    """

    def __init__(self, env: gymnasium.Env, services: int = 11) -> None:
        super().__init__(env)
        source = env.observation_space
        if not isinstance(source, spaces.Dict) or ACTION_MASK not in source.spaces:
            raise ValueError(
                f"DocumentedObservation: the observation is no graph but {source}; give a mesh environment"
            )
        max_nodes, moves = source[ACTION_MASK].shape or (0, 0)
        max_edges = (source[EDGE_MASK].shape or (0,))[0]
        services = self._services = whole_number(services, "DocumentedObservation: services", 1, max_nodes)
        self.observation_space = spaces.Dict(
            {
                "svc_df": spaces.Box(-np.inf, np.inf, (max_nodes, NODE_COLUMNS), np.float32),
                "edge_df": spaces.Box(-np.inf, np.inf, (max_edges, EDGE_COLUMNS), np.float32),
                "global_feats": spaces.Box(-np.inf, np.inf, (GLOBAL_COLUMNS,), np.float32),
                "node_mask": spaces.MultiBinary(max_nodes),
                "edge_mask": spaces.MultiBinary(max_edges),
                "num_nodes": spaces.Box(0, max_nodes, (), np.int64),
                "invalid_action_mask": spaces.MultiBinary(services * moves),
            }
        )

    def observation(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The same observation in the documented layout."""
        real = observation[EDGE_MASK].astype(np.float32)
        edge_df = np.column_stack([observation[EDGE_INDEX].T.astype(np.float32), real, observation[EDGES][:, :4]])
        return {
            "svc_df": observation[NODES][:, :NODE_COLUMNS].copy(),
            "edge_df": edge_df.astype(np.float32),
            "global_feats": observation[GLOBALS][:GLOBAL_COLUMNS].copy(),
            "node_mask": observation[NODE_MASK].copy(),
            "edge_mask": observation[EDGE_MASK].copy(),
            "num_nodes": np.asarray(observation[NODE_MASK].sum(), dtype=np.int64),
            "invalid_action_mask": (1 - observation[ACTION_MASK][: self._services]).reshape(-1).astype(np.int8),
        }


class StableBaselines3Observation(gymnasium.ObservationWrapper):
    """The same observation for the policies of Stable-Baselines3 and sb3-contrib (`MultiInputPolicy`), and its action masks.

    They flatten every array from its first axis on, which an array without axes does not have: `elapsed_seconds` (or
    `num_nodes` of `DocumentedObservation`) becomes an array of shape [1]. Everything else is passed on.
    `MaskablePPO` asks for `action_masks`, in `joint` and in `select` mode; goes around `DocumentedObservation` too.

    Args:
        env: a mesh environment with a graph observation.

    Raises:
        ValueError: the observation is not a dict, so needs no wrapper.
    """

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        source = env.observation_space
        if not isinstance(source, spaces.Dict):
            raise ValueError(
                f"StableBaselines3Observation: the observation is no dict but {source}; use the environment as it is"
            )
        self._scalars = tuple(key for key, part in source.items() if part.shape == ())
        self.observation_space = spaces.Dict(
            {key: _with_an_axis(part) if key in self._scalars else part for key, part in source.items()}
        )

    def observation(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Scalars become arrays of shape [1]."""
        return observation | {key: observation[key].reshape(1) for key in self._scalars}

    def action_masks(self) -> NDArray[np.bool_]:
        """See `MeshEnv.action_masks`."""
        masks: NDArray[np.bool_] = self.env.get_wrapper_attr("action_masks")()
        return masks


def _with_an_axis(part: spaces.Space[Any]) -> spaces.Box:
    assert isinstance(part, spaces.Box)
    assert part.dtype is not None
    return spaces.Box(part.low.reshape(1), part.high.reshape(1), (1,), part.dtype.type)
