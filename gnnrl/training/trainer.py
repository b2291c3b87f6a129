"""The one training: warm start, rollouts and updates, logs, checkpoints, validation, interruption."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from gnnrl.agents.iteration import Collector, Iteration, iterations
from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.agents.stabilisation import stabilise
from gnnrl.agents.warm_start import Teacher, clone_teacher
from gnnrl.training.checkpoint import load_training, save_training
from gnnrl.training.checkpoint_table import CheckpointTable
from gnnrl.training.logging import RunLog
from gnnrl.training.progress import TrainingProgress
from gnnrl.training.run_folder import RunFolder

__all__ = ["Trainer", "TrainingInterrupted", "Validation"]

Validation = Callable[[PPO_GNN], Mapping[str, float]]
"""Plays the policy on training-side validation workloads; its metrics are logged as `eval/<metric>`."""


class TrainingInterrupted(Exception):
    """Ctrl-C: the training stopped after an update and was saved.

    Args:
        run: where it was saved.
        steps: environment steps done.
    """

    def __init__(self, run: RunFolder[Any], steps: int) -> None:
        super().__init__(
            f"interrupted after {steps:,} steps; saved {run.checkpoint}. Go on with: "
            f"gnnrl train {run.path / 'config.yaml'} --resume {run.path}"
        )
        self.run, self.steps = run, steps


class Trainer:
    """Trains one experiment into one folder.

    Beside what `RunFolder` names, the folder then holds `training.jsonl`, every logged scalar by step, and `checkpoints.csv`,
    a row a checkpoint.

    Args:
        run: the folder, with its configuration.
        env: the experiment's vector environment (NEXT_STEP autoreset, `state_dict` and `load_state_dict`).
        teacher: whom to clone first, where `warm_start.teacher` names one.
        validation: played every `training.evaluate_every_steps`.
        domain: prefix of the environment's own metrics in the logs.
        progress: show the progress bar.
        agent: a ready-made agent instead of the configured one.

    Raises:
        ValueError: the configuration names a teacher and none is given, or asks for validation and none is given.
        TypeError: the environment cannot be saved.
    """

    def __init__(
        self,
        run: RunFolder[Any],
        env: VectorEnv,
        *,
        teacher: Teacher | None = None,
        validation: Validation | None = None,
        domain: str = "autoscaling",
        progress: bool = True,
        agent: PPO_GNN | None = None,
    ) -> None:
        config = run.config
        if config.warm_start.teacher and teacher is None:
            raise ValueError(f"warm_start.teacher is {config.warm_start.teacher!r}, but no teacher was given")
        if config.training.evaluate_every_steps and validation is None:
            raise ValueError("training.evaluate_every_steps is set, but no validation was given")
        if not hasattr(env.unwrapped, "state_dict"):
            raise TypeError(f"{type(env.unwrapped).__name__} has no state_dict(); checkpoints need it")
        self.folder, self.config, self.env = run, config, env
        self.teacher = teacher if config.warm_start.teacher else None
        self.validation, self.domain, self.progress = validation, domain, progress
        torch.set_num_threads(config.training.torch_threads)
        self.agent = agent or PPO_GNN(
            env.single_observation_space,  # type: ignore[arg-type]
            env.single_action_space,
            config=config.ppo,
            encoder=config.encoder,
            seed=config.seed,
        )
        self.collector = Collector(env, config.seed)
        self._table = CheckpointTable(run)
        self.steps = 0

    def run(self, resume: bool = False) -> PPO_GNN:
        """Train to the end.

        Args:
            resume: go on from the folder's checkpoint, bit for bit.

        Raises:
            CheckpointError: there is no usable checkpoint to resume, or one cannot be written.
            TrainingInterrupted: Ctrl-C; everything is saved. A second Ctrl-C stops at once and saves nothing.
            ReplayError: the agent's replay does not reproduce its rollout.
        """
        if resume:
            self._resume()
        log = RunLog(self.folder, self.steps if resume else None)
        total = self.config.training.total_steps
        try:
            with _interruption() as interrupted, TrainingProgress(total, self.steps, enabled=self.progress) as progress:
                if self.config.training.stabilisation_steps and not resume:
                    stabilise(self.agent, self.collector, self.config.training.stabilisation_steps, progress.say)
                if self.teacher is not None and not resume:
                    self._warm_start(self.teacher, log, progress)
                for iteration in iterations(self.agent, self.env, total, self.collector, self.steps):
                    self._after(iteration, log, progress)
                    if interrupted.is_set() and self.steps < total:
                        self._save(log)
                        raise TrainingInterrupted(self.folder, self.steps)
        finally:
            log.close()
        return self.agent.train(False)

    def _resume(self) -> None:
        self.steps = load_training(self.folder.checkpoint, self.config, self.agent, self.collector)
        self._table = CheckpointTable(self.folder, self.steps)
        other_code = self.folder.revision_warning()
        if other_code is not None:
            warnings.warn(f"{other_code}; the continuation may differ from an uninterrupted run", stacklevel=3)

    def _warm_start(self, teacher: Teacher, log: RunLog, progress: TrainingProgress) -> None:
        result = clone_teacher(self.agent, self.collector, teacher, self.config.warm_start, progress.say)
        log.scalars(0, {f"clone/{name}": value for name, value in result.items()})

    def _after(self, iteration: Iteration, log: RunLog, progress: TrainingProgress) -> None:
        before, self.steps = self.steps, iteration.steps
        scalars = {f"train/{name}": value for name, value in iteration.statistics.items()}
        scalars |= {f"{self.domain}/{name}": value for name, value in iteration.metrics.items()}
        training = self.config.training
        self._table.note(reward=iteration.statistics["reward"])
        if _crossed(before, self.steps, training.evaluate_every_steps):
            assert self.validation is not None
            self.agent.train(False)
            found = self.validation(self.agent)
            self._table.note(**found)
            scalars |= {f"eval/{name}": value for name, value in found.items()}
        log.scalars(self.steps, scalars)
        progress.advance_to(self.steps, iteration.statistics, iteration.metrics)
        if self.steps >= training.total_steps or _crossed(before, self.steps, training.checkpoint_every_steps):
            self._save(log)

    def _save(self, log: RunLog) -> None:
        log.flush()
        save_training(self.folder.checkpoint, self.config, self.agent, self.collector, self.steps)
        self._table.add(self.steps)


def _crossed(before: int, after: int, every: int) -> bool:
    return every > 0 and after // every > before // every


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event that is looked at between updates; the second one is the usual one."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    usual = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        asked.set()
        signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, usual)
