"""What a rollout looked like: observations as the network sees them, temperatures, and which actions were taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from gnnrl.agents.minibatch import Part
from gnnrl.rl.distributions import ActionMode
from gnnrl.rl.storage import RolloutStorage
from graph_space.schema import ACTION_MASK, NODE_MASK

__all__ = ["rollout_statistics"]

LISTED_ACTIONS = 32
"""Up to so many actions have a series each; beyond, the entropy of their shares stands for them."""


def rollout_statistics(storage: RolloutStorage, parts: Sequence[Part], mode: ActionMode) -> dict[str, float]:
    """Statistics by name.

    Args:
        storage: the closed rollout.
        parts: all of it, normalised.
        mode: a move per node, or one (node, move) pair.

    Returns:
        `state_mean`, `state_std`: over all normalised node features; near 0 and 1 while the running statistics fit.
        `action_share_I`: share of action I (a move under `joint`, slot * K + move under `select`) in those taken, and
        `action_entropy`, the entropy of these shares in nats. `temperature`: mean over the decisions, where one is not 1.
    """
    nodes = [part.sequence.nodes for part in parts]
    count = max(sum(each.numel() for each in nodes), 1)  # graphs may be without nodes for a while
    mean = sum(float(each.sum(dtype=torch.float64)) for each in nodes) / count
    square = sum(float(each.square().sum(dtype=torch.float64)) for each in nodes) / count
    result = {"state_mean": mean, "state_std": float(np.sqrt(max(square - mean * mean, 0.0)))}
    if storage.temperature is not None:
        result["temperature"] = float(storage.temperature[storage.loss_mask].mean())
    return result | _actions(storage, mode)


def _actions(storage: RolloutStorage, mode: ActionMode) -> dict[str, float]:
    live = storage.loss_mask
    legal = storage.obs[ACTION_MASK][:-1] != 0  # [T, B, N, K]
    if mode == "joint":
        taken = storage.action[live[..., None] & (storage.obs[NODE_MASK][:-1] != 0)]
        possible = legal.any(axis=(0, 1, 2))
    else:
        taken = storage.action[live]
        possible = legal.any(axis=(0, 1)).reshape(-1)
    shares = np.bincount(taken, minlength=len(possible)) / max(len(taken), 1)
    seen = shares[shares > 0.0]
    result = {"action_entropy": float(-(seen * np.log(seen)).sum())}
    if len(possible) <= LISTED_ACTIONS:
        result |= {f"action_share_{action}": float(shares[action]) for action in np.flatnonzero(possible).tolist()}
    return result
