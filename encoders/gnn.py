"""GNNEncoder: attention over the calls, no memory."""

from __future__ import annotations

from torch import Tensor, nn

from encoders.attention import GraphAttention
from encoders.base import GraphEncoder, Kernel
from encoders.features import node_features
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState

__all__ = ["GNNEncoder"]


class GNNEncoder(GraphEncoder):
    """Layers of `GraphAttention`; the first projects node and graph features together.

    A node sees its callers and callees at distance `layers`, with the features of the calls between.

    Args:
        in_dim: F, node features.
        edge_dim: Fe, edge features.
        global_dim: G, graph features, given to every node.
        hidden: D, width of the embedding.
        layers: attention layers.
        heads: attention heads.
        use_edges: False removes every edge (ablation).
        kernel: which implementation; see `base.Kernel`.
    """

    def __init__(
        self,
        in_dim: int = 6,
        edge_dim: int = 7,
        global_dim: int = 4,
        hidden: int = 64,
        layers: int = 2,
        heads: int = 2,
        *,
        use_edges: bool = True,
        kernel: Kernel = "auto",
    ) -> None:
        super().__init__()
        self.out_dim = hidden
        self.memory_dim = 0
        self.use_edges = use_edges
        widths = [in_dim + global_dim] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(GraphAttention(width, edge_dim, hidden, heads, kernel) for width in widths)

    def forward_compact(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        rows = self.embed(node_features(sequence), sequence)
        return rows, state

    def embed(self, features: Tensor, sequence: SequenceBatch) -> Tensor:
        """Features [R, F + G] -> [R, D]."""
        graph = sequence if self.use_edges else sequence.without_edges()
        rows = features
        for layer in self.layers:
            rows = layer(graph, rows)
        return rows
