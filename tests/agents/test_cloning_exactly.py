"""The warm start against the same cloning written down plainly: data, statistics, targets, gradients, step sizes and figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gnnrl.agents import warm_start
from gnnrl.agents.iteration import Collector
from gnnrl.agents.stabilisation import random_actions, stabilise
from gnnrl.agents.warm_start import clone_teacher, steady_worth
from gnnrl.config.experiment import WarmStartConfig
from tests.agents import plain_update as plain
from tests.agents.small import small_agent
from tests.toy_mesh import ToyMesh

ENVS, CHUNK, STEP_SIZE = 3, 4, 0.01


class Generous(ToyMesh):
    """Pays every node another amount of some size, on the step that follows an end too, where it must not count."""

    def step(self, action):
        answered = self.alive.copy()
        obs, _, terminated, truncated, infos = super().step(action)
        paid = (self.rng.normal(1.0, 3.0, answered.shape) * answered).astype(np.float32)
        infos["node_reward"] = paid
        return obs, paid.sum(1), terminated, truncated, infos


def world(mode, **options):
    return Generous(num_envs=ENVS, slots=4, most=3, mode=mode, **{"churn": 0.25, "length": 5, "end": 0.1, **options})


def agent_in(env, **ppo):
    settings = {"rollout_length": 8, "chunk_length": CHUNK, "minibatch_rows": 10**9, "learning_rate": STEP_SIZE}
    return small_agent(env, "tgn", **{**settings, **ppo})


def as_noted(storage):
    """A closed rollout, copied."""
    per_node = storage.node_reward is not None
    reward = storage.node_reward if per_node else storage.reward[..., None]
    return plain.Rollout(
        obs={key: array.copy() for key, array in storage.obs.items()},
        starts=storage.episode_start.copy(),
        live=storage.loss_mask.copy(),
        terminated=storage.terminated.copy(),
        truncated=storage.truncated.copy(),
        reward=reward.astype(np.float64),
        action=storage.action.copy(),
        log_prob=storage.log_prob.copy(),
        value=(storage.value if per_node else storage.value[..., None]).copy(),
        memory=storage.memory.copy(),
        age=storage.age_seconds.copy(),
        heat=np.ones(storage.loss_mask.shape),
        chunk=storage.chunk_length,
    )


def plain_loss(agent, rollout, target):
    """Cross-entropy, value loss and mean probability of the teacher's moves, over all live decisions."""
    each, cross_entropy, value_loss, agreement = 1.0 / rollout.live.sum(), 0.0, 0.0, 0.0
    for chunk, state in enumerate(plain.stored_states(rollout)):
        rows = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
        for b in range(ENVS):
            logits, values = plain.judge(agent, agent.model, rollout.obs, rollout.starts, rows, b, state, b)
            policies = plain.log_policy(rollout, agent.mode, logits, rows.start, b)
            for t, policy, value in zip(range(rows.start, rows.stop), policies, values, strict=True):
                if not rollout.live[t, b]:
                    continue
                for place, log_p in policy.items():
                    joint = agent.mode == "joint"
                    taken = rollout.action[t, b, place] if joint else rollout.action[t, b]
                    chosen = (place, int(taken)) if joint else divmod(int(taken), agent.num_moves)
                    weight = each / len(policy)
                    cross_entropy = cross_entropy - weight * log_p[chosen]
                    agreement += weight * float(log_p[chosen].detach().exp())
                for owner, v in value.items():
                    value_loss = value_loss + 0.5 * each / len(value) * (v - target[t, b, owner]) ** 2
    return cross_entropy, value_loss, agreement


class Noted:
    """The rollout, its targets, weights, gradients and step size of every pass and step of a cloning."""

    def __init__(self, monkeypatch, agent):
        self.passes, self.steps, self.sizes, self.rows, self.worths = [], [], [], [], []
        targets, gradients = warm_start.rollout_targets, agent.learner.gradients
        setting, level = agent.learner.set_learning_rate, warm_start.level_ends

        def note_worth(storage, worth):
            self.worths.append(worth)
            level(storage, worth)

        def note_targets(agent, recorder, storage, **options):
            found = targets(agent, recorder, storage, **options)
            self.passes.append((as_noted(storage), found.target.copy()))
            return found

        def note_gradients(parts, loss):
            before = [p.detach().clone() for p in agent.learner.parameters]
            found, statistics = gradients(parts, loss)
            self.steps.append((before, [g.clone() for g in found], statistics.numpy().copy()))
            self.rows.append(sum(part.sequence.num_graphs for part in parts))
            return found, statistics

        def note_size(size):
            self.sizes.append(size)
            setting(size)

        monkeypatch.setattr(warm_start, "rollout_targets", note_targets)
        monkeypatch.setattr(warm_start, "level_ends", note_worth)
        agent.learner.gradients, agent.learner.set_learning_rate = note_gradients, note_size


def quiet(_):
    pass


@pytest.mark.parametrize(
    ("mode", "ppo"),
    [
        ("joint", {"value_coef": 0.3}),
        ("joint", {"credit": "graph", "normalise_reward": True}),
        ("select", {"normalise_reward": True, "value_coef": 2.0}),
    ],
)
def test_a_pass_is_the_plainly_written_one(monkeypatch, mode, ppo):
    env = world(mode)
    agent = agent_in(env, gae_lambda=0.5, **ppo)
    noted = Noted(monkeypatch, agent)
    rng = np.random.default_rng(5)
    config = WarmStartConfig(clone_steps=30, clone_epochs=2, kl_coef=0.4, kl_steps=70)
    result = clone_teacher(
        agent, Collector(env, 2), lambda obs: random_actions(obs, mode == "joint", rng), config, quiet
    )
    rollout, _ = noted.passes[0]
    # 30 steps of 3 environments are three chunks of 4.
    assert rollout.steps == 12 and rollout.terminated.any() and rollout.truncated.any() and not rollout.live.all()
    rewards = rollout.reward.sum(-1)
    assert result["reward"] == pytest.approx(rewards[rollout.live].mean(), rel=1e-5)
    # Each return is counted once, and the last observation, of which nothing is learned, is not among the statistics.
    sums = plain.returns_so_far(rollout, agent.config.gamma, {})
    assert agent.return_scale.deviation == pytest.approx(np.std(sums), rel=1e-5)
    assert agent.return_scale.state_dict()["count"] == len(sums)
    assert agent.scaler.count == 12 * ENVS
    unit = np.std(sums) if agent.config.normalise_reward else 1.0
    assert noted.sizes == pytest.approx([2.0 * STEP_SIZE, 2.0 * STEP_SIZE * np.sqrt(0.5)])
    assert len(noted.steps) == 2
    after = [p.detach().clone() for p in agent.learner.parameters]
    levels = []
    for (rollout, targets), (before, given, statistics) in zip(noted.passes, noted.steps, strict=True):
        # Returns to the end, whatever lambda PPO is to have.
        _, target = plain.targets(rollout, agent.config.gamma, 1.0, unit)
        for place, wanted in target.items():
            assert targets[place if targets.ndim == 3 else place[:2]] == pytest.approx(wanted, rel=1e-4, abs=1e-5)
        levels.append(np.mean(list(target.values())))
        with torch.no_grad():
            for parameter, value in zip(agent.learner.parameters, before, strict=True):
                parameter.copy_(value)
        for state, memory in zip(plain.replayed_states(agent, rollout), rollout.memory, strict=True):
            np.testing.assert_allclose(state.memory.numpy(), memory, atol=1e-5)
        cross_entropy, value_loss, agreement = plain_loss(agent, rollout, target)
        loss = cross_entropy + agent.config.value_coef * value_loss
        expected = torch.autograd.grad(loss, agent.learner.parameters, allow_unused=True)
        expected = [torch.zeros_like(p) if g is None else g for p, g in zip(before, expected, strict=True)]
        scale = max(float(g.abs().max()) for g in expected)
        for got, wanted in zip(given, expected, strict=True):
            torch.testing.assert_close(got, wanted, atol=2e-5 * scale, rtol=2e-4)
        told = [cross_entropy.item(), value_loss.item(), agreement]
        assert statistics == pytest.approx(told, rel=1e-4)
    assert [result[name] for name in ("cross_entropy", "value_loss", "agreement")] == pytest.approx(told, rel=1e-4)
    # A pass ends in what the one before came to.
    assert noted.worths[1] == pytest.approx(levels[0], rel=1e-5)
    assert agent.clone_schedule == (0.4, 70)
    for kept, fitted in zip(agent.clone.model.parameters(), after, strict=True):
        assert torch.equal(kept, fitted)


def test_a_pass_of_several_steps_goes_on_falling_and_tells_their_mean(monkeypatch):
    env = world("joint")
    agent = agent_in(env)
    noted = Noted(monkeypatch, agent)
    collector, rng = Collector(env, 2), np.random.default_rng(5)
    config = WarmStartConfig(clone_steps=400, clone_epochs=2, kl_coef=0.4, kl_steps=0)
    result = clone_teacher(agent, collector, lambda obs: random_actions(obs, True, rng), config, quiet)
    # 400 steps are 34 chunks of each of 3 environments; 128 observations are 32 chunks: 102 of them in four minibatches.
    assert noted.rows == [26 * CHUNK, 26 * CHUNK, 25 * CHUNK, 25 * CHUNK] * 2
    assert noted.sizes == pytest.approx([2.0 * STEP_SIZE * np.sqrt(1.0 - k / 8) for k in range(8)])
    means = np.mean([statistics for _, _, statistics in noted.steps[4:]], axis=0)
    assert [result[name] for name in ("cross_entropy", "value_loss", "agreement")] == pytest.approx(means.tolist())
    # A clone that would hold nothing is not kept, and everything starts anew.
    assert agent.clone is None and agent.clone_schedule == (0.0, 0)
    assert (collector.obs["prev_slot"] == -1).all() and agent.recorder.episode_start.all()
    assert not agent.recorder.carry.any() and not agent.scaler.frozen


@pytest.mark.parametrize("credit", ["node", "graph"])
def test_steady_worth_by_hand(monkeypatch, credit):
    env = world("joint")
    agent = agent_in(env, credit=credit, gamma=0.9, normalise_reward=True)
    noted = Noted(monkeypatch, agent)
    kept = []
    monkeypatch.setattr(warm_start, "level_ends", lambda storage, _: kept.append(storage))
    rng = np.random.default_rng(5)
    config = WarmStartConfig(clone_steps=60, clone_epochs=1)
    clone_teacher(agent, Collector(env, 2), lambda obs: random_actions(obs, True, rng), config, quiet)
    rollout, _ = noted.passes[0]
    earned, lives, going_on = 0.0, 0, 0
    for t, b in np.argwhere(rollout.live).tolist():
        for s in rollout.owners(t, b).tolist():
            earned, lives = earned + rollout.reward[t, b, s], lives + 1
            going_on += not rollout.terminated[t, b] and rollout.next_owner(t, b, s) is not None
    expected = earned / lives / agent.return_scale.deviation / (1.0 - 0.9 * going_on / lives)
    assert 0.5 < going_on / lives < 0.98
    assert steady_worth(agent, kept[0]) == pytest.approx(expected, rel=1e-5)


def test_random_statistics_are_of_whole_rollouts_and_told_by_the_live_steps():
    env = world("joint", length=3)
    agent = agent_in(env)
    paid, told, real = [], [], env.step

    def step(action):
        live = agent.recorder.live.copy()
        answer = real(action)
        paid.append(answer[1][live])
        return answer

    env.step = step
    # Rollouts of 8 steps of 3 environments: 25 steps take two.
    found = stabilise(agent, Collector(env, 0), 25, told.append)
    assert len(paid) == 16
    assert found == pytest.approx(np.mean([np.concatenate(paid[:8]).mean(), np.concatenate(paid[8:]).mean()]), rel=1e-5)
    assert len(np.concatenate(paid)) < 48
    assert told == [f"statistics of 48 random steps: mean reward {found:.4g}"]
    assert agent.scaler.count == 48
