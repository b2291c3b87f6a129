"""Observations as PyG graphs: the same numbers, between rows instead of slots, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import gnnrl
from encoders import compact, to_batch, to_data, to_observation
from graph_space import DynamicGraphConfig, DynamicGraphSpace
from graph_space.schema import AUTOSCALING, MOVES
from tests.encoders.graphs import random_observations

CONFIG = DynamicGraphConfig(max_nodes=8, max_edges=24, node_feat_dim=5, edge_feat_dim=3, global_feat_dim=2, num_moves=4)


def holes() -> dict[str, np.ndarray]:
    """Nodes in slots 1, 4 and 6 of 8; 6 -> 1, 1 -> 4, 4 -> 4. Padding holds NaN and slots that do not exist."""
    nodes = np.full((8, 5), np.nan, np.float32)
    nodes[[1, 4, 6]] = np.arange(15).reshape(3, 5)
    edges = np.full((24, 3), np.nan, np.float32)
    edges[:3] = 100 + np.arange(9).reshape(3, 3)
    edge_index = np.full((2, 24), -7, np.int64)
    edge_index[:, :3] = [[6, 1, 4], [1, 4, 4]]
    moves = np.zeros((8, 4), np.int8)
    moves[[1, 4, 6]] = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 1]]
    return {
        "nodes": nodes,
        "edge_index": edge_index,
        "edges": edges,
        "globals": np.array([7, 8], np.float32),
        "node_mask": np.isin(np.arange(8), [1, 4, 6]).astype(np.int8),
        "edge_mask": (np.arange(24) < 3).astype(np.int8),
        "prev_slot": np.array([-1, 2, -1, -1, -1, -1, 6, -1]),
        "elapsed_seconds": np.array(15.0, np.float32),
        "action_mask": moves,
    }


def sampled(seed: int, count: int = 5) -> list[dict[str, Any]]:
    space = DynamicGraphSpace(CONFIG, seed=seed)
    return [space.sample() for _ in range(count)]


def test_holes_in_the_slots_are_closed() -> None:
    data = to_data(holes())
    assert data.num_nodes == 3
    assert data.x.tolist() == np.arange(15.0).reshape(3, 5).tolist()
    assert data.edge_index.tolist() == [[2, 0, 1], [0, 1, 1]]
    assert data.edge_attr.tolist() == (100 + np.arange(9.0).reshape(3, 3)).tolist()
    assert data.u.tolist() == [[7.0, 8.0]]
    assert data.slot.tolist() == [1, 4, 6]
    assert data.prev_slot.tolist() == [2, -1, 6]
    assert data.elapsed_seconds.tolist() == [15.0]
    assert data.action_mask.int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 1, 1]]
    assert data.validate()


def test_the_tensors_are_not_the_environments_arrays() -> None:
    observation = holes()
    data = to_data(observation)
    for value in observation.values():
        value[...] = 0
    assert data.x.sum() == 105.0
    assert data.u.sum() == 15.0
    assert data.elapsed_seconds == 15.0


def test_there_and_back_again() -> None:
    config, observations = CONFIG, sampled(0)
    for observation in observations:
        back = to_observation(to_data(observation), config.max_nodes, config.max_edges)
        assert back.keys() == observation.keys()
        for key, value in observation.items():
            np.testing.assert_array_equal(back[key], value, err_msg=key)
            assert back[key].dtype == value.dtype
    batch = {key: np.stack([o[key] for o in observations]) for key in observations[0]}
    back = to_observation(to_batch(batch), config.max_nodes, config.max_edges)
    for key, value in batch.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)


def test_a_batch_is_its_graphs_side_by_side() -> None:
    observations = sampled(1)
    stacked = to_batch({key: np.stack([o[key] for o in observations]) for key in observations[0]})
    listed = to_batch(observations)
    assert stacked.num_graphs == listed.num_graphs == 5
    assert torch.equal(stacked.edge_index, listed.edge_index)
    counts = [int(o["node_mask"].sum()) for o in observations]
    assert stacked.ptr.tolist() == [0, *np.cumsum(counts).tolist()]
    assert stacked.u.shape == (5, 2)
    for b, observation in enumerate(observations):
        graph, alone = stacked[b], to_data(observation)
        for name in ("x", "edge_index", "edge_attr", "u", "slot", "prev_slot", "action_mask"):
            assert torch.equal(graph[name], alone[name]), name


def test_rows_and_edges_are_those_of_the_compact_batch() -> None:
    obs, _ = random_observations(3, steps=1, batch=6, garbage=np.nan)
    batch = {key: value[0] for key, value in obs.items()}
    batch["action_mask"] = np.repeat(batch["node_mask"][..., None], 4, axis=-1)
    graphs, sequence = to_batch(batch), compact(batch)
    assert torch.equal(graphs.x, sequence.nodes)
    assert torch.equal(graphs.u, sequence.globals)
    assert torch.equal(graphs.batch, sequence.row_graph)
    assert torch.equal(graphs.slot, sequence.row_slot)
    assert torch.equal(graphs.prev_slot, sequence.prev_slot)
    # The compact batch sorts its edges by target, and keeps the order of those that share one.
    order = torch.argsort(graphs.edge_index[1], stable=True)
    assert torch.equal(graphs.edge_index[0][order], sequence.edge_source)
    assert torch.equal(graphs.edge_index[1][order], sequence.edge_target)
    assert torch.equal(graphs.edge_attr[order], sequence.edges)
    assert not torch.equal(graphs.edge_index[0], sequence.edge_source)


def test_a_pyg_layer_runs_on_it_as_on_each_graph_alone() -> None:
    from torch_geometric.nn import TransformerConv

    observations = sampled(2)
    torch.manual_seed(0)
    layer = TransformerConv(5, 8, heads=2, edge_dim=3)
    batch = to_batch(observations)
    together = layer(batch.x, batch.edge_index, batch.edge_attr)
    apart = torch.cat([layer(d.x, d.edge_index, d.edge_attr) for d in map(to_data, observations)])
    torch.testing.assert_close(together, apart)
    assert torch.isfinite(together).all()


def test_an_observation_of_the_boutique_carries_its_column_names() -> None:
    env = gnnrl.OnlineBoutique()
    observation, _ = env.reset(seed=0)
    data = gnnrl.to_data(observation, AUTOSCALING)
    assert (data.num_nodes, data.num_edges) == (11, 15)
    pods = data.x[:, data.x_names.index("pods")]
    assert float(pods.sum()) == observation["globals"][data.u_names.index("total_pods")]
    assert data.action_mask.shape == (11, len(MOVES))
    batch = gnnrl.to_batch([observation, observation], AUTOSCALING)
    assert batch[1].edge_attr_names == list(AUTOSCALING.names("edges"))


def test_what_does_not_fit_is_said() -> None:
    observation = holes()
    with pytest.raises(ValueError, match=r"nodes has 5 columns, the schema names 20"):
        to_data(observation, AUTOSCALING)
    with pytest.raises(ValueError, match="to_data takes one observation, to_batch a batch"):
        to_data({key: np.stack([value]) for key, value in observation.items()})
    with pytest.raises(ValueError, match="one leading axis"):
        to_batch(observation)
    with pytest.raises(ValueError, match="at least one"):
        to_batch([])
    with pytest.raises(KeyError, match="no edges"):
        to_data({key: value for key, value in observation.items() if key != "edges"})
    data = to_data(observation)
    with pytest.raises(ValueError, match="slot 6, but max_nodes is 6"):
        to_observation(data, 6, 24)
    with pytest.raises(ValueError, match="3 edges, but max_edges is 2"):
        to_observation(data, 8, 2)
    del data.slot
    with pytest.raises(ValueError, match="Data without slot"):
        to_observation(data, 8, 24)
    observation["edge_index"][1, 1] = 5
    with pytest.raises(ValueError, match=r"edge 1 joins slots \[1, 5\]"):
        to_data(observation)
