"""The encoders a configuration can name, and the sum of memory and graph."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from encoders.base import GraphEncoder, Kernel
from encoders.dynamic_tgn import DynamicTGNEncoder
from encoders.features import node_features
from encoders.gnn import GNNEncoder
from encoders.mlp import MLPEncoder
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState

__all__ = ["SummedEncoder", "build_encoder"]


class SummedEncoder(GraphEncoder):
    """Embeddings of `DynamicTGNEncoder` and `GNNEncoder`, summed.

    Raises:
        ValueError: embeddings of different width.
    """

    def __init__(self, tgn: DynamicTGNEncoder, gnn: GNNEncoder) -> None:
        super().__init__()
        if tgn.out_dim != gnn.out_dim:
            raise ValueError(f"embeddings of width {tgn.out_dim} (tgn) and {gnn.out_dim} (gnn) cannot be summed")
        self.out_dim = tgn.out_dim
        self.memory_dim = tgn.memory_dim
        self.tgn = tgn
        self.gnn = gnn

    def forward_compact(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        features = node_features(sequence)
        temporal, state = self.tgn.embed(features, sequence, state)
        return temporal + self.gnn.embed(features, sequence), state


def build_encoder(
    kind: Literal["tgn", "gnn", "tgn+gnn", "mlp"],
    *,
    in_dim: int,
    edge_dim: int,
    global_dim: int,
    max_nodes: int,
    max_edges: int,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 2,
    memory_dim: int = 32,
    message_dim: int = 32,
    time_dim: int = 8,
    use_edges: bool = True,
    kernel: Kernel = "auto",
) -> GraphEncoder:
    """The encoder named `kind`. `max_nodes` and `max_edges` bind `mlp` only.

    Raises:
        ValueError: no such kind.
    """

    def tgn() -> DynamicTGNEncoder:
        return DynamicTGNEncoder(
            max_nodes,
            in_dim,
            memory_dim,
            message_dim,
            heads,
            edge_dim,
            global_dim,
            hidden,
            time_dim,
            use_edges=use_edges,
            kernel=kernel,
        )

    def gnn() -> GNNEncoder:
        return GNNEncoder(in_dim, edge_dim, global_dim, hidden, layers, heads, use_edges=use_edges, kernel=kernel)

    if kind == "tgn":
        return tgn()
    if kind == "gnn":
        return gnn()
    if kind == "tgn+gnn":
        return SummedEncoder(tgn(), gnn())
    if kind == "mlp":
        return MLPEncoder(max_nodes, max_edges, in_dim, edge_dim, global_dim, hidden)
    raise ValueError(f"encoder kind {kind!r} is not one of 'tgn', 'gnn', 'tgn+gnn', 'mlp'")
