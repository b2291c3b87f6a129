"""Tables as columns of equal length, to CSV or Parquet. None is a value that is not there: empty in CSV, null in Parquet."""

from __future__ import annotations

import csv
import errno
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from gnnrl.whole_file import STDOUT, whole_file

__all__ = ["ParquetMissingError", "require_pyarrow", "write_csv", "write_parquet"]

Columns = Mapping[str, Sequence[Any]]


class ParquetMissingError(Exception):
    """Parquet was asked for and pyarrow is not installed."""


def require_pyarrow(path: Path) -> None:
    """Checks that Parquet can be written, before the work of which `path` is to hold the result.

    Raises:
        ParquetMissingError: pyarrow is not installed.
        OSError: it is standard output, which takes text alone.
    """
    if path == STDOUT:
        raise OSError(errno.EINVAL, "Parquet is no text for standard output; name a file, or write CSV", str(path))
    if find_spec("pyarrow") is None:
        raise ParquetMissingError(
            f"{path}: Parquet needs pyarrow, which is not installed; pip install 'gnnrl[parquet]', or write CSV"
        )


def write_csv(path: Path, columns: Columns) -> None:
    """Writes a header and a line a row, whole or not at all; to standard output, if `path` is `-`.

    Raises:
        ValueError: the columns are not of one length.
        OSError: the file cannot be written.
    """
    if path == STDOUT:
        _write_rows(sys.stdout, columns)
        return
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        _write_rows(file, columns)


def _write_rows(file: TextIO, columns: Columns) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))


def write_parquet(path: Path, columns: Columns) -> None:
    """Writes the same as Parquet, whole or not at all.

    Raises:
        ParquetMissingError: pyarrow is not installed.
        ValueError: the columns are not of one length.
        OSError: the file cannot be written.
    """
    require_pyarrow(path)
    arrow, parquet = (import_module(name) for name in ("pyarrow", "pyarrow.parquet"))
    table = arrow.table({name: list(values) for name, values in columns.items()})
    with whole_file(path) as temporary:
        parquet.write_table(table, temporary)
