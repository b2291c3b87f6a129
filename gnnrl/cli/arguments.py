"""What several commands take or print: configuration with overrides, JSON, tables."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from gnnrl.printable import escaped, raw
from gnnrl.whole_file import STDOUT

if TYPE_CHECKING:
    from gnnrl.config.experiment import ExperimentConfig
    from gnnrl.config.live import LiveConfig

__all__ = [
    "STDOUT",
    "UserError",
    "add_absolute",
    "add_config",
    "add_json",
    "beside",
    "load_autoscaling",
    "load_live",
    "need_files",
    "one_on_stdout",
    "print_json",
    "print_table",
]


PIPE_COLUMNS = 140


class UserError(Exception):
    """A mistake of the user: what was wrong, where, and what would be right."""


def add_config(parser: argparse.ArgumentParser, needed: bool = True) -> None:
    """`CONFIG`, which may be left out where it is not `needed`, and `--set a.b=c`."""
    parser.add_argument(
        "config", metavar="CONFIG", nargs=None if needed else "?", type=Path, help="an experiment's YAML file"
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        metavar="a.b=c",
        action="append",
        default=[],
        help="replace one value of the file, read as YAML; may be repeated",
    )


def add_absolute(parser: argparse.ArgumentParser) -> None:
    """`--absolute`: recorded loads at their own requests/s."""
    parser.add_argument(
        "--absolute",
        action="store_true",
        default=None,
        help="play CSV loads at their own requests/s, instead of rescaled to the peak that suits a mesh; the same as absolute: "
        "before the name of each",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`: machine-readable output on stdout."""
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")


def load_autoscaling(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """The autoscaling experiment, with the names and files of workloads, baselines and meshes checked along with the rest.

    Raises:
        ConfigError: every fault at once.
    """
    from gnnrl.config.loader import load_config
    from gnnrl.domains.autoscaling.config_rules import CONFIG_RULES

    return load_config(path, overrides, rules=CONFIG_RULES)


def load_live(path: Path | None, overrides: Sequence[str] = ()) -> LiveConfig:
    """What a live loop is told, with the name of its fallback checked along with the rest; None = the defaults.

    Raises:
        ConfigError: every fault at once.
    """
    from gnnrl.config.live import LiveConfig
    from gnnrl.config.loader import dump_config, load_live_config, parse_live_config
    from gnnrl.domains.autoscaling.config_rules import LIVE_RULES

    if path is None:
        return parse_live_config(dump_config(LiveConfig()), overrides, source="the defaults", rules=LIVE_RULES)
    return load_live_config(path, overrides, rules=LIVE_RULES)


def beside(output: Path | str | None) -> TextIO:
    """Where to say what was done: on stdout, unless that is where `output` goes, which nothing else is mixed into."""
    return sys.stderr if output is not None and Path(output) == STDOUT else sys.stdout


def one_on_stdout(*outputs: Path | None) -> None:
    """Refuse two outputs on stdout, where neither could be read.

    Raises:
        UserError: there are two.
    """
    if outputs.count(STDOUT) > 1:
        raise UserError("-: two outputs cannot share standard output; write one of them to a file")


def need_files(**outputs: Path | None) -> None:
    """Refuse pages and pictures on stdout; flag -> its path.

    Raises:
        UserError: one is `-`.
    """
    for flag, path in outputs.items():
        if path == STDOUT:
            raise UserError(f"--{flag} -: standard output takes tables and JSON alone; name a file")


def print_json(value: Any) -> None:
    """Writes `value` to stdout as JSON."""
    json.dump(value, sys.stdout, indent=2, allow_nan=False)
    sys.stdout.write("\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table on stdout; columns of numbers are set flush right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    lines = [[_cell(value) for value in row] for row in rows]
    table = Table(title=escaped(title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for index, name in enumerate(columns):
        numeric = all(_is_number(line[index]) for line in lines)
        table.add_column(escaped(name), justify="right" if numeric and lines else "left", overflow="fold")
    for line in lines:
        table.add_row(*line)
    # A pipe has no width: what is read by another program is not folded at 80 columns.
    console = Console(
        file=raw(sys.stdout), highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS
    )
    console.print(table)


def _is_number(cell: str) -> bool:
    """Also none at all, and one that is withheld, which is a dash and why."""
    return cell.lstrip("+-")[:1].isdigit() or cell in ("", "-") or cell.startswith("- (")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else escaped(str(value))
