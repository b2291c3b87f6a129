"""Wherever a signal comes, the training ends at once, is saved, and goes on as if nothing had been."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gnnrl.agents import CheckpointError, TrainingInterrupted
from gnnrl.agents.interruption import Interrupted, Interruption
from gnnrl.agents.learning import Learning
from gnnrl.config.experiment import WarmStartConfig
from gnnrl.training import RunFolder, Trainer
from tests.toy_mesh import ToyMesh
from tests.training.small import PER_ROLLOUT, small_config

pytestmark = pytest.mark.filterwarnings("ignore:.*the continuation may differ")

STUCK_SECONDS = 20.0


def kill(number: int = signal.SIGTERM) -> None:
    """A signal, and then work that would take too long."""
    os.kill(os.getpid(), number)
    time.sleep(STUCK_SECONDS)
    raise AssertionError("not interrupted")


def everything() -> Any:
    """All phases: random statistics, cloning, rollouts, validation."""
    config = small_config(3)
    return replace(
        config,
        warm_start=WarmStartConfig(
            teacher="toy", clone_steps=128, clone_epochs=2, kl_coef=0.5, kl_steps=10 * PER_ROLLOUT
        ),
        training=replace(config.training, stabilisation_steps=128, evaluate_every_steps=PER_ROLLOUT),
    )


class Phases:
    """Who calls `at` in which phase, so that a test can strike there."""

    def __init__(self) -> None:
        self.strike: Callable[[], None] | None = None
        self.calls: dict[str, int] = {}
        self.when = ("", 0)

    def at(self, phase: str) -> None:
        self.calls[phase] = self.calls.get(phase, 0) + 1
        if self.strike is not None and self.when == (phase, self.calls[phase]):
            strike, self.strike = self.strike, None
            strike()


def trainer_in(folder: Path, phases: Phases, *, resume: bool = False) -> Trainer:
    run = RunFolder.open(folder) if resume else RunFolder.create(folder, everything())

    class Env(ToyMesh):
        def step(self, action: Any) -> Any:
            phases.at("step")
            return super().step(action)

    def teacher(obs: Any) -> Any:
        phases.at("teacher")
        return np.zeros(obs["node_mask"].shape, int)

    def validation(agent: Any) -> dict[str, float]:
        # Draws with the agent's own generator: what is played twice must have been drawn alike.
        obs, _ = ToyMesh(num_envs=8).reset(seed=9)
        value = float(agent.act(obs)[0].sum())
        phases.at("validation")
        return {"moves": value}

    trainer = Trainer(run, Env(num_envs=8, recall=True), teacher=teacher, validation=validation, progress=False)
    real = trainer.agent.learner.apply

    def apply(gradients: Any) -> float:
        norm = real(gradients)
        phases.at("update")
        return norm

    trainer.agent.learner.apply = apply  # type: ignore[method-assign]
    return trainer


def kept(folder: Path) -> tuple[torch.Tensor, list[Any], str]:
    """Weights, logs but for speeds, table."""
    from gnnrl.agents import PPO_GNN

    weights = torch.cat([p.detach().flatten() for p in PPO_GNN.load(folder / "checkpoint.pt").model.parameters()])
    lines = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]
    logged: list[Any] = [
        {k: v for k, v in line.items() if k not in ("train/steps_per_second", "train/replay_error")} for line in lines
    ]
    return weights, logged, (folder / "checkpoints.csv").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    torch.set_num_threads(1)
    phases = Phases()
    folder = tmp_path_factory.mktemp("runs") / "whole"
    trainer_in(folder, phases).run()
    return folder, phases.calls


@pytest.mark.parametrize(
    ("phase", "share", "saved"),
    [
        ("step", 0.0, None),  # statistics: the very first step
        ("teacher", 0.5, 0),
        ("update", 0.02, 0),  # cloning
        ("step", 0.4, 0),
        ("update", 0.5, 1),
        ("validation", 0.0, 1),
        ("validation", 1.0, 3),
        ("update", 1.0, 2),  # the last optimiser step of all
    ],
)
def test_a_signal_in_any_phase_costs_no_more_than_the_rollout_in_progress(
    whole: tuple[Path, dict[str, int]], tmp_path: Path, phase: str, share: float, saved: int | None
) -> None:
    folder, calls = whole
    phases = Phases()
    phases.when = (phase, 1 + round(share * (calls[phase] - 1)))
    phases.strike = kill
    trainer = trainer_in(tmp_path / "run", phases)
    with pytest.raises(TrainingInterrupted, match="interrupted by SIGTERM") as caught:
        trainer.run()
    assert caught.value.exit_code == 143
    assert caught.value.steps == (saved or 0) * PER_ROLLOUT
    assert (tmp_path / "run" / "checkpoint.pt").exists() == (saved is not None) == (caught.value.checkpoint is not None)
    trainer_in(tmp_path / "run", Phases(), resume=True).run(resume=True)
    for ours, theirs in zip(kept(tmp_path / "run"), kept(folder), strict=True):
        assert torch.equal(ours, theirs) if isinstance(ours, torch.Tensor) else ours == theirs


def test_a_row_after_the_resumption_says_what_was_validated_before_it(tmp_path: Path) -> None:
    """Checkpoints after the second and fourth rollout, validation after the third, a signal in the fourth."""
    config = small_config(4)
    config = replace(config, training=replace(config.training, evaluate_every_steps=3 * PER_ROLLOUT))

    def trainer(resume: bool = False) -> Trainer:
        run = RunFolder.open(tmp_path / "run") if resume else RunFolder.create(tmp_path / "run", config)
        return Trainer(run, ToyMesh(num_envs=8, recall=True), validation=lambda _: {"moves": 7.0}, progress=False)

    stopped = trainer()
    real = stopped.collector.collect
    stopped.collector.collect = lambda agent: kill() if stopped.steps == 3 * PER_ROLLOUT else real(agent)  # type: ignore[method-assign,func-returns-value,return-value]
    with pytest.raises(TrainingInterrupted):
        stopped.run()
    trainer(resume=True).run(resume=True)
    rows = [row.split(",") for row in (tmp_path / "run" / "checkpoints.csv").read_text().splitlines()]
    assert [(row[0], row[2]) for row in rows] == [("step", "moves"), ("256", ""), ("512", "7")]


def test_a_signal_while_a_checkpoint_is_written_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = trainer_in(tmp_path / "run", Phases())
    real = Learning._write
    wrote = []

    def write(learning: Learning) -> Path:
        if not wrote:
            os.kill(os.getpid(), signal.SIGTERM)
        wrote.append(learning.steps)
        return real(learning)

    monkeypatch.setattr(Learning, "_write", write)
    with pytest.raises(TrainingInterrupted, match="after 256 steps"):
        trainer.run()
    assert wrote == [256, 256]


def test_a_signal_after_the_last_update_changes_nothing_but_is_told(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path / "run", Phases())
    real = trainer.learning._write

    def write() -> Path:
        if trainer.steps == 3 * PER_ROLLOUT:
            os.kill(os.getpid(), signal.SIGTERM)
        return real()

    trainer.learning._write = write  # type: ignore[method-assign]
    trainer.run()
    assert trainer.steps == 3 * PER_ROLLOUT
    assert trainer.signal == signal.SIGTERM


def test_environments_that_die_of_the_same_signal_do_not_cost_the_checkpoint(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path / "run", Phases())
    real = trainer.collector.collect

    def collect(agent: Any) -> Any:
        if trainer.steps == 2 * PER_ROLLOUT:
            trainer.learning._signals.number = signal.SIGTERM
            raise EOFError("a worker's pipe is closed")
        return real(agent)

    trainer.collector.collect = collect  # type: ignore[method-assign]
    with pytest.raises(TrainingInterrupted, match="after 256 steps"):
        trainer.run()
    broken = trainer_in(tmp_path / "other", Phases())
    broken.collector.collect = lambda agent: (
        real(agent) if broken.steps == 0 else (_ for _ in ()).throw(EOFError("dead"))
    )  # type: ignore[method-assign]
    with pytest.raises(EOFError, match="dead"):
        broken.run()


def test_a_full_disk_keeps_the_old_checkpoint_and_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = trainer_in(tmp_path / "run", Phases())
    real = os.fsync

    def full(descriptor: int) -> None:
        if trainer.steps == 3 * PER_ROLLOUT:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        CheckpointError, match=r"No space left on device.*is kept. Make room, then go on with: gnnrl train .* --resume"
    ):
        trainer.run()
    monkeypatch.undo()
    assert RunFolder.open(tmp_path / "run").steps == 2 * PER_ROLLOUT
    assert not list((tmp_path / "run").glob(".*partial"))


def test_hang_up_counts_unless_it_is_ignored_and_all_is_put_back() -> None:
    started_with = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, under which tests may run, has it ignored
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    with pytest.raises(Interrupted), Interruption() as interruption, interruption.at_once():
        kill(signal.SIGHUP)
    assert {number: signal.getsignal(number) for number in usual} == usual
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as interruption, interruption.at_once():
            os.kill(os.getpid(), signal.SIGHUP)
            assert interruption.number is None
    finally:
        signal.signal(signal.SIGHUP, started_with)


def test_a_signal_outside_work_that_may_stop_is_obeyed_at_its_next_beginning() -> None:
    with Interruption() as interruption:
        os.kill(os.getpid(), signal.SIGTERM)
        reached = True
        with pytest.raises(Interrupted), interruption.at_once():
            reached = False
        assert reached


def test_a_run_that_lost_its_only_checkpoint_is_not_begun_anew(tmp_path: Path) -> None:
    trainer_in(tmp_path / "run", Phases()).run()
    (tmp_path / "run" / "checkpoint.pt").unlink()
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        trainer_in(tmp_path / "run", Phases(), resume=True).run(resume=True)
