"""What an agent reads from the spaces of an environment, and the spaces again from what it saved of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from gnnrl.rl.distributions import ActionMode
from graph_space import DynamicGraphConfig, DynamicGraphSpace
from graph_space.schema import ACTION_MASK, EDGES, GLOBALS, NODES

__all__ = ["action_mode", "saved_sizes", "spaces_of"]


def action_mode(observation_space: spaces.Dict, action_space: spaces.Space[Any]) -> tuple[ActionMode, int]:
    """How decisions are made in these spaces, and the moves a node has (K).

    Raises:
        ValueError: the action space is neither MultiDiscrete [K] * N nor Discrete(N * K).
    """
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
