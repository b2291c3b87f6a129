"""The recurrent network where the graph network stands: the same trainer, storage, clone and checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders.state import EncoderState
from gnnrl.agents import PPO_GNN, ReplayError
from gnnrl.agents.attribution import attribute
from gnnrl.agents.iteration import Collector, iterations
from gnnrl.agents.learner import largest_ratio_error
from gnnrl.agents.update import REPLAY_TOLERANCE
from gnnrl.agents.warm_start import clone_teacher
from gnnrl.config.experiment import EncoderConfig, PPOConfig, WarmStartConfig
from gnnrl.training import RunFolder, Trainer
from tests.agents.small import collected, small_agent
from tests.agents.test_warm_start import quiet, teacher
from tests.invariants.test_replay import parts_of
from tests.toy_mesh import ToyMesh
from tests.training.small import small_config


def flat_agent(env, **ppo):
    return small_agent(env, "gru", credit="graph", **ppo)


@pytest.mark.parametrize("mode", ["joint", "select"])
def test_the_replay_is_exact(mode):
    env = ToyMesh(churn=0.3, mode=mode, recall=True)
    agent = flat_agent(env, rollout_length=48)
    parts = parts_of(agent, collected(agent, env))
    storage = agent.recorder.storage
    assert storage.terminated.any()
    assert storage.truncated.any()
    assert storage.memory.shape == (6, 8, 4, 16)
    assert np.abs(storage.memory[1:]).max() > 0.05
    assert largest_ratio_error(agent.model, parts) <= REPLAY_TOLERANCE


@pytest.mark.parametrize("mistake", ["state", "episode_start"])
def test_an_update_on_a_wrong_replay_stops(mistake):
    env = ToyMesh(churn=0.1)
    agent = flat_agent(env)
    with torch.no_grad():
        agent.model.network.logits.weight.mul_(100.0)
    collector = collected(agent, env)
    storage = agent.recorder.storage
    if mistake == "state":
        storage.memory[1:] = 0.0
    else:
        storage.episode_start[3] = True
    with pytest.raises(ReplayError):
        agent.update(collector.obs, collector.state)


def test_what_a_finished_episode_remembered_is_gone_in_the_next():
    env = ToyMesh(num_envs=4)
    agent = flat_agent(env).train(False)
    obs, _ = env.reset(seed=0)
    _, state = agent.act(obs)
    poisoned = EncoderState(state.memory.clone(), state.age_seconds)
    poisoned.memory[2] = torch.nan
    start = np.array([False, False, True, False])
    _, after = agent.act(obs, poisoned, start)
    fresh = EncoderState(state.memory.clone(), state.age_seconds)
    fresh.memory[2] = 0.0
    _, expected = agent.act(obs, fresh)
    assert torch.equal(after.memory, expected.memory)
    assert (after.memory[0] - agent.act(obs)[1].memory[0]).abs().max() > 1e-3


def test_padding_does_not_reach_the_flat_state():
    env = ToyMesh(churn=0.3)
    agent = flat_agent(env)
    collector = collected(agent, env)
    obs, state = collector.obs, collector.state
    clean, after = agent.train(False).act(obs, state, deterministic=True)
    poisoned = {key: np.array(value) for key, value in obs.items()}
    poisoned["nodes"][obs["node_mask"] == 0] = np.nan
    poisoned["edges"][obs["edge_mask"] == 0] = np.nan
    action, poisoned_after = agent.act(poisoned, state, deterministic=True)
    assert np.array_equal(action, clean)
    assert torch.equal(poisoned_after.memory, after.memory)


@pytest.mark.parametrize("mode", ["joint", "select"])
def test_illegal_moves_are_never_made_and_the_untrained_lean_to_doing_nothing(mode):
    env = ToyMesh(num_envs=64, mode=mode)
    agent = flat_agent(env).train(False)
    obs, _ = env.reset(seed=0)
    legal = obs["action_mask"].astype(bool)
    assert not legal[obs["node_mask"] == 1].all()
    idle, asked = 0, 0
    for seed in range(20):
        action, _ = agent.act(obs, rng=np.random.default_rng(seed))
        if mode == "select":
            slot, move = np.divmod(action, 3)
            assert legal[np.arange(64), slot, move].all()
        else:
            real = obs["node_mask"] == 1
            assert np.take_along_axis(legal, action[..., None], 2)[..., 0][real].all()
            move = action[real]
        idle, asked = idle + (move == 0).sum(), asked + move.size
    assert 0.4 < idle / asked < 0.65


class Steady(ToyMesh):
    """Nodes keep their slots, which are all that a flat network knows them by."""

    def _advance(self, b):
        self.previous[b] = np.where(self.alive[b], np.arange(self.slots), -1)
        self._dress(b)


@pytest.mark.slow
def test_it_learns_what_only_memory_can_know():
    """The targets are shown in the first of eight observations alone: without memory 1/8 + 7/8 x 1/3 = 0.42 would be the most."""
    env = Steady(num_envs=32, slots=2, most=2, recall=True, end=0.0, length=8)
    agent = flat_agent(env, learning_rate=1e-2, target_kl=0.0, entropy_coef=0.0, minibatch_rows=256, gamma=0.5)
    rewards = [iteration.statistics["reward"] for iteration in iterations(agent, env, 512 * 20)]
    assert rewards[0] < 0.5
    assert np.mean(rewards[-3:]) > 0.6


def test_recomputed_states_follow_the_weights():
    env = ToyMesh()
    agent = flat_agent(env, rollout_length=32, recompute_state=True, learning_rate=3e-3)
    collector = collected(agent, env)
    before = agent.recorder.storage.memory.copy()
    statistics = agent.update(collector.obs, collector.state)
    assert statistics["replay_error"] <= REPLAY_TOLERANCE
    assert statistics["state_drift"] > 0.0
    after = agent.recorder.storage.memory
    assert np.array_equal(after[0], before[0])
    assert not np.allclose(after[1], before[1], atol=1e-4)


def test_the_clone_runs_its_own_memory_and_starts_at_no_distance():
    env = ToyMesh(num_envs=8, recall=True)
    agent = flat_agent(env, learning_rate=1e-9, learning_rate_schedule="constant")
    collector = Collector(env, 0)
    warm = WarmStartConfig(clone_steps=256, clone_epochs=1, kl_coef=1.0, kl_steps=10**6)
    clone_teacher(agent, collector, teacher, warm, quiet)
    agent.scaler.update = lambda *_: (
        None
    )  # those of the clone stay; hold the policy's too, to compare the memories alone
    for iteration in iterations(agent, env, 128 * 3, collector):
        assert abs(iteration.statistics["clone_kl"]) < 1e-5


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    config = small_config(4)
    config = replace(config, encoder=EncoderConfig(kind="gru", hidden=16), ppo=replace(config.ppo, credit="graph"))

    def trainer(name, create=True):
        run = RunFolder.create(tmp_path / name, config) if create else RunFolder.open(tmp_path / name)
        return Trainer(run, ToyMesh(num_envs=8, recall=True), progress=False)

    whole = trainer("whole").run()
    stopped = trainer("stopped")
    write = stopped.learning._write

    def write_and_stop():
        write()
        raise KeyboardInterrupt

    stopped.learning._write = write_and_stop
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = trainer("stopped", create=False).run(resume=True)
    for one, other in zip(whole.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(one, other)
    loaded = PPO_GNN.load(tmp_path / "whole" / "checkpoint.pt")
    assert all(map(torch.equal, whole.model.parameters(), loaded.model.parameters()))


def test_what_it_cannot_do_is_told():
    env = ToyMesh()
    with pytest.raises(ValueError, match=r"set ppo\.credit to 'graph'"):
        PPO_GNN(
            env.single_observation_space,
            env.single_action_space,
            config=PPOConfig(credit="node"),
            encoder=EncoderConfig(kind="gru"),
        )
    agent = flat_agent(env).train(False)
    wide, _ = ToyMesh(slots=9).reset(seed=0)
    with pytest.raises(ValueError, match="9 slots, this flat network was made for 6"):
        agent.act(wide)
    obs, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match="3 environments, the observation of 8"):
        agent.act(obs, agent.initial_state(3))


def test_its_decisions_can_be_explained_but_for_the_memory():
    env = ToyMesh(num_envs=1)
    agent = flat_agent(env).train(False)
    with torch.no_grad():
        agent.model.network.logits.weight.mul_(100.0)
    obs, _ = env.reset(seed=0)
    _, state = agent.act(obs)
    slot = int(np.flatnonzero(obs["node_mask"][0])[0])
    found = attribute(agent, obs, state, None, [slot], [0, 1, 2])
    assert np.abs(found.node_weight).max() > 0.0
    assert not found.memory_weight.any()
