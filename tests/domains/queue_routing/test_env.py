"""The environment: what it shows, what it rewards, where it ends, and that it goes on where it was saved."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from gnnrl.agents.archive import read_archive, write_archive
from gnnrl.config.queue_routing import QueueRoutingConfig
from gnnrl.domains.queue_routing.baselines import Router
from gnnrl.domains.queue_routing.env import QueueRoutingEnv, QueueRoutingVectorEnv, graph_config
from graph_space import check_observation

CHANGING = QueueRoutingConfig(
    drawn_replicas=(2, 5), max_replicas=5, replica_changes_per_1000=60.0, episode_arrivals=230, show_work=True
)


def legal_choices(observation: dict[str, np.ndarray[Any, Any]], rng: np.random.Generator) -> np.ndarray[Any, Any]:
    mask = observation["action_mask"][:, :, 0]
    return np.where(mask, rng.random(mask.shape), -1.0).argmax(axis=1)


def test_gymnasium_takes_it() -> None:
    check_env(gymnasium.make("gnnrl/QueueRouting-v0").unwrapped, skip_render_check=True)
    vector = gymnasium.make_vec("gnnrl/QueueRouting-v0", num_envs=3, config=CHANGING)
    observation, _ = vector.reset(seed=1)
    assert observation in vector.observation_space
    assert vector.single_action_space == gymnasium.spaces.Discrete(6)


@pytest.mark.parametrize("config", [QueueRoutingConfig(), CHANGING])
def test_every_observation_keeps_the_invariants(config: QueueRoutingConfig) -> None:
    env = QueueRoutingVectorEnv(6, config, strict_actions=True)
    rng = np.random.default_rng(3)
    observation, _ = env.reset(seed=4)
    seen = set()
    for _ in range(500):
        check_observation(observation, graph_config(config))
        assert (observation["action_mask"][:, :-1, 0].sum(axis=1) >= 1).all()
        assert (observation["action_mask"][:, -1] == 0).all()
        seen |= set(observation["node_mask"].sum(axis=1).tolist())
        observation, *_ = env.step(legal_choices(observation, rng))
    assert seen == ({3} if config is not CHANGING else {2, 3, 4, 5, 6})


def test_a_replica_that_comes_back_is_a_new_node() -> None:
    env = QueueRoutingVectorEnv(1, max_replicas=3)
    env.reset(seed=0)
    env.simulation.lose(0, 1)
    observation, *_ = env.step(np.array([0]))
    assert observation["prev_slot"][0].tolist() == [0, -1, -1, -1]
    env.simulation.add(0, 1)
    observation, *_ = env.step(np.array([0]))
    assert observation["prev_slot"][0].tolist() == [0, -1, -1, -1]
    observation, *_ = env.step(np.array([0]))
    assert observation["prev_slot"][0].tolist() == [0, 1, -1, -1]


def test_the_mean_of_minus_the_reward_is_the_mean_latency() -> None:
    """Little's law; held against the latencies of the requests themselves."""
    env = QueueRoutingVectorEnv(64, copy=False, routing_bonus=0.0, episode_arrivals=3001)
    env.reset(seed=5)
    total = 0.0
    for _ in range(3000):
        _, reward, _, _, infos = env.step(env.simulation.choose(Router.SED))
        assert np.array_equal(reward, -infos["latency_s"])
        total += float(infos["latency_s"].sum())
    mean = env.simulation.metrics().mean_latency_seconds
    assert total / (3000 * 64) == pytest.approx(mean, rel=0.01)
    assert mean == pytest.approx(0.2705, rel=0.03)


def test_the_parts_of_the_reward_add_up_and_can_be_switched_off() -> None:
    env = QueueRoutingVectorEnv(4, queue_weight=2.0, routing_bonus=0.5)
    bare = QueueRoutingVectorEnv(4, queue_weight=0.0, routing_bonus=0.0)
    for each in (env, bare):
        each.reset(seed=6)
    for _ in range(50):
        actions = env.simulation.choose(Router.RANDOM)
        kind, fast = env.simulation.state.request_type.copy(), env.simulation.state.service_rates.argmax(axis=1)
        _, reward, _, _, infos = env.step(actions)
        assert np.array_equal(infos["routing_accuracy"], (actions == fast[np.arange(4), kind]))
        assert reward == pytest.approx(-2.0 * infos["latency_s"] + 0.5 * infos["routing_accuracy"])
        assert reward == pytest.approx(infos["reward_queue"] + infos["reward_bonus"])
        assert not bare.step(actions)[1].any()


def test_the_flat_state_is_the_documented_one() -> None:
    env = QueueRoutingEnv()
    observation, _ = env.reset(seed=7)
    for _ in range(100):
        q1, u1, q2, u2, kind, gap = env.flat_state()
        assert observation["nodes"][:2, 1].tolist() == [q1, q2]
        assert observation["nodes"][:2, 2] == pytest.approx([u1, u2])
        assert observation["globals"] == pytest.approx([kind, gap, q1 + q2])
        assert observation["edges"][:, 0].tolist() == ([10.0, 5.0] if kind == 0 else [5.0, 10.0])
        assert 0.0 <= u1 <= 1.0 and 0.0 <= u2 <= 1.0 and gap > 0.0
        observation, *_ = env.step(int(observation["nodes"][1, 1] < observation["nodes"][0, 1]))


def test_a_choice_without_a_replica_is_counted_and_goes_to_the_shortest_queue() -> None:
    env, twin = QueueRoutingEnv(max_replicas=3), QueueRoutingEnv(max_replicas=3)
    for each in (env, twin):
        each.reset(seed=8)
    for _ in range(20):
        state = env.flat_state()
        shortest = int(state[2] < state[0])
        ours, theirs = env.step(2), twin.step(shortest)
        assert ours[4].pop("illegal_actions") == 1.0
        assert theirs[4].pop("illegal_actions") == 0.0
        assert ours[4] == theirs[4]
        assert all(np.array_equal(ours[0][key], theirs[0][key]) for key in ours[0])
    assert env.action_masks().tolist() == [True, True, False, False]
    strict = QueueRoutingVectorEnv(2, strict_actions=True)
    strict.reset(seed=8)
    with pytest.raises(ValueError, match="environment 1: action 2 is no present replica"):
        strict.step(np.array([0, 2]))


def test_an_episode_ends_by_truncation_and_the_next_one_is_another() -> None:
    env = QueueRoutingVectorEnv(2, episode_arrivals=5)
    first, _ = env.reset(seed=9)
    for step in range(1, 8):
        observation, reward, terminated, truncated, _ = env.step(np.zeros(2, np.int64))
        assert not terminated.any()
        assert truncated.all() == (step == 5) == truncated.any()
        if step == 6:  # the autoreset
            assert not reward.any()
            assert not observation["nodes"][:, :, 1].any()
            assert not observation["elapsed_seconds"].any()
            assert not np.array_equal(observation["globals"], first["globals"])
    again, _ = env.reset(seed=9)
    assert all(np.array_equal(again[key], first[key]) for key in first)


def test_permuting_the_replicas_permutes_the_observation() -> None:
    rates = ((10.0, 5.0), (5.0, 10.0), (7.0, 7.0))
    order = [2, 0, 1]
    env = QueueRoutingEnv(service_rates=rates, max_replicas=3)
    other = QueueRoutingEnv(service_rates=tuple(rates[r] for r in order), max_replicas=3)
    ours, _ = env.reset(seed=10)
    theirs, _ = other.reset(seed=10)
    rng = np.random.default_rng(0)
    for _ in range(200):
        assert np.array_equal(ours["nodes"][:3][order], theirs["nodes"][:3])
        assert np.array_equal(ours["edges"][order], theirs["edges"])
        assert np.array_equal(ours["globals"], theirs["globals"])
        choice = int(rng.integers(3))
        ours, reward, *_ = env.step(choice)
        theirs, other_reward, *_ = other.step(order.index(choice))
        assert reward == pytest.approx(other_reward)


def test_the_requests_do_not_depend_on_who_routes() -> None:
    first, second = (QueueRoutingVectorEnv(3, CHANGING) for _ in range(2))
    rng = np.random.default_rng(11)
    one, _ = first.reset(seed=12)
    other, _ = second.reset(seed=12)
    for _ in range(400):
        for key in ("node_mask", "edges"):
            assert np.array_equal(one[key], other[key])
        assert np.array_equal(one["globals"][:, :2], other["globals"][:, :2])
        one, *_ = first.step(first.simulation.choose(Router.SED))
        other, *_ = second.step(legal_choices(other, rng))
    assert not np.array_equal(one["nodes"], other["nodes"])


def test_a_saved_environment_goes_on_bit_for_bit(tmp_path: Any) -> None:
    env, twin = (QueueRoutingVectorEnv(8, CHANGING, copy=False) for _ in range(2))
    rng = np.random.default_rng(13)
    observation, _ = env.reset(seed=14)
    for _ in range(500):
        # The first replica alone: queues beyond the rings' first capacity.
        present = observation["action_mask"][:, :, 0].argmax(axis=1)
        observation, *_ = env.step(present)
    assert env.state_dict()["arrivals"].tolist() == [38] * 8
    write_archive(tmp_path / "saved.pt", env.state_dict())
    twin.reset(seed=99)
    twin.step(np.zeros(8, np.int64))
    twin.load_state_dict(read_archive(tmp_path / "saved.pt"))
    for _ in range(500):
        actions = legal_choices(observation, rng)
        observation, reward, _, truncated, infos = env.step(actions)
        other, other_reward, _, other_truncated, other_infos = twin.step(actions)
        assert all(np.array_equal(observation[key], other[key]) for key in observation)
        assert np.array_equal(reward, other_reward)
        assert np.array_equal(truncated, other_truncated)
        assert all(np.array_equal(infos[key], other_infos[key]) for key in infos)
    assert env.simulation.metrics() == twin.simulation.metrics()


def test_a_state_of_other_sizes_is_refused() -> None:
    saved = QueueRoutingVectorEnv(2)
    saved.reset(seed=1)
    other = QueueRoutingVectorEnv(2, max_replicas=4)
    with pytest.raises(ValueError, match="replicas of the saved simulation have shape"):
        other.load_state_dict(saved.state_dict())
