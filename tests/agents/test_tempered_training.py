"""Tempered draws are learned from as what they are: stored, replayed and compared with the clone at their temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnnrl.agents.clone import FrozenClone
from gnnrl.agents.iteration import Collector, iterations
from gnnrl.agents.learner import largest_ratio_error
from gnnrl.agents.ppo_gnn import PPO_GNN
from gnnrl.agents.update import REPLAY_TOLERANCE, build_minibatches, close_rollout, rollout_targets
from gnnrl.config.experiment import TemperatureConfig
from tests.agents.small import collected, small_agent
from tests.toy_mesh import ToyMesh

USE = TemperatureConfig(enabled=True, throughput_target=1.0, latency_target=1.0)


class ToldMesh(ToyMesh):
    """Says of itself what the controller needs, so that the temperatures differ between environments and steps."""

    def step(self, action):
        obs, reward, terminated, truncated, infos = super().step(action)
        size = obs["node_mask"].sum(1)
        return (
            obs,
            reward,
            terminated,
            truncated,
            infos
            | {
                "throughput": 0.4 * size,
                "mean_latency": 0.1 * self.steps,
                "load_balance": np.abs(obs["globals"][:, 0] - 3),
            },
        )


def parts_of(agent, collector):
    recorder = agent.recorder
    close_rollout(agent, recorder, recorder.storage, collector.obs, collector.state)
    targets = rollout_targets(agent, recorder, recorder.storage)
    return [part for minibatch in build_minibatches(agent, recorder.storage, targets) for _, part in minibatch]


def sharpened(agent):
    """Policies as they become: the head of a new one is almost uniform, and temperatures hardly show."""
    with torch.no_grad():
        agent.model.head.logits.weight.mul_(100.0)
    return agent


@pytest.mark.parametrize("mode", ["joint", "select"])
@pytest.mark.parametrize("kind", ["tgn", "gnn"])
def test_the_replay_is_exact_at_the_stored_temperatures_and_at_no_others(kind, mode):
    env = ToldMesh(churn=0.3, mode=mode)
    agent = sharpened(small_agent(env, kind, temperature=USE))
    collector = collected(agent, env)
    heat = agent.recorder.storage.temperature
    assert heat.shape == (16, 8)
    assert heat.min() == pytest.approx(0.8)
    assert 1.5 < heat.max() <= 3.0
    assert len(np.unique(heat)) > 10
    parts = parts_of(agent, collector)
    assert largest_ratio_error(agent.model, parts) <= REPLAY_TOLERANCE
    for part in parts:
        plain = part.policy(agent.model(part.sequence, part.state).logits)
        part.temperature = None
        untempered = part.policy(agent.model(part.sequence, part.state).logits)
        assert not torch.allclose(plain.log_probs, untempered.log_probs, atol=1e-2)
    assert largest_ratio_error(agent.model, parts) > 1000 * REPLAY_TOLERANCE


def test_the_stored_log_probability_is_that_of_logits_over_temperature():
    env = ToldMesh(mode="select", moves=1)
    agent = sharpened(small_agent(env, "gnn", credit="graph", temperature=USE))
    collector = collected(agent, env)
    storage = agent.recorder.storage
    for t in (3, 11):
        obs = {key: array[t] for key, array in storage.obs.items()}
        sequence = agent.scaler.sequence(obs, storage.episode_start[t])
        with torch.no_grad():
            logits = agent.model(sequence, agent.initial_state(8)).logits[:, 0].numpy().astype(np.float64)
        bounds = sequence.graph_ptr.numpy()
        for b in range(8):
            ours = logits[bounds[b] : bounds[b + 1]] / storage.temperature[t, b]
            slots = sequence.row_slot.numpy()[bounds[b] : bounds[b + 1]]
            expected = ours[slots == storage.action[t, b]][0] - np.log(np.exp(ours).sum())
            assert storage.log_prob[t, b] == pytest.approx(expected, abs=1e-5)
    statistics = agent.update(collector.obs, collector.state)
    assert statistics["replay_error"] <= REPLAY_TOLERANCE


def test_an_update_reports_the_mean_over_what_is_learned_from():
    env = ToldMesh(length=6)
    agent = small_agent(env, temperature=USE)
    collector = collected(agent, env)
    storage = agent.recorder.storage
    expected = storage.temperature[storage.loss_mask].mean()
    assert not storage.loss_mask.all()
    assert agent.update(collector.obs, collector.state)["temperature"] == pytest.approx(expected)
    assert storage.temperature is None  # the next rollout begins without


def test_the_distance_to_the_clone_is_between_tempered_policies():
    env = ToldMesh()
    agent = sharpened(small_agent(env, "tgn", temperature=USE, epochs=1, learning_rate=1e-9))
    collector = Collector(env, 0)
    collector.reset(agent)
    agent.clone, agent.clone_coef = FrozenClone(agent.model, agent.scaler), 1.0
    agent.scaler.update = lambda *_: None
    collector.collect(agent)
    assert abs(agent.update(collector.obs, collector.state)["clone_kl"]) < 1e-5
    collector.collect(agent)
    heat = agent.recorder.storage.temperature.copy()
    close_rollout(agent, agent.recorder, agent.recorder.storage, collector.obs, collector.state)
    tempered = agent.clone.log_probs(agent.recorder.storage, select=False)
    agent.clone.state, agent.recorder.storage.temperature = None, None
    plain = agent.clone.log_probs(agent.recorder.storage, select=False)
    assert np.abs(heat - 1.0).max() > 0.2
    assert np.abs(tempered - plain).max() > 0.1


def test_temperatures_by_hand_are_learned_from_too():
    env = ToyMesh(num_envs=4, mode="select")
    agent = sharpened(small_agent(env, "gnn", credit="graph")).train()
    obs, _ = env.reset(seed=0)
    state, asked = None, np.array([0.5, 1.0, 2.0, 3.0])
    while not agent.ready:
        step = agent.recorder.storage.step if agent.recorder else 0
        action, state = agent.act(obs, state, temperature=(None, asked, 1.0, 0.7)[step % 4])
        obs, reward, terminated, truncated, infos = env.step(action)
        agent.store_transition(reward, terminated, truncated, infos)
    assert np.allclose(agent.recorder.storage.temperature[:4], [[1.0] * 4, asked, [1.0] * 4, [0.7] * 4])
    assert agent.update(obs, state)["replay_error"] <= REPLAY_TOLERANCE


def test_off_nothing_is_stored_and_evaluation_is_not_tempered():
    env = ToldMesh()
    agent = small_agent(env)
    collector = collected(agent, env)
    assert agent.recorder.temperature is None
    assert agent.recorder.storage.temperature is None
    assert "temperature" not in agent.update(collector.obs, collector.state)
    hot = sharpened(small_agent(env, temperature=USE))
    collected(hot, env)
    hot.train(False)
    draws = [
        hot.act(collector.obs, rng=np.random.default_rng(3), **more)[0]
        for more in ({}, {"temperature": 1.0}, {"temperature": 3.0})
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])


def test_a_domain_without_the_signals_is_refused_by_name():
    env = ToyMesh()
    with pytest.raises(
        ValueError, match=r"ppo\.temperature\.enabled is true, but the environment gives no infos\['throughput'\]"
    ):
        small_agent(env, temperature=USE).learn(env, 128)


def test_a_tempered_training_goes_on_bit_for_bit_and_learns(tmp_path):
    def weights(agent):
        return torch.cat([p.detach().flatten() for p in agent.model.parameters()])

    env = ToldMesh(num_envs=16)
    agent = small_agent(env, "gnn", learning_rate=1e-2, target_kl=0.0, temperature=USE)
    collector, rewards = Collector(env, 0), []
    for iteration in iterations(agent, env, 256 * 14, collector):
        rewards.append(iteration.statistics["reward"])
        if iteration.steps == 256 * 4:
            agent.save(tmp_path / "agent.pt")
            saved = collector.state_dict()
    assert rewards[-1] > rewards[0] + 0.25
    other_env = ToldMesh(num_envs=16)
    other = PPO_GNN.load(tmp_path / "agent.pt")
    assert other.config == agent.config
    again = Collector(other_env, 0)
    again.load_state_dict(saved)
    for _ in iterations(other, other_env, 256 * 14, again, 256 * 4):
        pass
    assert torch.equal(weights(other), weights(agent))
