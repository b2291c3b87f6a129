"""The live face of the temporal encoder, the flat encoder, the sum, and the builder."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from encoders import DynamicTGNEncoder, GNNEncoder, MLPEncoder, SummedEncoder, build_encoder, compact
from encoders.flat import flat_width, flatten
from graph_space.slots import CapacityError
from tests.encoders.graphs import FE, F, G, random_observations

SIZES = {"in_dim": F, "edge_dim": FE, "global_dim": G, "max_nodes": 8, "max_edges": 24}


def live_encoder(max_nodes: int = 3) -> DynamicTGNEncoder:
    torch.manual_seed(0)
    return DynamicTGNEncoder(max_nodes, F, memory_dim=8, msg_dim=8, edge_dim=FE, global_dim=G, hidden=16)


def look(encoder: DynamicTGNEncoder, names: list[str], calls: list[tuple[str, str]], elapsed: float) -> torch.Tensor:
    """Features depend on names alone, so that the same graph looks the same in any order."""
    encoder.update_node_mapping(names)
    nodes = np.array([np.sin(np.arange(F) + sum(map(ord, name))) for name in names])
    ends = np.array([[names.index(a), names.index(b)] for a, b in calls]).reshape(-1, 2).T
    edges = np.array([np.cos(np.arange(FE) + len(a + b)) for a, b in calls]).reshape(-1, FE)
    return encoder.update_memory(nodes, ends, edges, np.ones(G), elapsed)


def test_live_face_follows_names_through_churn() -> None:
    one, other = live_encoder(), live_encoder()
    calls = [("web", "cart"), ("cart", "db")]
    a = look(one, ["web", "cart", "db"], calls, 0.0)
    b = look(other, ["db", "web", "cart"], calls, 0.0)
    torch.testing.assert_close(a, b[[1, 2, 0]], rtol=0, atol=1e-6)
    # "db" is replaced by "cache" in the one system's slot 2 and the other's slot 0.
    calls = [("web", "cart"), ("cart", "cache")]
    a = look(one, ["cache", "web", "cart"], calls, 15.0)
    b = look(other, ["cart", "cache", "web"], calls, 15.0)
    torch.testing.assert_close(a, b[[1, 2, 0]], rtol=0, atol=1e-6)
    # A newcomer does not inherit; a survivor remembers.
    fresh = live_encoder()
    c = look(fresh, ["cache", "web", "cart"], calls, 15.0)
    assert float((a - c)[1].abs().max()) > 1e-3
    one.reset_memory()
    torch.testing.assert_close(look(one, ["cache", "web", "cart"], calls, 15.0), c, rtol=0, atol=1e-6)


def test_live_face_is_the_functions_under_it() -> None:
    encoder = live_encoder(8)
    obs, start = random_observations(1, steps=3, batch=1, slots=8, churn=0.0, restart=0.0, empty=0.0)
    obs["node_mask"][:, :, :4] = 1
    obs["node_mask"][:, :, 4:] = 0
    obs["edge_index"] %= 4
    obs["prev_slot"][:] = -1
    obs["prev_slot"][1:, :, :4] = np.arange(4)
    embeddings, _ = encoder.unroll(obs, encoder.initial_state(1, 8), start)
    for t in range(3):
        encoder.update_node_mapping(list("abcd"))
        count = int(obs["edge_mask"][t, 0].sum())
        live = encoder.update_memory(
            obs["nodes"][t, 0, :4],
            obs["edge_index"][t, 0, :, :count],
            obs["edges"][t, 0, :count],
            obs["globals"][t, 0],
            float(obs["elapsed_seconds"][t, 0]),
        )
        torch.testing.assert_close(live, embeddings[t, 0, :4].detach(), rtol=0, atol=1e-5)


def test_what_is_live_is_in_no_state_dict() -> None:
    encoder = live_encoder()
    before = set(encoder.state_dict())
    look(encoder, ["web", "cart"], [("web", "cart")], 0.0)
    assert set(encoder.state_dict()) == before
    assert not list(encoder.buffers())
    twin = copy.deepcopy(encoder)
    twin.reset_memory()
    remembering = look(encoder, ["web", "cart"], [("web", "cart")], 15.0)
    assert float((remembering - look(twin, ["web", "cart"], [("web", "cart")], 15.0)).abs().max()) > 1e-3


def test_live_mistakes_are_named() -> None:
    encoder = live_encoder()
    with pytest.raises(RuntimeError, match="name the nodes first"):
        encoder.update_memory(np.zeros((1, F)), [], [], np.zeros(G), 0.0)
    encoder.update_node_mapping(["web", "cart"])
    with pytest.raises(ValueError, match="1 rows of node features for 2 named nodes"):
        encoder.update_memory(np.zeros((1, F)), [], [], np.zeros(G), 0.0)
    with pytest.raises(ValueError, match=r"positions 0 \.\. 2 for 2 named nodes"):
        encoder.update_memory(np.zeros((2, F)), [[0], [2]], np.zeros((1, FE)), np.zeros(G), 0.0)
    with pytest.raises(CapacityError, match="4 nodes do not fit in 3 slots"):
        encoder.update_node_mapping(["a", "b", "c", "d"])


def test_sum_is_the_sum() -> None:
    torch.manual_seed(0)
    both = build_encoder("tgn+gnn", **SIZES, hidden=16)
    assert isinstance(both, SummedEncoder)
    obs, start = random_observations(2)
    sequence = compact(obs, start)
    rows, state = both.forward_compact(sequence, both.initial_state(3, 8))
    temporal, expected = both.tgn.forward_compact(sequence, both.initial_state(3, 8))
    graph, _ = both.gnn.forward_compact(sequence, both.gnn.initial_state(3, 8))
    torch.testing.assert_close(rows, temporal + graph)
    assert torch.equal(state.memory, expected.memory)
    with pytest.raises(ValueError, match=r"width 64 \(tgn\) and 32 \(gnn\)"):
        SummedEncoder(DynamicTGNEncoder(), GNNEncoder(hidden=32))


def test_flat_encoder_knows_nodes_by_slot_only() -> None:
    torch.manual_seed(0)
    encoder = MLPEncoder(8, 24, F, FE, G, hidden=4, width=16)
    obs, start = random_observations(3, steps=1, slots=8)
    sequence = compact(obs, start)
    flat = flatten(sequence, 8, 24)
    assert flat.shape == (3, flat_width(8, 24, F, FE, G)) == (3, 8 * (F + 1) + 24 * (FE + 3) + G)
    for b in range(3):
        nodes = flat[b, : 8 * (F + 1)].view(8, F + 1)
        assert nodes[:, -1].tolist() == obs["node_mask"][0, b].tolist()
        np.testing.assert_array_equal(nodes[:, :-1].numpy(), obs["nodes"][0, b])
        edges = flat[b, 8 * (F + 1) : -G].view(24, FE + 3)
        count = int(obs["edge_mask"][0, b].sum())
        assert edges[:, -1].tolist() == [1.0] * count + [0.0] * (24 - count)
        order = np.argsort(obs["edge_index"][0, b, 1, :count], kind="stable")
        np.testing.assert_array_equal(edges[:count, :FE].numpy(), obs["edges"][0, b, order])
        np.testing.assert_allclose(8 * edges[:count, FE].numpy() - 1, obs["edge_index"][0, b, 0, order], atol=1e-5)
    rows, state = encoder.forward_compact(sequence, encoder.initial_state(3, 8))
    assert rows.shape == (sequence.num_rows, 4)
    assert state.memory.shape == (3, 8, 0)


def test_a_flat_observation_is_bound_to_its_size() -> None:
    obs, start = random_observations(3, steps=1, slots=8, max_edges=24, empty=0.0)
    obs["edge_mask"][:] = 1
    obs["node_mask"][:] = 1
    sequence = compact(obs, start)
    with pytest.raises(ValueError, match="8 slots, this flat network was made for 20"):
        flatten(sequence, 20, 24)
    with pytest.raises(ValueError, match="a graph has 24 edges, this flat network was made for 23"):
        flatten(sequence, 8, 23)


def test_builder() -> None:
    encoder = build_encoder("tgn", **SIZES, hidden=24, memory_dim=7)
    assert (encoder.out_dim, encoder.memory_dim) == (24, 7)
    assert build_encoder("gnn", **SIZES, layers=3).memory_dim == 0
    assert isinstance(build_encoder("mlp", **SIZES), MLPEncoder)
    with pytest.raises(ValueError, match="encoder kind 'lstm' is not one of"):
        build_encoder("lstm", **SIZES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="hidden width 10 is not a multiple of 4 heads"):
        build_encoder("gnn", **SIZES, hidden=10, heads=4)
