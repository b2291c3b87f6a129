"""The star that every routing domain shows: who is there, who is new, and which edge is whose."""

from __future__ import annotations

import numpy as np

from graph_space.schema import (
    ACTION_MASK,
    EDGE_INDEX,
    EDGE_MASK,
    EDGES,
    ELAPSED_SECONDS,
    NODE_MASK,
    PREV_SLOT,
    queue_routing_schema,
)
from graph_space.star import StarGraph


def masks(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.bool_)


def written(star: StarGraph, present: list[int], known: list[int] | None = None, able: list[int] | None = None) -> None:
    there = masks(present)
    edges = 10.0 + np.arange(len(present), dtype=np.float64)[None, :, None]
    star.write(there, masks(able or present), edges, np.array([7.0]), masks(known or [1] * len(present)))


def test_real_edges_are_a_prefix_and_each_leads_from_the_request_to_its_candidate() -> None:
    star = StarGraph(queue_routing_schema(show_work=False), 1, 4)
    written(star, [0, 1, 0, 1], able=[0, 0, 0, 1])
    arrays = star.arrays
    assert arrays[EDGE_MASK][0].tolist() == [1, 1, 0, 0]
    assert arrays[EDGE_INDEX][0].tolist() == [[4, 4, 0, 0], [1, 3, 0, 0]]
    assert arrays[EDGES][0, :, 0].tolist() == [11.0, 13.0, 0.0, 0.0]
    assert arrays[NODE_MASK][0].tolist() == [0, 1, 0, 1, 1]
    assert arrays[ACTION_MASK][0, :, 0].tolist() == [0, 0, 0, 1, 0]


def test_whoever_was_away_or_is_another_one_is_a_new_node() -> None:
    star = StarGraph(queue_routing_schema(show_work=False), 1, 3)
    written(star, [1, 1, 0])
    assert star.arrays[PREV_SLOT][0].tolist() == [-1, -1, -1, -1]
    assert star.arrays[ELAPSED_SECONDS].tolist() == [0.0], "the first of an episode"
    written(star, [1, 1, 1], known=[1, 0, 1])
    assert star.arrays[PREV_SLOT][0].tolist() == [0, -1, -1, -1]
    assert star.arrays[ELAPSED_SECONDS].tolist() == [7.0]
    written(star, [1, 0, 1])
    written(star, [1, 1, 1])
    assert star.arrays[PREV_SLOT][0].tolist() == [0, -1, 2, -1], "it left and came back"
    star.forget(0, 2)
    kept = star.state_dict()
    written(star, [1, 1, 1])
    assert star.arrays[PREV_SLOT][0].tolist() == [0, 1, -1, -1]
    star.begin(0)
    written(star, [1, 1, 1])
    assert star.arrays[PREV_SLOT][0].tolist() == [-1, -1, -1, -1]
    star.load_state_dict(kept)
    written(star, [1, 1, 1])
    assert star.arrays[PREV_SLOT][0].tolist() == [0, 1, -1, -1], "as it was when its state was taken"


def test_other_graphs_keep_theirs_when_one_is_restored() -> None:
    star = StarGraph(queue_routing_schema(show_work=False), 2, 2)
    before = star.state_dict()
    both = masks([1, 1], [1, 1])
    star.write(both, both, np.ones((2, 2, 1)), np.ones(2), both)
    star.load_state_dict(before, these=0)
    star.write(both, both, np.ones((2, 2, 1)), np.ones(2), both)
    assert star.arrays[PREV_SLOT].tolist() == [[-1, -1, -1], [0, 1, -1]]
