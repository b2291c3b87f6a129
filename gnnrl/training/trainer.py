"""The training of an experiment: what its configuration names, put around the one loop of `agents/learning.py`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import torch
from gymnasium.vector import VectorEnv

from gnnrl.agents.iteration import Collector, Iteration
from gnnrl.agents.learning import Learning, Plan, Preparation, crossed
from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.agents.stabilisation import stabilise
from gnnrl.agents.warm_start import Teacher, clone_teacher
from gnnrl.training.run_folder import RunFolder

__all__ = ["Trainer", "Validation"]

Validation = Callable[[PPO_GNN], Mapping[str, float]]
"""Plays the policy on training-side validation workloads; its metrics are logged as `eval/<metric>`."""


class Trainer:
    """Trains one experiment into one folder.

    Beside what `RunFolder` names, the folder then holds `training.jsonl`, every logged scalar by step, and `checkpoints.csv`,
    a row a checkpoint.

    Args:
        run: the folder, with its configuration; where it has a policy to start from, that comes instead of a warm start.
        env: the experiment's vector environment (NEXT_STEP autoreset, `state_dict` and `load_state_dict`).
        teacher: whom to clone first, where `warm_start.teacher` names one.
        validation: played every `training.evaluate_every_steps`.
        domain: prefix of the environment's own metrics in the logs.
        progress: show how far it is, on standard error.
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
        if config.warm_start.teacher and teacher is None and not run.start.is_file():
            raise ValueError(f"warm_start.teacher is {config.warm_start.teacher!r}, but no teacher was given")
        if config.training.evaluate_every_steps and validation is None:
            raise ValueError("training.evaluate_every_steps is set, but no validation was given")
        if not hasattr(env.unwrapped, "state_dict"):
            raise TypeError(f"{type(env.unwrapped).__name__} has no state_dict(); checkpoints need it")
        self.folder, self.config, self.env = run, config, env
        self.teacher, self.validation = teacher, validation
        torch.set_num_threads(config.training.torch_threads)
        self.agent = agent or PPO_GNN(
            env.single_observation_space,  # type: ignore[arg-type]
            env.single_action_space,
            config=config.ppo,
            encoder=config.encoder,
            seed=config.seed,
        )
        self.collector = Collector(env, config.seed)
        training = config.training
        plan = Plan(
            total_steps=training.total_steps,
            checkpoint_every_steps=training.checkpoint_every_steps,
            about=asdict(config),
            prefix=domain,
            go_on=run.go_on,
        )
        preparations: list[Preparation] = [self._stabilise] if training.stabilisation_steps else []
        if config.warm_start.teacher:
            preparations.append(self._warm_start)
        if run.start.is_file():
            preparations = [self._begin_from_start]
        self.learning = Learning(
            self.agent,
            self.collector,
            plan,
            folder=run.path,
            callback=self._validate if training.evaluate_every_steps else None,
            preparations=preparations,
            progress=progress,
        )

    @property
    def steps(self) -> int:
        """Environment steps done."""
        return self.learning.steps

    @property
    def signal(self) -> int | None:
        """The signal that came while it ran, obeyed or too late to matter; None = none."""
        return self.learning.signal

    def run(self, resume: bool = False) -> PPO_GNN:
        """Train to the end.

        Args:
            resume: go on from the folder's checkpoint, bit for bit; from the beginning where the training ended before it had one.

        Raises:
            CheckpointError: the checkpoint to resume is not usable, or one cannot be written.
            TrainingInterrupted: a signal (Ctrl-C, SIGTERM, SIGHUP) came; everything is saved. A second one stops at once and saves nothing.
            ReplayError: the agent's replay does not reproduce its rollout.
        """
        other_code = self.folder.revision_warning() if resume else None
        if other_code is not None:
            warnings.warn(f"{other_code}; the continuation may differ from an uninterrupted run", stacklevel=2)
        self.learning.run(resume)
        return self.agent.train(False)

    def _stabilise(self, say: Callable[[str], None]) -> Mapping[str, float]:
        stabilise(self.agent, self.collector, self.config.training.stabilisation_steps, say)
        return {}

    def _begin_from_start(self, say: Callable[[str], None]) -> Mapping[str, float]:
        start = PPO_GNN.pretrained(self.folder.start)
        self.agent.load_policy_state(start.policy_state(), str(self.folder.start))
        self.collector.reset(self.agent)
        say(f"starting from the weights and statistics in {self.folder.start}")
        return {}

    def _warm_start(self, say: Callable[[str], None]) -> Mapping[str, float]:
        assert self.teacher is not None
        say(f"cloning {self.config.warm_start.teacher}: playing {self.config.warm_start.clone_steps:,} steps of it")
        result = clone_teacher(self.agent, self.collector, self.teacher, self.config.warm_start, say)
        # Kept for the comparison: what the training earns is the policy's figures less those of its clone.
        self.agent.save(self.folder.clone)
        return {f"clone/{name}": value for name, value in result.items()}

    def _validate(self, agent: PPO_GNN, iteration: Iteration) -> Mapping[str, float] | None:
        before = iteration.steps - iteration.new_steps
        if not crossed(before, iteration.steps, self.config.training.evaluate_every_steps):
            return None
        assert self.validation is not None
        return {f"eval/{name}": value for name, value in self.validation(agent).items()}
