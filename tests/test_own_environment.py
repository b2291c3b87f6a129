"""The program of docs/own_environment.md works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from graph_space import check_observation

PAGE = (Path(__file__).parents[1] / "docs" / "own_environment.md").read_text(encoding="utf-8")
CODE = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)[0]


def program(steps: str) -> str:
    assert "40_000" in CODE
    assert "steps=10_000" in CODE
    return CODE.replace("40_000", steps).replace("steps=10_000", "steps=512").replace("progress=True, ", "")


def test_it_is_short() -> None:
    assert len([line for line in CODE.splitlines() if line.strip()]) < 60


def test_it_makes_trains_evaluates_and_saves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(program("1_024"), "docs/own_environment.md", "exec"), names)
    assert capsys.readouterr().out.startswith("untrained -")
    from gnnrl import PPO_GNN

    others = names["others"]
    assert PPO_GNN.load("plant.pt").evaluate(others, 8).mean_return < 0.0  # type: ignore[arg-type]
    run = tmp_path / "runs" / "plant"
    logged = (run / "training.jsonl").read_text()
    assert logged.count('"train/policy_loss"') == 4
    assert logged.count('"eval/return"') == 2
    assert (run / "checkpoint.pt").is_file()
    # Run again it has nothing to do, and says the same.
    exec(compile(program("1_024"), "docs/own_environment.md", "exec"), names)
    assert (run / "training.jsonl").read_text() == logged


def test_its_environment_is_a_sound_one() -> None:
    names: dict[str, object] = {}
    exec(compile(CODE[: CODE.index("envs, others")], "docs/own_environment.md", "exec"), names)
    env = names["Plant"]()  # type: ignore[operator]
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    seen = set()
    for _ in range(47):
        check_observation(observation, env.observation_space.config)
        seen |= set(env.heat)
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(reward)
        assert not (terminated or truncated)
    assert env.step(env.action_space.sample())[3]
    assert len(seen) > 4
