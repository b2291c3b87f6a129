"""Write what a training logged as one table: a row a step, a column a series; empty (CSV) or null (Parquet) where nothing was logged.
It may be run while the training goes on.

Or its policy as one file of weights, without optimiser and logs, that `--policy FILE.safetensors` plays anywhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gnnrl.cli.arguments import UserError, beside
from gnnrl.cli.outputs import add_output

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "write what a training logged to CSV or Parquet, or its policy to one file"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl export RUN --csv FILE | --parquet FILE [--columns PATTERN ...] | --weights FILE [--set a.b=c ...]`."""
    parser.add_argument(
        "run_folder",
        metavar="RUN",
        type=Path,
        help="the folder of a run, or a checkpoint in it; for --weights also a file that it wrote",
    )
    table = parser.add_mutually_exclusive_group(required=True)
    add_output(table, "--csv", into=parser, metavar="FILE", type=Path, help="write it here; - prints it")
    add_output(table, "--parquet", into=parser, metavar="FILE", type=Path, help="the same as Parquet (extra `parquet`)")
    add_output(
        table, "--weights", into=parser, metavar="FILE", type=Path,
        help="write the policy with its normaliser and its experiment here (*.safetensors); a model card beside it is brought up to date",
    )  # fmt: skip
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="a.b=c",
        action="append",
        default=[],
        help="replace one value of the experiment that goes with the weights; may be repeated",
    )
    parser.add_argument(
        "--columns",
        metavar="PATTERN",
        action="append",
        help="only series that match, such as 'eval/*'; may be repeated; all",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the table or the weights, whole or not at all, and says what is in it."""
    if args.weights is not None:
        return _weights(args)
    if args.overrides:
        raise UserError("gnnrl export: --set goes with --weights, whose experiment it is about")
    from gnnrl.column_files import require_pyarrow
    from gnnrl.training.metrics_export import MetricsExporter

    patterns = args.columns or ("*",)
    if args.parquet is not None:
        require_pyarrow(args.parquet)
    exporter = MetricsExporter(args.run_folder)
    if args.parquet is not None:
        exporter.write_parquet(args.parquet, patterns)
    else:
        exporter.write_csv(args.csv, patterns)
    columns = exporter.columns(patterns)
    told = f"{args.parquet or args.csv}: {len(columns['step']):,} steps, {len(columns) - 1} series"
    print(told, file=beside(args.csv))
    return 0


def _weights(args: argparse.Namespace) -> int:
    from gnnrl.pretrained import SUFFIX
    from gnnrl.training.model_card import fill_card
    from gnnrl.training.pretrained_policy import PretrainedPolicy

    if args.weights.suffix != SUFFIX:
        raise UserError(f"--weights {args.weights}: a policy is written as *{SUFFIX}; name it so")
    if args.columns is not None:
        raise UserError("gnnrl export: --columns goes with a table; leave it out")
    make = PretrainedPolicy.open if args.run_folder.suffix == SUFFIX else PretrainedPolicy.of_run
    policy = make(args.run_folder, args.overrides)
    policy.write(args.weights)
    print(
        f"{args.weights}: {policy.weights:,} weights of {policy.config.name} after {policy.steps:,} steps, "
        f"{args.weights.stat().st_size / 2**10:,.0f} KiB; play it with: gnnrl evaluate --policy {args.weights}"
    )
    try:
        card = fill_card(policy, args.weights)
    except ValueError as error:
        raise UserError(str(error)) from error
    if card is not None:
        print(f"{card}: its facts and ranges are those of these weights")
    return 0
