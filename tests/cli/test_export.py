"""`gnnrl export`: the log of a training as CSV and as Parquet; mistakes are named and leave no file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet
import pytest

from gnnrl.cli.main import main


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [{"step": 100 * k, "train/reward": k / 3, **({"eval/p99": 1.5 * k} if k % 2 else {})} for k in range(1, 6)]
    (folder / "training.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_csv_and_parquet_hold_the_same(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {suffix: tmp_path / "deep" / f"t.{suffix}" for suffix in ("csv", "parquet")}
    for suffix, path in files.items():
        assert main(["export", str(run), f"--{suffix}", str(path)]) == 0
        assert f"{path}: 5 steps, 2 series" in capsys.readouterr().out
    columns = pyarrow.parquet.read_table(files["parquet"]).to_pydict()
    assert columns["train/reward"] == [k / 3 for k in range(1, 6)]
    assert columns["eval/p99"] == [1.5, None, 4.5, None, 7.5]
    with files["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(columns)
    for name, values in columns.items():
        assert [float(row[name]) if row[name] else None for row in rows] == values


def test_columns_are_chosen_by_pattern(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    assert main(["export", str(run), "--csv", str(path), "--columns", "eval/*"]) == 0
    assert path.read_text().splitlines() == ["step,eval/p99", "100,1.5", "300,4.5", "500,7.5"]


def test_mistakes_are_named_and_leave_the_file_as_it_was(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text("before")
    monkeypatch.setattr("gnnrl.column_files.find_spec", lambda _: None)
    for arguments, message in (
        ([str(tmp_path), "--csv", str(path)], "has no training.jsonl"),
        ([str(run), "--csv", str(path), "--columns", "loss"], "no series matches 'loss'; there are train/reward"),
        (
            [str(run), "--parquet", str(path)],
            "Parquet needs pyarrow, which is not installed; pip install 'gnnrl[parquet]'",
        ),
    ):
        assert main(["export", *arguments]) == 2
        assert message in capsys.readouterr().err
        assert path.read_text() == "before"
    for arguments in ([str(run)], [str(run), "--csv", "a", "--parquet", "b"]):
        with pytest.raises(SystemExit):
            main(["export", *arguments])
