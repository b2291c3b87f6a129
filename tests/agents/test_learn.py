"""`learn` on somebody's own environment: logs, a callback, evaluation, resumption, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from gnnrl.agents import PPO_GNN, CheckpointError, EvaluateEvery, TrainingInterrupted
from gnnrl.agents.iteration import Iteration
from gnnrl.config.experiment import EncoderConfig, PPOConfig
from graph_space import DynamicGraphConfig, DynamicGraphSpace
from tests.agents.small import small_agent
from tests.toy_mesh import ToyMesh

PER_ROLLOUT = 8 * 16
SIZES = DynamicGraphConfig(max_nodes=4, max_edges=4, node_feat_dim=2, edge_feat_dim=1, global_feat_dim=1, num_moves=2)


class Lamps(gymnasium.Env[Any, Any]):
    """Episodes of `length` steps, each worth 1, whatever is done; `length` follows from the seed."""

    def __init__(self, sizes: DynamicGraphConfig = SIZES) -> None:
        self.observation_space = DynamicGraphSpace(sizes)
        self.action_space = spaces.MultiDiscrete([sizes.num_moves] * sizes.max_nodes)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:  # noqa: ARG002
        super().reset(seed=seed)
        self.observation_space.codec.table.reset()
        self.length, self.steps = int(self.np_random.integers(2, 9)), 0
        return self._observe(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self.steps += 1
        return self._observe(), 1.0, self.steps == self.length, False, {"brightness": 2.0}

    def _observe(self) -> Any:
        names = ["hall", "stairs", "roof"][: 2 + self.steps % 2]
        features = self.np_random.normal(size=(len(names), 2))
        return self.observation_space.encode(names, features, [("hall", "stairs")], [[1.0]], [self.steps])[0]


def lamps(count: int = 4) -> SyncVectorEnv:
    return SyncVectorEnv([Lamps] * count)


def lamp_agent(env: VectorEnv) -> PPO_GNN:
    return PPO_GNN(
        env.single_observation_space,  # type: ignore[arg-type]
        env.single_action_space,
        config=PPOConfig(rollout_length=8, chunk_length=4, credit="graph"),
        encoder=EncoderConfig(hidden=8, memory_dim=4, message_dim=4, time_dim=2, heads=1),
    )


def weights(agent: PPO_GNN) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in agent.model.parameters()])


def logged(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()]


def test_it_logs_and_saves_as_the_trainer_does_and_calls_back(tmp_path: Path) -> None:
    env = ToyMesh()
    seen: list[int] = []

    def callback(agent: PPO_GNN, iteration: Iteration) -> dict[str, float]:
        assert not agent.training
        seen.append(iteration.steps)
        return {"eval/mine": iteration.steps / 2.0}

    agent = small_agent(env).learn(env, 3 * PER_ROLLOUT - 1, callback=callback, log_dir=tmp_path / "run")
    assert seen == [PER_ROLLOUT, 2 * PER_ROLLOUT, 3 * PER_ROLLOUT]
    lines = logged(tmp_path / "run")
    assert [line["step"] for line in lines if "train/reward" in line] == seen
    assert [line["eval/mine"] for line in lines if "eval/mine" in line] == [64.0, 128.0, 192.0]
    assert "env/violating_share" in lines[0]
    table = (tmp_path / "run" / "checkpoints.csv").read_text().splitlines()
    assert table[0] == "step,reward,mine"
    assert [row.split(",")[0] for row in table[1:]] == [str(steps) for steps in seen]
    assert torch.equal(weights(PPO_GNN.load(tmp_path / "run" / "checkpoint.pt")), weights(agent))
    assert (tmp_path / "run" / "tensorboard").is_dir()


def test_it_learns_the_same_with_and_without_a_folder(tmp_path: Path) -> None:
    env = ToyMesh()
    kept = small_agent(env).learn(env, 2 * PER_ROLLOUT, log_dir=tmp_path / "run")
    assert torch.equal(weights(kept), weights(small_agent(env).learn(ToyMesh(), 2 * PER_ROLLOUT)))


def test_a_callback_ends_it(tmp_path: Path) -> None:
    env = ToyMesh()
    small_agent(env).learn(
        env, 5 * PER_ROLLOUT, callback=lambda _, i: i.steps < 2 * PER_ROLLOUT, log_dir=tmp_path / "run"
    )
    assert (tmp_path / "run" / "checkpoints.csv").read_text().splitlines()[-1].startswith("256,")
    steps = []
    small_agent(env).learn(env, 5 * PER_ROLLOUT, callback=lambda _, i: bool(steps.append(i.steps)))
    assert steps == [PER_ROLLOUT]


def test_episodes_are_counted_whole() -> None:
    """Every step is worth 1, so that return and length are one number, and no episode is cut or joined with the next."""
    env = lamps()
    found: list[tuple[float, float]] = []

    def callback(_: PPO_GNN, iteration: Iteration) -> None:
        found.append((iteration.statistics["episode_return"], iteration.statistics["episode_length"]))

    lamp_agent(env).learn(env, 4 * 8 * 10, callback=callback)
    assert len(found) == 10
    assert all(returned == length for returned, length in found)
    assert 4.0 < np.mean(found) < 6.5  # lengths are uniform on 2..8; long episodes end less often within a rollout
    env = ToyMesh(length=3, end=0.0)
    small_agent(env).learn(env, PER_ROLLOUT, callback=lambda _, i: found.append((0.0, i.statistics["episode_length"])))
    assert found[-1][1] == 3.0


def test_evaluation_plays_as_many_whole_episodes_of_each_environment() -> None:
    env = lamps(3)
    agent = lamp_agent(env)
    for seed in (5, 50, 500):
        played = agent.evaluate(env, episodes=7, seed=seed)
        assert len(played.returns) == 9
        expected = []
        for index in range(3):
            single = Lamps()
            for episode in range(3):
                single.reset(seed=seed + index if episode == 0 else None)
                expected.append(single.length)
                for _ in range(single.length):
                    single.step(np.zeros(4, np.int64))
        assert played.lengths.tolist() == expected
        assert played.returns.tolist() == expected
    assert played.mean_return == np.mean(expected)
    assert played.standard_error == pytest.approx(np.std(expected, ddof=1) / 3.0)


def test_evaluation_draws_from_its_own_seed_and_leaves_the_agent_as_it_was() -> None:
    env, other = ToyMesh(), ToyMesh()
    agent = small_agent(env)
    first = agent.evaluate(other, 16, seed=3).returns
    assert np.array_equal(first, agent.evaluate(other, 16, seed=3).returns)
    assert not np.array_equal(first, agent.evaluate(other, 16, seed=4).returns)
    plain = small_agent(env).learn(ToyMesh(), 2 * PER_ROLLOUT)
    checked = small_agent(env).learn(ToyMesh(), 2 * PER_ROLLOUT, callback=EvaluateEvery(env=other, steps=1, episodes=8))
    assert torch.equal(weights(plain), weights(checked))


def test_it_goes_on_bit_for_bit_where_the_environment_can_be_saved(tmp_path: Path) -> None:
    whole = small_agent(ToyMesh()).learn(ToyMesh(), 4 * PER_ROLLOUT, log_dir=tmp_path / "whole")
    stopped, folder = ToyMesh(), tmp_path / "run"
    real, count = stopped.step, [0]

    def step(action: Any) -> Any:
        count[0] += 1
        if count[0] == 16 * 3 + 5:  # the third rollout, after the one that fills the statistics
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        return real(action)

    stopped.step = step  # type: ignore[method-assign]
    with pytest.raises(
        TrainingInterrupted, match=r"after 256 steps; .* agent\.learn\(env, 512, log_dir=.*, resume=True\)"
    ):
        small_agent(stopped).learn(stopped, 4 * PER_ROLLOUT, log_dir=folder, resume=True)
    resumed = small_agent(ToyMesh(), seed=0).learn(ToyMesh(), 4 * PER_ROLLOUT, log_dir=folder, resume=True)
    assert torch.equal(weights(resumed), weights(whole))
    with pytest.raises(CheckpointError, match=r"config\.clip was 0\.2, is 0\.1"):
        small_agent(ToyMesh(), clip=0.1).learn(ToyMesh(), 4 * PER_ROLLOUT, log_dir=folder, resume=True)
    with pytest.raises(CheckpointError, match="total_steps was 512, is 256"):
        small_agent(ToyMesh()).learn(ToyMesh(), 2 * PER_ROLLOUT, log_dir=folder, resume=True)
    longer = small_agent(ToyMesh()).learn(ToyMesh(), 5 * PER_ROLLOUT, log_dir=folder, resume=True)
    assert not torch.equal(weights(longer), weights(whole))
    assert [line["step"] for line in logged(folder)] == [PER_ROLLOUT * (i + 1) for i in range(5)]


def test_without_that_it_goes_on_with_new_episodes_and_says_so(tmp_path: Path) -> None:
    env = lamps()
    before = lamp_agent(env).learn(env, 64, log_dir=tmp_path / "run", resume=True)
    agent = lamp_agent(env)
    with pytest.warns(UserWarning, match="SyncVectorEnv has no state_dict.*new episodes begin here"):
        agent.learn(env, 64, log_dir=tmp_path / "run", resume=True)
    assert torch.equal(weights(agent), weights(before))
    seeds = []
    real = env.reset
    env.reset = lambda **options: seeds.append(options["seed"]) or real(**options)  # type: ignore[method-assign]
    for steps in (96, 128):
        with pytest.warns(UserWarning, match="new episodes"):
            agent.learn(env, steps, log_dir=tmp_path / "run", resume=True)
    assert len(seeds) == 2
    # Neither the episodes of the beginning again, nor those of the resumption before.
    assert len({agent.seed, *seeds}) == 3
    assert [line["step"] for line in logged(tmp_path / "run")] == [32, 64, 96, 128]
    able = ToyMesh()
    small_agent(able).learn(able, PER_ROLLOUT, log_dir=tmp_path / "able")

    class Forgetful(ToyMesh):
        state_dict = property()

    with pytest.raises(CheckpointError, match=r"environment that could be saved, this one \(Forgetful\) cannot"):
        small_agent(able).learn(Forgetful(), PER_ROLLOUT, log_dir=tmp_path / "able", resume=True)


def test_environments_in_processes_of_their_own(tmp_path: Path) -> None:
    env = AsyncVectorEnv([Lamps, Lamps])
    try:
        lamp_agent(env).learn(env, 32, log_dir=tmp_path / "run")
    finally:
        env.close()
    assert logged(tmp_path / "run")[-1]["env/brightness"] == 2.0


@pytest.mark.parametrize(
    ("steps", "error", "said"),
    [
        (-5, ValueError, "total_steps=-5 is not above 0"),
        (0, ValueError, "total_steps=0 is not above 0"),
        (1e6, TypeError, r"total_steps=1000000.0 is not a whole number; .* 1_000_000"),
        (True, TypeError, "total_steps=True is not a whole number"),
        ("64", TypeError, "total_steps='64' is not a whole number"),
        (None, TypeError, "total_steps=None is not a whole number"),
        (float("nan"), TypeError, "is not a whole number"),
    ],
)
def test_numbers_of_steps_that_are_none(steps: Any, error: type[Exception], said: str, tmp_path: Path) -> None:
    env = lamps()
    with pytest.raises(error, match=said):
        lamp_agent(env).learn(env, steps, log_dir=tmp_path / "run")
    with pytest.raises(error, match=said.replace("total_steps", "episodes")):
        lamp_agent(env).evaluate(env, steps)
    assert not (tmp_path / "run").exists()


def test_environments_that_do_not_fit(tmp_path: Path) -> None:
    env = lamps()
    agent = lamp_agent(env)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (Lamps(), TypeError, "env is a single environment; a vector environment is needed, such as .*SyncVectorEnv"),
        ("CartPole-v1", TypeError, "env is a str; a vector environment is needed"),
        (gymnasium.make_vec("CartPole-v1", 2, "sync"), ValueError, "no DynamicGraphSpace: it has no nodes, edge_index"),
        (ToyMesh(), ValueError, r"nodes is \[6, 4\], the agent's \[4, 2\]; .*make the agent with env"),
        (ToyMesh(mode="select"), ValueError, "mode is select, the agent's joint"),
        (
            SyncVectorEnv([Lamps], autoreset_mode=AutoresetMode.SAME_STEP),
            ValueError,
            "autoreset_mode is .*SAME_STEP; training needs AutoresetMode.NEXT_STEP, as in SyncVectorEnv",
        ),
    ]
    for other, error, said in wrong:
        with pytest.raises(error, match=said):
            agent.learn(other, 64, log_dir=tmp_path / "run")
        with pytest.raises(error, match=said):
            agent.evaluate(other, 4)


def test_folders_that_do_not_do(tmp_path: Path) -> None:
    env = lamps()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match=r"log_dir .*file: is a file; name a folder"):
        lamp_agent(env).learn(env, 32, log_dir=tmp_path / "file")
    with pytest.raises(FileExistsError, match="is not empty; go on with the training in it by resume=True"):
        lamp_agent(env).learn(env, 32, log_dir=tmp_path)
    with pytest.raises(ValueError, match="resume=True needs log_dir="):
        lamp_agent(env).learn(env, 32, resume=True)
    with pytest.raises(TypeError, match="callback is 3; a function"):
        lamp_agent(env).learn(env, 32, callback=3)  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class SplitLamps(Lamps):
    """Two steps long, and its reward is split over the nodes."""

    splits = True

    def step(self, action: Any) -> Any:
        observation, reward, _, truncated, _ = super().step(action)
        split = np.array([1.0, 0.0, 0.0, 0.0], np.float32)
        return observation, reward, self.steps == 2, truncated, {"node_reward": split} if self.splits else {}


class UnsplitLamps(SplitLamps):
    splits = False


def node_agent(env: VectorEnv) -> PPO_GNN:
    return PPO_GNN(
        env.single_observation_space,  # type: ignore[arg-type]
        env.single_action_space,
        encoder=EncoderConfig(kind="gnn", hidden=8),
        config=PPOConfig(rollout_length=6, chunk_length=6, epochs=1, credit="node"),
    )


def test_a_step_that_only_begins_episodes_needs_no_split_of_its_reward() -> None:
    env = SyncVectorEnv([SplitLamps] * 2)
    agent = node_agent(env)
    assert agent.learn(env, 12).evaluate(env, 2).mean_return == 2.0
    for lamps_of in ([UnsplitLamps] * 2, [SplitLamps, UnsplitLamps]):
        with pytest.raises(ValueError, match="credit is 'node', but the environment gives no"):
            agent.learn(SyncVectorEnv(lamps_of), 12)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (0, 1.0, "reward of shape"),
        (0, np.ones((2, 1)), "reward of shape"),
        (0, np.array(["1", "2"]), "expected numbers"),
        (0, np.array([None, 1.0]), "expected numbers"),
        (0, np.array([np.nan, 1.0]), "not finite"),
        (1, np.array([0, 1]), "terminated of dtype int64"),
        (1, np.array([0.0, 1.0]), "terminated of dtype float64"),
        (2, None, "truncated of dtype object"),
        (2, False, "truncated of dtype bool"),
    ],
)
def test_what_a_vector_environment_answers_is_judged(place: int, value: Any, words: str) -> None:
    class Odd(SyncVectorEnv):
        def step(self, actions: Any) -> Any:
            observation, *answer, infos = super().step(actions)
            answer[place] = value
            return observation, *answer, infos

    env = Odd([Lamps] * 2)
    agent = lamp_agent(env)
    with pytest.raises(ValueError, match=words):
        agent.learn(env, 64)
    if words != "not finite":
        with pytest.raises(ValueError, match=words):
            agent.evaluate(env, 2)


@pytest.mark.parametrize(
    "answer",
    [
        3,
        "stop",
        [1.0],
        {"a": "x"},
        {"a": None},
        {1: 2.0},
        {"a\n": 1.0},
        {"a": np.ones(2)},
        {"": 1.0},
        {"eval/step": 5.0},
    ],
)
def test_a_callback_that_returns_something_else_is_told_so(answer: Any, tmp_path: Path) -> None:
    env = lamps(2)
    with pytest.raises(TypeError, match="the callback returned"):
        lamp_agent(env).learn(env, 64, callback=lambda *_: answer, log_dir=tmp_path / "run")


def test_numbers_of_numpy_and_torch_are_logged_and_end_a_training(tmp_path: Path) -> None:
    env = lamps(2)

    def callback(_: PPO_GNN, iteration: Iteration) -> Any:
        if iteration.steps >= np.int64(64):
            return np.False_
        return {"a": np.float32(0.5), "b": torch.tensor(2), "c": np.array(3)}

    lamp_agent(env).learn(env, 10_000, callback=callback, log_dir=tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_text().splitlines()]
    assert next([row[name] for name in "abc"] for row in rows if "a" in row) == [0.5, 2.0, 3.0]
    assert max(row["step"] for row in rows) < 1_000


def test_checkpoints_every_0_steps_is_no_number_of_steps() -> None:
    env = lamps(2)
    with pytest.raises(ValueError, match="checkpoint_every_steps=0 is not above 0"):
        lamp_agent(env).learn(env, 64, checkpoint_every_steps=0)
