"""Measure speed. A benchmark is a file `benchmarks/bench_NAME.py` of the repository with a function `measure()`."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterable, Mapping
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
    available = {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}
    if not available:
        raise UserError(f"{FOLDER}: no benchmarks here; they are part of the repository, run this from a clone of it")
    if args.list:
        for name, path in available.items():
            print(f"{name}: {_load(path).__doc__.strip().splitlines()[0]}")
        return 0
    if args.name is not None and args.name not in available:
        raise UserError(f"{args.name!r} is not a benchmark; there are {', '.join(available)}")
    results: dict[str, list[dict[str, Any]]] = {}
    for name in [args.name] if args.name else available:
        figures = [dict(figure) for figure in _measure(available[name])]
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


def _load(path: Path) -> Any:
    if str(FOLDER.parent) not in sys.path:
        sys.path.append(str(FOLDER.parent))  # a benchmark may import its neighbours as `benchmarks.x`
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _measure(path: Path) -> Iterable[Mapping[str, Any]]:
    """Figures of a benchmark: `figure`, `value`, `unit` and, where one is aimed at, `aim` such as `>= 3`."""
    try:
        figures: Iterable[Mapping[str, Any]] = _load(path).measure()
    except ModuleNotFoundError as error:
        raise UserError(f"{path.name} needs {error.name}: install the extra with pip install 'gnnrl[bench]'") from error
    return figures


def _reached(figure: Mapping[str, Any]) -> str:
    if figure.get("aim") is None:
        return "-"
    comparison, bound = str(figure["aim"]).split()
    value = float(figure["value"])
    return "yes" if (value >= float(bound) if comparison == ">=" else value <= float(bound)) else "no"
