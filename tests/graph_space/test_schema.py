from __future__ import annotations

import pytest

from graph_space import AUTOSCALING, MOVES, Feature, GraphSchema, autoscaling_schema
from graph_space.schema import EDGES, GLOBALS, KEYS, NODE_MASK, NODES, NUM_MOVES


def test_the_moves_are_those_of_the_action_mask_in_their_documented_order() -> None:
    assert MOVES.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, -1, -2, -3, -4, -5, -6, -7]
    assert len(MOVES) == NUM_MOVES
    with pytest.raises(ValueError, match="read-only"):
        MOVES[0] = 1


def test_the_first_columns_are_the_documented_ones() -> None:
    documented = ("pods", "desired_replicas", "cpu_millicores", "memory_mib", "rps_in", "rps_out")
    basic, extended, history = (autoscaling_schema(columns) for columns in ("basic", "extended", "history"))
    assert basic.names(NODES) == documented
    assert extended.names(NODES)[:6] == documented
    assert history.names(NODES)[: len(extended.nodes)] == extended.names(NODES)
    assert basic.names(EDGES) == history.names(EDGES) == ("rps", "p95_ms", "error_share", "mtls_share")
    assert basic.names(GLOBALS) == ("total_pods", "mean_cpu_millicores", "mean_memory_mib", "total_traffic_rps")
    assert extended.names(GLOBALS)[:4] == basic.names(GLOBALS)
    assert history == AUTOSCALING


def test_index_finds_a_column_and_says_what_there_is_otherwise() -> None:
    assert AUTOSCALING.index(NODES, "rps_in") == 4
    assert AUTOSCALING.index(EDGES, "error_share") == 2
    with pytest.raises(KeyError, match=r"edges has no column 'qps'; it has rps, p95_ms"):
        AUTOSCALING.index(EDGES, "qps")
    with pytest.raises(KeyError, match="has no named columns"):
        AUTOSCALING.index(NODE_MASK, "pods")


def test_wrong_schemas_are_refused() -> None:
    twice = (Feature("a", "1", ""), Feature("a", "1", ""))
    with pytest.raises(ValueError, match=r"schema.edges: a named more than once"):
        GraphSchema(nodes=(), edges=twice, globals=())
    with pytest.raises(ValueError, match="'all' is not one of basic, extended, history"):
        autoscaling_schema("all")  # type: ignore[arg-type]


def test_keys_are_distinct() -> None:
    assert len(set(KEYS)) == 9
