"""A policy for those tests that need one, whatever it decides."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gnnrl.config.experiment import EncoderConfig, ExperimentConfig, PPOConfig, TrainingConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.training import RunFolder, Trainer


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one rollout: a policy is enough, a good one is not needed."""
    base = ExperimentConfig()
    config = replace(
        base,
        environment=replace(base.environment, telemetry="kiali", max_edges=64, episode_decisions=16),
        encoder=EncoderConfig(hidden=16, memory_dim=8),
        ppo=PPOConfig(rollout_length=16, chunk_length=8, minibatch_rows=64, epochs=1),
        training=TrainingConfig(total_steps=64, num_envs=4, checkpoint_every_steps=64),
    )
    path = tmp_path_factory.mktemp("runs") / "tiny"
    env = MeshVectorEnv(config.training.num_envs, config.environment, copy=False)
    Trainer(RunFolder.create(path, config), env, progress=False).run()
    return path


@pytest.fixture
def quiet_logs() -> Iterator[None]:
    """A soak listens to every log line; pytest need not keep them, and other tests must not pay for it."""
    quietened = [logging.getLogger("numba"), *logging.getLogger().handlers]
    before = [each.level for each in quietened]
    for each in quietened:
        each.setLevel(logging.WARNING)
    yield
    for each, level in zip(quietened, before, strict=True):
        each.setLevel(level)
