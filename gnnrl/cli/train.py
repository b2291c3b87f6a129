"""Train a policy from a configuration; Ctrl-C saves a checkpoint and says how to go on."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from gnnrl.cli.arguments import add_config
from gnnrl.cli.domains import DOMAINS, load_experiment

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "train a policy from a configuration"

INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl train CONFIG [--set a.b=c ...] [--out DIR] [--resume DIR]`."""
    add_config(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", metavar="DIR", type=Path, help="the run's new folder; runs/NAME where it is left out")
    where.add_argument("--resume", metavar="DIR", type=Path, help="continue the run in this folder, bit for bit")


def run(args: argparse.Namespace) -> int:
    """Trains in a new run folder, or continues one."""
    config = load_experiment(args.config, args.overrides)
    domain = DOMAINS[config.domain]
    config = domain.self_contained(config)
    from gnnrl.training import RunFolder, TrainingInterrupted

    if args.resume:
        folder = RunFolder.open_any(args.resume)
        folder.require_same(config)
    else:
        folder = RunFolder.create(args.out or Path("runs") / config.name, config)
    trainer = domain.trainer_for(folder)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"note: {message}", file=sys.stderr)
            trainer.run(resume=args.resume is not None)
    except TrainingInterrupted as interrupted:
        print(interrupted, file=sys.stderr)
        return INTERRUPTED
    print(f"{folder.path}: trained for {trainer.steps:,} steps; compare it with: gnnrl evaluate {folder.path}")
    return 0
