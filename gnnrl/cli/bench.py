"""Measure speed. A benchmark is a file `benchmarks/bench_NAME.py` of the repository with a function `measure()`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gnnrl.cli.arguments import UserError, add_json, print_json, print_table

__all__ = ["SUMMARY", "add_arguments", "run"]

SUMMARY = "measure speed"

FOLDER = Path(__file__).parents[2] / "benchmarks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`gnnrl bench [NAME] [--list] [--json]`."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="one benchmark; all of them where it is left out")
    parser.add_argument("--list", action="store_true", help="list the benchmarks and run none")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Runs one benchmark or all and prints their figures beside what is aimed at."""
    available = [path.stem.removeprefix("bench_") for path in sorted(FOLDER.glob("bench_*.py"))]
    if not available:
        raise UserError(f"{FOLDER}: no benchmarks here; they are part of the repository, run this from a clone of it")
    if args.list:
        for name in available:
            print(f"{name}: {_load(name).__doc__.strip().splitlines()[0]}")
        return 0
    if args.name is not None and args.name not in available:
        raise UserError(f"{args.name!r} is not a benchmark; there are {', '.join(available)}")
    results: dict[str, list[dict[str, Any]]] = {}
    for name in [args.name] if args.name else available:
        figures = _measure(name)
        results[name] = figures
        if not args.json:
            print_table(
                name,
                ("figure", "measured", "unit", "aim", "reached"),
                ((f["figure"], f["value"], f["unit"], f.get("aim"), _reached(f)) for f in figures),
            )
    if args.json:
        print_json(results)
    return 0


def _load(name: str) -> Any:
    # The benchmarks import one another's parts as the package `benchmarks` of the repository.
    if str(FOLDER.parent) not in sys.path:
        sys.path.insert(0, str(FOLDER.parent))
    try:
        return importlib.import_module(f"benchmarks.bench_{name}")
    except ModuleNotFoundError as error:
        raise UserError(_missing(name, error)) from error


def _measure(name: str) -> list[dict[str, Any]]:
    """Figures of a benchmark: `figure`, `value`, `unit` and, where one is aimed at, `aim` such as `>= 3`."""
    try:
        return [dict(figure) for figure in _load(name).measure()]
    except ModuleNotFoundError as error:
        raise UserError(_missing(name, error)) from error


def _missing(name: str, error: ModuleNotFoundError) -> str:
    return (
        f"benchmark {name} needs {error.name}; make bench installs it, or pip install -c constraints.txt -e '.[bench]'"
    )


def _reached(figure: Mapping[str, Any]) -> str:
    if figure.get("aim") is None:
        return "-"
    comparison, bound = str(figure["aim"]).split()
    value = float(figure["value"])
    return "yes" if (value >= float(bound) if comparison == ">=" else value <= float(bound)) else "no"
