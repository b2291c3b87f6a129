"""`gnnrl train` and `gnnrl evaluate` from end to end, small: the run folder, resuming, comparing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gnnrl.cli.main import main

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
    assert set(found["scenarios"]["flash"]) == {"policy", "hpa_80", "static"}
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
    for name in ("policy", "hpa_80", "static"):
        assert name in table


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
