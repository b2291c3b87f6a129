"""A small training on LLM routing: the documented series, the KL to the clone of a router, and the temperature controller."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnnrl.config.experiment import EncoderConfig, PPOConfig, TemperatureConfig, TrainingConfig, WarmStartConfig
from gnnrl.config.llm_routing import LLMRoutingConfig, LLMRoutingExperiment
from gnnrl.domains.llm_routing.env import LLMRoutingVectorEnv
from gnnrl.domains.llm_routing.teachers import taught
from gnnrl.training import RunFolder, Trainer

PER_ROLLOUT = 8 * 16
TEACHER = "speed_weighted_outstanding"
SERIES = {
    "train/": (
        "reward policy_loss value_loss entropy approx_kl clip_fraction explained_variance grad_norm state_mean state_std "
        "action_entropy action_share_0 action_share_1 action_share_2 action_share_3"
    ),
    "llm_routing/": (
        "throughput mean_latency queue_length load_balance utilisation qps latency_s ttft_s illegal_actions reward_absolute "
        "reward_delta reward_balance reward_penalty"
    ),
}


def trained(path: Path, rollouts: int = 4, ppo: Any = None, **sections: Any) -> tuple[Trainer, list[dict[str, float]]]:
    """A short run, and what it logged after each update."""
    hyper = PPOConfig(rollout_length=16, chunk_length=8, minibatch_rows=64, credit="graph", normalise_reward=True)
    config = LLMRoutingExperiment(
        ppo=replace(hyper, **(ppo or {})),
        encoder=EncoderConfig(kind="gnn", hidden=16),
        environment=LLMRoutingConfig(scenarios=("B",), reward="hybrid", episode_requests=100),
        training=replace(
            TrainingConfig(total_steps=PER_ROLLOUT * rollouts, num_envs=8), **sections.pop("training", {})
        ),
        **sections,
    )
    env = LLMRoutingVectorEnv(8, config.environment, copy=False, staggered=True)
    trainer = Trainer(
        RunFolder.create(path, config),
        env,
        teacher=lambda observation: taught(TEACHER, observation),
        domain="llm_routing",
        progress=False,
    )
    trainer.run()
    lines = [json.loads(line) for line in (path / "training.jsonl").read_text().splitlines()]
    return trainer, [line for line in lines if line["step"] > 0]


def test_every_documented_series_is_logged(tmp_path: Path) -> None:
    _, lines = trained(tmp_path / "run")
    for prefix, names in SERIES.items():
        assert {prefix + name for name in names.split()} <= set(lines[-1])
    for line in lines:
        shares = [line[f"train/action_share_{slot}"] for slot in range(4)]
        assert sum(shares) == pytest.approx(1.0)
        assert line["train/action_entropy"] == pytest.approx(-sum(p * np.log(p) for p in shares if p > 0.0))
        assert abs(line["train/state_mean"]) < 1.0
        assert 0.5 < line["train/state_std"] < 2.0
        parts = [line[f"llm_routing/reward_{part}"] for part in ("absolute", "delta", "balance", "penalty")]
        assert line["train/reward"] == pytest.approx(sum(parts), rel=1e-6)
        assert "train/temperature" not in line
        assert "train/clone_kl" not in line
    assert 0.0 < lines[-1]["llm_routing/utilisation"] < 1.0
    assert 8.0 < np.mean([line["llm_routing/qps"] for line in lines]) < 30.0  # 13/s, and more over short windows


def test_the_pull_to_a_cloned_router_fades_linearly_and_is_logged_while_it_lasts(tmp_path: Path) -> None:
    warm = WarmStartConfig(teacher=TEACHER, clone_steps=256, clone_epochs=2, kl_coef=0.8, kl_steps=4 * PER_ROLLOUT)
    trainer, lines = trained(tmp_path / "run", rollouts=6, warm_start=warm)
    assert [line.get("train/clone_coef") for line in lines] == [pytest.approx(0.8 * (1 - i / 4)) for i in range(4)] + [
        None,
        None,
    ]
    distances = [line["train/clone_kl"] for line in lines[:4]]
    assert 0.0 < distances[0] < distances[-1] < 1.0
    assert all("train/clone_kl" not in line for line in lines[4:])
    assert trainer.agent.clone is not None


def test_the_controller_follows_the_clusters(tmp_path: Path) -> None:
    use = TemperatureConfig(enabled=True, throughput_target=13.0, latency_target=8.0)
    _, lines = trained(tmp_path / "run", ppo={"temperature": use})
    heat = [line["train/temperature"] for line in lines]
    assert all(0.8 <= value <= 3.0 for value in heat)
    assert len(set(heat)) == 4
    assert lines[0]["train/replay_error"] <= 1e-5


def test_random_steps_before_training_are_not_counted_and_come_before_the_clone(tmp_path: Path) -> None:
    warm = WarmStartConfig(teacher=TEACHER, clone_steps=256, clone_epochs=1)
    trainer, lines = trained(tmp_path / "run", 2, warm_start=warm, training={"stabilisation_steps": 300})
    assert [line["step"] for line in lines] == [PER_ROLLOUT, 2 * PER_ROLLOUT]
    # Three whole rollouts of random routing, the teacher's steps, and two rollouts of the policy.
    assert trainer.agent.scaler.count == 3 * PER_ROLLOUT + 256 + 2 * PER_ROLLOUT
