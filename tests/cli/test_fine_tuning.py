"""`gnnrl train --from`: it starts from the policy's weights, says whether that helped, and keeps the better one."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gnnrl import pretrained
from gnnrl.agents import PPO_GNN
from gnnrl.agents.archive import read_archive, write_archive
from gnnrl.cli.main import main
from gnnrl.config.live import LiveConfig
from gnnrl.config.loader import dump_config
from gnnrl.domains.autoscaling.mesh_file import save_mesh
from gnnrl.domains.autoscaling.random_mesh import random_mesh
from gnnrl.evaluation import fine_tuning
from gnnrl.evaluation.fine_tuning import Verdict, conclude
from gnnrl.evaluation.statistics import Interval, relative_saving
from gnnrl.live.policies import load_run
from gnnrl.pretrained import FOLDER
from gnnrl.training import RunFolder
from gnnrl.training.fine_tuning import short_experiment
from gnnrl.training.pretrained_policy import PretrainedPolicy
from tests.tiny_policy import tiny_policy, tiny_run

PER_ROLLOUT = 64
QUICK = ["--set", "training.checkpoint_every_steps=64"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny")


@pytest.fixture(autouse=True)
def shipped(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if the tiny policy came with the package; and a verdict rests on few episodes."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    shutil.copy(FOLDER / "fine_tuning.yaml", folder)
    monkeypatch.setattr(pretrained, "FOLDER", folder)
    monkeypatch.setattr(conclude, "__defaults__", (2,))
    return tiny_policy(run, folder / "generalist.safetensors")


@pytest.fixture
def mesh(tmp_path: Path) -> Path:
    save_mesh(random_mesh(24, seed=3), tmp_path / "shop.yaml")
    return tmp_path / "shop.yaml"


def test_on_a_mesh_of_ones_own_it_starts_from_the_weights_and_says_what_came_of_it(
    mesh: Path, shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--from", "generalist", "--mesh", "shop.yaml", "--steps", "64", *QUICK]) == 0
    out, err = capsys.readouterr()
    folder = RunFolder.open(tmp_path / "runs" / "generalist_shop")
    config = folder.config
    assert config.environment.mesh == (str(mesh),) and config.environment.max_nodes >= 25
    assert config.training.total_steps == 64 and config.warm_start.teacher == "" and config.ppo.learning_rate == 5e-4
    assert folder.start.read_bytes() == shipped.read_bytes()
    assert (
        "starting from the weights and statistics in runs/generalist_shop/start.safetensors" in err.replace("\n", "")
        and "cloning" not in err
    )
    verdict = json.loads(folder.fine_tuning.read_text())
    assert verdict["start"] == "tiny" and verdict["episodes"] == 8 and verdict["steps"] == 64
    assert out.splitlines()[-1].startswith(f"{folder.path.relative_to(tmp_path)}: fine-tuned for 64 steps, J is ")
    assert folder.best == folder.path / "best.pt"
    # What plays it plays what was kept.
    agent, _ = load_run(folder.path, LiveConfig())
    kept = PPO_GNN.load(folder.checkpoint) if verdict["kept"] == "fine_tuned" else PretrainedPolicy.open(shipped).agent
    for name, weight in kept.model.state_dict().items():
        assert weight.equal(agent.model.state_dict()[name]), name
    assert agent.max_nodes == config.environment.max_nodes
    assert main(["evaluate", str(folder.path), "--workload", "diurnal", "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)["scenarios"]["diurnal"]
    assert set(found) == {"policy", "tiny", "hpa_80"}, "whom it began from stands beside it"


def test_the_first_rollout_is_played_by_the_pretrained_policy(
    run: Path, mesh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began: list[PPO_GNN] = []
    collect = PPO_GNN.update

    def noting(agent: PPO_GNN, *arguments: object) -> dict[str, float]:
        if not began:
            began.append(agent)
            theirs = PPO_GNN.load(run / "checkpoint.pt")
            for name, weight in theirs.model.state_dict().items():
                assert weight.equal(agent.model.state_dict()[name]), name
            for key, part in theirs.scaler.state_dict().items():
                np.testing.assert_array_equal(part["mean"], agent.scaler.state_dict()[key]["mean"])
            assert agent.return_scale.deviation == theirs.return_scale.deviation
            assert agent.learner.learning_rate == 5e-4
        return collect(agent, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(PPO_GNN, "update", noting)
    arguments = ["train", "--from", "generalist", "--mesh", str(mesh), "--steps", "64", "--out", str(tmp_path / "r")]
    assert main([*arguments, *QUICK]) == 0
    assert began


@pytest.fixture(scope="module")
def ended(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fine-tuning that has come to its end, before anything was said of it."""
    folder = tmp_path_factory.mktemp("tuned")
    policy = PretrainedPolicy.open(tiny_policy(run, folder / "tiny.safetensors"))
    made = RunFolder.create(folder / "run", policy.config, policy.path)
    shutil.copy(run / "checkpoint.pt", made.checkpoint)
    return made.path


@pytest.mark.parametrize(
    ("factor", "kept", "said"),
    [
        (0.9, "fine_tuned", "-10.0 % [-10.0, -10.0] on 8 validation episodes, paired: it helped, and is kept"),
        (1.1, "tiny", "+10.0 % [+10.0, +10.0] on 8 validation episodes, paired: it made it worse: tiny is kept"),
        (1.0, "tiny", "paired: no gain that could be told from none: tiny is kept"),
    ],
)
def test_the_better_one_is_kept(
    factor: float, kept: str, said: str, ended: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ended, tmp_path / "run")
    folder = RunFolder.open(tmp_path / "run")
    tree = read_archive(folder.checkpoint)
    start = PretrainedPolicy.open(folder.start).agent.model.state_dict()
    tuned = tree["agent_state"]["model"] = {name: weight + 1.0 for name, weight in start.items()}
    write_archive(folder.checkpoint, tree)
    costs = iter((factor * np.arange(100.0, 108.0), np.arange(100.0, 108.0)))
    monkeypatch.setattr(fine_tuning, "play", lambda *_, **__: SimpleNamespace(metrics={"objective": next(costs)}))
    verdict = conclude(folder)
    assert verdict.to_json()["kept"] == kept and said in str(verdict)
    assert json.loads(folder.fine_tuning.read_text()) == verdict.to_json()
    best = PPO_GNN.load(folder.best).model.state_dict()
    for name, weight in (tuned if kept == "fine_tuned" else start).items():
        assert weight.equal(best[name]), name


def test_both_are_played_on_the_same_episodes(ended: Path, tmp_path: Path) -> None:
    """The checkpoint is the start here: not a single cost differs."""
    shutil.copytree(ended, tmp_path / "run")
    verdict = conclude(RunFolder.open(tmp_path / "run"))
    assert verdict.objective == verdict.start_objective and verdict.saving == Interval(0.0, 0.0, 0.0)
    assert not verdict.helped and "no gain that could be told from none: tiny is kept" in str(verdict)


def test_a_gain_counts_where_its_interval_does() -> None:
    reference = np.full(16, 100.0)
    for costs, helped in ((reference * 0.95, True), (reference + np.tile([-30.0, 28.0], 8), False)):
        saving = relative_saving(costs, reference)
        verdict = Verdict(start="x", steps=1, episodes=16, objective=1.0, start_objective=1.0, saving=saving)
        assert saving.mean > 0.0 and verdict.helped is helped


def test_what_was_not_said_is_said_when_it_is_gone_on_with(
    ended: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ended, tmp_path / "run")
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert "is finished, 64 steps" in (out := capsys.readouterr().out) and "tiny is kept" in out
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert "kept" not in capsys.readouterr().out, "once is enough"
    assert main(["train", "--resume", str(tmp_path / "run"), "--extend", "64"]) == 0
    assert "fine-tuned for 128 steps" in capsys.readouterr().out


def test_another_network_is_refused_by_its_fields(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text(dump_config(PretrainedPolicy.open(shipped).config))
    arguments = ["train", str(config), "--from", "generalist", "--out", str(tmp_path / "run")]
    changes = ["--set", "encoder.hidden=32", "--set", "environment.node_columns=extended", "--set", "ppo.credit=graph"]
    assert main([*arguments, *changes]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{shipped}: cannot be trained further as another network",
        "  encoder.hidden: 16 in generalist, 32 asked for",
        "  environment.node_columns: 'history' in generalist, 'extended' asked for",
        "  ppo.credit: 'node' in generalist, 'graph' asked for",
        "set these to what generalist has",
    ]
    assert not (tmp_path / "run").exists()
    # A teacher of the configuration has no part in it.
    assert main([*arguments, "--set", "warm_start.teacher=feed_forward_estimated", *QUICK]) == 0
    assert RunFolder.open(tmp_path / "run").config.warm_start.teacher == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--from generalist", "--from generalist: on what? give --mesh FILE, or a CONFIG"),
        ("--from generalst --mesh shop.yaml", "generalst: no pretrained policy of this name; there is generalist"),
        ("--from generalist --mesh none.yaml", "--mesh: environment.mesh: none.yaml: "),
        ("--from generalist --mesh shop.yaml --steps 0", "--steps 0: is not above 0"),
        ("--from generalist --mesh shop.yaml --steps 3", "--steps: training.total_steps: 3 "),
        ("--from generalist --mesh shop.yaml --set ppo.clip=2", "--set ppo.clip=2: ppo.clip: 2 is not in (0, 1)"),
        ("--from generalist --mesh shop.yaml --seeds 2", "--from trains one run at a time"),
        ("--from generalist --resume runs/x", "--from begins a run; --resume DIR goes on with one"),
        ("mine.yaml --mesh shop.yaml", "--mesh goes with --from NAME"),
        ("mine.yaml --steps 5", "--steps goes with --from NAME"),
        ("none.yaml --from generalist", "none.yaml: cannot be read"),
    ],
)  # fmt: skip
def test_what_cannot_be_fine_tuned(
    arguments: str, message: str, mesh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(mesh.parent)
    assert main(["train", *arguments.split()]) == 2
    assert message in capsys.readouterr().err
    assert not (mesh.parent / "runs").exists()


def test_the_short_experiment_is_short_and_its_policys_own(shipped: Path) -> None:
    policy = PretrainedPolicy.open(shipped)
    short = short_experiment(policy)
    assert short.training.total_steps == 163_840 and short.ppo.learning_rate < 2e-3
    assert (short.environment, short.encoder) == (policy.config.environment, policy.config.encoder)
    assert short.ppo == replace(
        policy.config.ppo,
        learning_rate=5e-4,
        entropy_coef=0.003,
        entropy_coef_final=0.0,
        learning_rate_schedule="linear",
    )
