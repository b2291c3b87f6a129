"""Tables that somebody else's program wrote (CSV): one set of rules for every reader.

The header's names are stripped of blanks, and a column that is asked for stands there once. Commas, semicolons and tabs separate;
a byte order mark, empty lines and Excel's line `sep=;` are passed over; a row has as many values as the header. Rows are read one
at a time, so that a caller who wants ten of them reads ten.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from gnnrl.text_file import open_text

__all__ = ["Faults", "Table", "TableError", "finite_number", "open_table"]

DELIMITERS = (",", ";", "\t")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
"""Python's `float` would also take "1_000" and digits of other scripts."""


class TableError(ValueError):
    """A file that is no such table: says what and where, without the file's name."""


@dataclass(frozen=True)
class Table:
    """A table whose header has been read.

    Args:
        columns: names of the columns asked for.
        rows: (line, text of each column, stripped; None where a row ends before it); raises `TableError` and `UnicodeDecodeError` on
            the way.
    """

    columns: tuple[str, ...]
    rows: Iterator[tuple[int, tuple[str | None, ...]]]


@dataclass
class Faults:
    """What is wrong with rows: the first ones, and how many there are."""

    shown: int
    first: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.first) < self.shown:
            self.first.append(text)

    def listed(self) -> list[str]:
        """The first ones, and how many more there are."""
        more = self.count - len(self.first)
        return [*self.first, f"and {more} more"] if more else self.first


@contextmanager
def open_table(path: Path, *headers: Sequence[str]) -> Iterator[Table]:
    """Open a table that has all columns of one of the `headers`, the first that fits.

    Raises:
        TableError: there is no such header, one of its columns is there twice, a row has more values than it, or a quote is not closed.
        OSError: the file cannot be read.
        UnicodeDecodeError: it is no text.
    """
    with open_text(path) as text:
        first = _first_line(text)
        if "\0" in first:
            raise TableError("looks like UTF-16 or UTF-32 without a byte order mark; save it as UTF-8")
        delimiter, names, columns = _header(first, headers)
        rows = csv.reader(text, delimiter=delimiter, skipinitialspace=True, strict=True)
        before = first.skipped + 1
        yield Table(columns, _rows(rows, before, len(names), [names.index(name) for name in columns]))


class _Line(str):
    """A line and how many were passed over before it."""

    skipped = 0


def _first_line(text: TextIO) -> _Line:
    for skipped, line in enumerate(text):
        if line.strip() and not re.fullmatch(r"sep=.\s*", line):
            found = _Line(line)
            found.skipped = skipped
            return found
    return _Line("")


def _header(line: str, headers: Sequence[Sequence[str]]) -> tuple[str, list[str], tuple[str, ...]]:
    """(delimiter, names in the file, the columns asked for)."""
    split = {}
    for delimiter in DELIMITERS:
        cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
        split[delimiter] = [cell.strip() for cell in cells]
        for columns in headers:
            if set(columns) <= set(split[delimiter]):
                if twice := [name for name in columns if split[delimiter].count(name) > 1]:
                    raise TableError(f"column {', '.join(twice)} is there more than once; keep the one that is meant")
                return delimiter, split[delimiter], tuple(columns)
    most = max(split.values(), key=lambda names: sum(name in headers[0] for name in names))
    missing = ", ".join(name for name in headers[0] if name not in most)
    wanted = " or ".join(",".join(columns) for columns in headers)
    raise TableError(f"line 1: column {missing} is missing; the header must name {wanted}")


def _rows(
    reader: Iterator[list[str]], before: int, width: int, places: Sequence[int]
) -> Iterator[tuple[int, tuple[str | None, ...]]]:
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise TableError(f"line {before + reader.line_num}: {error}; is a quote not closed?") from error  # type: ignore[attr-defined]
        if not any(cell.strip() for cell in cells):
            continue
        line = before + reader.line_num  # type: ignore[attr-defined]
        if any(cell.strip() for cell in cells[width:]):
            raise TableError(
                f"line {line}: {len(cells)} values where the header names {width} columns; is a decimal comma among them? write 1.5"
            )
        yield line, tuple(cells[place].strip() if place < len(cells) else None for place in places)


def finite_number(text: str | None) -> float:
    """The number, as programs write it; NaN where it is none, or none that a double holds."""
    value = float(text) if text is not None and NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else math.nan
