"""What a checkpoint says of an agent, looked through from end to end before any of it is taken over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from encoders import GraphEncoder
from gnnrl.agents.archive import CheckpointError
from gnnrl.agents.networks import build_model
from gnnrl.agents.recorder import Recorder
from gnnrl.agents.saved_state import field, require, require_alike, require_finite, require_generator
from gnnrl.agents.spaces import spaces_of
from gnnrl.config.experiment import EncoderConfig, PPOConfig, TemperatureConfig
from gnnrl.rl.distributions import ActionMode
from graph_space.schema import ACTION_MASK, EDGES, GLOBALS, NODES

if TYPE_CHECKING:
    from gnnrl.agents.ppo_gnn import PPO_GNN

__all__ = ["check_agent_state", "check_policy_state", "described_agent", "require_memory"]

MOST_SLOTS = 10**7
"""Of an observation: more is not a size that was ever trained with, and would fill the memory before it is refused."""
ADAM = ("params", "lr", "betas", "eps", "weight_decay")
"""What a group of parameters must say; the rest depends on the version of torch."""
AXES = {NODES: 2, EDGES: 2, GLOBALS: 1, ACTION_MASK: 2}


def described_spaces(about: Mapping[str, Any], place: str) -> Any:
    """`spaces_of` the described sizes.

    Raises:
        CheckpointError: they are no sizes, or do not go together.
    """
    sizes, here = field(about, "sizes", place), f"{place}.sizes"
    for key, axes in AXES.items():
        shape = field(sizes, key, here)
        whole = isinstance(shape, list) and all(type(size) is int and 0 <= size <= MOST_SLOTS for size in shape)
        require(whole and len(shape) == axes, f"{here}.{key}", f"{str(shape)[:60]} is no shape of {axes} axes")
    modes: tuple[ActionMode, ...] = ("joint", "select")
    mode = field(sizes, "mode", here)
    require(mode in modes, f"{here}.mode", f"{str(mode)[:60]!r} is none of {', '.join(modes)}")
    slots, moves = sizes[ACTION_MASK]
    require(slots == sizes[NODES][0], f"{here}.{ACTION_MASK}", f"has {slots} slots, {NODES} has {sizes[NODES][0]}")
    require(
        slots * max(moves, *(sizes[key][-1] for key in AXES)) <= MOST_SLOTS,
        here,
        "are too large to be an observation's",
    )
    try:
        return spaces_of(sizes)
    except ValueError as error:
        raise CheckpointError(f"{here}: {error}") from error


def described_configs(about: Mapping[str, Any], place: str) -> tuple[PPOConfig, EncoderConfig | None]:
    """The described hyper-parameters, and the described network; None where it was a ready-made one.

    Raises:
        CheckpointError: a field is unknown, or of another type.
    """
    hyper = dict(_fields_of(field(about, "config", place), PPOConfig, f"{place}.config"))
    if "temperature" in hyper:  # older files know none
        there = f"{place}.config.temperature"
        hyper["temperature"] = _made(
            TemperatureConfig, _fields_of(hyper["temperature"], TemperatureConfig, there), there
        )
    encoder = field(about, "encoder", place)
    there = f"{place}.encoder"
    chosen = None if encoder is None else _made(EncoderConfig, _fields_of(encoder, EncoderConfig, there), there)
    require(type(field(about, "seed", place)) is int and about["seed"] >= 0, f"{place}.seed", "is no whole number >= 0")
    return _made(PPOConfig, hyper, f"{place}.config"), chosen


def _fields_of(saved: Any, kind: type[Any], place: str) -> Mapping[str, Any]:
    require(isinstance(saved, Mapping), place, "is not named values")
    default = kind()
    known = {each.name for each in fields(kind)}
    for name, value in saved.items():
        require(name in known, f"{place}.{name}", f"is no field of {kind.__name__}")
        own = getattr(default, name)
        if not isinstance(own, TemperatureConfig):
            require_alike(value, own, f"{place}.{name}")
            require_finite(value, f"{place}.{name}")
    return saved


def _made(kind: type[Any], values: Mapping[str, Any], place: str) -> Any:
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{place}: {error}") from error


def require_network(saved: Any, encoder: EncoderConfig, space: Any, moves: int, per_node: bool, place: str) -> None:
    """Check that the saved weights are those of the described network, which is not built for it: a wrong size costs no memory.

    Raises:
        CheckpointError: it cannot be built, or has other weights.
    """
    try:
        with torch.device("meta"):
            own = build_model(encoder, space, moves, per_node).state_dict()
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        why = str(error).partition("\n")[0]
        raise CheckpointError(f"{place}: no network can be built as it is described ({why})") from error
    require_alike(saved, dict(own), place)


def described_agent(
    kind: type[PPO_GNN],
    about: Mapping[str, Any],
    state: Any,
    file: str,
    *,
    held: str = "agent_state",
    encoder: GraphEncoder | None = None,
    device: str | torch.device = "cpu",
) -> PPO_GNN:
    """An agent as a file describes it, with weights of its own: whether the saved ones fit is looked at before it is made.

    Args:
        kind: its class.
        about: `PPO_GNN.description` of the saved one.
        state: what is saved of it; its `model` is looked at.
        file: begins every error.
        held: where `state` stands in the file.
        encoder: a module of the same shape, where it was made with a ready-made one.
        device: where the network shall live.

    Raises:
        CheckpointError: the description is none, or not that of these weights, or needs `encoder`.
    """
    place, there = f"{file}: agent", f"{file}: {held}"
    hyper, described = described_configs(about, place)
    if described is None and encoder is None:
        raise CheckpointError(f"{file}: was made with an encoder of your own; pass one of the same shape as encoder=")
    observed, actions = described_spaces(about, place)
    model = field(state, "model", there)
    if described is not None:
        moves = about["sizes"][ACTION_MASK][1]
        require_network(model, described, observed, moves, hyper.credit == "node", f"{there}.model")
    chosen = encoder if described is None else described
    return kind(observed, actions, config=hyper, encoder=chosen, seed=about["seed"], device=device)


def check_policy_state(agent: PPO_GNN, saved: Any, place: str) -> None:
    """Check that an agent can take over weights and statistics, what `PPO_GNN.policy_state` gives; the agent is left as it is.

    Raises:
        CheckpointError: something is missing, of another shape or type, not finite, or out of its range.
    """
    for name, own in agent.policy_state().items():
        require_alike(field(saved, name, place), own, f"{place}.{name}")
        require_finite(saved[name], f"{place}.{name}")
    _check_statistics(saved["scaler"], saved["return_scale"], place)


def check_agent_state(agent: PPO_GNN, saved: Any, place: str) -> None:
    """Check that an agent can take over `saved` as a whole; the agent is left as it is.

    Raises:
        CheckpointError: something is missing, of another shape or type, not finite, or out of its range.
    """
    own = agent.state_dict()
    for name in own:
        field(saved, name, place)
    check_policy_state(agent, saved, place)
    for name in ("clone_schedule", "progress"):
        require_alike(saved[name], own[name], f"{place}.{name}")
        require_finite(saved[name], f"{place}.{name}")
    _check_optimiser(agent, saved["optimiser"], f"{place}.optimiser")
    require(0.0 <= saved["progress"] <= 1.0, f"{place}.progress", f"{saved['progress']} is not in [0, 1]")
    if saved["clone"] is not None:
        here, clone = f"{place}.clone", saved["clone"]
        for name in ("model", "scaler"):
            require_alike(field(clone, name, here), own[name], f"{here}.{name}")
            require_finite(clone[name], f"{here}.{name}")
        _check_statistics(clone["scaler"], None, here)
        if field(clone, "state", here) is not None:
            require_memory(agent, clone["state"], f"{here}.state")
    require_generator(saved["rng"], agent.rng, f"{place}.rng")
    if saved["recorder"] is not None:
        _check_recorder(agent, saved["recorder"], f"{place}.recorder")


def _check_recorder(agent: PPO_GNN, saved: Any, place: str) -> None:
    envs, carry = field(saved, "num_envs", place), field(saved, "carry", place)
    require(type(envs) is int and envs > 0, f"{place}.num_envs", f"{str(envs)[:60]} is no number of environments")
    require(np.ndim(carry) == 2 and len(carry) == envs, f"{place}.carry", f"is not of {envs} environments")
    shape = agent.initial_state().memory.shape
    try:
        empty = Recorder(agent.observation_space, agent.mode, agent.config, (shape[1], shape[2]), envs)
    except (MemoryError, ValueError) as error:
        raise CheckpointError(f"{place}: there is no room for a rollout as it is described ({error})") from error
    require_alike(saved, empty.state_dict(), place)
    require_finite(saved, place)


def _check_statistics(scaler: Mapping[str, Any], returns: Mapping[str, Any] | None, place: str) -> None:
    named = {f"scaler.{key}": part for key, part in scaler.items()}
    for name, part in (named if returns is None else {**named, "return_scale": returns}).items():
        require(bool((part["variance"] >= 0.0).all()), f"{place}.{name}.variance", "is negative")
        require(bool(part["count"] >= 0.0), f"{place}.{name}.count", "is negative")
        require(bool(part["clip"] > 0.0), f"{place}.{name}.clip", "is not above 0")


def _check_optimiser(agent: PPO_GNN, saved: Any, place: str) -> None:
    """Adam's settings are the agent's but for the step size; its moments have the parameters' shapes, and before the first step there are
    none."""
    ours = agent.learner.optimiser.state_dict()["param_groups"]
    groups, moments = field(saved, "param_groups", place), field(saved, "state", place)
    require(
        isinstance(groups, list) and len(groups) == len(ours), f"{place}.param_groups", f"is not {len(ours)} group(s)"
    )
    for index, (theirs, own) in enumerate(zip(groups, ours, strict=True)):
        here = f"{place}.param_groups[{index}]"
        for name in ADAM:
            require_alike(field(theirs, name, here), own[name], f"{here}.{name}")
            same = name == "lr" or np.array_equal(np.asarray(theirs[name]), np.asarray(own[name]))
            require(same, f"{here}.{name}", f"is {str(theirs[name])[:60]}, here it is {own[name]}")
        require(0.0 <= theirs["lr"] < np.inf, f"{here}.lr", f"{theirs['lr']} is no step size")
    here = f"{place}.state"
    require(isinstance(moments, Mapping), here, "is not named values")
    expected = dict(enumerate(agent.learner.parameters)) if moments else {}
    require(set(moments) == set(expected), here, f"is not of the {len(agent.learner.parameters)} parameters there are")
    for index, parameter in expected.items():
        zeros = torch.zeros(parameter.shape)
        require_alike(
            moments[index], {"step": torch.tensor(0.0), "exp_avg": zeros, "exp_avg_sq": zeros}, f"{here}[{index}]"
        )
        require_finite(moments[index], f"{here}[{index}]")
        require(bool((moments[index]["exp_avg_sq"] >= 0.0).all()), f"{here}[{index}].exp_avg_sq", "is negative")
        require(float(moments[index]["step"]) >= 0.0, f"{here}[{index}].step", "is negative")


def require_memory(agent: PPO_GNN, saved: Any, place: str, envs: int | None = None) -> None:
    """Check what a policy remembers, [memory, age] of `envs` environments (None: of as many as it says).

    Raises:
        CheckpointError: it is not of this policy, or not finite.
    """
    require(isinstance(saved, list | tuple) and len(saved) == 2, place, "is not memory and age")
    if envs is None:
        envs = len(saved[0]) if isinstance(saved[0], torch.Tensor) and saved[0].ndim == 3 else 1
    require_alike(saved, [part.cpu() for part in agent.initial_state(max(envs, 1))], place)
    require_finite(saved, place)
