from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.utils import batch_space, concatenate, create_empty_array

from graph_space import DynamicGraphConfig, DynamicGraphSpace, GraphObservation, check_observation, empty_observation
from graph_space.codec import GraphCodec
from graph_space.schema import KEYS
from graph_space.slots import SlotTable

CONFIG = DynamicGraphConfig(max_nodes=5, max_edges=9, node_feat_dim=3, edge_feat_dim=2, global_feat_dim=2)
TINY = DynamicGraphConfig(max_nodes=1, max_edges=1, node_feat_dim=1, edge_feat_dim=1, global_feat_dim=1, num_moves=1)


class Samples(gymnasium.Env[GraphObservation, np.ndarray]):
    """An environment of random graphs."""

    def __init__(self) -> None:
        self.observation_space = DynamicGraphSpace(CONFIG)
        self.action_space = spaces.MultiDiscrete([15] * CONFIG.max_nodes)

    def reset(self, *, seed: int | None = None, options: object = None) -> tuple[GraphObservation, dict[str, object]]:  # noqa: ARG002
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: np.ndarray) -> tuple[GraphObservation, float, bool, bool, dict[str, object]]:  # noqa: ARG002
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize("config", [CONFIG, TINY, DynamicGraphConfig()])
def test_samples_keep_every_invariant(config: DynamicGraphConfig) -> None:
    space = DynamicGraphSpace(config, seed=0)
    counts = set()
    for _ in range(60):
        sample = space.sample()
        check_observation(sample, config)
        assert sample in space
        assert all(sample[key] in space[key] for key in KEYS)
        counts.add(int(sample["node_mask"].sum()))
    assert counts == set(range(1, config.max_nodes + 1)) or config.max_nodes == 20


def test_seeds_decide_the_samples() -> None:
    first, second = DynamicGraphSpace(CONFIG, seed=1), DynamicGraphSpace(CONFIG)
    second.seed(1)
    for a, b in zip([first.sample() for _ in range(3)], [second.sample() for _ in range(3)], strict=True):
        for key in KEYS:
            np.testing.assert_array_equal(a[key], b[key])
    seeds = second.seed(2)
    again = second.sample()["nodes"]
    first.seed(seeds)
    np.testing.assert_array_equal(first.sample()["nodes"], again)
    assert not np.array_equal(DynamicGraphSpace(CONFIG, seed=3).sample()["nodes"], again)


def test_contains_asks_for_the_invariants_and_not_for_shapes_alone() -> None:
    space = DynamicGraphSpace(CONFIG, seed=0)
    sample = space.sample()
    dangling = copy.deepcopy(sample)
    dangling["prev_slot"][:] = 0
    assert dangling not in space
    assert spaces.Dict(space.spaces).contains(dangling)  # what a plain Dict would have let through
    assert empty_observation(CONFIG) in space
    assert empty_observation(CONFIG, (2,)) not in space
    assert [] not in space


def test_equality_depends_on_the_sizes_alone() -> None:
    used, fresh = DynamicGraphSpace(CONFIG), DynamicGraphSpace(CONFIG)
    used.update_node_mapping(["a", "b"])
    assert used == fresh == spaces.Dict(dict(fresh.spaces))
    assert used != DynamicGraphSpace(TINY)


def test_copies_carry_the_mapping_and_go_their_own_way() -> None:
    space = DynamicGraphSpace(CONFIG, seed=5)
    space.update_node_mapping(["a", "b"])
    for twin in (pickle.loads(pickle.dumps(space)), copy.deepcopy(space)):
        assert twin == space
        assert twin.codec.table.mapping == {"a": 0, "b": 1}
        twin.update_node_mapping(["c"])
        assert space.codec.table.mapping == {"a": 0, "b": 1}
        np.testing.assert_array_equal(twin.sample()["nodes"], copy.deepcopy(space).sample()["nodes"])


def test_the_space_cannot_be_changed() -> None:
    space = DynamicGraphSpace(CONFIG)
    with pytest.raises(TypeError, match="cannot be changed"):
        space["nodes"] = spaces.Discrete(2)
    with pytest.raises(ValueError, match="neither mask nor probability"):
        space.sample(mask={})


def test_the_face_keeps_nodes_in_their_slots() -> None:
    space = DynamicGraphSpace(CONFIG)
    names, edges = ["web", "cart", "ad"], [("web", "cart"), ("web", "ad")]
    rows, calls = np.arange(1, 10).reshape(3, 3), np.arange(1, 5).reshape(2, 2)
    space.encode(names, rows, edges, calls, [1, 2])
    observation, info = space.encode(names[1:], rows[1:], [], np.ones((0, 2)), [1, 2], elapsed_seconds=15.0)
    assert observation in space
    assert info == {"nodes_left_out": 0, "edges_left_out": 0}
    assert observation["node_mask"].tolist() == [0, 1, 1, 0, 0]
    assert observation["prev_slot"].tolist() == [-1, 1, 2, -1, -1]
    assert set(space.to_networkx(observation).nodes) == {"cart", "ad"}

    assignment = space.update_node_mapping(names)
    assert assignment.slots.tolist() == [0, 1, 2]
    assert space.pad_node_features(rows)[:3].tolist() == rows.tolist()
    assert space.pad_edge_features(calls, edges).edge_index[:, :2].tolist() == [[0, 0], [1, 2]]


def test_json_round_trip() -> None:
    space = DynamicGraphSpace(CONFIG, seed=0)
    samples = [space.sample(), space.sample()]
    for back, sample in zip(space.from_jsonable(space.to_jsonable(samples)), samples, strict=True):
        assert back in space
        for key in KEYS:
            np.testing.assert_array_equal(back[key], sample[key])


def test_vector_utilities_batch_the_space() -> None:
    space = DynamicGraphSpace(CONFIG, seed=0)
    batched = batch_space(space, 3)
    samples = [space.sample() for _ in range(3)]
    out = concatenate(space, samples, create_empty_array(space, 3))
    check_observation(out, CONFIG)
    assert out in batched
    for key in KEYS:
        np.testing.assert_array_equal(out[key][2], samples[2][key])


def test_gymnasium_takes_environments_of_this_space(recwarn: pytest.WarningsRecorder) -> None:
    check_env(Samples())
    assert not [str(warning.message) for warning in recwarn if "space" in str(warning.message)]
    vector = SyncVectorEnv([Samples, Samples])
    observation, _ = vector.reset(seed=0)
    check_observation(observation, CONFIG)
    observation, *_ = vector.step(vector.action_space.sample())
    check_observation(observation, CONFIG)


@pytest.mark.sb3
def test_stable_baselines_buffers_take_the_space() -> None:
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    buffers = pytest.importorskip("stable_baselines3.common.buffers")
    env = vec_env.DummyVecEnv([Samples, Samples])
    observation = env.reset()
    check_observation(observation, CONFIG)
    buffer = buffers.DictRolloutBuffer(4, env.observation_space, env.action_space, n_envs=2)
    assert buffer.observations["action_mask"].shape == (4, 2, 5, 15)


def test_all_configuration_errors_come_at_once() -> None:
    with pytest.raises(ValueError) as error:
        DynamicGraphConfig(max_nodes=0, max_edges=2.5, num_moves=True, overflow="ignore")  # type: ignore[arg-type]
    message = str(error.value)
    assert "max_nodes: 0 is not an integer >= 1" in message
    assert "max_edges: 2.5 is not an integer >= 1" in message
    assert "num_moves: True is not an integer >= 1" in message
    assert "overflow: 'ignore' is not one of error, drop_least_active" in message


def test_the_documented_defaults() -> None:
    config = DynamicGraphConfig()
    sizes = (config.max_nodes, config.max_edges, config.node_feat_dim, config.edge_feat_dim, config.global_feat_dim)
    assert (*sizes, config.num_moves, config.overflow) == (20, 400, 6, 7, 4, 15, "error")


def test_importing_the_room_brings_no_torch() -> None:
    code = "import sys, graph_space; print([m for m in ('torch', 'encoders', 'gnnrl') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("field", ["max_nodes", "max_edges", "node_feat_dim", "num_moves"])
def test_sizes_that_would_fill_the_memory_are_refused(field: str) -> None:
    for size in (10**9, 2**70):
        with pytest.raises(ValueError, match=f"{field}: {size} is above 1000000"):
            DynamicGraphConfig(**{field: size})
    with pytest.raises(ValueError, match=r"holds \d+ numbers, more than"):
        DynamicGraphConfig(max_nodes=1_000_000, node_feat_dim=1_000_000)
    with pytest.raises(ValueError, match="capacity 1000000000 is above"):
        SlotTable(10**9)


@pytest.mark.parametrize(
    "features",
    [
        np.array([["1", "2", "3"]]),
        np.ones((1, 3), complex),
        np.ones((1, 3), object),
        np.full((1, 3), "2020", "M8[Y]"),
        [[None, 1.0, 2.0]],
        [[1.0], [1.0, 2.0]],
    ],
)
def test_features_are_numbers(features: object) -> None:
    with pytest.raises(ValueError, match="nodes: "):
        DynamicGraphSpace(CONFIG).encode(["a"], features, [], [], np.zeros(2))  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [None, True, "1", [1.0], 1j, np.array([1.0]), -1, 1e300])
def test_elapsed_seconds_are_one_number(seconds: object) -> None:
    with pytest.raises(ValueError, match="elapsed_seconds"):
        DynamicGraphSpace(CONFIG).encode(["a"], np.ones((1, 3)), [], [], np.zeros(2), elapsed_seconds=seconds)


def test_what_holds_numbers_takes_any_layout_of_them() -> None:
    space, features = DynamicGraphSpace(CONFIG), np.arange(12.0).reshape(4, 3)
    frozen = features.astype(">f8")[::-2]
    frozen.setflags(write=False)
    nodes = space.encode(["a", "b"], frozen, [], [], np.zeros(2, np.int64))[0]["nodes"]
    assert nodes[:2].tolist() == features[::-2].tolist()


@pytest.mark.parametrize("other", [3, "x", True, [], object()])
def test_a_space_and_a_codec_are_made_of_their_own(other: object) -> None:
    with pytest.raises(ValueError, match="not a DynamicGraphConfig"):
        DynamicGraphSpace(other)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a DynamicGraphConfig"):
        GraphCodec(other)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="not a SlotTable"):
        GraphCodec(CONFIG, other)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="out is a"):
        DynamicGraphSpace(CONFIG).encode([], [], [], [], np.zeros(2), out=other)
