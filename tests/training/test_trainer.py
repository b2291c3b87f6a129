import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.metadata import SESSION_START_INFO_TAG
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from gnnrl.agents import PPO_GNN, CheckpointError, interruption
from gnnrl.agents.archive import read_archive
from gnnrl.config.experiment import WarmStartConfig
from gnnrl.training import RunFolder, Trainer, TrainingInterrupted
from tests.toy_mesh import ToyMesh
from tests.training.small import PER_ROLLOUT, small_config, small_trainer

ROOT = Path(__file__).parents[2]
NAMES = {
    f"train/{name}"
    for name in [
        "reward",
        "episode_return",
        "episode_length",
        "policy_loss",
        "value_loss",
        "entropy",
        "approx_kl",
        "clip_fraction",
        "explained_variance",
        "grad_norm",
        "steps_per_second",
        "learning_rate",
        "state_drift",
        "optimiser_steps",
        "state_mean",
        "state_std",
        "action_entropy",
        "action_share_0",
        "action_share_1",
        "action_share_2",
    ]
}

pytestmark = pytest.mark.filterwarnings("ignore:.*the continuation may differ")


def weights(agent):
    return torch.cat([p.detach().flatten() for p in agent.model.parameters()])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    trainer = small_trainer(tmp_path_factory.mktemp("runs") / "whole")
    return trainer, trainer.run()


def test_a_run_leaves_checkpoint_logs_and_configuration(finished):
    trainer, agent = finished
    run = trainer.folder
    assert trainer.steps == 6 * PER_ROLLOUT
    assert RunFolder.open(run.path).config == small_config()
    lines = [json.loads(line) for line in (run.path / "training.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [PER_ROLLOUT * (i + 1) for i in range(6)]
    assert set(lines[-1]) == NAMES | {"step", "toy/violating_share"}
    assert lines[0]["train/replay_error"] <= 1e-5
    events = EventAccumulator(str(run.tensorboard)).Reload()
    assert set(events.Tags()["scalars"]) == NAMES | {"toy/violating_share", "train/replay_error"}
    assert [event.step for event in events.Scalars("train/reward")] == [line["step"] for line in lines]
    assert events.Scalars("train/reward")[3].value == pytest.approx(lines[3]["train/reward"])
    held = HParamsPluginData.FromString(events.SummaryMetadata(SESSION_START_INFO_TAG).plugin_data.content)
    assert held.session_start_info.hparams["ppo.gamma"].number_value == 0.9
    assert not agent.training


def test_a_training_checkpoint_is_also_an_agent(finished):
    trainer, agent = finished
    loaded = PPO_GNN.load(trainer.folder.checkpoint)
    assert torch.equal(weights(loaded), weights(agent))
    obs, _ = ToyMesh(num_envs=8).reset(seed=5)
    assert np.array_equal(loaded.act(obs, deterministic=True)[0], agent.act(obs, deterministic=True)[0])


def test_a_killed_process_goes_on_bit_for_bit(finished, tmp_path):
    folder = tmp_path / "killed"
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.small", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.pt").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert read_archive(folder / "checkpoint.pt")["training"]["steps"] < 6 * PER_ROLLOUT
    subprocess.run([*command, "--resume"], cwd=ROOT, check=True)
    resumed = PPO_GNN.load(folder / "checkpoint.pt")
    assert torch.equal(weights(resumed), weights(finished[1]))
    steps = [json.loads(line)["step"] for line in (folder / "training.jsonl").read_text().splitlines()]
    assert steps == [PER_ROLLOUT * (i + 1) for i in range(6)]


def test_ctrl_c_saves_the_last_update_at_once_and_says_how_to_go_on(finished, tmp_path):
    trainer = small_trainer(tmp_path / "run")
    real = trainer.collector.collect

    def interrupted(agent):
        if trainer.steps == 3 * PER_ROLLOUT:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        return real(agent)

    trainer.collector.collect = interrupted
    usual = signal.getsignal(signal.SIGINT)
    with pytest.raises(TrainingInterrupted, match=r"interrupted after 384 steps; .*--resume .*run"):
        trainer.run()
    assert signal.getsignal(signal.SIGINT) is usual
    resumed = small_trainer(tmp_path / "run", resume=True)
    assert torch.equal(weights(resumed.run(resume=True)), weights(finished[1]))


@pytest.mark.parametrize(("echo_seconds", "raised"), [(0.0, KeyboardInterrupt), (60.0, TrainingInterrupted)])
def test_a_second_ctrl_c_stops_at_once_but_an_echo_of_the_first_does_not(tmp_path, monkeypatch, echo_seconds, raised):
    trainer = small_trainer(tmp_path / "run")
    monkeypatch.setattr(interruption, "ECHO_SECONDS", echo_seconds)
    monkeypatch.setattr(trainer.learning, "_note", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    # The first one comes where the training may not stop, the second before it has.
    monkeypatch.setattr(trainer.learning, "_call_back", lambda *_: os.kill(os.getpid(), signal.SIGINT) or True)
    with pytest.raises(raised):
        trainer.run()


def test_a_checkpoint_in_mid_episode_gives_the_same_next_actions(finished):
    """Load into fresh objects and play on: the same actions and the same world."""
    trainer, agent = finished
    saved = trainer.collector.state_dict()
    assert (saved["env"]["steps"] > 0).any()
    other = small_trainer(trainer.folder.path, resume=True)
    other.learning._restored()
    obs, state, obs2, state2 = (
        trainer.collector.obs,
        trainer.collector.state,
        other.collector.obs,
        other.collector.state,
    )
    for _ in range(5):
        action, state = agent.act(obs, state)
        action2, state2 = other.agent.act(obs2, state2)
        assert np.array_equal(action, action2)
        assert torch.equal(state.memory, state2.memory)
        obs, reward, *_ = trainer.env.step(action)
        obs2, reward2, *_ = other.env.step(action2)
        assert np.array_equal(reward, reward2)


def test_another_configuration_is_refused(finished):
    trainer, _ = finished
    changed = replace(trainer.config, ppo=replace(trainer.config.ppo, clip=0.3))
    run = RunFolder(trainer.folder.path, changed, {})
    with pytest.raises(CheckpointError, match=r"ppo\.clip was 0\.2, is 0\.3"):
        Trainer(run, ToyMesh(num_envs=8), progress=False).run(resume=True)


def test_an_agent_alone_is_no_training_to_resume(finished, tmp_path):
    _, agent = finished
    run = RunFolder.create(tmp_path / "run", small_config())
    agent.save(run.checkpoint)
    with pytest.raises(CheckpointError, match="no training to resume"):
        Trainer(run, ToyMesh(num_envs=8), progress=False).run(resume=True)


def test_validation_is_logged_and_warm_start_needs_its_teacher(tmp_path):
    config = small_config(2)
    config = replace(config, training=replace(config.training, evaluate_every_steps=PER_ROLLOUT))
    run = RunFolder.create(tmp_path / "a", config)
    with pytest.raises(ValueError, match="no validation was given"):
        Trainer(run, ToyMesh(num_envs=8), progress=False)
    seen = []

    def validation(agent):
        assert not agent.training
        seen.append(1)
        return {"objective": float(len(seen))}

    Trainer(run, ToyMesh(num_envs=8), validation=validation, progress=False).run()
    lines = [json.loads(line) for line in (run.path / "training.jsonl").read_text().splitlines()]
    assert [line["eval/objective"] for line in lines if "eval/objective" in line] == [1.0, 2.0]
    assert [line["step"] for line in lines] == [PER_ROLLOUT, PER_ROLLOUT, 2 * PER_ROLLOUT, 2 * PER_ROLLOUT]
    run = RunFolder(run.path, replace(config, warm_start=WarmStartConfig(teacher="hpa_80")), {})
    with pytest.raises(ValueError, match="no teacher was given"):
        Trainer(run, ToyMesh(num_envs=8), validation=validation)


def test_a_resumed_run_does_not_clone_again(tmp_path):
    config = small_config(4)
    warm = WarmStartConfig(teacher="toy", clone_steps=128, clone_epochs=1, kl_coef=0.5, kl_steps=10 * PER_ROLLOUT)
    config = replace(config, warm_start=warm)
    calls = []

    def teacher(obs):
        calls.append(1)
        return np.zeros(obs["node_mask"].shape, int)

    def trainer(name, create=True):
        run = RunFolder.create(tmp_path / name, config) if create else RunFolder.open(tmp_path / name)
        return Trainer(run, ToyMesh(num_envs=8), teacher=teacher, progress=False)

    whole = trainer("whole").run()
    stopped = trainer("stopped")
    write = stopped.learning._write

    def write_and_stop():
        write()
        raise KeyboardInterrupt

    stopped.learning._write = write_and_stop
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    calls.clear()
    resumed = trainer("stopped", create=False).run(resume=True)
    assert not calls
    assert resumed.clone is not None
    assert torch.equal(weights(resumed), weights(whole))


def test_environments_that_cannot_be_saved_or_reset_otherwise_are_refused(tmp_path):
    class Forgetful(ToyMesh):
        state_dict = property()

    run = RunFolder.create(tmp_path / "run", small_config())
    with pytest.raises(TypeError, match=r"Forgetful has no state_dict\(\)"):
        Trainer(run, Forgetful(num_envs=8), progress=False)
    env = ToyMesh(num_envs=8)
    env.metadata = {}
    with pytest.raises(ValueError, match="NEXT_STEP"):
        Trainer(run, env, progress=False)
