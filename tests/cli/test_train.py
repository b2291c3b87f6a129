"""`gnnrl train` and `gnnrl evaluate` from end to end, small: the run folder, resuming, comparing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gnnrl.agents import PPO_GNN
from gnnrl.agents.archive import read_archive
from gnnrl.agents.learning import Learning
from gnnrl.cli.main import main
from gnnrl.training import RunFolder

ROOT = Path(__file__).parents[2]
DEMO = str(ROOT / "configs" / "demo.yaml")
SMALL = [
    argument
    for override in (
        "training.num_envs=4",
        "training.total_steps=512",
        "training.checkpoint_every_steps=64",
        "ppo.rollout_length=16",
        "ppo.chunk_length=8",
        "environment.episode_decisions=20",
        "encoder.hidden=16",
        "warm_start.clone_steps=64",
        "warm_start.clone_epochs=1",
        "evaluation.seeds=2",
        "evaluation.against=[hpa_80, static]",
        "evaluation.workloads=[diurnal]",
    )
    for argument in ("--set", override)
]


def losses(run: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (run / "training.jsonl").read_text().splitlines()]
    return [(row["step"], row["train/policy_loss"]) for row in rows if "train/policy_loss" in row]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "small"
    assert main(["train", DEMO, "--out", str(run), *SMALL, "--set", "training.evaluate_every_steps=64"]) == 0
    return run


def test_a_run_holds_what_it_takes_to_read_it_alone(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(trained / "config.yaml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["encoder"]["hidden"] == 16
    assert {path.name for path in trained.iterdir()} >= {"config.yaml", "revision.json", "checkpoint.pt", "tensorboard"}
    assert [step for step, _ in losses(trained)] == list(range(64, 513, 64))
    assert any("eval/objective" in line for line in (trained / "training.jsonl").read_text().splitlines())


def test_a_run_is_not_overwritten_nor_resumed_as_something_else(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    assert main(["train", DEMO, "--out", str(trained), *SMALL]) == 2
    assert f"--resume {trained}" in capsys.readouterr().err
    assert main(["train", str(trained / "config.yaml"), "--resume", str(trained), "--set", "ppo.clip=0.11"]) == 2
    assert "ppo.clip: 0.2 in the run, 0.11 asked for" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before


def test_bad_input_leaves_no_run_folder_behind(tmp_path: Path) -> None:
    assert main(["train", DEMO, "--out", str(tmp_path / "run"), "--set", "ppo.clip=2"]) == 2
    assert main(["train", DEMO, "--out", str(tmp_path / "run"), "--set", "environment.mesh=[none.yaml]"]) == 2
    assert main(["train", DEMO, "--resume", str(tmp_path / "run")]) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_trained_run_is_compared(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "evaluation.json"
    assert main(["evaluate", str(trained), "--workload", "flash", "--json", str(out)]) == 0
    table = capsys.readouterr().out
    found = json.loads(out.read_text())
    assert list(found["scenarios"]["flash"]) == ["policy", "clone", "teacher", "hpa_80", "static"]
    for metrics in found["scenarios"]["flash"].values():
        for name in (
            "replica_seconds",
            "violating_share",
            "latency_p50_ms",
            "latency_p99_ms",
            "scale_moves",
            "objective",
        ):
            assert metrics[name]["ci95"][0] <= metrics[name]["mean"] <= metrics[name]["ci95"][1]
    # Ten services can be scaled; static sets each once, at the start.
    assert found["scenarios"]["flash"]["static"]["scale_moves"]["mean"] <= 10.0
    for name in ("policy", "clone", "teacher", "hpa_80", "static"):
        assert name in table
    # What is printed is what the document holds, to the letter, its first line who costs less.
    assert table.splitlines()[0] == found["summary"]["headline"] != ""
    words = " ".join(table.split())
    assert "1 training seed of 512 steps" in words
    for printed in found["summary"]["tables"]:
        assert printed["title"] in table
        for row in printed["rows"]:
            assert " ".join(" ".join(row).split()) in words


def test_the_clone_is_the_policy_before_it_learned(trained: Path) -> None:
    clone, policy = (PPO_GNN.load(trained / name) for name in ("clone.pt", "checkpoint.pt"))
    assert clone.progress == 0.0 < policy.progress
    moved = [not a.equal(b) for a, b in zip(clone.model.parameters(), policy.model.parameters(), strict=True)]
    assert any(moved)
    assert clone.scaler.count > 0.0


def test_runs_of_one_experiment_stand_together(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "seed1"
    assert (
        main(
            ["train", DEMO, "--out", str(other), *SMALL, "--set", "seed=1", "--set", "training.evaluate_every_steps=64"]
        )
        == 0
    )
    capsys.readouterr()
    assert main(["evaluate", str(trained), "--beside", str(other), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["scenarios"]["diurnal"]
    assert list(rows) == ["policy", "seed1", "demo, 2 runs", "clone", "teacher", "hpa_80", "static"]
    one, two, both = (rows[name]["objective"] for name in ("policy", "seed1", "demo, 2 runs"))
    assert both["mean"] == pytest.approx((one["mean"] + two["mean"]) / 2)
    assert both["ci95"][1] - both["mean"] == pytest.approx(12.706 * abs(one["mean"] - two["mean"]) / 2)
    assert found["training"] == {"row": "demo, 2 runs", "seeds": 2}
    assert found["beside"]["seed1"]["seed"] == 1
    assert "2 training seeds of 512 steps" in found["summary"]["caption"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{trained}", "--beside", "{trained}"], "small is there twice"),
        (["{trained}", "--beside", "nowhere"], "nowhere: no such run or checkpoint"),
        (["--policy", "hpa_80", "--beside", "{trained}"], "--beside: stands beside a trained policy"),
        (
            ["{trained}", "--beside", "{shown}"],
            "environment.telemetry is 'exact', not 'kiali': policies that are shown",
        ),
    ],
)
def test_what_cannot_stand_beside_a_run(
    arguments: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = tmp_path / "shown"
    shown.mkdir()
    text = (trained / "config.yaml").read_text()
    assert "telemetry: kiali" in text
    (shown / "config.yaml").write_text(text.replace("telemetry: kiali", "telemetry: exact"))
    given = [argument.format(trained=trained, shown=shown) for argument in arguments]
    assert main(["evaluate", *given]) == 2
    assert message in capsys.readouterr().err


def test_a_checkpoint_that_is_damaged_is_a_users_error(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_bytes((trained / "config.yaml").read_bytes())
    (tmp_path / "checkpoint.pt").write_bytes((trained / "checkpoint.pt").read_bytes()[:1000])
    assert main(["evaluate", str(tmp_path)]) == 2
    assert "checkpoint.pt" in capsys.readouterr().err


def test_ctrl_c_saves_and_the_printed_command_goes_on_to_the_same_end(trained: Path, tmp_path: Path) -> None:
    """The interrupted and resumed run ends with the losses of the uninterrupted one, bit for bit."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "gnnrl", "train", DEMO, "--out", str(run), *SMALL]
    process = subprocess.Popen(
        [*command, "--set", "training.evaluate_every_steps=64"],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    log = run / "training.jsonl"
    while not (log.exists() and log.stat().st_size) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    advice = next(line for line in said.splitlines() if "gnnrl train" in line)
    arguments = advice.partition("gnnrl train ")[2].split()
    assert main(["train", *arguments]) == 0
    assert losses(run) == losses(trained)


def test_sigterm_saves_and_says_so_with_its_exit_code(trained: Path, tmp_path: Path) -> None:
    """As Kubernetes, Slurm and spot machines end a job; the same command with --resume DIR alone goes on."""
    run = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "gnnrl",
        "train",
        DEMO,
        "--out",
        str(run),
        *SMALL,
        "--set",
        "training.evaluate_every_steps=64",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if "64 of 512 steps (12 %), reward " in line:
            break
    os.killpg(process.pid, signal.SIGTERM)
    said.append(process.communicate(timeout=120)[1])
    assert process.returncode == 143, said
    told = "".join(said)
    assert "interrupted by SIGTERM after " in told
    assert "Traceback" not in told
    steps = read_archive(run / "checkpoint.pt")["training"]["steps"]
    assert steps >= max(step for step, _ in losses(run))
    again = subprocess.run(
        [sys.executable, "-m", "gnnrl", "train", "--resume", str(run)], stderr=subprocess.PIPE, text=True, check=True
    )
    assert f"resuming {run} from step {steps:,} of 512\n" in again.stderr
    assert losses(run) == losses(trained)


def test_a_finished_run_is_extended_and_the_extension_is_resumed_like_any_run(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for run in (whole, stopped):
        shutil.copytree(trained, run)
    assert main(["train", "--resume", str(whole)]) == 0
    assert f"{whole}: is finished, 512 steps; --extend STEPS trains it longer" in capsys.readouterr().out
    assert main(["train", "--resume", str(whole), "--extend", "128"]) == 0
    assert f"resuming {whole} from step 512 of 640" in capsys.readouterr().err
    assert RunFolder.open(whole).config.training.total_steps == 640
    assert losses(whole)[:8] == losses(trained)
    assert [step for step, _ in losses(whole)] == list(range(64, 641, 64))
    rows = [json.loads(line) for line in (whole / "training.jsonl").read_text().splitlines()]
    rates = {row["step"]: row["train/learning_rate"] for row in rows if "train/learning_rate" in row}
    config = RunFolder.open(whole).config
    # Linear to 0 over the whole, from where it stands: 1/8 of 512 was left at the last update before, 1/5 of 640 after.
    assert config.ppo.learning_rate_schedule == "linear"
    assert rates[512] == pytest.approx(config.ppo.learning_rate / 8)
    assert rates[576] == pytest.approx(config.ppo.learning_rate / 5)

    real = Learning._write
    monkeypatch.setattr(Learning, "_write", lambda learning: os.kill(os.getpid(), signal.SIGTERM) or real(learning))
    assert main(["train", "--resume", str(stopped), "--extend", "128"]) == 143
    monkeypatch.undo()
    assert main(["train", "--resume", str(stopped), "--extend", "128"]) == 2
    assert "has come to step 576 of 640; only a finished run is extended" in capsys.readouterr().err
    assert main(["train", str(stopped / "config.yaml"), "--resume", str(stopped)]) == 0
    assert losses(stopped) == losses(whole)


def test_several_seeds_are_trained_in_a_row_and_taken_up_where_they_were_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "runs" / "mine"
    command = ["train", DEMO, *SMALL, "--set", "training.total_steps=128", "--seeds", "3"]
    real, calls = Learning._write, []

    def write(learning: Learning) -> Path:
        calls.append(learning.steps)
        if len(calls) == 3:  # of two a run
            os.kill(os.getpid(), signal.SIGTERM)
        return real(learning)

    monkeypatch.setattr(Learning, "_write", write)
    assert main([*command, "--out", str(base)]) == 143
    monkeypatch.undo()
    said = capsys.readouterr().err
    assert f"Go on with: gnnrl train {base}_seed0/config.yaml --seeds 3 --resume {base}" in said
    assert not (tmp_path / "runs" / "mine_seed2").exists()
    finished = (tmp_path / "runs" / "mine_seed0" / "training.jsonl").stat().st_mtime_ns
    assert main([*command, "--out", str(base)]) == 2
    assert "mine_seed0: holds a finished run" in capsys.readouterr().err
    assert main(["train", f"{base}_seed0/config.yaml", "--seeds", "3", "--resume", str(base)]) == 0
    printed, said = capsys.readouterr()
    assert (tmp_path / "runs" / "mine_seed0" / "training.jsonl").stat().st_mtime_ns == finished
    assert f"resuming {base}_seed1 from step 64 of 128" in said
    assert f"gnnrl evaluate {base}_seed0 --beside {base}_seed1 {base}_seed2 --report {base}.html" in printed
    assert "mine_seed2" in printed
    assert "128" in printed
    runs = [tmp_path / "runs" / f"mine_seed{seed}" for seed in range(3)]
    assert [RunFolder.open(run).config.seed for run in runs] == [0, 1, 2]
    alone = tmp_path / "alone"
    assert main([*command[:-2], "--out", str(alone), "--set", "seed=1"]) == 0
    assert losses(runs[1]) == losses(alone) != losses(runs[0])


def test_what_does_not_go_together_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        ([DEMO, "--extend", "5"], "--extend goes with --resume DIR"),
        ([DEMO, "--resume", "r", "--extend", "5", "--seeds", "2"], "one at a time"),
        ([DEMO, "--seeds", "0"], "--seeds 0: is not above 0"),
        (["--resume", "r", "--extend", "-5"], "--extend -5: is not above 0"),
        (["--resume", str(tmp_path / "none")], "no such run"),
    ):
        assert main(["train", *arguments]) == 2
        assert said in capsys.readouterr().err
    only = "name a CONFIG, such as configs/demo.yaml; only --resume DIR has its own"
    again = "name the CONFIG again: --seeds goes on in r_seed0 and so on"
    for arguments, said in (([], only), (["--seeds", "2"], only), (["--seeds", "2", "--resume", "r"], again)):
        with pytest.raises(SystemExit, match="2"):
            main(["train", *arguments])
        assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_training_that_diverges_ends_in_one_line_and_saves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["train", DEMO, "--out", str(run), *SMALL, "--set", "ppo.learning_rate=1e9"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    # The warm start's steps are twice as large.
    assert told.startswith("training diverged after 0 environment steps at learning rate 2e+09: ")
    assert not (run / "checkpoint.pt").exists()
