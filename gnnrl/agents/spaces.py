"""What an agent reads from the spaces of an environment, and the spaces again from what it saved of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from gnnrl.rl.distributions import ActionMode
from graph_space import DynamicGraphConfig, DynamicGraphSpace
from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGE_MASK,
    EDGES,
    ELAPSED_SECONDS,
    GLOBALS,
    NODE_MASK,
    NODES,
    PREV_SLOT,
)

__all__ = ["action_mode", "check_observation_of", "saved_sizes", "spaces_of"]


KEYS = (NODES, EDGE_INDEX, EDGES, GLOBALS, NODE_MASK, EDGE_MASK, PREV_SLOT, ELAPSED_SECONDS, ACTION_MASK)


def action_mode(observation_space: spaces.Dict, action_space: spaces.Space[Any]) -> tuple[ActionMode, int]:
    """How decisions are made in these spaces, and the moves a node has (K).

    Raises:
        ValueError: the observation space is none of a graph, or the action space neither MultiDiscrete [K] * N nor Discrete(N * K).
    """
    if not isinstance(observation_space, spaces.Dict):
        raise ValueError(
            f"observation_space {observation_space} is not a DynamicGraphSpace (a Dict of {', '.join(KEYS)}); PPO_GNN needs an "
            "environment whose observation is a graph"
        )
    missing = [key for key in KEYS if key not in observation_space.spaces]
    if missing:
        raise ValueError(
            f"observation_space has no {', '.join(missing)}; a DynamicGraphSpace has {', '.join(KEYS)}, this one "
            f"{', '.join(map(str, observation_space))}"
        )
    shape = observation_space[ACTION_MASK].shape
    if shape is None or len(shape) != 2:
        raise ValueError(f"observation_space['{ACTION_MASK}'] has shape {shape}, needs (N, K)")
    slots, moves = shape
    if isinstance(action_space, spaces.MultiDiscrete) and np.array_equal(action_space.nvec, [moves] * slots):
        return "joint", moves
    if isinstance(action_space, spaces.Discrete) and action_space.n == slots * moves:
        return "select", moves
    raise ValueError(
        f"action_space {action_space} fits neither MultiDiscrete([{moves}] * {slots}) (a move per node) nor "
        f"Discrete({slots * moves}) (one (node, move) pair); pass the spaces of a single environment"
    )


def check_observation_of(obs: Any, observation_space: spaces.Dict) -> None:
    """Whether arrays are an observation, or a batch of them, of the space, with any number of slots and edges.

    What `compact` looks at (indices, features that are not finite) is left to it.

    Raises:
        ValueError: a key is missing, or an array of another width.
    """
    if not isinstance(obs, Mapping):
        raise ValueError(f"obs is a {type(obs).__name__}; an observation is a dictionary of arrays, {', '.join(KEYS)}")
    missing = [key for key in KEYS if key not in obs]
    if missing:
        raise ValueError(f"obs has no {', '.join(missing)}; it has {', '.join(map(str, obs))}")
    rank = np.ndim(obs[NODE_MASK])
    if rank not in (1, 2):
        raise ValueError(f"obs[{NODE_MASK!r}] has shape {np.shape(obs[NODE_MASK])}; expected [N] or [B, N]")
    for key in (NODES, EDGES, GLOBALS, ACTION_MASK):
        width, found = (observation_space[key].shape or (0,))[-1], np.shape(obs[key])
        if len(found) != rank - 1 + len(observation_space[key].shape or ()) or found[-1] != width:
            raise ValueError(f"obs[{key!r}] has shape {found}; expected {'[B, ' if rank == 2 else '['}..., {width}]")
    mask = np.asarray(obs[ACTION_MASK])
    if mask.shape[:-1] != np.shape(obs[NODE_MASK]) or mask.dtype.kind not in "iub":
        raise ValueError(
            f"obs[{ACTION_MASK!r}] has shape {mask.shape}, dtype {mask.dtype}; expected whole numbers, a row for each slot of "
            f"{NODE_MASK} {np.shape(obs[NODE_MASK])}"
        )


def saved_sizes(space: spaces.Dict, mode: ActionMode) -> dict[str, Any]:
    """What `spaces_of` needs, as plain numbers."""
    sizes: dict[str, Any] = {key: list(space[key].shape or ()) for key in (NODES, EDGES, GLOBALS, ACTION_MASK)}
    return {**sizes, "mode": mode}


def spaces_of(sizes: Mapping[str, Any]) -> tuple[DynamicGraphSpace, spaces.Space[Any]]:
    """Observation and action space of `saved_sizes`."""
    slots, moves = sizes[ACTION_MASK]
    config = DynamicGraphConfig(
        max_nodes=slots,
        max_edges=sizes[EDGES][0],
        node_feat_dim=sizes[NODES][1],
        edge_feat_dim=sizes[EDGES][1],
        global_feat_dim=sizes[GLOBALS][0],
        num_moves=moves,
    )
    actions: spaces.Space[Any] = (
        spaces.MultiDiscrete([moves] * slots) if sizes["mode"] == "joint" else spaces.Discrete(slots * moves)
    )
    return DynamicGraphSpace(config), actions
