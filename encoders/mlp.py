"""MLPEncoder: the padded observation flattened, no graph, no memory. What a policy is without the graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from encoders.base import GraphEncoder
from encoders.sequence import SequenceBatch
from encoders.state import EncoderState

__all__ = ["MLPEncoder"]


class MLPEncoder(GraphEncoder):
    """Two tanh layers on all slots at once, then an embedding per slot; every slot has its own weights.

    Input: nodes and node mask by slot; edges in the order of their target with source and target slot (as a fraction of
    N), mask; globals. It is bound to its numbers of slots and knows a node by its slot only.

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
        self.max_nodes = max_nodes
        self.max_edges = max_edges
        flat = max_nodes * (in_dim + 1) + max_edges * (edge_dim + 3) + global_dim
        self.body = nn.Sequential(
            nn.Linear(flat, width),
            nn.Tanh(),
            nn.Linear(width, width),
            nn.Tanh(),
            nn.Linear(width, max_nodes * hidden),
            nn.ReLU(),
        )

    def forward_compact(self, sequence: SequenceBatch, state: EncoderState) -> tuple[Tensor, EncoderState]:
        embeddings = self.body(self.flatten(sequence)).view(-1, self.out_dim)
        rows = embeddings.index_select(0, sequence.flat_slot)
        return rows, state

    def flatten(self, sequence: SequenceBatch) -> Tensor:
        """[T * B, width of the flat observation].

        Raises:
            ValueError: other slots than the encoder was made for, or more edges.
        """
        if sequence.max_nodes != self.max_nodes:
            raise ValueError(
                f"the observation has {sequence.max_nodes} slots, this MLP encoder was made for {self.max_nodes}"
            )
        graphs = sequence.num_graphs
        ones = sequence.nodes.new_ones(sequence.num_rows, 1)
        nodes = sequence.to_padded(torch.cat([sequence.nodes, ones], dim=1)).view(graphs, -1)
        graph = sequence.row_graph[sequence.edge_target]
        place = torch.arange(sequence.num_edges, device=graph.device) - sequence.graph_edge_ptr[graph]
        if sequence.num_edges and int(place.max()) >= self.max_edges:
            raise ValueError(
                f"a graph has {int(place.max()) + 1} edges, this MLP encoder was made for {self.max_edges}"
            )
        ends = torch.stack([sequence.row_slot[sequence.edge_source], sequence.row_slot[sequence.edge_target]], dim=1)
        row = torch.cat([sequence.edges, (ends + 1) / self.max_nodes, sequence.edges.new_ones(len(graph), 1)], dim=1)
        edges = row.new_zeros(graphs * self.max_edges, row.shape[1]).index_copy(0, graph * self.max_edges + place, row)
        return torch.cat([nodes, edges.view(graphs, -1), sequence.globals], dim=1)
