"""A policy for those tests that need one, whatever it decides: a run of one rollout on the boutique, and its file of weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from gnnrl.config.experiment import EncoderConfig, ExperimentConfig, PPOConfig, TrainingConfig
from gnnrl.domains.autoscaling.env import MeshVectorEnv
from gnnrl.training import RunFolder, Trainer
from gnnrl.training.pretrained_policy import PretrainedPolicy


def tiny_config() -> ExperimentConfig:
    base = ExperimentConfig(name="tiny")
    return replace(
        base,
        environment=replace(base.environment, telemetry="kiali", max_edges=64, episode_decisions=16),
        encoder=EncoderConfig(hidden=16, memory_dim=8),
        ppo=PPOConfig(rollout_length=16, chunk_length=8, minibatch_rows=64, epochs=1),
        training=TrainingConfig(total_steps=64, num_envs=4, checkpoint_every_steps=64),
        evaluation=replace(base.evaluation, workloads=("diurnal", "flash"), seeds=1, against=("hpa_80",)),
    )


def tiny_run(path: Path) -> Path:
    config = tiny_config()
    env = MeshVectorEnv(config.training.num_envs, config.environment, copy=False)
    Trainer(RunFolder.create(path, config), env, progress=False).run()
    return path


def tiny_policy(run: Path, path: Path) -> Path:
    PretrainedPolicy.of_run(run).write(path)
    return path
