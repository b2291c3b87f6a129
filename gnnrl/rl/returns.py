"""Generalised advantage estimation (Schulman et al. 2016) with terminations and truncations kept apart.

Vector environments reset in the step after the end (NEXT_STEP), so a rollout holds the final observation of an episode
as an ordinary row. With `loss_mask[t, b]` = 0 at such a row (its action is ignored):

    delta_t     = r_t + gamma (1 - terminated_t) V_{t+1} - V_t
    advantage_t = delta_t + gamma lambda (1 - terminated_t) (1 - truncated_t) advantage_{t+1}

`V_{t+1}` after a truncation is thus the value of the final observation, and nothing leaks over the cut.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["discounted_sums", "graph_advantages", "node_advantages"]


@njit(cache=True, nogil=True)
def _graph_advantages(reward, value, terminated, truncated, loss_mask, gamma, lam, out):  # type: ignore[no-untyped-def]
    steps, batch = reward.shape
    for b in range(batch):
        following = 0.0
        for t in range(steps - 1, -1, -1):
            if not loss_mask[t, b]:
                out[t, b] = 0.0
                following = 0.0
                continue
            bootstrap = 0.0 if terminated[t, b] else np.float64(value[t + 1, b])
            if terminated[t, b] or truncated[t, b]:
                following = 0.0
            following = reward[t, b] + gamma * bootstrap - value[t, b] + gamma * lam * following
            out[t, b] = following


@njit(cache=True, nogil=True)
def _node_advantages(  # type: ignore[no-untyped-def]
    reward, value, node_mask, prev_slot, terminated, truncated, loss_mask, gamma, lam, out
):
    steps, batch, slots = reward.shape
    successor = np.empty(slots, np.int64)
    for b in range(batch):
        for t in range(steps - 1, -1, -1):
            out[t, b, :] = 0.0
            if not loss_mask[t, b]:
                continue
            successor[:] = -1
            if not terminated[t, b]:
                for s in range(slots):
                    if node_mask[t + 1, b, s] and prev_slot[t + 1, b, s] >= 0:
                        successor[prev_slot[t + 1, b, s]] = s
            cut = truncated[t, b] or t + 1 == steps
            for s in range(slots):
                if not node_mask[t, b, s]:
                    continue
                total = np.float64(reward[t, b, s]) - value[t, b, s]
                after = successor[s]
                if after >= 0:
                    total += gamma * value[t + 1, b, after]
                    if not cut:
                        total += gamma * lam * out[t + 1, b, after]
                out[t, b, s] = total


def _check(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, needs {shape}")


def graph_advantages(
    reward: np.ndarray,
    value: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    loss_mask: np.ndarray,
    gamma: float,
    lam: float,
) -> np.ndarray:
    """Advantages of whole graphs.

    Args:
        reward: [T, B] float32 of the step taken at each row.
        value: [T + 1, B] float32; the last row is the observation after the rollout.
        terminated: [T, B] bool, the step ended the episode for good.
        truncated: [T, B] bool, the step was the last for an outside reason.
        loss_mask: [T, B] bool, false at final observations.
        gamma: discount a step.
        lam: lambda of the estimator.

    Returns:
        [T, B] float32, 0 where `loss_mask` is false.

    Raises:
        ValueError: shapes do not agree.
    """
    steps, batch = reward.shape
    _check("value", value, (steps + 1, batch))
    for name, array in (("terminated", terminated), ("truncated", truncated), ("loss_mask", loss_mask)):
        _check(name, array, (steps, batch))
    out = np.empty((steps, batch), np.float32)
    _graph_advantages(reward, value, terminated, truncated, loss_mask, gamma, lam, out)
    return out


def node_advantages(
    reward: np.ndarray,
    value: np.ndarray,
    node_mask: np.ndarray,
    prev_slot: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    loss_mask: np.ndarray,
    gamma: float,
    lam: float,
) -> np.ndarray:
    """Advantages of single nodes; the trajectory of a node follows `prev_slot`, and one that disappears ends with value
    0.

    Args:
        reward: [T, B, N] float32, the reward's split in the slots of the observation that was answered.
        value: [T + 1, B, N] float32.
        node_mask: [T + 1, B, N], true = real.
        prev_slot: [T + 1, B, N] int64, slot of the node in the row before, -1 = new.
        terminated: [T, B] bool.
        truncated: [T, B] bool.
        loss_mask: [T, B] bool, false at final observations.
        gamma: discount a step.
        lam: lambda of the estimator.

    Returns:
        [T, B, N] float32, 0 in padding and where `loss_mask` is false.

    Raises:
        ValueError: shapes do not agree.
    """
    steps, batch, slots = reward.shape
    for name, array in (("value", value), ("node_mask", node_mask), ("prev_slot", prev_slot)):
        _check(name, array, (steps + 1, batch, slots))
    for name, array in (("terminated", terminated), ("truncated", truncated), ("loss_mask", loss_mask)):
        _check(name, array, (steps, batch))
    out = np.empty((steps, batch, slots), np.float32)
    _node_advantages(reward, value, node_mask, prev_slot, terminated, truncated, loss_mask, gamma, lam, out)
    return out


@njit(cache=True, nogil=True)
def _discounted_sums(reward, node_mask, prev_slot, episode_start, gamma, carry, out):  # type: ignore[no-untyped-def]
    steps, batch, slots = reward.shape
    moved = np.empty(slots, np.float64)
    for b in range(batch):
        for t in range(steps):
            for s in range(slots):
                before = -1 if episode_start[t, b] else prev_slot[t, b, s]
                moved[s] = carry[b, before] if before >= 0 else 0.0
            for s in range(slots):
                carry[b, s] = gamma * moved[s] + reward[t, b, s] if node_mask[t, b, s] else 0.0
                out[t, b, s] = carry[b, s]


def discounted_sums(
    reward: np.ndarray,
    node_mask: np.ndarray,
    prev_slot: np.ndarray,
    episode_start: np.ndarray,
    gamma: float,
    carry: np.ndarray,
) -> np.ndarray:
    """Discounted sum of past rewards along each node's trajectory, `R_t = gamma R_{t-1} + r_t`: the spread of returns.

    A graph-level reward is the case of one slot (`reward[:, :, None]`, `prev_slot` = 0).

    Args:
        reward: [T, B, N] float32.
        node_mask: [T, B, N].
        prev_slot: [T, B, N] int64.
        episode_start: [T, B] bool.
        gamma: discount a step.
        carry: [B, N] float64 sums after the last rollout; updated in place.

    Returns:
        [T, B, N] float64.
    """
    out = np.empty(reward.shape, np.float64)
    _discounted_sums(reward, node_mask, prev_slot, episode_start, gamma, carry, out)
    return out
