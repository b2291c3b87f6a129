"""A whole training in one file: agent, environments, every random generator, and what they were made from."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gnnrl.agents.archive import CheckpointError, read_archive, snapshot
from gnnrl.agents.iteration import Collector, Iteration
from gnnrl.agents.saved_agent import check_agent_state
from gnnrl.agents.saved_state import field, require, require_alike
from gnnrl.agents.saved_world import check_generators, load_world
from gnnrl.config.differences import differences

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["Standing", "held_training", "load_training", "saved_standing"]

TOTAL = "total_steps"
"""A training may be lengthened, so this may be more than it was when the file was written."""
STANDING = ("steps", "prepared", "pending", "newest")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How far a training has come."""

    steps: int = 0
    """Environment steps done."""
    prepared: int = 0
    """Preparations done."""
    pending: Iteration | None = None
    """The last iteration, where what follows it (logs of a callback, validation) is still to be done."""
    newest: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What the next row of the table of checkpoints says."""


def held_training(about: Mapping[str, Any], agent: PPO_GNN, collector: Collector, standing: Standing) -> dict[str, Any]:
    """A copy of the training between two updates, to be written now or later.

    Args:
        about: what the training was made from, plain values.
        agent: that learns.
        collector: of its environment; what cannot be saved of it is left out.
        standing: how far it has come.
    """
    return snapshot(
        {
            "agent": agent.description(),
            "agent_state": agent.state_dict(),
            "training": {
                "steps": standing.steps,
                "prepared": standing.prepared,
                "pending": None if standing.pending is None else asdict(standing.pending),
                "newest": dict(standing.newest),
                "config": json.dumps(about),
                "collector": collector.state_dict(),
                "generators": _generators(),
            },
        }
    )


def load_training(path: Path, about: Mapping[str, Any], agent: PPO_GNN, collector: Collector) -> Standing:
    """Put agent, environment and generators where `held_training` was taken.

    An environment that could not be saved begins new episodes, drawn from a seed of its own.

    Raises:
        CheckpointError: the file is damaged, holds no training, or is of other settings (a greater number of steps is none); nothing has
            been taken over then.
    """
    training, state = _read(path)
    place = f"{path}: training"
    theirs = _settings(training, place)
    changed = [found for found in differences(theirs, json.loads(json.dumps(about))) if not _lengthened(*found)]
    if changed:
        fields = "; ".join(f"{name} was {was!r}, is {now!r}" for name, was, now in changed)
        raise CheckpointError(
            f"{path}: was written under another configuration: {fields}. Resume it with the configuration beside it, "
            "or start a new run"
        )
    world = field(training, "collector", place)
    if (world is None) == collector.savable:
        was = "could not" if collector.savable else "could"
        raise CheckpointError(
            f"{path}: was written with an environment that {was} be saved, this one ({type(collector.env.unwrapped).__name__}) "
            f"{'can' if collector.savable else 'cannot'}; resume it with the environment it was trained on"
        )
    standing = _standing(training, place)
    check_agent_state(agent, state, f"{path}: agent_state")
    check_generators(field(training, "generators", place), f"{place}.generators")
    fresh = np.random.SeedSequence([agent.seed, standing.steps]).generate_state(1)
    # Everything has been looked at but what the environment alone can judge; it goes first, so that a refusal leaves the rest alone.
    load_world(collector, agent, world, f"{place}.collector", seed=int(fresh[0]))
    agent.load_state_dict(state)
    _restore(training["generators"])
    return standing


def saved_standing(path: Path) -> Standing:
    """How far a saved training has come.

    Raises:
        CheckpointError: the file is damaged or holds no training.
    """
    return _standing(_read(path)[0], f"{path}: training")


def _settings(training: Mapping[str, Any], place: str) -> dict[str, Any]:
    try:
        settings = json.loads(field(training, "config", place))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{place}.config: is no configuration ({error})") from error
    require(isinstance(settings, dict), f"{place}.config", "is no configuration")
    found: dict[str, Any] = settings
    return found


def _standing(training: Mapping[str, Any], place: str) -> Standing:
    steps, prepared, pending, newest = (field(training, name, place) for name in STANDING)
    for name, count in (("steps", steps), ("prepared", prepared)):
        require(type(count) is int and count >= 0, f"{place}.{name}", f"{str(count)[:60]} is no number of {name}")
    texts = isinstance(newest, Mapping) and all(isinstance(value, str) for value in newest.values())
    require(texts, f"{place}.newest", "is no row of texts")
    if pending is not None:
        numbers = dict.fromkeys(pending["statistics"], 0.0) if _has_numbers(pending, "statistics") else {}
        metrics = dict.fromkeys(pending["metrics"], 0.0) if _has_numbers(pending, "metrics") else {}
        require_alike(pending, asdict(Iteration(0, 0, numbers, metrics)), f"{place}.pending")
    return Standing(
        steps=steps,
        prepared=prepared,
        pending=None if pending is None else Iteration(**pending),
        newest=newest,
    )


def _has_numbers(pending: Any, name: str) -> bool:
    return isinstance(pending, Mapping) and isinstance(pending.get(name), Mapping)


def _read(path: Path) -> tuple[Mapping[str, Any], Any]:
    tree = read_archive(path)
    if "training" not in tree:
        raise CheckpointError(f"{path}: holds an agent but no training to resume; start a new run instead")
    training = tree["training"]
    require(isinstance(training, Mapping), f"{path}: training", "is not named values")
    require("agent_state" in tree, f"{path}: agent_state", "is missing")
    return training, tree["agent_state"]


def _lengthened(field: str, ours: Any, theirs: Any) -> bool:
    return field.rpartition(".")[2] == TOTAL and isinstance(ours, int) and isinstance(theirs, int) and theirs > ours


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
