"""A whole training in one file: agent, environments, every random generator, and what they were made from."""

from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gnnrl.agents.archive import CheckpointError, read_archive, write_archive
from gnnrl.agents.iteration import Collector
from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.agents.saved_agent import check_agent_state
from gnnrl.agents.saved_state import field, require
from gnnrl.agents.saved_world import check_generators, load_world
from gnnrl.config.experiment import Experiment
from gnnrl.training.run_folder import differences

__all__ = ["load_training", "save_training"]


def save_training(path: Path, config: Experiment, agent: PPO_GNN, collector: Collector, steps: int) -> None:
    """Write the training atomically, between two updates.

    Raises:
        CheckpointError: the file cannot be written; what stood there is kept.
        TypeError: the environment has no `state_dict`.
    """
    tree = {
        "agent": agent.description(),
        "agent_state": agent.state_dict(),
        "training": {
            "steps": steps,
            "config": json.dumps(asdict(config)),
            "collector": collector.state_dict(),
            "generators": _generators(),
        },
    }
    write_archive(path, tree)


def load_training(path: Path, config: Experiment, agent: PPO_GNN, collector: Collector) -> int:
    """Put agent, environment and generators where `save_training` left them.

    Returns:
        Environment steps done.

    Raises:
        CheckpointError: the file is damaged, holds no training, or is of another configuration; nothing has been taken over then.
    """
    tree = read_archive(path)
    if "training" not in tree:
        raise CheckpointError(f"{path}: holds an agent but no training to resume; start a new run instead")
    training, place = tree["training"], f"{path}: training"
    try:
        theirs = json.loads(field(training, "config", place))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{place}.config: is no configuration ({error})") from error
    require(isinstance(theirs, dict), f"{place}.config", "is no configuration")
    changed = list(differences(theirs, json.loads(json.dumps(asdict(config)))))
    if changed:
        fields = "; ".join(f"{name} was {ours!r}, is {now!r}" for name, ours, now in changed)
        raise CheckpointError(
            f"{path}: was written under another configuration: {fields}. Resume it with the configuration beside it, "
            "or start a new run"
        )
    steps = field(training, "steps", place)
    require(type(steps) is int and steps >= 0, f"{place}.steps", f"{str(steps)[:60]} is no number of steps")
    require("agent_state" in tree, f"{path}: agent_state", "is missing")
    state = tree["agent_state"]
    check_agent_state(agent, state, f"{path}: agent_state")
    check_generators(field(training, "generators", place), f"{place}.generators")
    # Everything has been looked at but what the environment alone can judge; it goes first, so that a refusal leaves the rest alone.
    load_world(collector, agent, field(training, "collector", place), f"{place}.collector")
    agent.load_state_dict(state)
    _restore(training["generators"])
    return int(steps)


def _generators() -> dict[str, Any]:
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "python": json.dumps(random.getstate()),
        "numpy": {"kind": kind, "keys": keys, "rest": [position, has_gauss, cached]},
        "torch": torch.get_rng_state(),
    }


def _restore(saved: dict[str, Any]) -> None:
    version, words, gauss = json.loads(saved["python"])
    random.setstate((version, tuple(words), gauss))
    np.random.set_state((saved["numpy"]["kind"], saved["numpy"]["keys"], *saved["numpy"]["rest"]))  # noqa: NPY002
    torch.set_rng_state(saved["torch"])
