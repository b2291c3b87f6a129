"""A row a checkpoint, whole at any moment, and as if never interrupted after a resumption."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gnnrl.logs import CheckpointTable
from gnnrl.training import RunFolder, Trainer
from tests.toy_mesh import ToyMesh
from tests.training.small import PER_ROLLOUT, small_config

pytestmark = pytest.mark.filterwarnings("ignore:.*the continuation may differ")


def rows_of(run: Path) -> list[dict[str, str]]:
    with (run / "checkpoints.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def trainer_in(folder: Path, *, resume: bool = False) -> Trainer:
    config = small_config(6)
    config = replace(config, training=replace(config.training, evaluate_every_steps=3 * PER_ROLLOUT))
    run = RunFolder.open(folder) if resume else RunFolder.create(folder, config)

    def validation(_: object) -> dict[str, float]:
        return {"mean_latency": trainer.steps / 100.0}

    trainer = Trainer(run, ToyMesh(num_envs=8), validation=validation, progress=False)
    return trainer


def test_a_row_a_checkpoint_with_the_newest_validation(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path / "whole")
    trainer.run()
    rows = rows_of(tmp_path / "whole")
    assert [int(row["step"]) for row in rows] == [2 * PER_ROLLOUT, 4 * PER_ROLLOUT, 6 * PER_ROLLOUT]
    assert list(rows[0]) == ["step", "reward", "mean_latency"]
    # The first checkpoint comes before the first validation.
    assert [row["mean_latency"] for row in rows] == ["", f"{3 * PER_ROLLOUT / 100}", f"{6 * PER_ROLLOUT / 100}"]
    assert not list((tmp_path / "whole").glob(".*partial"))


def test_a_resumed_run_ends_with_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer_in(tmp_path / "whole").run()
    stopped = trainer_in(tmp_path / "run")

    for expected in (2, 4):
        real = CheckpointTable.add

        def add_and_stop(table: CheckpointTable, step: int, real: Any = real) -> None:
            real(table, step)
            raise KeyboardInterrupt

        monkeypatch.setattr(CheckpointTable, "add", add_and_stop)
        with pytest.raises(KeyboardInterrupt):
            stopped.run(resume=expected == 4)
        assert [int(row["step"]) for row in rows_of(tmp_path / "run")][-1] == expected * PER_ROLLOUT
        monkeypatch.undo()
        stopped = trainer_in(tmp_path / "run", resume=True)
    stopped.run(resume=True)
    assert rows_of(tmp_path / "run") == rows_of(tmp_path / "whole")


def test_rows_after_the_checkpoint_that_is_resumed_are_dropped(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", small_config())
    table = CheckpointTable(run.path)
    for step in (10, 20, 30):
        table.note({"reward": float(step)})
        table.add(step)
    again = CheckpointTable(run.path, 20)
    again.add(25)
    assert [(row["step"], row["reward"]) for row in rows_of(run.path)] == [("10", "10"), ("20", "20"), ("25", "20")]
    CheckpointTable(run.path).add(5)
    assert rows_of(run.path) == [{"step": "5"}]
