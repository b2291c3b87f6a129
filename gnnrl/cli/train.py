"""Train a policy from a configuration; Ctrl-C saves a checkpoint and says how to go on."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gnnrl.cli.arguments import add_config, load_experiment

if TYPE_CHECKING:
    from gnnrl.agents import PPO_GNN
    from gnnrl.config.experiment import ExperimentConfig
    from gnnrl.training import Trainer
    from gnnrl.training.run_folder import RunFolder

__all__ = ["SUMMARY", "add_arguments", "run", "trainer_for"]

SUMMARY = "train a policy from a configuration"

INTERRUPTED = 130
VALIDATION_SEEDS = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl train CONFIG [--set a.b=c ...] [--out DIR] [--resume DIR]`."""
    add_config(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", metavar="DIR", type=Path, help="the run's new folder; runs/NAME where it is left out")
    where.add_argument("--resume", metavar="DIR", type=Path, help="continue the run in this folder, bit for bit")


def run(args: argparse.Namespace) -> int:
    """Trains in a new run folder, or continues one."""
    config = _with_absolute_files(load_experiment(args.config, args.overrides))
    from gnnrl.training import RunFolder, TrainingInterrupted

    if args.resume:
        folder = RunFolder.open(args.resume)
        folder.require_same(config)
    else:
        folder = RunFolder.create(args.out or Path("runs") / config.name, config)
    trainer = trainer_for(folder)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
            trainer.run(resume=args.resume is not None)
    except TrainingInterrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    print(f"{folder.path}: trained for {trainer.steps:,} steps; compare it with: gnnrl evaluate {folder.path}")
    return 0


def _with_absolute_files(config: ExperimentConfig) -> ExperimentConfig:
    """Mesh and load files by their whole path, so that the run can be resumed and compared from any folder."""

    def absolute(names: tuple[str, ...], *suffixes: str) -> tuple[str, ...]:
        return tuple(str(Path(name).resolve()) if name.lower().endswith(suffixes) else name for name in names)

    environment, evaluation = config.environment, config.evaluation
    return replace(
        config,
        environment=replace(
            environment,
            mesh=absolute(environment.mesh, ".yaml", ".yml"),
            workloads=absolute(environment.workloads, ".csv"),
        ),
        evaluation=replace(evaluation, workloads=absolute(evaluation.workloads, ".csv")),
    )


def trainer_for(folder: RunFolder[ExperimentConfig]) -> Trainer:
    """The trainer of a run, with the environment, teacher and validation that its configuration names."""
    from gnnrl.domains.autoscaling.baselines import teacher
    from gnnrl.domains.autoscaling.env import MeshVectorEnv
    from gnnrl.training import Trainer
    from graph_space import autoscaling_schema

    config = folder.config
    schema = autoscaling_schema(config.environment.node_columns)
    env = MeshVectorEnv(config.training.num_envs, config.environment, copy=False)
    return Trainer(
        folder,
        env,
        teacher=(lambda observation: teacher(dict(observation), schema)) if config.warm_start.teacher else None,
        validation=lambda agent: _validate(agent, config),
    )


def _validate(agent: PPO_GNN, config: ExperimentConfig) -> Mapping[str, float]:
    """Means over training-side workloads, on validation seeds that neither training nor the comparison meets."""
    from gnnrl.domains.autoscaling.episode import Split
    from gnnrl.evaluation.controllers import PolicyController
    from gnnrl.evaluation.runner import play
    from gnnrl.evaluation.scenarios import draw_scenarios

    weight = config.evaluation.violation_weight
    scenarios = draw_scenarios(
        config.environment,
        config.environment.workloads,
        VALIDATION_SEEDS,
        split=Split.VALIDATION,
        violation_weight=weight,
    )
    controller = PolicyController(agent, config.environment, temperature=config.evaluation.temperature)
    played = play(controller, scenarios, violation_weight=weight, histogram=False)
    return {
        name: float(played.metrics[name].mean())
        for name in ("objective", "replica_seconds", "violating_share", "scale_moves")
    }
