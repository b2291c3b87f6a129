import numpy as np
import pytest

from gnnrl.agents import warm_start
from gnnrl.agents.iteration import Collector, iterations
from gnnrl.agents.schedules import clone_coefficient
from gnnrl.agents.update import recompute_states
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


PAID = -0.1


class Constant(ToyMesh):
    """Every node earns the same at every step, whatever is done."""

    def step(self, action):
        answered, going = self.alive.copy(), ~self.done
        obs, _, terminated, truncated, infos = super().step(action)
        infos["node_reward"] = np.float32(PAID) * (answered & going[:, None])
        return obs, np.full(self.num_envs, PAID) * going, terminated, truncated, infos


def clone_of(monkeypatch, env, epochs=12, **ppo):
    """An agent after its warm start, the rollout it was fitted to, and the targets of each pass."""
    agent = small_agent(env, rollout_length=16, chunk_length=8, learning_rate=1e-2, **ppo)
    kept, found = [], warm_start.rollout_targets

    def noted(agent, recorder, storage, **options):
        targets = found(agent, recorder, storage, **options)
        kept.append((storage, targets.target.copy()))
        return targets

    monkeypatch.setattr(warm_start, "rollout_targets", noted)
    collector = Collector(env, 0)
    clone_teacher(agent, collector, teacher, WarmStartConfig(clone_steps=16 * 40, clone_epochs=epochs), quiet)
    storage = kept[0][0]
    agent.scaler.frozen = True
    recompute_states(agent, storage, values=True)
    return agent, storage, [targets for _, targets in kept]


@pytest.mark.parametrize(
    ("credit", "normalised", "length"),
    [("node", False, 10**6), ("graph", True, 10**6), ("node", True, 7), ("graph", False, 7)],
)
def test_a_constant_reward_is_worth_r_over_1_minus_gamma_at_every_row(monkeypatch, credit, normalised, length):
    """Also at the last row of the rollout and before truncations, of which nothing is seen that came after."""
    env = Constant(num_envs=16, churn=0.0, end=0.0, length=length)
    gamma = 0.97  # 40 rows leave 0.3 of a value unseen
    agent, storage, passes = clone_of(monkeypatch, env, credit=credit, gamma=gamma, normalise_reward=normalised)
    unit = agent.return_scale.deviation if normalised else 1.0
    assert not normalised or abs(unit - 1.0) > 0.2
    exact = PAID / (1.0 - gamma) / unit
    live = storage.loss_mask
    assert live.all() == (length > 40)
    if credit == "node":
        live = live[..., None] & (storage.obs["node_mask"][:-1] == 1)
    assert len(passes) == 12
    for targets in passes:
        # What the fitted values differ by among each other is all that may come in.
        np.testing.assert_allclose(targets[live], exact, rtol=0.1)
        assert targets[live].mean() == pytest.approx(exact, rel=0.01)
    fitted = storage.value[:-1]
    for quarter in np.split(np.where(live, fitted, np.nan), 4):
        assert np.nanmean(quarter) == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("credit", ["node", "graph"])
def test_what_ends_for_good_is_not_expected_to_go_on(monkeypatch, credit):
    """Nodes leave with some probability, episodes end with some: a mean over geometric lives, whatever end the rollout came to."""
    env = Constant(num_envs=64, churn=0.1 if credit == "node" else 0.0, end=0.05, length=10**6)
    agent, storage, passes = clone_of(monkeypatch, env, epochs=1, credit=credit, gamma=0.97)
    live = storage.loss_mask
    done = (storage.terminated & live).sum()
    if credit == "graph":
        stay = 1.0 - done / live.sum()
    else:
        here, after = storage.obs["node_mask"] == 1, storage.obs["prev_slot"][1:] >= 0
        nodes = (here[:-1] & live[..., None]).sum()
        stay = (here[1:] & after & (live & ~storage.terminated)[..., None]).sum() / nodes
        live = live[..., None] & here[:-1]
    expected = PAID / (1.0 - 0.97 * stay)
    assert 0.8 < stay < 0.97
    ends = passes[0][-1][live[-1]]
    gone = np.isclose(ends, PAID)
    np.testing.assert_allclose(ends[~gone], PAID + 0.97 * expected, rtol=0.25)
    assert ends[~gone].mean() == pytest.approx(PAID + 0.97 * expected, rel=0.02)
    assert gone.mean() == pytest.approx(1.0 - stay, abs=0.06)
    assert passes[0][live].mean() == pytest.approx(expected, rel=0.1)
    assert agent.scaler.frozen


def test_later_passes_end_in_what_has_been_fitted(monkeypatch):
    """The last row ends in the network's own value of the observation after it, with the memory that led there, raised to the level of
    the targets of the pass before."""
    env = ToyMesh(num_envs=8, recall=True, churn=0.0, end=0.0, length=10**6)
    kept = []
    found = warm_start.recompute_states

    def noted(agent, storage, values):
        found(agent, storage, values=values)
        sequence = agent.scaler.sequence(storage.obs, storage.episode_start)
        plain = np.zeros(storage.value.shape, np.float32)
        plain.reshape(-1)[sequence.flat_slot.numpy()] = agent.model(sequence, agent.initial_state(8)).value.detach()
        np.testing.assert_allclose(storage.value, plain, atol=1e-5)
        kept.append((plain, storage))

    monkeypatch.setattr(warm_start, "recompute_states", noted)
    _, storage, passes = clone_of(monkeypatch, env, epochs=3, gamma=0.9)
    real = storage.obs["node_mask"] == 1
    level = storage.node_reward[real[:-1]].mean() / (1 - 0.9)
    for (plain, _), targets in zip(kept, passes, strict=False):
        lack = level - plain[:-1][real[:-1]].mean()
        for b, slot in np.argwhere(real[-1]):
            before = storage.obs["prev_slot"][-1, b, slot]
            expected = storage.node_reward[-1, b, before] + 0.9 * (plain[-1, b, slot] + lack)
            assert targets[-1, b, before] == pytest.approx(expected, abs=1e-5)
        level = targets[real[:-1]].mean()
    assert np.abs(kept[2][0][-1] - kept[1][0][-1]).max() > 1e-3
