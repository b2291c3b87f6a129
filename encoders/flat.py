"""The padded observation as one vector: what a network sees that knows no graph."""

from __future__ import annotations

import torch
from torch import Tensor

from encoders.sequence import SequenceBatch

__all__ = ["SlotsError", "flat_width", "flatten"]


class SlotsError(ValueError):
    """An observation does not have the slots that a network without a graph was made for."""


def flat_width(max_nodes: int, max_edges: int, in_dim: int, edge_dim: int, global_dim: int) -> int:
    """Width of `flatten` for observations of N slots with F features, E edges with Fe, and G graph features."""
    return max_nodes * (in_dim + 1) + max_edges * (edge_dim + 3) + global_dim


def flatten(sequence: SequenceBatch, max_nodes: int, max_edges: int) -> Tensor:
    """[T * B, flat_width]: nodes and node mask by slot; edges in the order of their target with source and target slot (as a fraction
    of N) and mask; globals. Padding is 0, whatever the observation held there.

    Args:
        sequence: the observations.
        max_nodes: N, slots the network was made for.
        max_edges: most edges it was made for.

    Raises:
        SlotsError: another number of slots, or more edges.
    """
    if sequence.max_nodes != max_nodes:
        raise SlotsError(
            f"the observation has {sequence.max_nodes} slots, this flat network was made for {max_nodes}; a graph encoder "
            "takes any number"
        )
    graphs = sequence.num_graphs
    ones = sequence.nodes.new_ones(sequence.num_rows, 1)
    nodes = sequence.to_padded(torch.cat([sequence.nodes, ones], dim=1)).view(graphs, -1)
    graph = sequence.row_graph[sequence.edge_target]
    place = torch.arange(sequence.num_edges, device=graph.device) - sequence.graph_edge_ptr[graph]
    if sequence.num_edges and int(place.max()) >= max_edges:
        raise SlotsError(f"a graph has {int(place.max()) + 1} edges, this flat network was made for {max_edges}")
    ends = torch.stack([sequence.row_slot[sequence.edge_source], sequence.row_slot[sequence.edge_target]], dim=1)
    row = torch.cat([sequence.edges, (ends + 1) / max_nodes, sequence.edges.new_ones(len(graph), 1)], dim=1)
    edges = row.new_zeros(graphs * max_edges, row.shape[1]).index_copy(0, graph * max_edges + place, row)
    return torch.cat([nodes, edges.view(graphs, -1), sequence.globals], dim=1)
