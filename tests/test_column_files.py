"""Tables of columns as files: the same in both formats, whole or not at all."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from gnnrl.column_files import ParquetMissingError, write_csv, write_parquet

TABLE: dict[str, list[Any]] = {
    "step": [1, 2, 3],
    "loss": [0.1 + 0.2, None, -1e-300],
    "name": ["a,b", 'quo"ted', "line\nbreak"],
}
BOTH = pytest.mark.parametrize("write", [write_csv, write_parquet])


def test_csv_holds_the_table_to_the_last_bit(tmp_path: Path) -> None:
    write_csv(tmp_path / "new" / "t.csv", TABLE)
    with (tmp_path / "new" / "t.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(TABLE)
    found = [[int(row[0]), None if row[1] == "" else float(row[1]), row[2]] for row in rows]
    assert found == [list(row) for row in zip(*TABLE.values(), strict=True)]


def test_parquet_holds_the_table_with_its_types(tmp_path: Path) -> None:
    write_parquet(tmp_path / "new" / "t.parquet", TABLE)
    table = pyarrow.parquet.read_table(tmp_path / "new" / "t.parquet")
    assert table.to_pydict() == TABLE
    assert table.schema.types == [pyarrow.int64(), pyarrow.float64(), pyarrow.string()]
    assert table.column("loss").null_count == 1


@BOTH
def test_what_fails_half_way_leaves_what_was_there(write: Callable[..., None], tmp_path: Path) -> None:
    """The second column is shorter: CSV finds out after the first row was written."""
    path = tmp_path / "t"
    path.write_text("before")
    with pytest.raises(ValueError):
        write(path, {"a": [1, 2], "b": [3]})
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@BOTH
def test_a_table_takes_the_place_of_another(write: Callable[..., None], tmp_path: Path) -> None:
    for values in ([1, 2, 3], [4]):
        write(tmp_path / "t", {"a": values})
    other = tmp_path / "other"
    write(other, {"a": [4]})
    assert (tmp_path / "t").read_bytes() == other.read_bytes()


def test_parquet_needs_its_extra_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnnrl.column_files.find_spec", lambda _: None)
    with pytest.raises(ParquetMissingError, match=r"t\.parquet: Parquet needs pyarrow.*gnnrl\[parquet\].*CSV"):
        write_parquet(tmp_path / "t.parquet", TABLE)
    assert not list(tmp_path.iterdir())
