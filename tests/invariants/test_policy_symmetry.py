"""Names and slots of nodes mean nothing to a policy, nor does the number of slots."""

import numpy as np
import pytest
import torch

from encoders.state import EncoderState
from gnnrl.agents import PPO_GNN
from gnnrl.config.experiment import EncoderConfig
from tests.agents.small import ENCODER, collected, small_agent
from tests.toy_mesh import ToyMesh


def judged(agent, obs, state):
    sequence = agent.scaler.sequence(obs, np.zeros(len(obs["node_mask"]), bool))
    with torch.no_grad():
        out = agent.model(sequence, state)
    logits = sequence.to_padded(out.logits)[0]
    value = sequence.to_padded(out.value.unsqueeze(1))[0, ..., 0] if agent.model.value.per_node else out.value
    return logits, value, out.state


def widened(obs, state, slots):
    """The same observation in an environment with more slots."""
    extra = slots - obs["node_mask"].shape[1]
    wide = dict(obs)
    for key in ("nodes", "node_mask", "prev_slot", "action_mask"):
        pad = [(0, 0), (0, extra)] + [(0, 0)] * (obs[key].ndim - 2)
        wide[key] = np.pad(obs[key], pad, constant_values=-1 if key == "prev_slot" else 0)
    memory = torch.nn.functional.pad(state.memory, (0, 0, 0, extra))
    return wide, EncoderState(memory, torch.nn.functional.pad(state.age_seconds, (0, extra)))


@pytest.mark.parametrize("credit", ["node", "graph"])
def test_permuting_the_slots_permutes_the_policy(credit):
    env = ToyMesh(churn=0.3)
    agent = small_agent(env, credit=credit)
    collector = collected(agent, env)
    obs, state = collector.obs, collector.state
    new_slot = np.random.default_rng(3).permutation(env.slots)  # slot s moves to new_slot[s]
    old_slot = np.argsort(new_slot)
    moved = dict(obs)
    for key in ("nodes", "node_mask", "prev_slot", "action_mask"):
        moved[key] = np.ascontiguousarray(obs[key][:, old_slot])
    moved["edge_index"] = np.where(obs["edge_mask"][:, None] != 0, new_slot[obs["edge_index"]], 0)
    logits, value, after = judged(agent, obs, state)
    logits2, value2, after2 = judged(agent, moved, state)
    assert logits.abs().max() > 0.5
    torch.testing.assert_close(logits2, logits[:, old_slot], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(value2, value[:, old_slot] if credit == "node" else value, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after2.memory, after.memory[:, old_slot], atol=1e-5, rtol=1e-5)


def test_a_policy_of_20_slots_runs_at_200_and_says_the_same(tmp_path):
    env = ToyMesh(slots=20, most=12, churn=0.2)
    agent = small_agent(env)
    collector = collected(agent, env)
    agent.update(collector.obs, collector.state)
    agent.save(tmp_path / "agent.pt")
    agent = PPO_GNN.load(tmp_path / "agent.pt")
    obs, state = widened(collector.obs, collector.state, 200)
    narrow, _ = agent.act(collector.obs, collector.state, deterministic=True)
    wide, after = agent.act(obs, state, deterministic=True)
    assert wide.shape == (env.num_envs, 200)
    assert after.memory.shape[:2] == (env.num_envs, 200)
    assert np.array_equal(wide[:, :20], narrow)
    assert not wide[:, 20:].any()


def test_an_untrained_policy_leans_to_doing_nothing():
    env = ToyMesh(moves=15, most=5)
    agent = PPO_GNN(env.single_observation_space, env.single_action_space, encoder=EncoderConfig(**ENCODER))
    obs, _ = env.reset(seed=0)
    logits, _, _ = judged(agent, obs, agent.initial_state(env.num_envs))
    p = logits[torch.from_numpy(obs["node_mask"]) == 1].softmax(-1)
    assert 0.4 < float(p[:, 0].min()) <= float(p[:, 0].max()) < 0.6


def test_a_batch_decides_as_its_environments_one_by_one():
    env = ToyMesh(churn=0.3)
    agent = small_agent(env)
    collector = collected(agent, env)
    agent.train(False)
    batch, after = agent.act(collector.obs, collector.state, deterministic=True)
    for b in range(env.num_envs):
        alone = {key: value[b] for key, value in collector.obs.items()}
        state = EncoderState(*(tensor[b : b + 1] for tensor in collector.state))
        action, own = agent.act(alone, state, deterministic=True)
        assert np.array_equal(action, batch[b])
        torch.testing.assert_close(own.memory[0], after.memory[b], atol=1e-6, rtol=1e-5)
