"""A run can be read from its folder alone, and is not continued as something else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from gnnrl.agents.archive import write_archive
from gnnrl.config.experiment import ExperimentConfig, PPOConfig
from gnnrl.config.loader import ConfigError
from gnnrl.training import run_folder
from gnnrl.training.run_folder import RunError, RunFolder

CONFIG = ExperimentConfig(name="test", ppo=PPOConfig(clip=0.15, learning_rate=1e-7))


def at_step(steps: int, pending: object = None) -> dict[str, object]:
    """As much of a saved training as tells how far it is."""
    return {"agent_state": None, "training": {"steps": steps, "prepared": 0, "pending": pending, "newest": {}}}


def test_a_run_reopens_with_an_equal_configuration_by_folder_or_checkpoint(tmp_path: Path) -> None:
    made = RunFolder.create(tmp_path / "runs" / "a", CONFIG)
    made.checkpoint.touch()
    for path in (made.path, made.checkpoint):
        opened = RunFolder.open(path)
        assert opened.config == CONFIG
        assert opened.path == made.path
        assert opened.revision["gnnrl"] == made.revision["gnnrl"]


def test_a_folder_with_something_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunError, match="already and not empty; choose another --out"):
        RunFolder.create(tmp_path, CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_folder_with_a_run_says_how_far_it_is_and_how_to_go_on(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a run", CONFIG)
    with pytest.raises(
        RunError, match=r"step 0 of 1,000,000; go on with gnnrl train '.*config.yaml' --resume '.*a run'"
    ):
        RunFolder.create(run.path, CONFIG)
    write_archive(run.checkpoint, at_step(4096))
    with pytest.raises(RunError, match="a run that has come to step 4,096 of 1,000,000"):
        RunFolder.create(run.path, CONFIG)
    write_archive(run.checkpoint, at_step(1_000_448))
    with pytest.raises(RunError, match=r"a finished run of 1,000,448 steps; .* --extend STEPS"):
        RunFolder.create(run.path, CONFIG)
    # Its last validation was cut off: that is still to be done.
    pending = {"steps": 1_000_448, "new_steps": 4096, "statistics": {}, "metrics": {}}
    write_archive(run.checkpoint, at_step(1_000_448, pending))
    assert not RunFolder.open(run.path).finished
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="file: is a file"):
        RunFolder.create(tmp_path / "file", CONFIG)


def test_an_extended_run_is_longer_by_whole_steps_from_where_it_stands(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a", CONFIG)
    write_archive(run.checkpoint, at_step(1_000_448))
    longer = run.extended(5000)
    # Whole rollouts had gone beyond what was asked for: the extension begins there.
    assert longer.config.training.total_steps == 1_005_448
    assert RunFolder.open(run.path).config == longer.config
    assert not longer.finished


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run"):
        RunFolder.open(tmp_path / "none")
    with pytest.raises(RunError, match=r"has no config\.yaml"):
        RunFolder.open(tmp_path)
    RunFolder.create(tmp_path / "a", CONFIG)
    (tmp_path / "a" / "config.yaml").write_text("name: half")
    with pytest.raises(ConfigError, match="ppo: missing"):
        RunFolder.open(tmp_path / "a")


def test_another_configuration_is_refused_with_every_difference(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "a", CONFIG)
    run.require_same(CONFIG)
    other = dataclasses.replace(CONFIG, seed=1, ppo=dataclasses.replace(CONFIG.ppo, clip=0.2))
    with pytest.raises(RunError) as caught:
        run.require_same(other)
    assert "seed: 0 in the run, 1 asked for" in str(caught.value)
    assert "ppo.clip: 0.15 in the run, 0.2 asked for" in str(caught.value)
    assert "learning_rate" not in str(caught.value)


def test_another_revision_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clean = {"revision": "a" * 40, "modified": False, "gnnrl": "0.1.0"}
    monkeypatch.setattr(run_folder, "code_revision", lambda: clean)
    run = RunFolder.create(tmp_path / "a", CONFIG)
    assert json.loads((run.path / "revision.json").read_text()) == clean
    assert RunFolder.open(run.path).revision_warning() is None
    for change, said in (
        ({"revision": "b" * 40}, "at aaaaaaaaaaaa, this is"),
        ({"modified": True}, "uncommitted changes"),
    ):
        monkeypatch.setattr(run_folder, "code_revision", lambda change=change: {**clean, **change})
        assert said in str(RunFolder.open(run.path).revision_warning())
    (run.path / "revision.json").unlink()
    assert "unknown revision" in str(RunFolder.open(run.path).revision_warning())
