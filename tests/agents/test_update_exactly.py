"""Whole updates against the same update written down plainly: gradient, step and every figure that is told."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from encoders.state import EncoderState
from gnnrl.agents.clone import FrozenClone
from gnnrl.agents.iteration import Collector, iterations, prime
from gnnrl.agents.learner import STATISTICS, clone_loss
from gnnrl.agents.update import build_minibatches, close_rollout, rollout_targets, state_drift
from tests.agents import plain_update as plain
from tests.agents.small import collected, small_agent
from tests.toy_mesh import ToyMesh

ENVS, STEPS = 3, 8
BIG = 10**9


class Generous(ToyMesh):
    """Pays every node another amount of some size, on the step that follows an end too, where it must not count."""

    def step(self, action):
        answered = self.alive.copy()
        obs, _, terminated, truncated, infos = super().step(action)
        paid = (self.rng.normal(1.0, 3.0, answered.shape) * answered).astype(np.float32)
        infos["node_reward"] = paid
        return obs, paid.sum(1), terminated, truncated, infos


def world(mode):
    return Generous(num_envs=ENVS, slots=4, most=3, mode=mode, churn=0.25, length=5, end=0.1)


def play(agent, collector, heat):
    """A rollout, drawn at the given temperatures [B]; None = 1."""
    agent.train()
    while not agent.ready:
        action, collector.state = agent.act(collector.obs, collector.state, temperature=heat)
        collector.obs, *answer = collector.env.step(action)
        agent.store_transition(*answer)


class Spy:
    """Weights, gradients and norms of every optimiser step."""

    def __init__(self, agent):
        self.agent, self.steps, self.apply = agent, [], agent.learner.apply
        agent.learner.apply = self

    def weights(self):
        return [p.detach().clone() for p in self.agent.learner.parameters]

    def __call__(self, gradients):
        before, given = self.weights(), [g.clone() for g in gradients]
        norm = self.apply(gradients)
        self.steps.append((before, given, self.weights(), norm))
        return norm


def put(agent, weights):
    with torch.no_grad():
        for parameter, value in zip(agent.learner.parameters, weights, strict=True):
            parameter.copy_(value)


CASES = {
    "nodes": {"value_clip": 0.05, "learning_rate_schedule": "linear", "gae_lambda": 0.8, "max_grad_norm": 0.3},
    "nodes, rewards in their own unit": {"normalise_reward": True, "value_clip": 0.3, "normalise_advantage": False},
    "graph": {"credit": "graph", "value_clip": 0.04, "learning_rate_schedule": "cosine"},
    "graph, rewards in their own unit": {"credit": "graph", "normalise_reward": True, "recompute_state": True},
    "one choice, credit by node": {"mode": "select", "normalise_reward": True, "learning_rate_schedule": "constant"},
    "one choice": {"mode": "select", "credit": "graph", "value_clip": 0.0, "normalise_advantage": False},
    "tempered": {"heat": (0.6, 1.0, 1.7), "max_grad_norm": 1e6},
    "held to a clone": {"clone_coef": 0.7, "heat": (0.8, 1.2, 1.5)},
    "one choice, held to a clone": {"clone_coef": 0.7, "mode": "select", "recompute_state": True},
}


@pytest.mark.parametrize(("case", "threads"), [*((case, 1) for case in CASES), ("nodes", 2), ("one choice", 2)])
def test_an_update_is_the_plainly_written_one(case, threads):
    asked = {"entropy_coef": 0.4, "entropy_coef_final": 0.1, "target_kl": 0.0, "learning_rate": 0.02, **CASES[case]}
    mode, heat, clone_coef = asked.pop("mode", "joint"), asked.pop("heat", None), asked.pop("clone_coef", 0.0)
    env = world(mode)
    agent = small_agent(
        env, "tgn", rollout_length=STEPS, chunk_length=4, minibatch_rows=BIG, epochs=3, threads=threads, **asked
    )
    config = agent.config
    collector = Collector(env, 3)
    prime(agent, collector)
    heat = None if heat is None else np.array(heat, np.float32)
    clone_state = None
    if clone_coef:
        other = small_agent(env, "tgn", seed=9, **{k: v for k, v in asked.items() if k == "credit"})
        agent.clone, agent.clone_coef = FrozenClone(other.model, agent.scaler), clone_coef
        clone_state = agent.initial_state(ENVS)
    carried, sums = {}, []
    optimiser = plain.PlainAdam(config.max_grad_norm)
    spy = Spy(agent)
    seen = {"ended": 0, "truncated": 0, "clipped": 0.0, "held": 0}
    for update in range(2):
        agent.progress = 0.25 + 0.5 * update
        play(agent, collector, heat)
        rollout = plain.rollout_of(agent, collector.obs, collector.state)
        sums += plain.returns_so_far(rollout, config.gamma, carried)
        deviation = float(np.std(sums))
        advantage, target = plain.targets(
            rollout, config.gamma, config.gae_lambda, deviation if config.normalise_reward else 1.0
        )
        reading = plain.Plain(
            agent,
            rollout,
            plain.decisions(agent, rollout, advantage),
            target,
            value_clip=config.value_clip * (1.0 if config.normalise_reward else deviation),
        )
        if clone_coef:
            # The clone looks through the statistics of its making, so its log-probabilities are taken by a copy of the agent that has them.
            looking = copy.copy(agent)
            looking.scaler = agent.clone.scaler
            with torch.no_grad():
                reading.reference = plain.clone_log_probs(looking, rollout, clone_state)
        spy.steps.clear()
        # Statistics move on once the update is over; the plain one is told with those of the rollout.
        scaler = copy.deepcopy(agent.scaler)
        found = agent.update(collector.obs, collector.state)
        if clone_coef:
            clone_state = agent.clone.state
        after = spy.weights()
        moved_on, agent.scaler = agent.scaler, scaler

        share = {"linear": 1 - agent.progress, "constant": 1.0, "cosine": 0.5 * (1 + np.cos(np.pi * agent.progress))}
        step_size = 0.02 * share[config.learning_rate_schedule]
        entropy_coef = 0.4 - 0.3 * agent.progress
        assert found["learning_rate"] == pytest.approx(step_size)
        assert len(spy.steps) == found["optimiser_steps"] == 3
        told, norms = [], []
        for epoch, (before, given, stepped, norm) in enumerate(spy.steps):
            put(agent, before)
            replayed = config.recompute_state and epoch > 0
            states = plain.replayed_states(agent, rollout) if replayed else plain.stored_states(rollout)
            terms = plain.loss_terms(reading, states)
            loss = terms.policy_loss + config.value_coef * terms.value_loss - entropy_coef * terms.entropy
            loss = loss + clone_coef * terms.clone_kl
            expected = torch.autograd.grad(loss, agent.learner.parameters, allow_unused=True)
            expected = [torch.zeros_like(p) if g is None else g for p, g in zip(before, expected, strict=True)]
            scale = max(float(g.abs().max()) for g in expected)
            for got, wanted in zip(given, expected, strict=True):
                torch.testing.assert_close(got, wanted, atol=2e-5 * scale, rtol=2e-4)
            wanted, plain_norm = optimiser.step(before, given, step_size)
            for got, weight in zip(stepped, wanted, strict=True):
                torch.testing.assert_close(got.double(), weight, atol=2e-6, rtol=1e-5)
            told.append({name: float(getattr(terms, name)) for name in STATISTICS})
            norms.append(plain_norm)
            assert norm == pytest.approx(plain_norm, rel=1e-5)
        put(agent, after)
        agent.scaler = moved_on

        for name in STATISTICS:
            if name != "clone_kl" or clone_coef:
                mean = np.mean([each[name] for each in told])
                assert found[name] == pytest.approx(mean, abs=2e-6, rel=2e-4), name
        assert ("clone_kl" in found) == ("clone_coef" in found) == bool(clone_coef)
        assert found.get("clone_coef", 0.0) == clone_coef
        assert found["grad_norm"] == pytest.approx(np.mean(norms), rel=1e-5)
        goals = np.array(list(target.values()))
        values = np.array([rollout.value[place] for place in target])
        assert found["explained_variance"] == pytest.approx(1 - np.var(goals - values) / np.var(goals), abs=1e-5)
        seen["ended"] += int(rollout.terminated.sum())
        seen["truncated"] += int(rollout.truncated.sum())
        seen["clipped"] += found["clip_fraction"]
        seen["held"] += sum(norm > config.max_grad_norm for norm in norms)
    # The case shows what it is there to show.
    assert seen["ended"] > 0 and seen["truncated"] > 0 and seen["clipped"] > 0.0
    assert deviation > 2.0
    assert seen["held"] == 0 if config.max_grad_norm == 1e6 else seen["held"] > 0


def test_the_schedules_run_over_the_whole_training():
    env = ToyMesh(num_envs=4)
    agent = small_agent(env, "gnn", learning_rate=0.004, entropy_coef=0.3, entropy_coef_final=0.1)
    agent.clone, agent.clone_schedule = FrozenClone(agent.model, agent.scaler), (0.6, 3 * 64)
    seen = list(iterations(agent, env, 4 * 64))
    assert [each.steps for each in seen] == [64, 128, 192, 256]
    assert [each.statistics["learning_rate"] for each in seen] == pytest.approx([0.004, 0.003, 0.002, 0.001])
    assert [each.statistics.get("clone_coef") for each in seen] == [pytest.approx(0.6 * k / 3) for k in (3, 2, 1)] + [
        None
    ]
    assert agent.progress == 0.75
    # A training that is gone on with is as far as it is.
    (last,) = iterations(agent, env, 5 * 64, steps=4 * 64)
    assert (last.steps, last.statistics["learning_rate"]) == (320, pytest.approx(0.0008))


def test_metrics_are_means_over_live_steps_and_environments_that_have_them():
    env = ToyMesh(num_envs=2)
    agent = small_agent(env, "gnn")
    real, told = env.step, []

    def step(action):
        obs, reward, terminated, truncated, _ = real(action)
        live, infos = agent.recorder.live, {}
        infos["node_reward"] = np.repeat(reward[:, None] / 6, 6, 1).astype(np.float32)
        infos["both"] = np.array([len(told), 100.0 + len(told)])
        infos["one"], infos["_one"] = np.array([7.0 * len(told), 1e9]), np.array([True, False])
        told.append((live.copy(), reward.copy()))
        return obs, reward, terminated, truncated, infos

    env.step = step
    collector = Collector(env, 0)
    means = collector.collect(agent)
    live, reward = (np.array(each) for each in zip(*told, strict=True))
    count = np.arange(len(told))[:, None] + np.array([0.0, 100.0])
    assert not live.all()
    assert means["reward"] == pytest.approx(reward[live].mean())
    assert means["both"] == pytest.approx(count[live].mean())
    assert means["one"] == pytest.approx(7.0 * count[live[:, 0], 0].mean())
    assert "_one" not in means and "node_reward" not in means


@pytest.mark.parametrize(("factor", "steps"), [(1.45, 2.0), (1.55, 1.0)])
def test_an_update_stops_above_one_and_a_half_times_the_target(factor, steps):
    def second_kl_and_steps(target):
        env = ToyMesh(num_envs=4)
        agent = small_agent(env, "gnn", learning_rate=0.02, epochs=2, minibatch_rows=BIG, target_kl=target)
        collector = collected(agent, env)
        found = agent.update(collector.obs, collector.state)
        return 2 * found["approx_kl"], found["optimiser_steps"]

    free, both = second_kl_and_steps(0.0)
    assert both == 2.0 and free > 1e-3
    # Of the two minibatches the first has no divergence, as the rollout's own policy; the second has all of it.
    assert second_kl_and_steps(free / factor)[1] == steps


def test_minibatches_deal_every_chunk_once_and_weigh_it_by_its_own_minibatch():
    env = world("joint")
    agent = small_agent(env, "tgn", rollout_length=12, chunk_length=4, minibatch_rows=9, threads=2)
    collector = Collector(env, 4)
    prime(agent, collector)
    play(agent, collector, None)
    storage = agent.recorder.storage
    close_rollout(agent, agent.recorder, storage, collector.obs, collector.state)
    targets = rollout_targets(agent, agent.recorder, storage)
    minibatches = build_minibatches(agent, storage, targets)
    dealt = [sorted(chunk for chunks, _ in minibatch for chunk in chunks.tolist()) for minibatch in minibatches]
    assert sorted(chunk for chunks in dealt for chunk in chunks) == list(range(9))
    assert [len(chunks) for chunks in dealt] == [2, 2, 2, 2, 1]
    for minibatch in minibatches:
        rows = [(c // 3 * 4 + i, c % 3) for chunks, _ in minibatch for c in chunks.tolist() for i in range(4)]
        live = sum(bool(storage.loss_mask[row]) for row in rows)
        for chunks, part in minibatch:
            assert len(part.live) == sum(
                int(storage.obs["node_mask"][c // 3 * 4 + i, c % 3].sum()) for c in chunks.tolist() for i in range(4)
            )
            t, b = storage.chunk_rows(chunks)
            nodes = storage.obs["node_mask"][t, b].sum(-1).reshape(-1)
            weight = np.repeat(storage.loss_mask[t, b].reshape(-1) / (live * nodes), nodes)
            np.testing.assert_allclose(part.weight.numpy(), weight, rtol=1e-6)
            np.testing.assert_allclose(part.value_weight.numpy(), weight, rtol=1e-6)
    # Another seed deals otherwise.
    agent.rng = np.random.default_rng(77)
    again = build_minibatches(agent, storage, targets)
    assert [sorted(chunk for chunks, _ in m for chunk in chunks.tolist()) for m in again] != dealt


def test_the_ends_of_episodes_are_followed_row_by_row():
    """Two environments by hand: one truncated at step 1, one terminated at step 2; then its final observation, then a start."""
    env = ToyMesh(num_envs=2, slots=2, most=2)
    recorder = small_agent(env, "gnn", rollout_length=8, chunk_length=8).record(2)
    obs, _ = env.reset(seed=0)
    none = np.zeros((2, 2), np.float32)
    ends = {1: ([False, False], [True, False]), 2: ([True, True], [False, False])}
    starts, live = [], []
    for t in range(6):
        starts.append(recorder.episode_start.tolist())
        live.append(recorder.live.tolist())
        memory = np.zeros((2, *recorder.state_shape), np.float32)
        age = np.zeros((2, recorder.state_shape[0]), np.float32)
        action = np.zeros((2, 2), np.int64)
        recorder.storage.stage(obs, recorder.episode_start, recorder.live, memory, age, action, none, none)
        terminated, truncated = (np.array(flags) for flags in ends.get(t, ([False] * 2, [False] * 2)))
        recorder.commit(recorder.storage, np.zeros(2), terminated, truncated, {"node_reward": none})
    # What an environment says of the step after its end (here, of the first one at step 2) ends nothing.
    assert live == [[True, True], [True, True], [False, True], [True, False], [True, True], [True, True]]
    assert starts == [[True, True], [False, False], [False, False], [True, False], [False, True], [False, False]]
    assert recorder.storage.loss_mask[:6].tolist() == live


@pytest.mark.parametrize("envs", [3, 10])
def test_the_drift_of_stored_states_is_that_of_the_memory_after_the_first_chunk(envs):
    """Over at most eight environments, as a share of what was stored."""
    env = ToyMesh(num_envs=envs, churn=0.0, end=0.0, length=BIG)
    agent = small_agent(env, "tgn")
    collected(agent, env)
    storage = agent.recorder.storage
    assert state_drift(agent, storage) < 1e-6
    with torch.no_grad():
        for parameter in agent.learner.parameters:
            parameter.mul_(1.3)
    apart, stored = 0.0, 0.0
    for b in range(min(envs, 8)):
        rows = {key: array[:8, b : b + 1] for key, array in storage.obs.items()}
        sequence = agent.scaler.sequence(rows, storage.episode_start[:8, b : b + 1])
        before = (torch.from_numpy(array[0, b : b + 1]) for array in (storage.memory, storage.age_seconds))
        with torch.no_grad():
            found = agent.model(sequence, EncoderState(*before)).state.memory.numpy()
        apart += float(((found - storage.memory[1, b]) ** 2).sum())
        stored += float((storage.memory[1, b] ** 2).sum())
    assert state_drift(agent, storage) == pytest.approx(np.sqrt(apart / stored), rel=1e-4)


def test_cloning_never_holds_the_value_near_the_old_one():
    env = ToyMesh(num_envs=4)
    agent = small_agent(env, "gnn", value_clip=0.1)
    collector = collected(agent, env)
    storage = agent.recorder.storage
    close_rollout(agent, agent.recorder, storage, collector.obs, collector.state)
    targets = rollout_targets(agent, agent.recorder, storage)
    (_, part), *_ = build_minibatches(agent, storage, targets)[0]
    _, told = clone_loss(agent.model, part, 1.0)
    value = agent.model(part.sequence, part.state).value.detach()
    assert float(told[1]) == pytest.approx(
        0.5 * float((part.value_weight * (value - part.target) ** 2).sum()), rel=1e-5
    )
    part.old_value = part.old_value + 5.0
    assert torch.equal(clone_loss(agent.model, part, 1.0)[1], told)
