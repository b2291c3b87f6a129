"""Train a policy from a configuration; Ctrl-C saves a checkpoint and says how to go on."""

from __future__ import annotations

import argparse
from pathlib import Path

from gnnrl.cli.arguments import UserError, add_config, load_experiment

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "train a policy from a configuration"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl train CONFIG [--set a.b=c ...] [--out DIR] [--resume DIR]`."""
    add_config(parser)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--out", metavar="DIR", type=Path, help="the run's new folder; runs/NAME where it is left out")
    where.add_argument("--resume", metavar="DIR", type=Path, help="continue the run in this folder, bit for bit")


def run(args: argparse.Namespace) -> int:
    """Trains in a new run folder, or continues one."""
    raise UserError("not wired")
