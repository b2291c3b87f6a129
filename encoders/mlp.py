"""MLPEncoder: the padded observation flattened, no graph, no memory. What a policy is without the graph."""

from __future__ import annotations

from torch import Tensor, nn

from encoders.base import GraphEncoder
from encoders.flat import flat_width, flatten
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState

__all__ = ["MLPEncoder"]


class MLPEncoder(GraphEncoder):
    """Two tanh layers on all slots at once, then an embedding per slot; every slot has its own weights.

    Its input is `encoders.flat.flatten`. It is bound to its numbers of slots and knows a node by its slot only.

    Args:
        max_nodes: N.
        max_edges: most edges of an observation.
        in_dim: F, node features.
        edge_dim: Fe, edge features.
        global_dim: G, graph features.
        hidden: D, width of the embedding of a slot.
        width: of the two layers.
    """

    def __init__(
        self,
        max_nodes: int = 20,
        max_edges: int = 400,
        in_dim: int = 6,
        edge_dim: int = 7,
        global_dim: int = 4,
        hidden: int = 64,
        width: int = 256,
    ) -> None:
        super().__init__()
        self.out_dim = hidden
        self.memory_dim = 0
        self.slots = max_nodes
        self.max_nodes = max_nodes
        self.max_edges = max_edges
        self.body = nn.Sequential(
            nn.Linear(flat_width(max_nodes, max_edges, in_dim, edge_dim, global_dim), width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, max_nodes * hidden),
            nn.ReLU(),
        )

    def forward_compact(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        embeddings = self.body(flatten(sequence, self.max_nodes, self.max_edges)).view(-1, self.out_dim)
        rows = embeddings.index_select(0, sequence.flat_slot)
        return rows, state
