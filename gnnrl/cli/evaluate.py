"""Compare a trained policy with the baselines on held-out workloads and seeds, or look at one baseline alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from gnnrl.cli.arguments import UserError

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "compare a policy with the baselines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl evaluate [RUN_OR_CHECKPOINT | --policy NAME] [...]`."""
    parser.add_argument(
        "run_or_checkpoint",
        metavar="RUN_OR_CHECKPOINT",
        nargs="?",
        type=Path,
        help="a run's folder, or a checkpoint in one",
    )
    parser.add_argument("--policy", metavar="NAME", help="a baseline alone instead of a trained policy")
    parser.add_argument("--against", metavar="NAME,...", help="baselines to compare with, instead of the run's own")
    parser.add_argument(
        "--workload",
        metavar="NAME|CSV",
        nargs="+",
        action="extend",
        help="workload families, or CSV files with the columns time (seconds) and rps, instead of the run's own",
    )
    parser.add_argument("--mesh", metavar="FILE", help="a mesh file instead of the run's own mesh")
    parser.add_argument("--seeds", metavar="N", type=int, help="held-out seeds a workload, at least 5 for intervals")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the evaluation as JSON; - for stdout")
    parser.add_argument("--report", metavar="FILE", type=Path, help="write the report as one HTML file")


def run(args: argparse.Namespace) -> int:
    """Runs the comparison and prints its table."""
    raise UserError("not wired")
