"""Write what a training logged as one table: a row a step, a column a series; empty (CSV) or null (Parquet) where nothing was logged.

It may be run while the training goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gnnrl.cli.arguments import beside
from gnnrl.cli.outputs import add_output

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "write what a training logged to CSV or Parquet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl export RUN --csv FILE | --parquet FILE [--columns PATTERN ...]`."""
    parser.add_argument("run_folder", metavar="RUN", type=Path, help="the folder of a run, or a checkpoint in it")
    table = parser.add_mutually_exclusive_group(required=True)
    add_output(table, "--csv", into=parser, metavar="FILE", type=Path, help="write it here; - prints it")
    add_output(table, "--parquet", into=parser, metavar="FILE", type=Path, help="the same as Parquet (extra `parquet`)")
    parser.add_argument(
        "--columns",
        metavar="PATTERN",
        action="append",
        help="only series that match, such as 'eval/*'; may be repeated; all",
    )


def run(args: argparse.Namespace) -> int:
    """Writes the table, whole or not at all, and says what is in it."""
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
