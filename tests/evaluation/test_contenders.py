"""Rows of trained policies: what they are called, and which of them stand together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gnnrl.config.experiment import ExperimentConfig
from gnnrl.evaluation.contenders import Contender, contenders_of, over_runs, row_names, runs_together, who_is_who
from gnnrl.evaluation.statistics import Interval


class Nobody:
    """A policy that is never asked."""

    def act(self, *_: object, **__: object) -> tuple[object, object]:
        raise AssertionError


def contender(row: str, name: str, seed: int = 0) -> Contender[ExperimentConfig]:
    return Contender(name=row, policy=Nobody(), config=ExperimentConfig(name=name, seed=seed))  # type: ignore[arg-type]


def test_rows_have_as_much_of_the_path_as_tells_them_apart(tmp_path: Path) -> None:
    for name in ("a/seed0", "a/seed1", "b/seed0", "b/policy"):
        (tmp_path / name).mkdir(parents=True)
    checkpoint = tmp_path / "a" / "seed0" / "early.pt"
    checkpoint.touch()
    assert row_names([tmp_path / "a/seed0", tmp_path / "a/seed1"], ()) == ["seed0", "seed1"]
    assert row_names([tmp_path / "a/seed0", tmp_path / "b/seed0"], ()) == ["a/seed0", "b/seed0"]
    assert row_names([tmp_path / "b/policy"], ("policy",)) == ["b/policy"]
    assert row_names([tmp_path / "a/seed0", checkpoint], ()) == ["seed0", "seed0/early.pt"]
    with pytest.raises(ValueError, match="b/seed0 is there twice"):
        row_names([tmp_path / "b/seed0", tmp_path / "a/../b/seed0"], ())


def test_runs_of_one_name_stand_together_and_single_ones_do_not() -> None:
    config = ExperimentConfig(name="x")
    trained = contenders_of(config, Nobody(), [contender("one", "x", 1), contender("two", "y")])  # type: ignore[arg-type]
    assert list(trained) == ["policy", "one", "two"]
    assert runs_together(trained) == {"x, 2 runs": ("policy", "one")}
    assert contenders_of(config, None, []) == {}
    assert runs_together({}) == {}


def test_another_checkpoint_of_a_run_is_not_another_run() -> None:
    rows = [contender("early", "x"), contender("one", "x", 1), contender("early one", "x", 1), contender("late", "y")]
    trained = contenders_of(ExperimentConfig(name="x"), Nobody(), [*rows, contender("later", "y")])  # type: ignore[arg-type]
    assert runs_together(trained) == {"x, 2 runs": ("policy", "one")}


def test_a_run_of_other_settings_is_of_another_experiment_whatever_its_name() -> None:
    config = ExperimentConfig(name="x")
    longer = replace(config, seed=2, training=replace(config.training, total_steps=2_000_000))
    judged = replace(config, seed=3, evaluation=replace(config.evaluation, seeds=4))
    other = [Contender(name=str(c.seed), policy=Nobody(), config=c) for c in (longer, judged)]  # type: ignore[arg-type]
    assert runs_together(contenders_of(config, Nobody(), other)) == {"x, 2 runs": ("policy", "3")}  # type: ignore[arg-type]


def test_only_who_was_played_is_said_to_be_somebody() -> None:
    assert who_is_who(["random"], {}, {}) == {}
    found = who_is_who(["policy", "one"], {"one": ExperimentConfig(name="x", seed=3)}, {"x, 2 runs": ("policy", "one")})
    assert list(found) == ["policy", "one", "x, 2 runs"] and "x, seed 3" in found["one"]


@pytest.mark.parametrize("runs", [2, 3, 4])
def test_the_interval_over_few_runs_holds_the_truth_as_often_as_it_says(runs: int) -> None:
    drawn = np.random.default_rng(0).normal(size=(1000, runs))
    found = [over_runs([Interval(mean, mean, mean) for mean in row]) for row in drawn.tolist()]
    assert np.mean([interval.low <= 0.0 <= interval.high for interval in found]) > 0.93


def test_the_interval_over_runs_is_that_of_the_runs() -> None:
    """However sure each run is of itself: three that agree give a narrow one, three that do not a wide one."""
    alike = over_runs([Interval(mean, -9.0, 9.0) for mean in (1.0, 1.01, 0.99)])
    apart = over_runs([Interval(mean, mean, mean) for mean in (0.0, 1.0, 2.0)])
    assert alike.mean == pytest.approx(1.0) and alike.high - alike.low < 0.06
    assert apart.mean == pytest.approx(1.0) and apart.high - apart.low > 1.0
