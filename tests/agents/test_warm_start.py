import numpy as np
import pytest

from gnnrl.agents.iteration import Collector, iterations
from gnnrl.agents.schedules import clone_coefficient
from gnnrl.agents.warm_start import clone_teacher
from gnnrl.config.experiment import WarmStartConfig
from tests.agents.small import small_agent
from tests.toy_mesh import ToyMesh


def teacher(obs):
    """The shown target where it is legal, else nothing."""
    move = obs["nodes"][..., :3].argmax(-1)
    legal = np.take_along_axis(obs["action_mask"], move[..., None], 2)[..., 0]
    return np.where(legal == 1, move, 0)


def quiet(_):
    pass


def test_a_clone_does_what_its_teacher_did():
    env = ToyMesh(num_envs=16)
    agent = small_agent(env, learning_rate=1e-2)
    collector = Collector(env, 0)
    result = clone_teacher(agent, collector, teacher, WarmStartConfig(clone_steps=2000, clone_epochs=6), quiet)
    assert result["agreement"] > 0.9
    assert result["reward"] > 0.9
    obs, _ = env.reset(seed=99)
    action, _ = agent.train(False).act(obs, deterministic=True)
    real = obs["node_mask"] == 1
    assert (action == teacher(obs))[real].mean() > 0.9
    assert not agent.scaler.frozen
    assert agent.clone is None


def test_kl_to_the_frozen_clone_holds_the_policy_and_fades():
    def distance(kl_coef):
        env = ToyMesh(num_envs=16)
        agent = small_agent(env, learning_rate=3e-3, entropy_coef=0.5, entropy_coef_final=0.5, target_kl=0.0)
        collector = Collector(env, 0)
        warm = WarmStartConfig(clone_steps=1000, clone_epochs=3, kl_coef=kl_coef, kl_steps=10**9)
        clone_teacher(agent, collector, teacher, warm, quiet)
        seen = list(iterations(agent, env, 256 * 4, collector))
        return seen[-1].statistics["clone_kl"]

    assert distance(3.0) < 0.3 * distance(1e-6)
    assert [clone_coefficient(0.5, 100, steps) for steps in (0, 50, 100, 200)] == [0.5, 0.25, 0.0, 0.0]
    assert clone_coefficient(0.5, 0, 0) == 0.0


def test_the_clone_runs_its_own_memory_and_starts_at_no_distance():
    env = ToyMesh(num_envs=8, recall=True)
    agent = small_agent(env, "tgn", learning_rate=1e-9, learning_rate_schedule="constant")
    collector = Collector(env, 0)
    warm = WarmStartConfig(clone_steps=256, clone_epochs=1, kl_coef=1.0, kl_steps=10**6)
    clone_teacher(agent, collector, teacher, warm, quiet)
    # The statistics of the policy move on with the data, those of the clone do not; hold them to compare the memories alone.
    agent.scaler.update = lambda *_: None
    for iteration in iterations(agent, env, 128 * 3, collector):
        assert abs(iteration.statistics["clone_kl"]) < 1e-5


def test_an_illegal_teacher_is_told_where():
    env = ToyMesh(num_envs=4)
    agent = small_agent(env)

    def bad(obs):
        obs["action_mask"][2, :, 1] = 0
        action = np.zeros((4, 6), int)
        action[2] = 1
        return action

    with pytest.raises(ValueError, match=r"move 1 for slot \d of environment 2"):
        clone_teacher(agent, Collector(env, 0), bad, WarmStartConfig(), quiet)


def test_select_teachers():
    env = ToyMesh(num_envs=8, mode="select")
    agent = small_agent(env, "gnn", learning_rate=1e-2)

    def first_node(obs):
        slot = (obs["node_mask"] == 1).argmax(1)
        move = obs["nodes"][np.arange(8), slot, :3].argmax(-1)
        legal = obs["action_mask"][np.arange(8), slot, move]
        return slot * 3 + np.where(legal == 1, move, 0)

    collector = Collector(env, 0)
    result = clone_teacher(agent, collector, first_node, WarmStartConfig(clone_steps=1000, clone_epochs=4), quiet)
    assert result["agreement"] > 0.25  # the first slot is a name, and names mean nothing to the policy
    with pytest.raises(ValueError, match="action 0 in environment"):
        clone_teacher(agent, collector, lambda _: np.zeros(8, int), WarmStartConfig(), quiet)
