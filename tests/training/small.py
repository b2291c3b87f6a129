"""A small training on the toy mesh, also as a program of its own: `python -m tests.training.small FOLDER [--resume]`."""

import sys
from pathlib import Path

from gnnrl.config.experiment import EncoderConfig, ExperimentConfig, PPOConfig, TrainingConfig
from gnnrl.training import RunFolder, Trainer
from tests.toy_mesh import ToyMesh

PER_ROLLOUT = 8 * 16


def small_config(rollouts: int = 6) -> ExperimentConfig:
    return ExperimentConfig(
        ppo=PPOConfig(rollout_length=16, chunk_length=8, minibatch_rows=64, learning_rate=3e-3, gamma=0.9),
        encoder=EncoderConfig(hidden=16, memory_dim=8, message_dim=8, time_dim=4),
        training=TrainingConfig(total_steps=PER_ROLLOUT * rollouts, num_envs=8, checkpoint_every_steps=2 * PER_ROLLOUT),
    )


def small_trainer(folder: Path, resume: bool = False, **more) -> Trainer:
    run = RunFolder.open(folder) if resume else RunFolder.create(folder, small_config())
    return Trainer(run, ToyMesh(num_envs=8, recall=True), domain="toy", progress=False, **more)


if __name__ == "__main__":
    resume = "--resume" in sys.argv
    small_trainer(Path(sys.argv[1]), resume).run(resume)
