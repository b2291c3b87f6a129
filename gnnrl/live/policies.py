"""Who can decide on a live cluster: a trained run or a pretrained policy, checked against what the cluster will show it, or a baseline."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import MultiDiscrete

from gnnrl.agents import PPO_GNN
from gnnrl.config.experiment import AutoscalingConfig, ExperimentConfig
from gnnrl.config.live import LiveConfig
from gnnrl.domains.autoscaling.baselines import Load, ReplicaBounds
from gnnrl.domains.autoscaling.baselines.registry import make, make_with
from gnnrl.domains.autoscaling.env import action_space, graph_config
from gnnrl.evaluation.controllers import BaselineController, PolicyController
from gnnrl.live.options import LiveOptions
from gnnrl.pretrained import is_policy, shipped_policies
from gnnrl.training.pretrained_policy import PretrainedPolicy
from gnnrl.training.run_folder import RunFolder
from graph_space import DynamicGraphSpace

__all__ = [
    "LivePolicyError",
    "baseline_controller",
    "capacity_for",
    "live_environment",
    "load_pretrained",
    "load_run",
    "load_trained",
    "policy_controller",
]

_PERCENT = re.compile(r"(?P<rule>hpa|feed_forward)(_(?P<percent>[1-9]\d{0,2}))?")
SPARE_SLOTS = 1.5
"""Slots over services where a mesh is larger than the one trained on: services may come."""


class LivePolicyError(ValueError):
    """A run or a baseline that cannot decide on this cluster, and what would be right."""


def load_run(path: Path, config: LiveConfig) -> tuple[PPO_GNN, ExperimentConfig]:
    """The agent of a run, frozen, and its experiment.

    Raises:
        LivePolicyError: it was trained on something else than this loop will show it.
        RunError, ConfigError, CheckpointError: it cannot be read.
    """
    folder = RunFolder.open(path)
    environment = folder.config.environment
    wrong = _trained_otherwise(environment, config)
    checkpoint = folder.best if path.is_dir() else path
    agent = PPO_GNN.load(checkpoint)
    expected = (DynamicGraphSpace(graph_config(environment)), action_space(environment))
    if agent.action_space != expected[1]:
        wrong.append(
            f"{checkpoint} has the actions {_shown(agent.action_space)}, its config.yaml {_shown(expected[1])}; take the "
            "right one"
        )
    elif {name: box.shape for name, box in agent.observation_space.items()} != {
        name: box.shape for name, box in expected[0].items()
    }:
        wrong.append(f"{checkpoint} was trained with other features than its config.yaml says; take the right one")
    if wrong:
        raise LivePolicyError("\n".join(f"{path}: {problem}" for problem in wrong))
    agent.train(False)
    return agent, folder.config


def load_pretrained(name: str, config: LiveConfig) -> tuple[PPO_GNN, ExperimentConfig]:
    """A pretrained policy by its name or file, frozen, and the experiment that it was trained in.

    Raises:
        LivePolicyError: it was trained on something else than this loop will show it.
        CheckpointError: there is none, or it cannot be read.
    """
    policy = PretrainedPolicy.open(name)
    wrong = _trained_otherwise(policy.config.environment, config)
    if wrong:
        raise LivePolicyError("\n".join(f"{name}: {problem}" for problem in wrong))
    return policy.agent, policy.config


def load_trained(options: LiveOptions) -> tuple[PPO_GNN, ExperimentConfig] | None:
    """The trained policy that decides, as `load_run` and `load_pretrained`; None = a baseline does."""
    if options.run is not None:
        return load_run(options.run, options.config)
    return load_pretrained(options.policy, options.config) if is_policy(options.policy) else None


def _trained_otherwise(environment: AutoscalingConfig, config: LiveConfig) -> list[str]:
    """What a loop would show a policy otherwise than its training did, each with its remedy."""
    wrong = []
    if environment.telemetry != "kiali":
        wrong.append(
            f"it was trained with environment.telemetry: {environment.telemetry}, a cluster shows Kiali's means over "
            f"{config.graph_window_seconds} s; train with telemetry: kiali (configs/online_boutique_live.yaml)"
        )
    elif environment.graph_window_seconds != config.graph_window_seconds:
        wrong.append(
            f"it was trained with graph_window_seconds: {environment.graph_window_seconds}, the loop asks for "
            f"{config.graph_window_seconds}; set graph_window_seconds of the live configuration to it"
        )
    if environment.decision_seconds != config.interval_seconds:
        wrong.append(
            f"it decides every {environment.decision_seconds} s, the loop every {config.interval_seconds} s; set "
            "interval_seconds of the live configuration to it"
        )
    return wrong


def _shown(actions: gymnasium.Space[Any]) -> str:
    """An action space in a few characters; of a joint one, slots x moves."""
    if isinstance(actions, MultiDiscrete):
        return f"MultiDiscrete({len(actions.nvec)} x {actions.nvec.max()})"
    return str(actions)


def capacity_for(nodes: int, edges: int, trained: AutoscalingConfig) -> tuple[int, int]:
    """Node and edge slots: those trained with where they do, else some to spare. A graph policy runs at any number."""
    spared = (math.ceil(SPARE_SLOTS * count) for count in (nodes, edges))
    fits = nodes <= trained.max_nodes, edges <= trained.max_edges
    return tuple(  # type: ignore[return-value]
        most if fit else more
        for most, fit, more in zip((trained.max_nodes, trained.max_edges), fits, spared, strict=True)
    )


def live_environment(
    trained: AutoscalingConfig, config: LiveConfig, max_nodes: int, max_edges: int
) -> AutoscalingConfig:
    """The environment of a controller that is shown readings: monitored and lagged already, within the loop's limits."""
    return replace(
        trained,
        telemetry="exact",
        metrics_lag_seconds=0,
        decision_seconds=config.interval_seconds,
        min_replicas=config.guardrails.min_replicas,
        max_replicas=config.guardrails.max_replicas,
        max_nodes=max_nodes,
        max_edges=max_edges,
    )


def policy_controller(agent: PPO_GNN, environment: AutoscalingConfig, config: LiveConfig) -> PolicyController:
    """The controller that `gnnrl evaluate` plays, for readings."""
    return PolicyController(agent, environment, temperature=config.temperature)


def baseline_controller(name: str, environment: AutoscalingConfig, *, asked: str = "--policy") -> BaselineController:
    """A baseline that a cluster shows enough to: `hpa_<percent>` or `feed_forward_<percent>` (`hpa` is at 80, `feed_forward` at 70).

    Args:
        name: of the baseline.
        environment: of the loop.
        asked: where the name stands, for messages.

    Raises:
        LivePolicyError: there is none of this name, or it needs what only a simulation knows.
    """
    bounds = ReplicaBounds(min_replicas=environment.min_replicas, max_replicas=environment.max_replicas)
    unknown_load = Load(["live"], np.zeros((1, 1)))
    found = _PERCENT.fullmatch(name)
    if found is None:
        trained = f"; pretrained policies are {', '.join(shipped_policies())}" if shipped_policies() else ""
        pretrained = trained if asked == "--policy" else ""
        raise LivePolicyError(
            f"{asked} {name}: on a live cluster there are hpa_<percent of the CPU request> and feed_forward_<percent of the CPU "
            f"limit>; others need what only a simulation knows, or finer metrics{pretrained}"
        )
    if found["rule"] == "hpa":
        chosen = make(f"hpa_{found['percent'] or 80}", bounds, environment.max_nodes, unknown_load)
    else:
        # Ratios and costs are estimated from what is seen.
        headroom = {"headroom": int(found["percent"] or 70) / 100.0}
        chosen = make_with("feed_forward_estimated", bounds, environment.max_nodes, unknown_load, headroom)
    if environment.decision_seconds != chosen.period_seconds:
        raise LivePolicyError(
            f"{asked} {name}: decides every {chosen.period_seconds} s, the loop every {environment.decision_seconds} s; set "
            f"interval_seconds: {chosen.period_seconds}"
        )
    return BaselineController(chosen, environment)
