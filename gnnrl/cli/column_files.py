"""Columns of equal length to CSV or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gnnrl.cli.arguments import UserError

__all__ = ["require_pyarrow", "write_csv", "write_parquet"]


def require_pyarrow(path: Path) -> None:
    """Checks that Parquet can be written, before the work of which `path` is to hold the result.

    Raises:
        UserError: pyarrow is not installed.
    """
    if find_spec("pyarrow") is None:
        raise UserError(f"{path}: Parquet needs pyarrow, which is not installed; pip install pyarrow, or write CSV")


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """A header and a line a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def write_parquet(path: Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """The same as Parquet; `require_pyarrow` first."""
    import importlib

    arrow, parquet = (importlib.import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.table(dict(columns)), path)
