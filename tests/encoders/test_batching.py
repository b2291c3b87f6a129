"""Padded observations become the disjoint graph they describe, and sequences are cut and joined without loss."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from encoders import SequenceBatch, compact
from tests.encoders.graphs import random_observations


def worked_example() -> dict[str, np.ndarray]:
    """Two steps of one environment, 4 slots: a (1) -> b (2) twice; then b moves to 0, c is new in 2, c -> c, c -> b."""
    nodes = np.full((2, 1, 4, 1), np.nan, dtype=np.float32)
    nodes[0, 0, [1, 2], 0] = [10, 20]
    nodes[1, 0, [0, 2], 0] = [21, 30]
    return {
        "nodes": nodes,
        "node_mask": np.array([[[0, 1, 1, 0]], [[1, 0, 1, 0]]], dtype=np.int8),
        "prev_slot": np.array([[[-1, -1, 3, -1]], [[2, -1, -1, -1]]]),
        "edge_index": np.array([[[[1, 1, 0], [2, 2, 0]]], [[[2, 2, -9], [2, 0, -9]]]]),
        "edges": np.array([[[[1], [2], [np.nan]]], [[[3], [4], [np.nan]]]], dtype=np.float32),
        "edge_mask": np.array([[[1, 1, 0]], [[1, 1, 0]]], dtype=np.int8),
        "globals": np.array([[[7.0]], [[8.0]]], dtype=np.float32),
        "elapsed_seconds": np.array([[0.0], [15.0]], dtype=np.float32),
    }


def assert_same(one: SequenceBatch, other: SequenceBatch) -> None:
    for field in fields(SequenceBatch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, field.name


def test_worked_example() -> None:
    s = compact(worked_example(), np.zeros((2, 1), dtype=bool))
    assert (s.num_steps, s.batch_size, s.max_nodes, s.num_rows, s.num_edges) == (2, 1, 4, 4, 4)
    assert s.nodes[:, 0].tolist() == [10, 20, 21, 30]
    assert s.globals.tolist() == [[7], [8]]
    assert s.row_time.tolist() == [0, 0, 1, 1]
    assert s.row_slot.tolist() == [1, 2, 0, 2]
    assert s.prev_slot.tolist() == [-1, 3, 2, -1]
    # At t = 0 the past lies in the state; b was row 1; c is new although a node stood in its slot.
    assert s.prev_row.tolist() == [-1, -1, 1, -1]
    # Sorted by target: b's slot comes before c's.
    assert s.edge_source.tolist() == [0, 0, 3, 3]
    assert s.edge_target.tolist() == [1, 1, 2, 3]
    assert s.edges[:, 0].tolist() == [1, 2, 4, 3]
    heard = [
        sorted(
            (int(s.adjacency_row[a]), float(s.edges[s.adjacency_edge[a], 0]), int(s.adjacency_reverse[a]))
            for a in range(int(s.adjacency_ptr[i]), int(s.adjacency_ptr[i + 1]))
        )
        for i in range(4)
    ]
    assert heard == [
        [(1, 1.0, 1), (1, 2.0, 1)],
        [(0, 1.0, 0), (0, 2.0, 0)],
        [(3, 4.0, 0)],
        [(2, 4.0, 1), (3, 3.0, 0), (3, 3.0, 1)],
    ]
    assert s.step_ptr == [0, 2, 4]
    assert s.step_edge_ptr == [0, 2, 4]
    assert s.adjacency_target.tolist() == [0, 0, 1, 1, 2, 3, 3, 3]


def test_episode_start_cuts_the_past() -> None:
    s = compact(worked_example(), np.array([[True], [True]]))
    assert s.prev_slot.tolist() == [-1] * 4
    assert s.prev_row.tolist() == [-1] * 4


@pytest.mark.parametrize("mask_type", [np.int8, np.bool_, np.int64])
def test_mask_types_and_tensors(mask_type: type) -> None:
    obs, start = random_observations(1)
    expected = compact(obs, start)
    cast = {key: value.astype(mask_type) if key.endswith("_mask") else value for key, value in obs.items()}
    assert_same(compact(cast, start), expected)
    tensors = {key: torch.from_numpy(value) for key, value in cast.items()}
    assert_same(compact(tensors, torch.from_numpy(start)), expected)


def test_globals_share_memory_with_the_observation() -> None:
    obs, start = random_observations(1)
    s = compact(obs, start)
    obs["globals"][0, 0, 0] = 123.0
    assert float(s.globals[0, 0]) == 123.0


def test_masked_edges_between_real_ones_are_skipped() -> None:
    obs = worked_example()
    obs["edge_mask"][1, 0] = [0, 1, 0]
    s = compact(obs)
    assert s.edges[:, 0].tolist() == [1, 2, 4]


@pytest.mark.parametrize("endpoint", [-1, 0, 3, 4])
def test_an_edge_to_nothing_is_an_error(endpoint: int) -> None:
    obs = worked_example()
    obs["edge_index"][0, 0, 1, 1] = endpoint
    with pytest.raises(ValueError, match=rf"edge 1 of environment 0 at step 0 joins slots \[1, {endpoint}\]"):
        compact(obs)


@pytest.mark.parametrize("past", [-2, 4])
def test_prev_slot_out_of_range_is_an_error(past: int) -> None:
    obs = worked_example()
    obs["prev_slot"][1, 0, 2] = past
    with pytest.raises(ValueError, match=f"slot 2 of environment 0 at step 1 points to {past}; expected -1 .. 3"):
        compact(obs)


def test_time_does_not_run_backwards() -> None:
    obs = worked_example()
    obs["elapsed_seconds"] = np.full_like(obs["elapsed_seconds"], -2.0)
    with pytest.raises(ValueError, match=r"elapsed_seconds: -2 is before the last observation; it must be >= 0"):
        compact(obs)


def test_missing_key_and_wrong_shape_are_errors() -> None:
    obs = worked_example()
    for key, array, told in (
        ("globals", obs["globals"][:1, 0], r"globals has shape \(1, 1\); expected \(2, 1, any\)"),
        ("nodes", obs["nodes"][:, :, :3], r"nodes has shape \(2, 1, 3, 1\); expected \(2, 1, 4, any\)"),
        ("prev_slot", obs["prev_slot"][:, :, :2], r"prev_slot has shape \(2, 1, 2\); expected \(2, 1, 4\)"),
        ("edges", obs["edges"][:, :, :1], r"edges has shape \(2, 1, 1, 1\); expected \(2, 1, 3, any\)"),
        ("edge_index", obs["edge_index"][:, :, :1], r"edge_index has shape \(2, 1, 1, 3\); expected \(2, 1, 2, 3\)"),
        ("edge_index", obs["edge_index"] + 0.5, "edge_index is of dtype float64; whole numbers are expected"),
        ("nodes", obs["nodes"].astype(str), "nodes is of dtype <U32; numbers are expected"),
    ):
        with pytest.raises(ValueError, match=told):
            compact({**obs, key: array})
    for start in (np.zeros((3, 1), bool), np.full((2, 1), np.nan), "x"):
        with pytest.raises(ValueError, match=r"episode_start has shape"):
            compact(obs, start)
    del obs["edges"]
    with pytest.raises(KeyError, match=r"no 'edges'"):
        compact(obs)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_no_number_is_named_where_it_is_real_and_passed_over_in_padding(wrong: float) -> None:
    for key, place, told in (
        ("nodes", (1, 0, 2, 0), "nodes: slot 2 of environment 0 at step 1, column 0 is"),
        ("edges", (0, 0, 1, 0), "edges: edge 1 of environment 0 at step 0, column 0 is"),
        ("globals", (1, 0, 0), "globals of environment 0 at step 1, column 0 is"),
        ("elapsed_seconds", (1, 0), "elapsed_seconds of environment 0 at step 1 is"),
    ):
        obs = worked_example()
        obs[key][place] = wrong
        with pytest.raises(ValueError, match=f"{told} {wrong}, not a finite number"):
            compact(obs)
    compact(worked_example())  # whose padding holds NaN


def test_padding_round_trip() -> None:
    obs, start = random_observations(2, garbage=float("nan"))
    s = compact(obs, start)
    rows = s.from_padded(torch.from_numpy(obs["nodes"]))
    assert torch.equal(rows, s.nodes)
    expected = np.where(obs["node_mask"][..., None] == 1, obs["nodes"], 0.0)
    assert np.array_equal(s.to_padded(rows).numpy(), expected)
    with pytest.raises(ValueError, match=r"starts with shape"):
        s.from_padded(torch.zeros(3, 8))


def test_nothing_at_all() -> None:
    obs, start = random_observations(5, steps=2, batch=2)
    obs["node_mask"][:] = 0
    obs["edge_mask"][:] = 0
    s = compact(obs, start)
    assert s.num_rows == s.num_edges == 0
    assert s.to_padded(s.nodes).shape == (2, 2, 8, 5)
