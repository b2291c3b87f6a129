"""A training's log as a table: a row a step, a column a series, nothing invented where nothing was logged."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet
import pytest

from gnnrl.logs import RunLog
from gnnrl.training import MetricsExporter, RunFolder
from gnnrl.training.run_folder import RunError
from tests.training.small import small_config

LINES = [
    {"step": 0, "clone/loss": 0.5},
    {"step": 64, "train/reward": -1.0, "train/kl": 0.25},
    {"step": 128, "train/reward": 2},
    {"step": 128, "eval/latency": 3.5},
    {"step": 192, "train/reward": 4.0, "train/kl": 0.125},
]


def logged(folder: Path, text: str = "".join(json.dumps(line) + "\n" for line in LINES)) -> Path:
    (folder / "training.jsonl").write_text(text)
    return folder


def test_a_step_is_a_row_and_a_series_a_column(tmp_path: Path) -> None:
    exporter = MetricsExporter(logged(tmp_path))
    assert exporter.series == ["clone/loss", "train/reward", "train/kl", "eval/latency"]
    assert exporter.columns() == {
        "step": [0, 64, 128, 192],
        "clone/loss": [0.5, None, None, None],
        "train/reward": [None, -1.0, 2.0, 4.0],
        "train/kl": [None, 0.25, None, 0.125],
        "eval/latency": [None, None, 3.5, None],
    }


def test_patterns_choose_series_and_the_steps_that_have_them(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").touch()
    exporter = MetricsExporter(logged(tmp_path) / "checkpoint.pt")
    assert exporter.columns(["eval/*", "train/kl"]) == {
        "step": [64, 128, 192],
        "train/kl": [0.25, None, 0.125],
        "eval/latency": [None, 3.5, None],
    }
    with pytest.raises(RunError, match=r"no series matches 'reward'; there are clone/loss, train/reward"):
        exporter.columns(["train/*", "reward"])


def test_both_files_hold_the_table(tmp_path: Path) -> None:
    exporter = MetricsExporter(logged(tmp_path))
    exporter.write_csv(tmp_path / "t.csv", ["train/*"])
    assert (tmp_path / "t.csv").read_text().splitlines() == [
        "step,train/reward,train/kl", "64,-1.0,0.25", "128,2.0,", "192,4.0,0.125",
    ]  # fmt: skip
    exporter.write_parquet(tmp_path / "t.parquet")
    assert pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pydict() == exporter.columns()


def test_what_a_run_logs_is_what_is_exported(tmp_path: Path) -> None:
    """Values to the last bit; one that is not finite is a gap."""
    run = RunFolder.create(tmp_path / "run", small_config(1))
    log = RunLog(run.path)
    log.scalars(10, {"train/a": 0.1 + 0.2, "train/b": float("nan")})
    log.scalars(20, {"train/a": float("inf"), "train/b": 1e-12})
    log.close()
    assert MetricsExporter(run.path).columns() == {
        "step": [10, 20], "train/a": [0.1 + 0.2, None], "train/b": [None, 1e-12],
    }  # fmt: skip


@pytest.mark.parametrize("half", ['{"step": 9, "tra', '{"step"', '{"step": 9, "train/reward": 1.0'])
def test_a_line_that_is_being_written_is_not_there_yet(tmp_path: Path, half: str) -> None:
    exporter = MetricsExporter(logged(tmp_path, '{"step": 1, "a": 2.0}\n' + half))
    assert exporter.columns() == {"step": [1], "a": [2.0]}


@pytest.mark.parametrize(
    "bad", ["", "{", "[]", '"text"', '{"a": 1.0}', '{"step": null, "a": 1.0}', '{"step": 2, "a": "x"}']
)
def test_a_damaged_line_is_named(tmp_path: Path, bad: str) -> None:
    with pytest.raises(RunError, match=r"training\.jsonl: line 2 is no logged step"):
        MetricsExporter(logged(tmp_path, f'{{"step": 1, "a": 2.0}}\n{bad}\n{{"step": 3, "a": 2.0}}\n'))


def test_a_folder_without_a_log_is_refused_and_an_empty_log_is_an_empty_table(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"has no training\.jsonl; name the folder of a run"):
        MetricsExporter(tmp_path)
    for place in (tmp_path / "nowhere", tmp_path / "nowhere" / "checkpoint.pt"):
        with pytest.raises(RunError, match="no such run or checkpoint"):
            MetricsExporter(place)
    with pytest.raises(RunError, match="there are none"):
        MetricsExporter(logged(tmp_path, "")).columns()
    # A mistyped checkpoint of a run that is there is not taken for the run.
    with pytest.raises(RunError, match=r"chekpoint\.pt: no such run or checkpoint"):
        MetricsExporter(logged(tmp_path) / "chekpoint.pt")
