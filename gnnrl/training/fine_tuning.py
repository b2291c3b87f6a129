"""Training a pretrained policy further: the experiment of it, and whether its network is the one that is to be trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import yaml

from gnnrl import pretrained
from gnnrl.config.differences import differences
from gnnrl.config.experiment import ExperimentConfig
from gnnrl.config.loader import dump_config, parse_config
from gnnrl.text_file import read_text
from gnnrl.training.pretrained_policy import PretrainedPolicy
from gnnrl.training.run_folder import RunError

__all__ = ["require_same_network", "short_experiment"]

SETTINGS = "fine_tuning.yaml"
"""Beside the policies: dotted path of a field -> value."""


def short_experiment(policy: PretrainedPolicy) -> ExperimentConfig:
    """The experiment that a policy travels with, made short."""
    settings = yaml.safe_load(read_text(pretrained.FOLDER / SETTINGS))
    return parse_config(dump_config(policy.config), _assignments(settings), source=str(policy.path))


def _assignments(settings: dict[str, object]) -> Sequence[str]:
    return [f"{path}={json.dumps(value)}" for path, value in settings.items()]


def require_same_network(policy: PretrainedPolicy, config: ExperimentConfig) -> None:
    """Refuses to train a policy further as another network, or on other columns than it learned to read.

    Raises:
        RunError: names every field that differs.
    """
    ours, theirs = (_network(experiment) for experiment in (policy.config, config))
    different = list(differences(ours, theirs))
    if different:
        lines = "\n".join(f"  {field}: {was!r} in {policy.name}, {now!r} asked for" for field, was, now in different)
        raise RunError(
            f"{policy.path}: cannot be trained further as another network\n{lines}\nset these to what {policy.name} has"
        )


def _network(config: ExperimentConfig) -> dict[str, object]:
    """What decides the shape of the weights, and what they stand for."""
    environment = config.environment
    return {
        "encoder": asdict(config.encoder),
        "environment": {"node_columns": environment.node_columns, "action_mode": environment.action_mode},
        "ppo": {"credit": config.ppo.credit},
    }
