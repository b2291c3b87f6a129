"""Encoder: against PyG's TransformerConv with the same weights, a training minibatch, one decision."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.random_graphs import EDGE_FEATURES, GLOBAL_FEATURES, NODE_FEATURES, padded_observations
from benchmarks.timing import alternate, percentiles
from encoders import GNNEncoder, GraphEncoder, SequenceBatch, build_encoder, compact
from encoders.features import node_features

HIDDEN, HEADS = 64, 4
SHAPES = ((64, 20, 20), (64, 20, 200), (64, 100, 300), (64, 200, 600), (1, 1000, 4000), (1, 5000, 20000))
"""B, nodes, calls; a call is heard at both ends, so PyG convolves twice as many edges."""


def measure() -> list[dict[str, Any]]:
    """Figures of all parts."""
    torch.set_num_threads(1)
    return [*against_pyg(), *minibatches(), *decisions()]


def pyg_twin(encoder: GNNEncoder) -> nn.ModuleList:
    """PyG layers with the weights of `encoder`."""
    from torch_geometric.nn import TransformerConv

    twin = nn.ModuleList()
    for layer in encoder.layers:
        conv = TransformerConv(layer.project.in_features, HIDDEN // HEADS, HEADS, edge_dim=EDGE_FEATURES + 1)
        parts = (conv.lin_query, conv.lin_key, conv.lin_value, conv.lin_skip)
        with torch.no_grad():
            for part, weight, bias in zip(
                parts, layer.project.weight.chunk(4), layer.project.bias.chunk(4), strict=True
            ):
                part.weight.copy_(weight)
                part.bias.copy_(bias)
            conv.lin_edge.weight.copy_(layer.edge.weight)
        twin.append(conv)
    return twin


def both_ways(sequence: SequenceBatch) -> tuple[Tensor, Tensor]:
    """Edge index and features of the calls written out in both directions, as PyG takes them."""
    source, target = sequence.edge_source, sequence.edge_target
    flags = (torch.zeros(len(source), 1), torch.ones(len(source), 1))
    features = torch.cat([torch.cat([sequence.edges, flag], 1) for flag in flags])
    return torch.stack([torch.cat([source, target]), torch.cat([target, source])]), features


def against_pyg() -> Iterator[dict[str, Any]]:
    """Two layers, hidden 64, 4 heads."""
    for batch, nodes, calls in SHAPES:
        sequence = compact(*padded_observations(1, batch, nodes, calls))
        encoder = GNNEncoder(NODE_FEATURES, EDGE_FEATURES, GLOBAL_FEATURES, HIDDEN, 2, HEADS)
        twin = pyg_twin(encoder)
        edge_index, edge_features = both_ways(sequence)
        state = encoder.initial_state(batch, nodes)
        ours_weights, theirs_weights = list(encoder.parameters()), list(twin.parameters())
        gradient = torch.randn(sequence.num_rows, HIDDEN)

        def theirs() -> Tensor:
            rows = node_features(sequence)  # noqa: B023
            for conv in twin:  # noqa: B023
                rows = torch.relu(conv(rows, edge_index, edge_features))  # noqa: B023
            return rows

        def ours() -> Tensor:
            return encoder.forward_compact(sequence, state)[0]  # noqa: B023

        def without_gradient(run: Callable[[], Tensor]) -> None:
            with torch.no_grad():
                run()

        def with_gradient(run: Callable[[], Tensor], weights: list[nn.Parameter]) -> None:
            torch.autograd.grad(run(), weights, gradient)  # noqa: B023

        torch.testing.assert_close(ours(), theirs(), rtol=1e-4, atol=1e-5)
        runs = {
            "pyg": lambda run=theirs: without_gradient(run),
            "ours": lambda run=ours: without_gradient(run),
            "pyg back": lambda run=theirs, weights=theirs_weights: with_gradient(run, weights),
            "ours back": lambda run=ours, weights=ours_weights: with_gradient(run, weights),
        }
        spent = alternate(runs, repeats=5 if nodes < 1000 else 3)
        name = f"B={batch} N={nodes} E={2 * calls}"
        yield {"figure": f"PyG / ours, forward, {name}", "value": spent["pyg"] / spent["ours"], "unit": "x"}
        ratio = spent["pyg back"] / spent["ours back"]
        yield {"figure": f"PyG / ours, forward and backward, {name}", "value": ratio, "unit": "x"}
        yield {"figure": f"ours, forward and backward, {name}", "value": 1e3 * spent["ours back"], "unit": "ms"}


def encoder_of(hidden: int) -> GraphEncoder:
    """Memory and graph, as configured by default."""
    sizes = {"in_dim": NODE_FEATURES, "edge_dim": EDGE_FEATURES, "global_dim": GLOBAL_FEATURES}
    return build_encoder("tgn+gnn", **sizes, max_nodes=20, max_edges=400, hidden=hidden)


def minibatches() -> Iterator[dict[str, Any]]:
    """2048 observations of 11 nodes and 16 calls, as 128 chunks of 16: forward and backward of memory and graph."""
    obs, start = padded_observations(16, 128, 11, 16, slots=20)
    whole = compact(obs, start)
    halves = [
        compact({key: value[:, half] for key, value in obs.items()}, start[:, half])
        for half in (slice(0, 64), slice(64, 128))
    ]
    for hidden in (64, 32):
        encoder = encoder_of(hidden)
        weights = list(encoder.parameters())
        gradient = torch.randn(whole.num_rows, hidden)

        def train(sequence: SequenceBatch) -> None:
            rows, _ = encoder.forward_compact(sequence, encoder.initial_state(sequence.batch_size, 20))  # noqa: B023
            torch.autograd.grad(rows, weights, gradient[: len(rows)])  # noqa: B023

        def two_threads() -> None:
            threads = [threading.Thread(target=train, args=(half,)) for half in halves]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        aim = {"aim": "<= 60"} if hidden == 64 else {}
        one = alternate({"train": lambda: train(whole)})["train"]
        two, _ = percentiles(two_threads, repeats=9)
        yield {
            "figure": f"minibatch of 2048, hidden {hidden}, one thread (CPU time)",
            "value": 1e3 * one,
            "unit": "ms",
            **aim,
        }
        yield {
            "figure": f"minibatch of 2048, hidden {hidden}, two threads (wall clock)",
            "value": 1e3 * two,
            "unit": "ms",
        }


def decisions() -> Iterator[dict[str, Any]]:
    """One step of one environment with memory: padded observation to embeddings."""
    for nodes, calls, slots, aim in ((11, 16, 20, "<= 0.3"), (1000, 4000, 1000, "<= 5")):
        obs, start = padded_observations(1, 1, nodes, calls, slots=slots, max_calls=max(400, calls))
        encoder, obs = encoder_of(64), {key: value[0] for key, value in obs.items()}
        state = encoder.initial_state(1, slots)

        def step() -> None:
            with torch.no_grad():
                encoder.step(obs, state, start[0])  # noqa: B023

        half, most = percentiles(step, repeats=500 if nodes < 100 else 50)
        yield {"figure": f"step at {slots} slots, p50", "value": 1e3 * half, "unit": "ms", "aim": aim}
        yield {"figure": f"step at {slots} slots, p99", "value": 1e3 * most, "unit": "ms"}
