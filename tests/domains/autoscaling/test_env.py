"""The environment: Gymnasium's contract, the objective's bookkeeping, lag, churn, masks, checkpoints."""

from __future__ import annotations

import json
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import gnnrl.envs  # noqa: F401 - registers
from gnnrl.config.errors import ConfigError
from gnnrl.config.experiment import AutoscalingConfig, ChurnConfig
from gnnrl.domains.autoscaling.env import MeshEnv, MeshVectorEnv
from gnnrl.domains.autoscaling.episode import Split, draw_episode
from gnnrl.domains.autoscaling.mesh_file import save_mesh
from gnnrl.domains.autoscaling.random_mesh import random_mesh
from gnnrl.envs import OnlineBoutique
from gnnrl.wrappers import DocumentedObservation
from graph_space import check_observation
from graph_space.schema import MOVES, NODES, autoscaling_schema

CHURNY = ChurnConfig(
    service_added_per_hour=20.0,
    service_removed_per_hour=10.0,
    service_renamed_per_hour=10.0,
    call_removed_per_hour=10.0,
    pod_crashed_per_hour=20.0,
)
SHORT = AutoscalingConfig(episode_decisions=40, max_edges=64)


def column(name: str) -> int:
    return autoscaling_schema("history").index(NODES, name)


def random_actions(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    return (rng.random(mask.shape) * mask).argmax(-1)


def without_idle_latency(obs: dict) -> dict:
    """The latency of a service that one request in a quarter of an hour meets is rounding; take it out."""
    nodes, edges = obs[NODES].copy(), obs["edges"].copy()
    nodes[nodes[:, column("rps_in")] < 1e-3, column("p95_ms")] = 0.0
    edges[edges[:, 0] < 1e-3, 1] = 0.0
    return {**obs, NODES: nodes, "edges": edges}


def test_gymnasium_accepts_the_environment() -> None:
    check_env(gymnasium.make("gnnrl/OnlineBoutique-v0", config=SHORT).unwrapped, skip_render_check=True)
    check_env(OnlineBoutique(config=SHORT, action_mode="select"), skip_render_check=True)
    check_env(OnlineBoutique(config=SHORT, use_graph=False), skip_render_check=True)


def test_the_vector_environment_is_the_loop_over_single_ones() -> None:
    config = replace(SHORT, churn=CHURNY)
    episodes = [draw_episode(config, Split.TRAIN, seed) for seed in range(5)]
    vector = MeshVectorEnv(5, config)
    obs, _ = vector.reset(options={"episodes": episodes})
    rng = np.random.default_rng(0)
    singles = [MeshEnv(config) for _ in episodes]
    alone = [env.reset(options={"episode": episode})[0] for env, episode in zip(singles, episodes, strict=True)]
    for _ in range(30):
        actions = random_actions(rng, obs["action_mask"])
        obs, reward, *_ = vector.step(actions)
        for b, env in enumerate(singles):
            alone[b], single_reward, *_ = env.step(actions[b])
            assert single_reward == pytest.approx(float(reward[b]), rel=1e-3)
            expected = {key: value[b] for key, value in obs.items()}
            for key, value in without_idle_latency(alone[b]).items():
                np.testing.assert_allclose(
                    value, without_idle_latency(expected)[key], rtol=2e-3, atol=1e-3, err_msg=key
                )


@pytest.mark.parametrize("columns", ["basic", "extended", "history"])
def test_every_observation_of_a_churny_run_keeps_the_invariants(columns: str) -> None:
    env = MeshVectorEnv(8, replace(SHORT, churn=CHURNY, node_columns=columns))
    rng = np.random.default_rng(1)
    obs, _ = env.reset(seed=3)
    config = env.single_observation_space.config
    renewed = 0
    for _ in range(90):
        check_observation(obs, config)
        real = obs["node_mask"].astype(bool)
        renewed += int((real & (obs["prev_slot"] < 0)).sum())
        obs, reward, _, _, infos = env.step(random_actions(rng, obs["action_mask"]))
        np.testing.assert_allclose(infos["node_reward"].sum(1), reward, rtol=1e-4, atol=1e-5)
        assert np.isfinite(reward).all()
    # Two resets of 8 meshes of 11 services, and churn on top.
    assert renewed > 8 * 11 * 3


def test_two_changes_between_observations_leave_a_new_service_without_a_past() -> None:
    env = MeshEnv(SHORT)
    env.reset(seed=0)
    batch = env._vector.batch
    mesh = batch.meshes[0]
    assert mesh is not None

    def swap(before, after) -> None:  # type: ignore[no-untyped-def]
        batch.simulation.change_mesh(0, after)
        batch.builder.remesh(0, before, after)

    from gnnrl.domains.autoscaling.churn import rename_service

    first = rename_service(mesh, "adservice", "adservice-v2")
    second = rename_service(first, "emailservice", "emailservice-v2")
    swap(mesh, first)
    swap(first, second)
    obs = batch.observe()
    slots = batch.builder.slot_of_service[0]
    for name in ("adservice-v2", "emailservice-v2"):
        assert obs["prev_slot"][0, slots[second.index(name)]] == -1
    kept = slots[second.index("frontend")]
    assert obs["prev_slot"][0, kept] == kept


def test_metrics_are_seen_late_and_replica_counts_at_once() -> None:
    config = replace(SHORT, metrics_lag_seconds=30)
    base = draw_episode(config, Split.TRAIN, 0, workload="steady")
    step = np.full_like(base.rps, 20.0)
    step[45 + 60 :] = 40.0  # 60 s after the warm-up
    env = MeshEnv(config)
    obs, _ = env.reset(options={"episode": replace(base, rps=step)})
    seen = []
    for decision in range(12):
        seen.append(float(obs["globals"][3]))
        action = np.zeros(20, np.int64)
        if decision == 0:
            action[0] = 8  # one replica less
        before = obs[NODES][0, column("desired_replicas")]
        obs, *_ = env.step(action)
        if decision == 0:
            assert obs[NODES][0, column("desired_replicas")] == before - 1
    # Decision d sees the window that ended 30 s before it: the step at 60 s shows from 60 + 15 + 30 s = decision 7 on.
    np.testing.assert_allclose(seen, [20.0] * 7 + [40.0] * 5, rtol=1e-3)


def test_an_action_outside_the_mask_is_counted_or_refused_but_never_executed() -> None:
    mesh_env = MeshEnv(SHORT)
    obs, _ = mesh_env.reset(seed=0)
    names = mesh_env.slot_names()
    redis = next(slot for slot, name in names.items() if name == "redis-cart")
    assert obs["action_mask"][redis].tolist() == [1] + [0] * 14
    action = np.zeros(20, np.int64)
    action[redis] = 3
    after, _, _, _, info = mesh_env.step(action)
    assert info["illegal_actions"] == 1
    assert after[NODES][redis, column("desired_replicas")] == obs[NODES][redis, column("desired_replicas")]
    strict = MeshEnv(SHORT, strict_actions=True)
    strict.reset(seed=0)
    with pytest.raises(ValueError, match="outside the action mask"):
        strict.step(action)
    np.testing.assert_array_equal(strict._vector.batch.simulation.window.desired, mesh_env_desired(SHORT))


def test_select_refuses_an_action_outside_the_mask_too() -> None:
    env = MeshEnv(replace(SHORT, action_mode="select"), strict_actions=True)
    env.reset(seed=0)
    redis = next(slot for slot, name in env.slot_names().items() if name == "redis-cart")
    for action in (redis * 15 + 3, 19 * 15 + 1):  # a stateful service, and a slot without one
        with pytest.raises(ValueError, match=r"environment 0: 1 action\(s\) outside the action mask"):
            env.step(action)


@pytest.mark.parametrize(
    ("capacity", "message"),
    [
        (
            {"max_nodes": 24},
            "mesh 'random-25-0' has 25 services, more than max_nodes = 24; raise max_nodes to at least 25",
        ),
        (
            {"max_edges": 20},
            "mesh 'random-25-0' has [0-9]+ calls, more than max_edges = 20; raise max_edges to at least",
        ),
    ],
)
def test_a_mesh_larger_than_the_observation_is_refused(tmp_path, capacity: dict[str, int], message: str) -> None:
    mesh = replace(random_mesh(25, seed=0), name="random-25-0")
    save_mesh(mesh, tmp_path / "mesh.yaml")
    config = replace(SHORT, mesh=(str(tmp_path / "mesh.yaml"),), max_nodes=25)
    large = draw_episode(config, Split.TRAIN, 0)
    (field,) = capacity
    with pytest.raises(ConfigError, match=f"environment.{field}: {capacity[field]} is too few for mesh 'random-25-0'"):
        MeshEnv(replace(config, **capacity))
    # An episode given by hand is refused as well, and the one that was being played goes on.
    small = replace(SHORT, **({"max_nodes": 25} | capacity))
    env, other = MeshEnv(small), MeshEnv(small)
    env.reset(seed=1)
    other.reset(seed=1)
    with pytest.raises(ValueError, match=message):
        env.reset(options={"episode": large})
    still = np.zeros(small.max_nodes, np.int64)
    assert env.mesh == other.mesh
    assert env.step(still)[1] == other.step(still)[1]
    # With room for it, the same mesh is played.
    assert MeshEnv(config).reset(seed=0)[0]["node_mask"].sum() == 25


def mesh_env_desired(config: AutoscalingConfig) -> np.ndarray:
    env = MeshEnv(config)
    env.reset(seed=0)
    return env._vector.batch.simulation.window.desired


def test_the_mask_ends_at_the_bounds() -> None:
    env = MeshEnv(replace(SHORT, max_replicas=8))
    obs, _ = env.reset(seed=2)
    rng = np.random.default_rng(0)
    for _ in range(30):
        desired = obs[NODES][:, column("desired_replicas")].astype(int)
        scalable = obs[NODES][:, column("is_scalable")] > 0
        legal = obs["action_mask"].astype(bool)
        expected = (desired[:, None] + MOVES >= 1) & (desired[:, None] + MOVES <= 8)
        np.testing.assert_array_equal(legal[scalable][:, 1:], expected[scalable][:, 1:])
        obs, *_ = env.step(random_actions(rng, obs["action_mask"]))


def test_select_moves_one_service() -> None:
    env = MeshEnv(replace(SHORT, action_mode="select"))
    obs, _ = env.reset(seed=0)
    after, *_ = env.step(2 * 15 + 3)
    change = after[NODES][:, column("desired_replicas")] - obs[NODES][:, column("desired_replicas")]
    assert change[2] == 3
    assert np.count_nonzero(change) == 1


def test_the_objective_answers_to_policy_trace_and_servers() -> None:
    """The reward depends on what is decided, on the load and on the machines: nothing is replayed from a table."""
    base = draw_episode(SHORT, Split.TRAIN, 4, workload="diurnal", violation_weight=200.0)

    def play(episode, move: int) -> float:  # type: ignore[no-untyped-def]
        env = MeshEnv(SHORT)
        obs, _ = env.reset(options={"episode": episode})
        total = 0.0
        for _ in range(40):
            wanted = np.where(obs["action_mask"][:, move] == 1, move, 0)
            obs, reward, *_ = env.step(wanted)
            total += reward
        return total

    slow = replace(
        base, mesh=replace(base.mesh, services=tuple(replace(s, cpu_ms=s.cpu_ms * 1.6) for s in base.mesh.services))
    )
    crowded = replace(base, rps=base.rps * 1.5)
    still = play(base, 0)
    assert play(slow, 0) < still - 1.0
    assert play(crowded, 0) < still - 1.0
    assert play(base, 8) < still - 1.0  # everything scaled to one replica


@pytest.mark.parametrize("rollout", [{}, {"ramp": (0.25, 0.5, 0.75)}, {"cutover": "hard"}])
def test_a_run_continues_where_its_state_was_taken(rollout: dict) -> None:
    config = replace(SHORT, churn=replace(CHURNY, **rollout))
    env = MeshVectorEnv(6, config)
    rng = np.random.default_rng(5)
    obs, _ = env.reset(seed=9)
    for _ in range(55):  # past the first episode's end
        obs, *_ = env.step(random_actions(rng, obs["action_mask"]))
    state = env.state_dict()
    under_way = sum(len(json.loads(course)["watches"]) for course in state["batch"]["rollouts"])
    assert (under_way == 0) == (rollout == {"cutover": "hard"})
    actions, expected = [], []
    for _ in range(50):
        actions.append(random_actions(rng, obs["action_mask"]))
        obs, reward, *_ = env.step(actions[-1])
        expected.append((reward, obs))
    other = MeshVectorEnv(6, config)
    other.load_state_dict(state)
    for action, (reward, observation) in zip(actions, expected, strict=True):
        obs, got, *_ = other.step(action)
        np.testing.assert_array_equal(got, reward)
        for key, value in observation.items():
            np.testing.assert_array_equal(obs[key], value, err_msg=key)


def test_streams_of_episodes_are_disjoint_and_repeatable() -> None:
    train = draw_episode(SHORT, Split.TRAIN, 3, workload="noisy")
    assert np.array_equal(train.rps, draw_episode(SHORT, Split.TRAIN, 3, workload="noisy").rps)
    held_out = draw_episode(SHORT, Split.HELD_OUT, 3, workload="noisy")
    assert not np.allclose(train.rps, held_out.rps)
    assert train.mesh != held_out.mesh
    # One seed, one mesh, whatever the workload: comparisons across workloads meet the same mesh.
    assert replace_replicas(train.mesh) == replace_replicas(draw_episode(SHORT, Split.TRAIN, 3, workload="bursty").mesh)


def replace_replicas(mesh):  # type: ignore[no-untyped-def]
    return replace(mesh, services=tuple(replace(service, replicas=1) for service in mesh.services))


def test_the_documented_layout() -> None:
    env = DocumentedObservation(OnlineBoutique(config=SHORT))
    obs, _ = env.reset(seed=0)
    raw = env.unwrapped._vector.batch.observe()
    assert obs["svc_df"].shape == (20, 6)
    assert obs["edge_df"].shape == (64, 7)
    assert obs["global_feats"].shape == (4,)
    assert obs["invalid_action_mask"].shape == (165,)
    assert obs["num_nodes"] == 11
    assert env.observation_space.contains(obs)
    np.testing.assert_array_equal(obs["edge_df"][:15, :2].T, raw["edge_index"][0][:, :15])
    assert obs["edge_df"][:, 2].sum() == 15
    np.testing.assert_array_equal(obs["invalid_action_mask"].reshape(11, 15), 1 - raw["action_mask"][0, :11])
    assert obs["svc_df"][:11, 0].sum() == obs["global_feats"][0]


@pytest.mark.parametrize(
    ("arguments", "match"), [({"k8s": True}, "live cluster"), ({"goal_reward": "speed"}, "is not one of slo")]
)
def test_bad_arguments_are_refused(arguments: dict, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        OnlineBoutique(**arguments)
