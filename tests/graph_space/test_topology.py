from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given

from graph_space import Feature, GraphSchema, Topology, TopologyError, features_from_networkx
from tests.graph_space.strategies import topologies

SCHEMA = GraphSchema(
    nodes=(Feature("pods", "1", ""), Feature("cpu", "m", "")),
    edges=(Feature("rps", "1/s", ""),),
    globals=(Feature("total", "1", ""),),
)


@given(topologies())
def test_networkx_and_back_is_the_same_topology(topology: Topology) -> None:
    back = Topology.from_networkx(topology.to_networkx())
    assert back.nodes == topology.nodes
    assert set(back.edges) == set(topology.edges)
    assert [(topology.nodes[s], topology.nodes[t]) for s, t in topology.edge_positions.T] == list(topology.edges)


def test_cycles_and_self_loops_are_legal() -> None:
    topology = Topology(("a", "b"), (("a", "a"), ("a", "b"), ("b", "a")))
    assert topology.edge_positions.tolist() == [[0, 0, 1], [0, 1, 0]]
    assert Topology(()).edge_positions.shape == (2, 0)


def test_everything_wrong_is_said_at_once() -> None:
    with pytest.raises(TopologyError) as error:
        Topology(("a", "a", ""), (("a", "x"), ("a", "x")))
    message = str(error.value)
    assert "non-empty strings, not ''" in message
    assert "repeated nodes: 'a'" in message
    assert "repeated edges (merge the calls of one pair first): ('a', 'x')" in message
    assert "not listed: 'x'" in message


def test_edges_are_pairs() -> None:
    with pytest.raises(TopologyError, match=r"an edge is a pair \(source, target\), not \('a', 'b', 'c'\)"):
        Topology.of(["a", "b", "c"], [("a", "b", "c")])


def test_graphs_that_are_no_topology_are_refused() -> None:
    with pytest.raises(TopologyError, match="undirected"):
        Topology.from_networkx(nx.Graph([("a", "b")]))
    with pytest.raises(TopologyError, match="repeated edges"):
        Topology.from_networkx(nx.MultiDiGraph([("a", "b"), ("a", "b")]))
    with pytest.raises(TopologyError, match="non-empty strings, not 1, 2"):
        Topology.from_networkx(nx.DiGraph([(1, 2)]))


def test_attributes_are_columns_by_name() -> None:
    topology = Topology(("a", "b"), (("b", "a"),))
    graph = topology.to_networkx(SCHEMA, [[1, 2], [3, 4]], [[5]], [6])
    assert graph.nodes["b"] == {"pods": 3.0, "cpu": 4.0}
    assert graph.edges["b", "a"] == {"rps": 5.0}
    assert graph.graph == {"total": 6.0}
    nodes, edges, global_row = features_from_networkx(graph, SCHEMA)
    np.testing.assert_array_equal(nodes, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(edges, [[5]])
    np.testing.assert_array_equal(global_row, [6])
    np.testing.assert_array_equal(topology.to_networkx(None, [[1, 2], [3, 4]]).nodes["a"]["features"], [1, 2])


def test_missing_attributes_are_named_with_their_places() -> None:
    graph = nx.DiGraph(total=1.0)
    graph.add_node("a", pods=1.0)
    graph.add_edge("a", "a")
    with pytest.raises(TopologyError, match=r"node 'a' has no 'cpu'; edge 'a' -> 'a' has no 'rps'"):
        features_from_networkx(graph, SCHEMA)


def test_arrays_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"nodes: features of shape \(1, 2\), expected \(2, 2\)"):
        Topology(("a", "b")).to_networkx(SCHEMA, [[1, 2]])


@pytest.mark.parametrize("nodes", [None, 3, "ab", b"ab", [1], [["a"]], [None]])
def test_nodes_are_a_list_of_names(nodes: object) -> None:
    with pytest.raises(TopologyError):
        Topology.of(nodes)  # type: ignore[arg-type]
    with pytest.raises(TopologyError):
        Topology(nodes)  # type: ignore[arg-type]


@pytest.mark.parametrize("edges", [None, 3, "ab", ["ab"], [1], [None], [("a", "b", "a")], [(["a"], "b")]])
def test_edges_are_a_list_of_pairs_of_names(edges: object) -> None:
    with pytest.raises(TopologyError):
        Topology.of(["a", "b"], edges)  # type: ignore[arg-type]
    with pytest.raises(TopologyError):
        Topology(("a", "b"), edges if edges is None else tuple(edges) if isinstance(edges, list) else edges)  # type: ignore[arg-type]


def test_a_graph_is_one_of_networkx() -> None:
    with pytest.raises(TopologyError, match="not a networkx graph"):
        Topology.from_networkx({"a": ["b"]})  # type: ignore[arg-type]
