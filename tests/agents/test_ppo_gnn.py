import numpy as np
import pytest
import torch
from gymnasium import spaces

from gnnrl.agents import PPO_GNN
from gnnrl.agents.divergence import DivergenceError, require_sound_weights
from gnnrl.agents.iteration import iterations
from gnnrl.agents.update import build_minibatches, close_rollout, rollout_targets, run_update
from gnnrl.config.experiment import EncoderConfig, PPOConfig
from gnnrl.rl.distributions import EmptyMaskError
from tests.agents.small import collected, small_agent
from tests.toy_mesh import ToyMesh


def weights(agent):
    return torch.cat([p.detach().flatten() for p in agent.model.parameters()])


def test_it_learns_to_hit_the_shown_targets():
    env = ToyMesh(num_envs=16)
    agent = small_agent(env, "gnn", learning_rate=1e-2, target_kl=0.0)
    rewards = [iteration.statistics["reward"] for iteration in iterations(agent, env, 256 * 14)]
    assert rewards[0] < 0.55
    assert rewards[-1] > 0.85


@pytest.mark.parametrize(("mode", "credit"), [("select", "node"), ("select", "graph"), ("joint", "graph")])
def test_every_combination_of_head_and_credit_learns(mode, credit):
    env = ToyMesh(num_envs=16, mode=mode)
    agent = small_agent(env, "gnn", learning_rate=1e-2, target_kl=0.0, credit=credit)
    rewards = [iteration.statistics["reward"] for iteration in iterations(agent, env, 256 * 8)]
    assert rewards[-1] > rewards[0] + 0.25


def test_the_same_seed_gives_the_same_weights_bit_for_bit_and_another_one_others():
    def train(seed):
        env = ToyMesh()
        return weights(small_agent(env, seed=seed, learning_rate=3e-3).learn(env, 128 * 3))

    first, again, other = train(1), train(1), train(2)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_two_threads_give_the_gradient_of_one():
    found = []
    for threads in (1, 2):
        env = ToyMesh()
        agent = small_agent(env, threads=threads, learning_rate=1e-3)
        collector = collected(agent, env)
        agent.update(collector.obs, collector.state)
        found.append(weights(agent))
    assert (found[0] - found[1]).abs().max() < 1e-6
    assert (found[0] - weights(small_agent(ToyMesh()))).abs().max() > 1e-3


def test_the_weights_of_a_minibatch_sum_to_one_and_final_observations_weigh_nothing():
    env = ToyMesh(length=6)
    agent = small_agent(env)
    collector = collected(agent, env)
    recorder = agent.recorder
    close_rollout(agent, recorder, recorder.storage, collector.obs, collector.state)
    targets = rollout_targets(agent, recorder, recorder.storage)
    for minibatch in build_minibatches(agent, recorder.storage, targets):
        parts = [part for _, part in minibatch]
        assert sum(float(part.weight.sum()) for part in parts) == pytest.approx(1.0, abs=1e-5)
        assert sum(float(part.value_weight.sum()) for part in parts) == pytest.approx(1.0, abs=1e-5)
        for part in parts:
            assert (part.weight[~part.live] == 0).all()
            counts = part.sequence.graph_ptr.diff()[part.sequence.row_graph][part.live]
            graphs = (part.weight[part.live] * counts).unique()
            assert len(graphs) == 1 or float(graphs.max() - graphs.min()) < 1e-8


def test_what_happened_to_a_final_observation_teaches_nothing():
    grads = []
    for noise in (0.0, 1e6):
        env = ToyMesh(length=6)
        agent = small_agent(env, epochs=1, threads=1)
        collector = collected(agent, env)
        storage = agent.recorder.storage
        dead = ~storage.loss_mask
        assert dead.any()
        storage.node_reward[dead] += np.float32(noise)
        agent.update(collector.obs, collector.state)
        grads.append(weights(agent))
    assert torch.equal(*grads)


def test_gradients_reach_memory_and_messages():
    env = ToyMesh()
    agent = small_agent(env, "tgn")
    before = {name: p.detach().clone() for name, p in agent.model.named_parameters()}
    collector = collected(agent, env)
    agent.update(collector.obs, collector.state)
    moved = {name for name, p in agent.model.named_parameters() if not torch.equal(p, before[name])}
    assert {"encoder.memory.gru.weight_hh", "encoder.memory.message.weight", "head.logits.weight"} <= moved


@pytest.mark.parametrize("mode", ["joint", "select"])
def test_an_update_tells_what_the_rollout_looked_like(mode):
    env = ToyMesh(length=6, mode=mode)
    agent = small_agent(env)
    collector = collected(agent, env)
    storage = agent.recorder.storage
    nodes = np.concatenate(
        [
            agent.scaler.sequence({k: v[t] for k, v in storage.obs.items()}, storage.episode_start[t]).nodes.numpy()
            for t in range(storage.length)
        ]
    ).astype(np.float64)
    real = (storage.obs["node_mask"][:-1] == 1) & storage.loss_mask[..., None]
    taken = storage.action[real if mode == "joint" else storage.loss_mask]
    shares = {int(action): (taken == action).mean() for action in np.unique(taken)}
    found = agent.update(collector.obs, collector.state)
    assert found["state_mean"] == pytest.approx(nodes.mean(), abs=1e-6)
    assert found["state_std"] == pytest.approx(nodes.std(), rel=1e-6)
    assert found["action_entropy"] == pytest.approx(-sum(p * np.log(p) for p in shares.values()))
    told = {int(name.split("_")[-1]): value for name, value in found.items() if name.startswith("action_share_")}
    assert {action: share for action, share in told.items() if share > 0.0} == pytest.approx(shares)
    assert len(told) == (3 if mode == "joint" else 18)


def test_target_kl_stops_an_update():
    def steps(target_kl):
        env = ToyMesh()
        agent = small_agent(env, learning_rate=3e-2, epochs=8, target_kl=target_kl)
        collector = collected(agent, env)
        return agent.update(collector.obs, collector.state)["optimiser_steps"]

    assert steps(0.0) == 16.0
    assert 1.0 <= steps(0.01) < 16.0


def test_recomputing_states_at_unchanged_weights_changes_nothing_much():
    from gnnrl.agents.update import recompute_states

    env = ToyMesh(churn=0.2)
    agent = small_agent(env, "tgn", rollout_length=32)
    collector = collected(agent, env)
    storage = agent.recorder.storage
    close_rollout(agent, agent.recorder, storage, collector.obs, collector.state)
    memory, value = storage.memory.copy(), storage.value.copy()
    recompute_states(agent, storage, values=True)
    np.testing.assert_allclose(storage.memory, memory, atol=1e-5)
    np.testing.assert_allclose(storage.value, value, atol=1e-5)
    assert np.abs(memory).max() > 0.1


def test_recomputed_states_follow_the_weights():
    env = ToyMesh()
    agent = small_agent(env, "tgn", rollout_length=32, recompute_state=True, learning_rate=3e-3)
    collector = collected(agent, env)
    memory = agent.recorder.storage.memory.copy()
    statistics = run_update(agent, agent.recorder, collector.obs, collector.state)
    assert statistics["state_drift"] > 0.0
    assert np.array_equal(agent.recorder.storage.memory[0], memory[0])
    assert not np.allclose(agent.recorder.storage.memory[1], memory[1], atol=1e-4)


def test_the_interface_by_hand():
    env = ToyMesh(num_envs=4)
    agent = small_agent(env).train()
    obs, _ = env.reset(seed=0)
    state = None
    while not agent.ready:
        action, state = agent.act(obs, state)
        obs, reward, terminated, truncated, infos = env.step(action)
        agent.store_transition(reward, terminated, truncated, infos)
    statistics = agent.update(obs, state)
    assert statistics["optimiser_steps"] > 0
    assert not agent.ready


def test_rollouts_continue_over_updates_with_frozen_statistics_between():
    env = ToyMesh()
    agent = small_agent(env)
    collector = collected(agent, env)
    assert agent.scaler.frozen
    count = agent.scaler.count
    agent.update(collector.obs, collector.state)
    assert not agent.scaler.frozen
    assert agent.scaler.count == count + 128


def test_node_credit_without_a_split_reward_names_the_remedy():
    env = ToyMesh(split_reward=False)
    with pytest.raises(ValueError, match=r"set ppo\.credit to 'graph'"):
        small_agent(env).learn(env, 128)
    small_agent(env, credit="graph").learn(env, 128)


def test_spaces_that_fit_no_head_are_refused():
    env = ToyMesh()
    with pytest.raises(ValueError, match=r"MultiDiscrete\(\[3\] \* 6\)"):
        PPO_GNN(env.single_observation_space, spaces.Discrete(7))
    with pytest.raises(ValueError, match=r"shape"):
        PPO_GNN(env.observation_space, env.action_space)


def test_an_empty_mask_names_slot_and_environment():
    env = ToyMesh(num_envs=3)
    obs, _ = env.reset(seed=0)
    slot = int(np.flatnonzero(obs["node_mask"][2])[1])
    obs["action_mask"][2, slot] = 0
    with pytest.raises(EmptyMaskError, match=f"slot {slot} of environment 2"):
        small_agent(env).act(obs)


def test_misuse_is_told():
    env = ToyMesh()
    agent = small_agent(env)
    obs, _ = env.reset(seed=0)
    agent.act(obs)
    with pytest.raises(RuntimeError, match=r"call train\(\)"):
        agent.store_transition(np.zeros(8), np.zeros(8, bool), np.zeros(8, bool))
    with pytest.raises(ValueError, match=r"deterministic"):
        agent.train().act(obs, deterministic=True)
    with pytest.raises(RuntimeError, match=r"whole rollout"):
        agent.update(obs, agent.initial_state(8))


def test_saved_agents_act_the_same_and_go_on_alike(tmp_path):
    env = ToyMesh()
    agent = small_agent(env)
    collector = collected(agent, env)
    agent.update(collector.obs, collector.state)
    agent.save(tmp_path / "a.pt")
    loaded = PPO_GNN.load(tmp_path / "a.pt")
    for one in (agent, loaded):
        one.train(False)
    for _ in range(3):
        first, _ = agent.act(collector.obs, collector.state)
        second, _ = loaded.act(collector.obs, collector.state)
        assert np.array_equal(first, second)


def test_a_pointer_picks_among_nodes():
    env = ToyMesh(mode="select", moves=1)
    agent = PPO_GNN(
        env.single_observation_space,
        env.single_action_space,
        use_tgn=False,
        config=PPOConfig(rollout_length=8, chunk_length=8, credit="graph"),
    )
    assert isinstance(agent.encoder_config, EncoderConfig)
    agent.learn(env, 64)
    obs, _ = env.reset(seed=0)
    action, _ = agent.act(obs)
    assert (obs["node_mask"][np.arange(8), action] == 1).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_it_learns_on_a_gpu():
    env = ToyMesh()
    agent = PPO_GNN(
        env.single_observation_space,
        env.single_action_space,
        config=PPOConfig(rollout_length=16, chunk_length=8),
        encoder=EncoderConfig(hidden=16, memory_dim=8),
        device="cuda",
    )
    assert len(list(iterations(agent, env, 128 * 2))) == 2


def test_a_low_temperature_draws_what_is_likely_and_a_high_one_what_is_legal() -> None:
    env = ToyMesh(4)
    agent = small_agent(env).train(False)
    obs, _ = env.reset(seed=0)
    likeliest, _ = agent.act(obs, deterministic=True)
    cold, _ = agent.act(obs, temperature=1e-3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(cold, likeliest)
    real = obs["node_mask"].astype(bool)
    hot = np.stack([agent.act(obs, temperature=1e6, rng=np.random.default_rng(s))[0] for s in range(400)])
    for b, n in np.argwhere(real)[:5]:
        legal = np.flatnonzero(obs["action_mask"][b, n])
        counts = np.array([(hot[:, b, n] == move).sum() for move in legal])
        assert counts.sum() == 400
        # Uniform over the legal moves: within five standard errors.
        expected = 400 / len(legal)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    again, _ = agent.act(obs, temperature=0.5, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(again, agent.act(obs, temperature=0.5, rng=np.random.default_rng(7))[0])
    with pytest.raises(ValueError, match=r"above 0"):
        agent.act(obs, temperature=0.0)
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        agent.act(obs, temperature=np.ones(3))


def test_a_feature_that_is_no_number_is_named_and_no_empty_mask():
    env = ToyMesh(num_envs=2)
    agent = small_agent(env)
    obs, _ = env.reset(seed=0)
    slot = int(np.flatnonzero(obs["node_mask"][1])[0])
    spoiled = obs | {"nodes": obs["nodes"].copy()}
    spoiled["nodes"][1, slot, 0] = np.nan
    told = f"nodes: slot {slot} of environment 1 at step 0, column 0 is nan"
    with pytest.raises(ValueError, match=told) as caught:
        agent.act(spoiled)
    assert not isinstance(caught.value, EmptyMaskError)
    collector = collected(agent, env)
    with pytest.raises(ValueError, match=r"nodes: slot"):
        agent.update(spoiled, collector.state)


def test_what_is_no_observation_and_no_state_is_refused_by_name():
    env = ToyMesh(num_envs=2)
    agent = small_agent(env)
    obs, _ = env.reset(seed=0)
    wide = np.concatenate([obs["nodes"], obs["nodes"]], axis=-1)
    for spoiled, told in (
        (obs["nodes"], "obs is a ndarray"),
        ({"nodes": obs["nodes"]}, "obs has no edge_index"),
        (obs | {"nodes": wide}, r"obs\['nodes'\] has shape"),
        (obs | {"action_mask": obs["action_mask"][:, :-1]}, r"obs\['action_mask'\] has shape"),
        (obs | {"action_mask": obs["action_mask"] * np.nan}, r"obs\['action_mask'\] .*float64; expected whole numbers"),
        (obs | {"prev_slot": obs["prev_slot"] * 0 + 99}, "prev_slot: slot .* points to 99"),
        (obs | {"prev_slot": obs["prev_slot"][:, :2]}, "prev_slot has shape"),
    ):
        with pytest.raises(ValueError, match=told):
            agent.act(spoiled)
    sound = agent.initial_state(2)
    for state in (
        agent.initial_state(3),
        agent.initial_state(2, 50),
        sound._replace(memory=sound.memory[..., :2]),
        (1, 2),
    ):
        with pytest.raises(ValueError, match=r"the state"):
            agent.act(obs, state)
    with pytest.raises(ValueError, match=r"episode_start has shape"):
        agent.act(obs, sound, np.zeros(3, bool))


def test_an_environment_without_a_graph_is_refused_in_one_sentence():
    box = spaces.Box(-1.0, 1.0, (4,))  # CartPole's
    with pytest.raises(ValueError, match=r"observation_space Box.* is not a DynamicGraphSpace"):
        PPO_GNN(box, spaces.Discrete(2))
    with pytest.raises(ValueError, match=r"observation_space has no nodes, edge_index"):
        PPO_GNN(spaces.Dict({"x": box}), spaces.Discrete(2))
    graph = ToyMesh().single_observation_space
    with pytest.raises(ValueError, match=r"action_space Discrete\(2\) fits neither"):
        PPO_GNN(graph, spaces.Discrete(2))


def test_a_training_that_diverges_says_so_with_its_learning_rate_and_step():
    env = ToyMesh(num_envs=4)
    agent = small_agent(env, learning_rate=1e9)
    with pytest.raises(DivergenceError, match=r"diverged after 0 environment steps at learning rate 1e\+09: .*weight"):
        agent.learn(env, 10_000)
    sound = small_agent(env)
    with torch.no_grad():
        next(iter(sound.model.head.parameters())).fill_(float("nan"))
    obs, _ = env.reset(seed=0)
    with pytest.raises(DivergenceError, match=r"the network's logits are not finite"):
        sound.act(obs)
    require_sound_weights([torch.tensor([1e6]), torch.zeros(0)], 1.0)
    for wrong in (1.1e6, -2e6, float("nan"), float("inf")):
        with pytest.raises(DivergenceError, match=r"weight"):
            require_sound_weights([torch.zeros(3), torch.tensor([0.0, wrong])], 1.0)


def test_a_loss_that_is_no_number_stops_the_update_before_the_weights_move():
    env = ToyMesh()
    agent = small_agent(env)
    collector = collected(agent, env)
    agent.replay_checked = True
    agent.recorder.storage.log_prob[3] = -np.inf
    before = weights(agent)
    with pytest.raises(DivergenceError, match=r"not finite"):
        agent.update(collector.obs, collector.state)
    assert torch.equal(weights(agent), before) or torch.isfinite(weights(agent)).all()
