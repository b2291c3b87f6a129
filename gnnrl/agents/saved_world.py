"""What a checkpoint says of the world that an agent trained in: environments, what was last seen of them, and the random generators."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gnnrl.agents.archive import CheckpointError
from gnnrl.agents.iteration import Collector
from gnnrl.agents.saved_agent import require_memory
from gnnrl.agents.saved_state import field, require, require_alike, require_finite

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["check_generators", "load_world"]

REFUSALS = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RuntimeError)
"""What environments answer to a state that is none of theirs."""


def load_world(collector: Collector, agent: PPO_GNN, saved: Any, place: str, **options: Any) -> None:
    """Put environments, observation and memory where they were saved; where that fails, they stand as before.

    Args:
        collector: of an environment of the same configuration.
        agent: who remembers.
        saved: by `Collector.state_dict`; None = the environment could not be saved.
        place: begins every error.
        options: of `Collector.load_state_dict`.

    Raises:
        CheckpointError: something is missing, of another shape or type, or refused by the environment.
    """
    if saved is None:
        collector.load_state_dict(None, **options)
        return
    env: Any = collector.env.unwrapped
    obs = collector.obs
    if obs is None:
        # Before its first reset an environment has no state to hold the saved one against.
        obs, _ = collector.env.reset(seed=collector.seed)
    before = env.state_dict()
    require_alike(field(saved, "env", place), before, f"{place}.env")
    require_alike(field(saved, "obs", place), dict(obs), f"{place}.obs")
    require_finite(saved["obs"], f"{place}.obs")
    require_memory(agent, field(saved, "state", place), f"{place}.state", collector.env.num_envs)
    require_alike(field(saved, "episodes", place), collector.episodes.state_dict(), f"{place}.episodes")
    kept = collector.obs, collector.state
    try:
        collector.load_state_dict(saved, **options)
    except REFUSALS as error:
        env.load_state_dict(before)
        collector.obs, collector.state = kept
        raise CheckpointError(f"{place}.env: {error}; use a checkpoint written by gnnrl, or an earlier one") from error


def check_generators(saved: Any, place: str) -> None:
    """Check the saved states of the generators of Python, numpy and torch, on generators of their own.

    Raises:
        CheckpointError: one is missing, or is no state.
    """
    python, torch_state = (field(saved, name, place) for name in ("python", "torch"))
    numpy_state = field(saved, "numpy", place)
    kind, keys, rest = (field(numpy_state, name, f"{place}.numpy") for name in ("kind", "keys", "rest"))
    require(isinstance(rest, list), f"{place}.numpy.rest", "is no list")
    try:
        name = "python"
        version, words, gauss = json.loads(python)
        random.Random().setstate((version, tuple(words), gauss))
        name = "numpy"
        np.random.RandomState().set_state((kind, keys, *rest))
        name = "torch"
        torch.Generator().set_state(torch_state)
    except REFUSALS as error:
        raise CheckpointError(f"{place}.{name}: is no state of its generator ({error})") from error
