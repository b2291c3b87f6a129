import numpy as np
import pytest

from gnnrl.rl.storage import RolloutStorage
from tests.toy_mesh import ToyMesh


def filled(length=8, chunk=4, envs=3, seed=0):
    env = ToyMesh(num_envs=envs, churn=0.3)
    storage = RolloutStorage(env.single_observation_space, envs, length, chunk, (6,), (6,), (6, 2))
    rng = np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    seen = []
    for t in range(length + 1):
        seen.append({key: np.array(value) for key, value in obs.items()})
        if t == length:
            storage.close(obs, np.zeros(envs, bool), np.zeros((envs, 6)))
            break
        action = rng.integers(0, 3, (envs, 6))
        memory = np.full((envs, 6, 2), float(t))
        zero = np.zeros((envs, 6))
        storage.stage(obs, np.zeros(envs, bool), np.ones(envs, bool), memory, zero, action, zero, zero)
        obs, reward, terminated, truncated, infos = env.step(action)
        storage.commit(reward, terminated, truncated, infos["node_reward"])
    return storage, seen


def test_what_comes_out_is_what_went_in_whatever_the_edge_capacity_was_then():
    storage, seen = filled()
    assert 0 < storage.edge_capacity <= 15
    for t, obs in enumerate(seen):
        for key, value in obs.items():
            stored = storage.obs[key][t]
            if key == "edges":
                value = value[:, : storage.edge_capacity]
            elif key in ("edge_index", "edge_mask"):
                value = value[..., : storage.edge_capacity]
            np.testing.assert_array_equal(stored, value, err_msg=f"{key} at {t}")


def test_chunks_are_whole_and_start_from_their_state():
    storage, seen = filled()
    chunks = np.array([5, 0, 4])  # chunk 1 of env 2, chunk 0 of env 0, chunk 1 of env 1
    obs = storage.chunk_observations(chunks)
    for i, (first, env) in enumerate([(4, 2), (0, 0), (4, 1)]):
        for step in range(4):
            np.testing.assert_array_equal(obs["nodes"][step, i], seen[first + step]["nodes"][env])
    memory, _ = storage.chunk_state(chunks)
    assert memory[:, 0, 0].tolist() == [4.0, 0.0, 4.0]


def test_misuse_is_an_error():
    storage, seen = filled()
    with pytest.raises(RuntimeError, match="holds its 8 steps"):
        storage.stage(seen[0], *[np.zeros(3)] * 7)
    storage.clear()
    with pytest.raises(RuntimeError, match=r"without an act\(\)"):
        storage.commit(np.zeros(3), np.zeros(3), np.zeros(3), np.zeros((3, 6)))
    with pytest.raises(RuntimeError, match="holds 0 of 8"):
        storage.close(seen[0], np.zeros(3), np.zeros((3, 6)))
    with pytest.raises(ValueError, match="chunk_length 3 does not divide"):
        RolloutStorage(ToyMesh().single_observation_space, 1, 8, 3, (), (), (6, 0))


def test_a_reward_that_is_not_finite_is_refused():
    storage, seen = filled()
    storage.clear()
    zero = np.zeros((3, 6))
    storage.stage(seen[0], np.zeros(3), np.ones(3), np.zeros((3, 6, 2)), zero, zero, zero, zero)
    with pytest.raises(ValueError, match="not finite at step 0"):
        storage.commit(np.zeros(3), np.zeros(3), np.zeros(3), np.full((3, 6), np.nan))


def test_a_rollout_leaves_no_edges_to_the_next():
    storage, seen = filled()
    assert all(storage.obs["edge_mask"][t].any() for t in range(9))
    storage.clear()
    few = {key: value.copy() for key, value in seen[0].items()}
    few["edge_mask"][:, 1:] = 0
    zero = np.zeros((3, 6))
    memory = np.zeros((3, 6, 2))
    storage.stage(few, np.zeros(3, bool), np.ones(3, bool), memory, zero, np.zeros((3, 6), int), zero, zero)
    assert storage.obs["edge_mask"][0].tolist() == few["edge_mask"][:, : storage.edge_capacity].tolist()
    assert not storage.obs["edges"][0][:, 1:].any() and not storage.obs["edge_index"][0][..., 1:].any()
    np.testing.assert_array_equal(storage.obs["edges"][0][:, :1], few["edges"][:, :1])
