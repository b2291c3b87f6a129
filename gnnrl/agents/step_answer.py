"""What a vector environment answered to a step, judged before anything is learned from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnnrl.rl.storage import Array
from graph_space.arguments import mask_of

__all__ = ["node_rewards", "step_answer"]

NODE_REWARD = "node_reward"


def step_answer(reward: Any, terminated: Any, truncated: Any, num_envs: int) -> tuple[Array, Array, Array]:
    """Reward [B] and the two flags bool [B]; a single environment's may be scalars.

    Raises:
        ValueError: another shape, a reward that is no number, or a flag that is not bool (1 and 0 would be taken for other things).
    """
    return (
        _numbers(np.atleast_1d(np.asarray(reward)), (num_envs,), "reward"),
        mask_of(np.atleast_1d(np.asarray(terminated)), (num_envs,), "terminated"),
        mask_of(np.atleast_1d(np.asarray(truncated)), (num_envs,), "truncated"),
    )


def node_rewards(infos: Mapping[str, Any] | None, live: NDArray[np.bool_], slots: int) -> Array:
    """The reward's split over nodes, [B, N].

    Gymnasium's vector environments put into `infos` what the environments' own hold: nothing at all in a step that only begins the next
    episode everywhere, and beside it `_node_reward`, which environments gave one.

    Args:
        infos: of the step.
        live: [B], false where the step only began the next episode.
        slots: N.

    Raises:
        ValueError: an environment whose step counts gave none, or another shape, or no numbers.
    """
    if infos is not None and NODE_REWARD in infos:
        split, shape = np.asarray(infos[NODE_REWARD]), (len(live), slots)
        if split.shape == (slots,) and len(live) == 1:
            split = split[None]
        if (np.asarray(infos.get(f"_{NODE_REWARD}", True)) | ~live).all():
            return _numbers(split, shape, f"infos[{NODE_REWARD!r}]")
    elif not live.any():
        return np.zeros((len(live), slots), np.float32)
    raise ValueError(
        "ppo.credit is 'node', but the environment gives no infos['node_reward'] [B, N] (the reward's "
        "split over nodes); set ppo.credit to 'graph'"
    )


def _numbers(array: Array, shape: tuple[int, ...], what: str) -> Array:
    if array.shape != shape or array.dtype.kind not in "iufb":
        raise ValueError(f"{what} of shape {array.shape}, dtype {array.dtype}; expected numbers of shape {shape}")
    return array
