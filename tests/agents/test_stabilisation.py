"""Random routing that fills the statistics: exactly those, from real and legal things alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnnrl.agents.iteration import Collector, iterations
from gnnrl.agents.stabilisation import random_actions, stabilise
from gnnrl.agents.warm_start import clone_teacher
from gnnrl.config.experiment import WarmStartConfig
from tests.agents.small import collected, small_agent
from tests.toy_mesh import ToyMesh


class SpiedMesh(ToyMesh):
    """Keeps what it showed and paid."""

    def __init__(self, **options):
        super().__init__(**options)
        self.seen, self.paid = [], []

    def step(self, action):
        mask = self._observe()["action_mask"]
        acting = ~self.done
        if self.mode == "joint":
            chosen = np.take_along_axis(mask, np.asarray(action)[..., None], 2)[..., 0]
            assert (chosen[acting] | ~self.alive[acting]).all()
        else:
            assert mask.reshape(self.num_envs, -1)[np.arange(self.num_envs), action][acting].all()
        shown = {key: value.copy() for key, value in self._observe().items()}
        starting = self.done.copy()
        answer = super().step(action)
        self.seen.append(shown)
        self.paid.append((answer[1].copy(), starting))
        return answer


def quiet(_):
    pass


@pytest.mark.parametrize("mode", ["joint", "select"])
def test_random_actions_are_uniform_over_the_legal_ones(mode):
    env = ToyMesh(num_envs=2, mode=mode)
    obs, _ = env.reset(seed=1)
    first = int(np.flatnonzero(obs["node_mask"][0])[0])
    obs["action_mask"][0, first] = [1, 0, 1]
    rng = np.random.default_rng(0)
    drawn = np.stack([random_actions(obs, mode == "joint", rng) for _ in range(4000)])
    legal = obs["action_mask"].reshape(2, -1) if mode == "select" else obs["action_mask"][0, first][None]
    found = drawn if mode == "select" else drawn[:, :1, first]
    for b, allowed in enumerate(legal):
        counts = np.bincount(found[:, b], minlength=len(allowed))
        assert counts[allowed == 0].sum() == 0
        expected = 4000 / allowed.sum()
        assert np.abs(counts[allowed == 1] - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize("mode", ["joint", "select"])
def test_the_lowest_draw_is_legal_too(mode):
    env = ToyMesh(num_envs=2, mode=mode)
    obs, _ = env.reset(seed=1)
    slot = int(np.flatnonzero(obs["node_mask"][0])[0])
    obs["action_mask"][:] = 0
    obs["action_mask"][:, slot, 2] = 1

    class Lowest:
        def random(self, shape):
            return np.zeros(shape)

    found = random_actions(obs, mode == "joint", Lowest())
    assert (found[:, slot] if mode == "joint" else found).tolist() == [2 if mode == "joint" else slot * 3 + 2] * 2


@pytest.mark.parametrize("mode", ["joint", "select"])
def test_it_fills_the_statistics_and_nothing_else(mode):
    env = SpiedMesh(length=9, mode=mode)
    agent = small_agent(env, credit="graph")
    weights = [p.detach().clone() for p in agent.model.parameters()]
    collector = Collector(env, 0)
    stabilise(agent, collector, 200, quiet)
    assert all(torch.equal(p, q) for p, q in zip(agent.model.parameters(), weights, strict=True))
    assert not agent.learner.optimiser.state_dict()["state"]
    assert agent.clone is None
    # Two rollouts of 16 steps in 8 environments. Observations: plain moments over the real nodes.
    assert agent.scaler.count == 256
    real = np.concatenate([shown["nodes"][shown["node_mask"] == 1] for shown in env.seen]).astype(np.float64)
    raw = agent.scaler.normalisers["nodes"]
    np.testing.assert_allclose(raw.mean[4:], real.mean(0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(raw.variance[4:], real.var(0), rtol=1e-6)
    # Returns: discounted sums by hand, over the steps that were acted in.
    sums, fresh, values = np.zeros(8), np.zeros(8, np.bool_), []
    for reward, starting in env.paid:
        sums = np.where(fresh, 0.0, 0.9 * sums) + reward
        values += sums[~starting].tolist()
        fresh = starting
    assert agent.return_scale.deviation == pytest.approx(np.std(values), rel=1e-5)
    assert len(values) < 256


def test_afterwards_the_environments_start_anew_and_nothing_is_primed_again():
    env = SpiedMesh()
    agent = small_agent(env)
    collector = Collector(env, 0)
    stabilise(agent, collector, 1, quiet)
    assert (collector.obs["prev_slot"] == -1).all()
    assert agent.recorder.episode_start.all()
    assert agent.recorder.storage.step == 0
    assert not agent.recorder.carry.any()
    assert not agent.scaler.frozen
    before = len(env.seen)
    next(iterations(agent, env, 128, collector))
    assert len(env.seen) - before == 16  # one rollout, no priming before it


def test_a_warm_start_adds_to_it():
    env = ToyMesh()
    agent = small_agent(env)
    collector = Collector(env, 0)
    stabilise(agent, collector, 128, quiet)
    count = agent.return_scale.state_dict()["count"]

    def still(_):
        return np.zeros((8, 6), np.int64)

    clone_teacher(agent, collector, still, WarmStartConfig(clone_steps=256, clone_epochs=1), quiet)
    assert agent.scaler.count == 128 + 256
    assert agent.return_scale.state_dict()["count"] > count


def test_what_is_in_the_padding_never_enters_the_statistics():
    env = ToyMesh(num_envs=32)
    obs, _ = env.reset(seed=0)
    clean, poisoned = (small_agent(env).scaler for _ in range(2))
    clean.update(obs)
    obs["nodes"][obs["node_mask"] == 0] = np.nan
    obs["edges"][obs["edge_mask"] == 0] = 1e30
    poisoned.update(obs)
    for key, normaliser in clean.normalisers.items():
        assert np.array_equal(normaliser.mean, poisoned.normalisers[key].mean)
        assert np.array_equal(normaliser.variance, poisoned.normalisers[key].variance)


def test_inference_moves_no_statistics():
    env = ToyMesh()
    agent = small_agent(env)
    collector = collected(agent, env)
    agent.update(collector.obs, collector.state)
    agent.train(False)
    before = {key: normaliser.state_dict() for key, normaliser in agent.scaler.normalisers.items()}
    returns = agent.return_scale.state_dict()
    obs, state = collector.obs, collector.state
    for _ in range(5):
        action, state = agent.act({key: value * 3 if key == "nodes" else value for key, value in obs.items()}, state)
        obs, *_ = env.step(action)
    for key, saved in before.items():
        now = agent.scaler.normalisers[key].state_dict()
        assert all(np.array_equal(now[name], value) for name, value in saved.items())
    assert all(np.array_equal(agent.return_scale.state_dict()[name], value) for name, value in returns.items())
