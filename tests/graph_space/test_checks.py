from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graph_space import (
    DynamicGraphConfig,
    GraphCodec,
    GraphObservation,
    ObservationError,
    Topology,
    check_observation,
    empty_observation,
)

CONFIG = DynamicGraphConfig(max_nodes=4, max_edges=5, node_feat_dim=2, edge_feat_dim=2, global_feat_dim=1, num_moves=3)


def observation() -> GraphObservation:
    """Slots 0, 1 and 2 real, edges 0 -> 1 and 1 -> 2, everybody known from the observation before."""
    codec = GraphCodec(CONFIG)
    topology = Topology(("a", "b", "c"), (("a", "b"), ("b", "c")))
    for _ in range(2):
        encoded, _ = codec.encode(topology, np.ones((3, 2)), np.ones((2, 2)), [1.0], elapsed_seconds=15.0)
    return encoded


def put(key: str, index: object, value: float) -> Callable[[GraphObservation], None]:
    def change(broken: GraphObservation) -> None:
        broken[key][index] = value

    return change


def replace(key: str, value: object) -> Callable[[GraphObservation], None]:
    def change(broken: GraphObservation) -> None:
        broken[key] = value  # type: ignore[assignment]

    return change


def test_good_observations_pass() -> None:
    check_observation(observation(), CONFIG)
    check_observation(empty_observation(CONFIG), CONFIG)
    check_observation(empty_observation(CONFIG, (2, 3)), CONFIG)


def test_where_one_node_is_chosen_only_one_must_be_a_choice() -> None:
    config = DynamicGraphConfig(
        max_nodes=3, max_edges=2, node_feat_dim=1, edge_feat_dim=1, global_feat_dim=1, num_moves=1
    )
    chosen = empty_observation(config)
    chosen["node_mask"][:2] = 1
    chosen["action_mask"][1] = 1
    check_observation(chosen, config)
    chosen["action_mask"][1] = 0
    with pytest.raises(ObservationError, match="action_mask: no node may be chosen"):
        check_observation(chosen, config)
    chosen["action_mask"][2] = 1
    with pytest.raises(ObservationError, match=r"no node may be chosen.*\n.*action_mask\[2\]: legal moves in padding"):
        check_observation(chosen, config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda o: o.pop("globals"), r"globals: missing; add an array \(1,\) float32"),
        (replace("extra", np.zeros(1)), "'extra': not a key"),
        (replace("nodes", np.zeros((4, 2))), "nodes: dtype float64; make it float32"),
        (replace("nodes", np.zeros((4, 3), np.float32)), r"nodes: shape \(4, 3\); the configuration says \(4, 2\)"),
        (replace("node_mask", [1, 1, 1, 0]), "node_mask: is a list; make it a numpy array of int8"),
        (replace("node_mask", np.ones(4, bool)), "node_mask: dtype bool; make it int8"),
        (put("node_mask", 3, 2), r"node_mask\[3\] = 2: a mask is 1 where valid"),
        (put("action_mask", (0, 1), -1), r"action_mask\[0, 1\] = -1: a mask is 1"),
        (put("nodes", (1, 0), np.nan), r"nodes\[1, 0\] = nan: fill missing"),
        (put("nodes", (3, 1), 7), r"nodes\[3, 1\] = 7.0: padding is 0"),
        (put("nodes", (3, 1), np.nan), r"nodes\[3, 1\] = nan: padding is 0"),
        (put("action_mask", 2, 0), r"action_mask\[2\]: a real node without a legal move"),
        (put("action_mask", (3, 0), 1), r"action_mask\[3\]: legal moves in padding"),
        (put("prev_slot", 0, 4), r"prev_slot\[0\] = 4: a slot is 0 .. 3, or -1"),
        (put("prev_slot", 0, -2), r"prev_slot\[0\] = -2"),
        (put("prev_slot", 3, 3), r"prev_slot\[3\] = 3: padding is -1"),
        (put("prev_slot", 0, 1), r"prev_slot\[0, 1\]: all 1; a node stood in one slot"),
        (put("edge_mask", 0, 0), r"edge_mask\[0\]: 0 before the last real edge"),
        (put("edge_index", (0, 1), 3), r"edge_index\[0, 1\] = 3: that slot is padding"),
        (put("edge_index", (1, 1), 9), r"edge_index\[1, 1\] = 9: a slot is 0 .. 3"),
        (put("edge_index", (1, 4), 1), r"edge_index\[1, 4\] = 1: padding is 0"),
        (put("edge_index", (slice(None), 1), [0, 1]), "edge_index: 0 -> 1 more than once"),  # type: ignore[arg-type]
        (put("edges", (0, 1), np.inf), r"edges\[0, 1\] = inf: fill missing"),
        (put("edges", (2, 0), 1), r"edges\[2, 0\] = 1.0: padding is 0"),
        (put("globals", 0, np.nan), r"globals\[0\] = nan"),
        (put("elapsed_seconds", ..., -1), r"elapsed_seconds: -1.0; seconds since"),
    ],
)
def test_each_broken_invariant_is_named(change: Callable[[GraphObservation], None], message: str) -> None:
    broken = observation()
    change(broken)
    with pytest.raises(ObservationError, match=message):
        check_observation(broken, CONFIG)


def test_all_problems_are_said_at_once_with_their_place_in_the_batch() -> None:
    batch = empty_observation(CONFIG, (2,))
    batch["prev_slot"][1, 0] = 0
    batch["nodes"][0] = 1
    with pytest.raises(ObservationError) as error:
        check_observation(batch, CONFIG)
    assert len(error.value.problems) == 2
    assert "nodes[0][0, 0] = 1.0" in error.value.problems[0]
    assert "and 3 more" in error.value.problems[0]
    assert "prev_slot[1][0] = 0: padding is -1" in error.value.problems[1]
