from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph_space import (
    AUTOSCALING,
    CapacityError,
    DynamicGraphConfig,
    GraphCodec,
    SlotTable,
    Topology,
    TopologyError,
    check_observation,
    empty_observation,
)
from tests.graph_space.strategies import features, topologies

CONFIG = DynamicGraphConfig(max_nodes=6, max_edges=9, node_feat_dim=3, edge_feat_dim=2, global_feat_dim=2, num_moves=4)
ABC = Topology(("a", "b", "c"), (("a", "b"), ("b", "c"), ("c", "c")))


@settings(max_examples=60)
@given(st.lists(st.tuples(topologies(), st.booleans()), min_size=1, max_size=6))
def test_round_trip_through_churn_and_in_place_equals_fresh(history: list[tuple[Topology, bool]]) -> None:
    fresh, in_place = GraphCodec(CONFIG), GraphCodec(CONFIG)
    out = empty_observation(CONFIG)
    for seed, (topology, commit) in enumerate(history):
        nodes, edges, global_row, moves = features(topology, CONFIG, seed)
        options = {"action_mask": moves, "elapsed_seconds": float(seed), "commit": commit}
        observation, info = fresh.encode(topology, nodes, edges, global_row, **options)
        check_observation(observation, CONFIG)
        assert info == {"nodes_left_out": 0, "edges_left_out": 0}

        graph = fresh.to_networkx(observation)
        assert set(graph.nodes) == set(topology.nodes)
        assert set(graph.edges) == set(topology.edges)
        for name, row, legal in zip(topology.nodes, nodes, moves, strict=True):
            np.testing.assert_array_equal(graph.nodes[name]["features"], row)
            np.testing.assert_array_equal(observation["action_mask"][fresh.table.slot_of(name)], legal)
        for edge, row in zip(topology.edges, edges, strict=True):
            np.testing.assert_array_equal(graph.edges[edge]["features"], row)
        np.testing.assert_array_equal(graph.graph["features"], global_row)
        assert observation["elapsed_seconds"] == seed

        written, _ = in_place.encode(topology, nodes, edges, global_row, out=out, **options)
        assert written is out
        for key in observation:
            np.testing.assert_array_equal(out[key], observation[key], err_msg=key)


def test_an_observation_is_laid_out_by_slots() -> None:
    codec = GraphCodec(CONFIG)
    codec.encode(Topology(("x", "a")), np.ones((2, 3)), np.ones((0, 2)), [0, 0])
    observation, _ = codec.encode(ABC, np.arange(1, 10).reshape(3, 3), [[1, 2], [3, 4], [5, 6]], [7, 8])
    # a keeps slot 1; b and c take 2 and 3, for slot 0 was x's at the last look
    assert observation["node_mask"].tolist() == [0, 1, 1, 1, 0, 0]
    assert observation["nodes"][:, 0].tolist() == [0, 1, 4, 7, 0, 0]
    assert observation["prev_slot"].tolist() == [-1, 1, -1, -1, -1, -1]
    assert observation["edge_index"][:, :4].tolist() == [[1, 2, 3, 0], [2, 3, 3, 0]]
    assert observation["edge_mask"].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert observation["action_mask"].sum(axis=1).tolist() == [0, 4, 4, 4, 0, 0]


def test_an_uncommitted_observation_leaves_the_reference() -> None:
    codec = GraphCodec(CONFIG)
    arguments = features(ABC, CONFIG, 0)[:3]
    for _ in range(2):
        assert codec.encode(ABC, *arguments, commit=False)[0]["prev_slot"].tolist() == [-1] * 6
    codec.table.commit()
    assert codec.encode(ABC, *arguments)[0]["prev_slot"].tolist() == [0, 1, 2, -1, -1, -1]


def test_views_of_a_batch_are_written_in_place() -> None:
    batch = empty_observation(CONFIG, (2,))
    codec = GraphCodec(CONFIG)
    row = {key: array[1, ...] for key, array in batch.items()}
    codec.encode(ABC, *features(ABC, CONFIG, 0)[:3], elapsed_seconds=15.0, out=row)
    check_observation(batch, CONFIG)
    assert batch["node_mask"].sum(axis=1).tolist() == [0, 3]
    assert batch["elapsed_seconds"].tolist() == [0.0, 15.0]


def test_in_place_clears_only_what_was_written() -> None:
    codec, out = GraphCodec(CONFIG), empty_observation(CONFIG)
    codec.encode(ABC, *features(ABC, CONFIG, 0)[:3], out=out)
    out["nodes"][5] = np.nan  # somebody else's row: masked out, so neither read nor cleared
    codec.encode(Topology(("a",)), *features(Topology(("a",)), CONFIG, 1)[:3], out=out)
    assert np.isnan(out["nodes"][5]).all()
    assert (out["nodes"][1:5] == 0).all()


def test_past_capacity_the_error_names_count_and_remedy_and_nothing_changes() -> None:
    config = DynamicGraphConfig(max_nodes=2, max_edges=2, node_feat_dim=3, edge_feat_dim=2, global_feat_dim=2)
    codec, out = GraphCodec(config), empty_observation(config)
    small = Topology(("a", "b"))
    codec.encode(small, *features(small, config, 0)[:3], out=out)
    before = {key: array.copy() for key, array in out.items()}
    with pytest.raises(CapacityError) as error:
        codec.encode(ABC, *features(ABC, config, 0)[:3], out=out)
    assert "3 nodes do not fit in max_nodes = 2; raise max_nodes to 3 or more" in str(error.value)
    assert "3 edges do not fit in max_edges = 2" in str(error.value)
    assert "drop_least_active" in str(error.value)
    assert dict(codec.table.mapping) == {"a": 0, "b": 1}
    for key in out:
        np.testing.assert_array_equal(out[key], before[key])


def dropping(max_nodes: int, max_edges: int) -> GraphCodec:
    return GraphCodec(
        DynamicGraphConfig(
            max_nodes=max_nodes,
            max_edges=max_edges,
            node_feat_dim=1,
            edge_feat_dim=1,
            global_feat_dim=1,
            overflow="drop_least_active",
        )
    )


def test_the_least_active_nodes_are_left_out_with_their_edges_and_counted() -> None:
    codec = dropping(3, 10)
    #             a -> b 5, b -> c 1, a -> d 9, d -> c 2: traffic a 14, b 6, c 3, d 11
    topology = Topology(("a", "b", "c", "d"), (("a", "b"), ("b", "c"), ("a", "d"), ("d", "c")))
    observation, info = codec.encode(topology, [[1], [2], [3], [4]], [[5], [1], [9], [2]], [0])
    check_observation(observation, codec.config)
    assert info == {"nodes_left_out": 1, "edges_left_out": 2}
    graph = codec.to_networkx(observation)
    assert {name: data["features"].tolist() for name, data in graph.nodes(data=True)} == {"a": [1], "b": [2], "d": [4]}
    assert {edge: graph.edges[edge]["features"].tolist() for edge in graph.edges} == {("a", "b"): [5], ("a", "d"): [9]}


def test_the_ranking_can_be_told() -> None:
    codec = dropping(2, 10)
    topology = Topology(("a", "b", "c"), (("a", "b"), ("b", "c")))
    _, info = codec.encode(topology, [[1], [2], [3]], [[9], [1]], [0], activity=[0, 1, 2])
    assert set(codec.table.mapping) == {"b", "c"}
    assert info == {"nodes_left_out": 1, "edges_left_out": 1}


def test_ties_go_to_the_node_that_is_there() -> None:
    codec = dropping(2, 10)
    codec.encode(Topology(("c",)), [[1]], np.ones((0, 1)), [0])
    codec.encode(Topology(("a", "b", "c")), np.ones((3, 1)), np.ones((0, 1)), [0])
    assert dict(codec.table.mapping) == {"a": 1, "c": 0}


def test_edges_past_capacity_are_left_out_by_their_own_traffic() -> None:
    codec = dropping(3, 2)
    observation, info = codec.encode(ABC, np.ones((3, 1)), [[2], [1], [3]], [0])
    assert info == {"nodes_left_out": 0, "edges_left_out": 1}
    assert set(codec.to_networkx(observation).edges) == {("a", "b"), ("c", "c")}
    assert observation["edges"].ravel().tolist() == [2, 3]


@given(topologies(max_nodes=10, max_edges=20), st.integers(0, 3))
def test_what_is_left_out_and_what_stays_add_up(topology: Topology, seed: int) -> None:
    codec = dropping(4, 5)
    nodes, edges, global_row, _ = features(topology, codec.config, seed)
    observation, info = codec.encode(topology, nodes, edges, global_row)
    check_observation(observation, codec.config)
    assert info["nodes_left_out"] + observation["node_mask"].sum() == len(topology.nodes)
    assert info["edges_left_out"] + observation["edge_mask"].sum() == len(topology.edges)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"node_features": np.ones((2, 3))}, r"nodes: shape \(2, 3\), expected \(3, 3\)"),
        ({"edge_features": np.ones((3, 5))}, r"edges: shape \(3, 5\), expected \(3, 2\)"),
        ({"global_features": [1.0]}, r"globals: shape \(1,\), expected \(2,\)"),
        ({"node_features": [[1, 1, 1], [1, np.nan, 1], [1, 1, 1]]}, r"nodes\[1, 1\] is nan, not a finite number"),
        ({"edge_features": [[1, 1], [1, 1], [1, np.inf]]}, r"edges\[2, 1\] is inf"),
        ({"action_mask": np.zeros((3, 4))}, "no legal move for 'a', 'b', 'c'"),
        ({"action_mask": np.full((3, 4), 2)}, "values other than 0 and 1"),
        ({"action_mask": np.ones((3, 5))}, r"action_mask: shape \(3, 5\), expected \(3, 4\)"),
        ({"elapsed_seconds": -1.0}, "elapsed_seconds: -1.0 is not a finite number >= 0"),
        ({"elapsed_seconds": float("nan")}, "elapsed_seconds: nan is not"),
        ({"out": {"nodes": np.zeros((6, 3))}}, r"out\['nodes'\]: ndarray \(6, 3\) float64, expected"),
        ({"out": {}}, r"out\['nodes'\]: missing"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_changes(change: dict[str, object], message: str) -> None:
    codec = GraphCodec(CONFIG)
    good: dict[str, object] = {
        "node_features": np.ones((3, 3)),
        "edge_features": np.ones((3, 2)),
        "global_features": np.ones(2),
    }
    with pytest.raises(ValueError, match=message):
        codec.encode(ABC, **{**good, **change})  # type: ignore[arg-type]
    assert not codec.table.mapping
    codec.encode(ABC, **good)  # type: ignore[arg-type]


def test_a_networkx_graph_with_named_attributes_is_encoded() -> None:
    config = DynamicGraphConfig.from_schema(AUTOSCALING, max_nodes=6, max_edges=9)
    nodes, edges, global_row, _ = features(ABC, config, 0)
    codec = GraphCodec(config)
    graph = ABC.to_networkx(AUTOSCALING, nodes, edges, global_row)
    observation, _ = codec.encode_networkx(graph, AUTOSCALING, elapsed_seconds=15.0)
    expected, _ = GraphCodec(config).encode(ABC, nodes, edges, global_row, elapsed_seconds=15.0)
    for key in expected:
        np.testing.assert_array_equal(observation[key], expected[key])
    back = codec.to_networkx(observation, schema=AUTOSCALING)
    assert dict(back.nodes(data=True)) == dict(graph.nodes(data=True))
    assert back.graph == graph.graph


def test_to_networkx_wants_a_name_for_every_real_slot() -> None:
    codec = GraphCodec(CONFIG)
    observation, _ = codec.encode(ABC, *features(ABC, CONFIG, 0)[:3])
    assert set(codec.to_networkx(observation, ["x", "y", "z"]).edges) == {("x", "y"), ("y", "z"), ("z", "z")}
    with pytest.raises(ValueError, match=r"slots \[1, 2\] are real"):
        codec.to_networkx(observation, ["x", None])


def test_padding_by_name() -> None:
    codec = GraphCodec(CONFIG)
    codec.table.update(["a", "b", "c"])
    codec.table.update(["c", "b"])
    rows = np.arange(1, 7).reshape(2, 3)
    assert codec.pad_node_features(rows)[:, 0].tolist() == [0, 4, 1, 0, 0, 0]
    assert codec.pad_node_features(rows, ["b", "c"])[:, 0].tolist() == [0, 1, 4, 0, 0, 0]
    padded = codec.pad_edge_features([[1, 2], [3, 4]], [("c", "b"), ("b", "b")])
    assert padded.edge_index[:, :3].tolist() == [[2, 1, 0], [1, 1, 0]]
    assert padded.edges[:3, 1].tolist() == [2, 4, 0]
    assert padded.edge_mask.tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(KeyError, match="'a' is not among"):
        codec.pad_node_features(rows, ["a", "b"])
    with pytest.raises(TopologyError, match="not listed: 'a'"):
        codec.pad_edge_features([[1, 2]], [("a", "b")])


def test_more_edges_than_slots_cannot_be_padded() -> None:
    codec = GraphCodec(DynamicGraphConfig(max_nodes=3, max_edges=1, edge_feat_dim=1))
    codec.table.update(["a", "b"])
    with pytest.raises(CapacityError, match="2 edges do not fit in max_edges = 1"):
        codec.pad_edge_features([[1], [2]], [("a", "b"), ("b", "a")])


def test_a_table_of_another_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="the table has 3 slots, the configuration max_nodes 6"):
        GraphCodec(CONFIG, SlotTable(3))
