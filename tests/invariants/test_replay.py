"""At unchanged weights the replayed chunks are the rollout: churn, reused slots, both endings, memory and all."""

import numpy as np
import pytest

from encoders.state import EncoderState
from gnnrl.agents import ReplayError
from gnnrl.agents.learner import largest_ratio_error
from gnnrl.agents.update import REPLAY_TOLERANCE, build_minibatches, close_rollout, rollout_targets
from tests.agents.small import collected, small_agent
from tests.toy_mesh import ToyMesh


def parts_of(agent, collector):
    recorder = agent.recorder
    close_rollout(agent, recorder, recorder.storage, collector.obs, collector.state)
    targets = rollout_targets(agent, recorder, recorder.storage)
    return [part for minibatch in build_minibatches(agent, recorder.storage, targets) for _, part in minibatch]


@pytest.mark.parametrize("mode", ["joint", "select"])
@pytest.mark.parametrize("kind", ["tgn+gnn", "tgn", "gnn", "mlp"])
def test_the_replay_is_exact(kind, mode):
    env = ToyMesh(churn=0.3, mode=mode, recall=True)
    agent = small_agent(env, kind, rollout_length=48)
    parts = parts_of(agent, collected(agent, env))
    storage = agent.recorder.storage
    assert storage.terminated.any()
    assert storage.truncated.any()
    assert not storage.loss_mask.all()
    assert largest_ratio_error(agent.model, parts) <= REPLAY_TOLERANCE


def test_stale_memory_fails_the_replay():
    env = ToyMesh(churn=0.1)
    agent = small_agent(env, "tgn")
    collector = collected(agent, env)
    storage = agent.recorder.storage
    # Memory left as the rollout left it: every chunk starts from the state at the end.
    storage.memory[:] = collector.state.memory.numpy()
    assert largest_ratio_error(agent.model, parts_of(agent, collector)) > 100 * REPLAY_TOLERANCE


@pytest.mark.parametrize("mistake", ["state", "episode_start"])
def test_an_update_on_a_wrong_replay_stops_before_the_first_step(mistake):
    env = ToyMesh(churn=0.1)
    agent = small_agent(env, "tgn")
    collector = collected(agent, env)
    storage = agent.recorder.storage
    if mistake == "state":
        storage.memory[1:] = 0.0
    else:
        storage.episode_start[3] = True
    before = [p.detach().clone() for p in agent.model.parameters()]
    with pytest.raises(ReplayError, match=r"\|ratio - 1\|"):
        agent.update(collector.obs, collector.state)
    assert all(bool((p == q).all()) for p, q in zip(agent.model.parameters(), before, strict=True))


def test_the_check_runs_again_after_loading(tmp_path):
    env = ToyMesh()
    agent = small_agent(env, "tgn")
    collector = collected(agent, env)
    agent.update(collector.obs, collector.state)
    assert agent.replay_checked
    agent.save(tmp_path / "agent.pt")
    assert not type(agent).load(tmp_path / "agent.pt").replay_checked


def test_poison_in_padding_and_dead_slots_changes_no_decision():
    env = ToyMesh(churn=0.3)
    agent = small_agent(env, "tgn+gnn")
    collector = collected(agent, env)
    obs, state = collector.obs, collector.state
    clean, after = agent.train(False).act(obs, state, deterministic=True)
    empty = obs["node_mask"] == 0
    poisoned = {key: np.array(value) for key, value in obs.items()}
    poisoned["nodes"][empty] = np.nan
    poisoned["edges"][obs["edge_mask"] == 0] = np.nan
    memory = state.memory.clone()
    for b in range(env.num_envs):
        slots = obs["prev_slot"][b][~empty[b]]
        dead = sorted(set(range(env.slots)) - set(slots.tolist()))
        memory[b, dead] = float("nan")
    action, poisoned_after = agent.act(poisoned, EncoderState(memory, state.age_seconds), deterministic=True)
    assert np.array_equal(action, clean)
    assert bool((poisoned_after.memory == after.memory).all())
